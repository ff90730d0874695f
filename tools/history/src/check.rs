//! A whole history, key by key.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::file::{History, Kind, Outcome, Row, Told};
use crate::register::{Action, State, Value};
use crate::search::{Budget, Found, Op, search};
use crate::window::window;

/// How much may be tried for one key. Beyond, the key is undecided.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Possible worlds held at once: about 200 bytes each.
    pub worlds: usize,
    /// Possible worlds made for one operation of the key, in the mean.
    pub work_per_operation: u64,
    /// Keys without an order that are looked into; the others are counted.
    pub shown: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            worlds: 100_000,
            work_per_operation: 10_000,
            shown: 10,
        }
    }
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every key has an order.
    Linearizable,
    /// Some key has none.
    NotLinearizable,
    /// Some key was too much, and the others have an order.
    Undecided,
}

/// A key without an order.
#[derive(Clone, Debug, Serialize)]
pub struct Broken {
    /// Which.
    pub key: String,
    /// What it looks like.
    pub why: String,
    /// Operations that have no order by themselves, by the time of their beginning. `optional` ones may have happened
    /// or not: only the others contradict each other.
    pub operations: Vec<Shown>,
    /// Further writes that may have happened meanwhile, of values that none of these reads.
    pub others: usize,
}

/// An operation of a [`Broken`] key.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    /// Its line in the file.
    pub line: usize,
    /// Its result does not matter.
    pub optional: bool,
    /// What stands there.
    #[serde(flatten)]
    pub row: Row,
}

/// A key that was too much.
#[derive(Clone, Debug, Serialize)]
pub struct KeyUndecided {
    /// Which.
    pub key: String,
    /// How many operations it has.
    pub operations: usize,
}

/// What a history shows.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The answer.
    pub verdict: Verdict,
    /// Rows.
    pub operations: usize,
    /// Of these: executed.
    pub ok: usize,
    /// Of these: certainly not executed.
    pub failed: usize,
    /// Of these: of unknown outcome.
    pub unknown: usize,
    /// Different keys.
    pub keys: usize,
    /// Keys without an order.
    pub broken_keys: usize,
    /// The first of them.
    pub broken: Vec<Broken>,
    /// Keys that were too much.
    pub undecided: Vec<KeyUndecided>,
}

/// Checks a history.
pub fn check(history: &History, limits: &Limits) -> Report {
    let first = if history.header.fresh {
        State::EMPTY
    } else {
        State::UNKNOWN
    };
    let rows = &history.rows;
    let count = |outcome| rows.iter().filter(|row| row.outcome == outcome).count();
    let keys = by_key(rows);
    let mut report = Report {
        verdict: Verdict::Linearizable,
        operations: rows.len(),
        ok: count(Outcome::Ok),
        failed: count(Outcome::Failed),
        unknown: count(Outcome::Unknown),
        keys: keys.len(),
        broken_keys: 0,
        broken: Vec::new(),
        undecided: Vec::new(),
    };
    for (key, ops) in keys {
        let budget = Budget {
            worlds: limits.worlds,
            work: limits.work_per_operation.saturating_mul(ops.len() as u64),
        };
        match search(&ops, first, budget) {
            Found::Order => {}
            Found::GaveUp => report.undecided.push(KeyUndecided {
                key: key.to_owned(),
                operations: ops.len(),
            }),
            Found::NoOrder(at) => {
                report.broken_keys += 1;
                if report.broken.len() < limits.shown {
                    report.broken.push(explain(rows, key, &ops, at, first));
                }
            }
        }
    }
    if report.broken_keys > 0 {
        report.verdict = Verdict::NotLinearizable;
    } else if !report.undecided.is_empty() {
        report.verdict = Verdict::Undecided;
    }
    report
}

/// The operations of each key that matter: those that failed never happened, and reads of unknown outcome say nothing.
fn by_key(rows: &[Row]) -> BTreeMap<&str, Vec<Op>> {
    let mut values: HashMap<&str, Value> = HashMap::new();
    let mut keys: BTreeMap<&str, Vec<Op>> = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        let next = Value::try_from(values.len()).expect("fewer values than 2^32");
        let value = row
            .value
            .as_deref()
            .map_or(0, |text| *values.entry(text).or_insert(next));
        let ops = keys.entry(&row.key).or_default();
        if let Some(action) = action(row, value) {
            let back = row.return_us.filter(|_| row.outcome == Outcome::Ok).unwrap_or(u64::MAX);
            ops.push(Op {
                action,
                invoke: row.invoke_us,
                back,
                row: index,
            });
        }
    }
    keys
}

fn action(row: &Row, value: Value) -> Option<Action> {
    let (version, expected) = (row.version, row.expected.unwrap_or(0));
    match row.outcome {
        Outcome::Failed => None,
        Outcome::Unknown => match row.op {
            Kind::Put => Some(Action::MaybePut { value }),
            Kind::Delete => Some(Action::MaybeDeleted),
            Kind::Cas => Some(Action::MaybeCas { expected, value }),
            Kind::Get => None,
        },
        Outcome::Ok => Some(match (row.op, row.result?) {
            (Kind::Cas, Told::Written) => Action::Cas {
                expected,
                value,
                version,
            },
            (_, Told::Written) => Action::Put { value, version },
            (_, Told::Value) => Action::Found { value, version },
            (_, Told::Absent) => Action::NotFound,
            (_, Told::Deleted) => Action::Deleted { version },
            (_, Told::Mismatch) => Action::Mismatch { expected, version },
        }),
    }
}

fn explain(rows: &[Row], key: &str, ops: &[Op], at: usize, first: State) -> Broken {
    let small = window(ops, at, first);
    let original = |op: &Op| ops.iter().find(|other| other.row == op.row).expect("a part of them");
    let shown = small.iter().map(|op| Shown {
        line: op.row + 2,
        optional: op.back == u64::MAX || op.action != original(op).action,
        row: rows[op.row].clone(),
    });
    let (needed, optional): (Vec<Shown>, Vec<Shown>) = shown.partition(|shown| !shown.optional);
    let reads = |value: &Option<String>| {
        needed
            .iter()
            .any(|shown| shown.row.op == Kind::Get && shown.row.value == *value)
    };
    let (read, others): (Vec<Shown>, Vec<Shown>) = optional.into_iter().partition(|shown| reads(&shown.row.value));
    let mut operations: Vec<Shown> = needed.into_iter().chain(read).collect();
    operations.sort_by_key(|shown| (shown.row.invoke_us, shown.line));
    Broken {
        key: key.to_owned(),
        why: describe(rows, ops, &ops[at]),
        operations,
        others: others.len(),
    }
}

/// What the operation that could not come back looks like.
fn describe(rows: &[Row], ops: &[Op], culprit: &Op) -> String {
    let row = &rows[culprit.row];
    let line = culprit.row + 2;
    let writers = || {
        ops.iter().filter(|op| {
            let other = &rows[op.row];
            matches!(other.op, Kind::Put | Kind::Cas)
                && other.result != Some(Told::Mismatch)
                && other.value == row.value
        })
    };
    let text = match row.result {
        Some(Told::Value) if writers().next().is_none() => "reads a value that nobody wrote",
        Some(Told::Value) if writers().all(|writer| writer.invoke > culprit.back) => {
            "reads a value that was written later only"
        }
        Some(Told::Value) => "reads a value that was not there any more, or not yet",
        Some(Told::Absent) => "finds no value where there was one",
        Some(Told::Mismatch) => "finds a version that was not there",
        Some(Told::Deleted) => "deletes what was not there",
        _ => "cannot have been written with this version at this time",
    };
    format!("line {line} {text}")
}
