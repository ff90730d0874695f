//! Hand-made histories, good and bad, and random ones of a real register.

use proptest::prelude::*;
use trireme_history::{FORMAT, Header, History, Kind, Limits, Outcome, Report, Row, Told, Verdict, check};

fn row(op: Kind, value: Option<&str>, times: (u64, u64), result: Told) -> Row {
    Row {
        client: 0,
        op,
        key: "k".to_owned(),
        value: value.map(str::to_owned),
        expected: None,
        invoke_us: times.0,
        return_us: Some(times.1),
        outcome: Outcome::Ok,
        result: Some(result),
        version: None,
    }
}

fn put(value: &str, from: u64, to: u64) -> Row {
    row(Kind::Put, Some(value), (from, to), Told::Written)
}

fn get(value: &str, from: u64, to: u64) -> Row {
    row(Kind::Get, Some(value), (from, to), Told::Value)
}

fn none(from: u64, to: u64) -> Row {
    row(Kind::Get, None, (from, to), Told::Absent)
}

fn delete(from: u64, to: u64) -> Row {
    row(Kind::Delete, None, (from, to), Told::Deleted)
}

fn cas(expected: u64, value: &str, from: u64, to: u64, version: u64) -> Row {
    Row {
        expected: Some(expected),
        version: Some(version),
        ..row(Kind::Cas, Some(value), (from, to), Told::Written)
    }
}

fn version(row: Row, version: u64) -> Row {
    Row {
        version: Some(version),
        ..row
    }
}

fn unknown(row: Row) -> Row {
    Row {
        outcome: Outcome::Unknown,
        result: None,
        return_us: None,
        version: None,
        ..row
    }
}

fn report(fresh: bool, rows: Vec<Row>) -> Report {
    let header = Header {
        history: FORMAT.to_owned(),
        fresh,
    };
    check(&History { header, rows }, &Limits::default())
}

fn good(rows: Vec<Row>) {
    let report = report(true, rows);
    assert_eq!(report.verdict, Verdict::Linearizable, "{report:#?}");
}

/// The lines of the window that contradict each other, and what is said about them.
fn bad(rows: Vec<Row>) -> (Vec<usize>, String) {
    let report = report(true, rows);
    assert_eq!(
        (report.verdict, report.broken_keys),
        (Verdict::NotLinearizable, 1),
        "{report:#?}"
    );
    let broken = &report.broken[0];
    let lines = broken
        .operations
        .iter()
        .filter(|shown| !shown.optional)
        .map(|shown| shown.line);
    (lines.collect(), broken.why.clone())
}

#[test]
fn plain_life_is_linearizable() {
    good(vec![
        none(0, 1),
        put("a", 2, 3),
        get("a", 4, 5),
        delete(6, 7),
        none(8, 9),
        cas(0, "b", 10, 11, 5),
        cas(5, "c", 12, 13, 6),
        version(get("c", 14, 15), 6),
    ]);
    assert_eq!(
        report(false, vec![get("old", 0, 1), put("a", 2, 3)]).verdict,
        Verdict::Linearizable
    );
}

#[test]
fn a_stale_read() {
    let (lines, why) = bad(vec![
        put("a", 0, 1),
        put("b", 2, 3),
        get("b", 4, 5),
        get("a", 6, 7),
        get("b", 8, 9),
    ]);
    assert_eq!(lines, [4, 5], "the newer value was read before");
    assert!(
        why.starts_with("line 5 reads a value that was not there any more"),
        "{why}"
    );
    // Without a read in between, the write says it.
    assert_eq!(bad(vec![put("a", 0, 1), put("b", 2, 3), get("a", 4, 5)]).0, [3, 4]);
}

#[test]
fn a_lost_update() {
    // Both replaced version 1.
    let (lines, _) = bad(vec![
        version(put("a", 0, 1), 1),
        cas(1, "b", 2, 5, 2),
        cas(1, "c", 3, 6, 3),
        version(get("c", 7, 8), 3),
    ]);
    assert_eq!(lines, [3, 4]);
    let (lines, why) = bad(vec![put("a", 0, 1), none(2, 3)]);
    assert_eq!(lines, [2, 3]);
    assert!(why.contains("finds no value"), "{why}");
}

#[test]
fn a_resurrected_value() {
    let (lines, _) = bad(vec![put("a", 0, 1), delete(2, 3), none(4, 5), get("a", 6, 7)]);
    assert_eq!(lines, [4, 5]);
}

#[test]
fn a_future_read_and_an_invented_one() {
    let (_, why) = bad(vec![put("a", 0, 1), get("b", 2, 3), put("b", 4, 5)]);
    assert!(why.contains("written later only"), "{why}");
    let (lines, why) = bad(vec![put("a", 0, 1), put("c", 0, 3), get("x", 4, 5)]);
    assert!(why.contains("nobody wrote") && lines.contains(&4), "{why} {lines:?}");
}

