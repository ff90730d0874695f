//! `--bug-bank`: known bugs, found again by their pinned seeds, or looked for from random ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use serde::Serialize;
use trireme_sim::bank::{self, BUGS, Bug, Found, Pin, State};

use super::SimulateArgs;
use crate::say::say;

/// Flags of the mode.
#[derive(Debug, clap::Args)]
pub(super) struct BankArgs {
    /// Replay the pinned seed of every known bug (a build with the feature `bugs`)
    #[arg(long, group = "mode", conflicts_with_all = ["seeds", "seed"])]
    bug_bank: bool,
    /// Look for the bugs from random seeds instead
    #[arg(long, requires = "bug_bank")]
    search: bool,
    /// Seeds for each bug at most
    #[arg(long, value_name = "N", default_value_t = 10_000, requires = "search")]
    limit: u64,
    /// Write the seeds that were found to the file of pinned seeds; with --seed: run the seed and write it as a scenario
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = PINNED)]
    write: Option<PathBuf>,
}

/// Where pinned seeds stand.
const PINNED: &str = "engine/sim/bank.toml";

impl BankArgs {
    pub(super) fn chosen(&self) -> bool {
        self.bug_bank
    }

    /// Where a seed goes as a scenario.
    pub(super) fn scenario(&self) -> Option<&Path> {
        self.write.as_deref().filter(|_| !self.search)
    }

    /// What `--write` cannot do, if anything.
    pub(super) fn possible(&self, seed: Option<u64>) -> Result<(), String> {
        match self.scenario() {
            Some(_) if seed.is_none() => Err("--write needs --bug-bank --search, or --seed".into()),
            Some(file) if file == Path::new(PINNED) => Err("--write needs a FILE for the scenario".into()),
            _ => Ok(()),
        }
    }
}

/// A line of the table.
#[derive(Serialize)]
struct Row {
    number: u8,
    name: &'static str,
    /// The clause that is switched off; null: what could be wrong is not in the engine yet.
    switch: Option<&'static str>,
    found: bool,
    /// What broke.
    invariant: Option<&'static str>,
    /// The run that shows it: a seed, or the text of a Twins scenario.
    #[serde(rename = "seed")]
    pin: Option<Pin>,
    /// Runs with the clause switched off.
    seeds: u64,
    /// Events up to the first violation.
    events: Option<u64>,
    ms: u64,
    /// Why it was not looked for, or not found.
    note: String,
}

/// The report (`tools/trireme/README.md`).
#[derive(Serialize)]
struct Json<'a> {
    schema: &'static str,
    ok: bool,
    version: &'static str,
    search: bool,
    bugs: usize,
    found: usize,
    wall_s: f64,
    rows: &'a [Row],
}

/// Whether every bug that was looked for was found.
pub(super) fn run(args: &SimulateArgs) -> Result<bool> {
    let json = args.json.as_deref().map(super::create_report).transpose()?;
    let start = Instant::now();
    let pins = pins(&args.bank)?;
    let deadline = args
        .minutes
        .map(|minutes| start + Duration::from_secs_f64(minutes * 60.0));
    let wanted = |bug: &&Bug| args.clause.as_deref().is_none_or(|clause| bug.switch() == Some(clause));
    let bugs: Vec<&Bug> = BUGS.iter().filter(wanted).collect();
    let rows = on_all_threads(&bugs, args.threads(), |bug| look(bug, args, &pins, deadline));
    let looked = |row: &&Row| row.seeds > 0;
    let ok = rows.iter().filter(looked).all(|row| row.found);
    let found = rows.iter().filter(|row| row.found).count();
    print(&rows);
    say!("{found} of {} found", rows.len());
    if let Some(file) = &args.bank.write {
        write(file, pins, &rows)?;
    }
    if let Some(file) = json {
        let report = Json {
            schema: "trireme.bug-bank/1",
            ok,
            version: env!("CARGO_PKG_VERSION"),
            search: args.bank.search,
            bugs: rows.len(),
            found,
            wall_s: start.elapsed().as_secs_f64(),
            rows: &rows,
        };
        serde_json::to_writer_pretty(file, &report).context("cannot write the report")?;
    }
    Ok(ok)
}

/// The pinned seeds: of the file that is about to be rewritten, otherwise those of the build.
fn pins(args: &BankArgs) -> Result<BTreeMap<String, Pin>> {
    let text = match &args.write {
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?,
        None => bank::PINS.into(),
    };
    bank::pins(&text).map_err(|words| anyhow!("bank.toml: {words}"))
}

/// What is looked for in a row, and what was seen.
fn look(bug: &Bug, args: &SimulateArgs, pins: &BTreeMap<String, Pin>, deadline: Option<Instant>) -> Row {
    let start = Instant::now();
    let mut row = Row {
        number: bug.number,
        name: bug.name,
        switch: bug.switch(),
        found: false,
        invariant: None,
        pin: None,
        seeds: 0,
        events: None,
        ms: 0,
        note: String::new(),
    };
    let found = match bug.state {
        State::Waits(what) => {
            row.note = format!("waits for {what}");
            None
        }
        State::Switch(switch) if args.bank.search => {
            let in_time = || deadline.is_none_or(|at| Instant::now() < at);
            let found = bank::search(switch, args.first, args.bank.limit, in_time);
            if let Err(seeds) = found {
                row.seeds = seeds;
                row.note = format!("not in {seeds} seeds");
            }
            found.ok()
        }
        State::Switch(switch) => match pins.get(switch) {
            Some(pin) => {
                row.seeds = 1;
                row.note = format!("{pin} shows nothing any more");
                bank::replay(switch, pin)
            }
            None => {
                row.note = "no seed is pinned yet; a test in engine/core/tests shows it".into();
                None
            }
        },
    };
    row.ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    if let Some(found) = found {
        fill(&mut row, &found);
    }
    row
}

fn fill(row: &mut Row, found: &Found) {
    row.found = true;
    row.invariant = Some(found.invariant);
    row.pin = Some(found.pin.clone());
    row.seeds = found.runs;
    // A panic leaves no count.
    row.events = (found.events > 0).then_some(found.events);
    row.note.clear();
}

fn on_all_threads(bugs: &[&Bug], threads: u16, look: impl Fn(&Bug) -> Row + Sync) -> Vec<Row> {
    let (next, rows) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let row = look(bug);
                    rows.lock().expect("no panic holds it").push(row);
                }
            });
        }
    });
    let mut rows = rows.into_inner().expect("all are done");
    rows.sort_by_key(|row: &Row| row.number);
    rows
}

fn print(rows: &[Row]) {
    say!(
        "{:>2}  {:<50} {:<6} {:<10} {:>6} {:>6} {:>8}",
        "",
        "bug",
        "found",
        "invariant",
        "seed",
        "seeds",
        "ms"
    );
    for row in rows {
        let found = match (row.found, row.seeds) {
            (true, _) => "yes",
            (false, 0) => "-",
            (false, _) => "NO",
        };
        say!(
            "{:>2}  {:<50} {:<6} {:<10} {:<10} {:>6} {:>8}  {}",
            row.number,
            row.name,
            found,
            row.invariant.unwrap_or(""),
            row.pin.as_ref().map_or_else(String::new, Pin::to_string),
            row.seeds,
            row.ms,
            row.note
        );
    }
}

/// What was found replaces what was pinned; what was not looked for or not found stays.
fn write(file: &std::path::Path, mut pins: BTreeMap<String, Pin>, rows: &[Row]) -> Result<()> {
    for row in rows {
        if let (Some(switch), Some(pin)) = (row.switch, &row.pin) {
            pins.insert(switch.into(), pin.clone());
        }
    }
    std::fs::write(file, bank::pins_text(&pins)).with_context(|| format!("cannot write {}", file.display()))
}