#[test]
fn versions_of_a_key_ascend() {
    bad(vec![version(put("a", 0, 1), 5), version(put("b", 2, 3), 4)]);
    good(vec![
        version(put("a", 0, 3), 5),
        version(put("b", 1, 2), 4),
        version(get("a", 4, 5), 5),
    ]);
}

#[test]
fn an_unknown_outcome_excuses_what_it_can_and_no_more() {
    good(vec![unknown(put("a", 0, 0)), none(1, 2), get("a", 3, 4)]);
    good(vec![put("x", 0, 1), unknown(delete(2, 2)), none(3, 4)]);
    bad(vec![unknown(put("a", 5, 5)), get("a", 1, 2)]);
    bad(vec![put("x", 0, 1), unknown(delete(2, 2)), none(3, 4), get("x", 5, 6)]);
    let failed = Row {
        outcome: Outcome::Failed,
        ..unknown(put("a", 0, 0))
    };
    bad(vec![failed, get("a", 1, 2)]);
}

#[test]
fn one_bad_key_among_many_is_named() {
    let mut rows: Vec<Row> = (0..1_000)
        .map(|i| Row {
            key: format!("key-{}", i % 10),
            ..put(&format!("v{i}"), 10 * i, 10 * i + 5)
        })
        .collect();
    rows.push(Row {
        key: "key-3".to_owned(),
        ..get("v3", 20_000, 20_001)
    });
    let report = report(true, rows);
    assert_eq!(
        (report.keys, report.broken_keys, report.broken[0].key.as_str()),
        (10, 1, "key-3")
    );
    let lines: Vec<usize> = report.broken[0].operations.iter().map(|shown| shown.line).collect();
    assert_eq!(lines, [995, 1_002], "of a hundred writes the last one is enough");
}

#[test]
fn too_much_is_undecided() {
    let mut rows: Vec<Row> = (0..30).map(|i| put(&format!("v{i}"), 0, 1_000)).collect();
    rows.push(get("nothing", 0, 500));
    let report = report(true, rows);
    assert_eq!((report.verdict, report.undecided.len()), (Verdict::Undecided, 1));
}

/// A client's wish: kind, and how long it takes to arrive and to come back.
type Wish = (u8, u64, u64, bool);

/// What a real register says: each operation happens at one moment between its two times.
fn record(wishes: Vec<Wish>, with_versions: bool) -> Vec<Row> {
    let mut moments: Vec<(u64, usize)> = wishes
        .iter()
        .enumerate()
        .map(|(i, w)| (4 * i as u64 + w.1, i))
        .collect();
    moments.sort_unstable();
    let (mut held, mut revision) = (None::<(String, u64)>, 0);
    let mut rows = Vec::new();
    for (moment, i) in moments {
        let (kind, _, after, lost) = wishes[i];
        let (from, to, fresh) = (4 * i as u64, moment + after, format!("v{i}"));
        let row = match (kind % 5, held.clone()) {
            (0 | 1, _) => {
                revision += 1;
                held = Some((fresh.clone(), revision));
                version(put(&fresh, from, to), revision)
            }
            (2, Some((_, old))) => {
                held = None;
                revision += 1;
                version(delete(from, to), old)
            }
            (3, old) => {
                let expected = old.map_or(0, |(_, version)| version);
                revision += 1;
                held = Some((fresh.clone(), revision));
                cas(expected, &fresh, from, to, revision)
            }
            (_, Some((value, at))) => version(get(&value, from, to), at),
            (2, None) => row(Kind::Delete, None, (from, to), Told::Absent),
            (_, None) => none(from, to),
        };
        let row = if with_versions || row.op == Kind::Cas {
            row
        } else {
            Row { version: None, ..row }
        };
        rows.push(if lost { unknown(row) } else { row });
    }
    rows
}

fn wishes() -> impl Strategy<Value = Vec<Wish>> {
    prop::collection::vec((any::<u8>(), 0..20u64, 0..20u64, prop::bool::weighted(0.05)), 1..60)
}

proptest! {
    #[test]
    fn a_real_register_is_always_linearizable(wishes in wishes(), versions: bool) {
        let report = report(true, record(wishes, versions));
        prop_assert_eq!(report.verdict, Verdict::Linearizable, "{:#?}", report);
    }

    /// A read that says something else than at any moment of its own is found out.
    #[test]
    fn a_read_of_what_was_long_gone_is_found(wishes in wishes()) {
        let mut rows = record(wishes, true);
        let end = rows.iter().filter_map(|row| row.return_us).max().unwrap_or(0);
        rows.push(version(put("old", end + 1, end + 2), 1_000));
        rows.push(version(put("new", end + 3, end + 4), 1_001));
        rows.push(version(get("old", end + 5, end + 6), 1_000));
        let report = report(true, rows);
        prop_assert_eq!(report.verdict, Verdict::NotLinearizable);
        prop_assert!(report.broken[0].operations.len() <= 3, "{:#?}", report.broken[0]);
    }
}
