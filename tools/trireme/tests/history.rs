//! Histories of real clusters, and what becomes of them when they are spoilt.

mod support;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use support::{assert_documented, run, stderr, stdout, turn};

/// Records a short mixed load on a cluster whose leader is killed on the way.
fn record(dir: &Path, more: &[&str]) -> (Vec<Value>, Value) {
    let (history, report) = (dir.join("history"), dir.join("report.json"));
    let mut arguments = vec![
        "local",
        "--history",
        history.to_str().unwrap(),
        "--json",
        report.to_str().unwrap(),
    ];
    arguments.extend(more);
    let output = run(&arguments);
    assert!(output.status.success(), "{}\n{}", stdout(&output), stderr(&output));
    let lines = fs::read_to_string(&history).unwrap();
    let rows = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (
        rows,
        serde_json::from_str(&fs::read_to_string(report).unwrap()).unwrap(),
    )
}

/// The exit code and the verdict about these lines.
fn judge(dir: &Path, rows: &[Value]) -> (Option<i32>, Value) {
    let (file, json) = (dir.join("spoilt"), dir.join("verdict.json"));
    let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
    fs::write(&file, text).unwrap();
    let output = run(&[
        "check-history",
        file.to_str().unwrap(),
        "--json",
        json.to_str().unwrap(),
    ]);
    let verdict = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    (output.status.code(), verdict)
}

#[test]
fn a_real_history_is_linearizable_and_a_spoilt_one_is_not() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let line = "--duration 3s --kill-leader-at 1s --keys 50 --in-flight 64 --payload 32";
    let (rows, report) = record(dir.path(), &line.split_whitespace().collect::<Vec<_>>());
    assert_eq!((&report["linearizable"], &report["ok"]), (&json!(true), &json!(true)));
    for (op, result) in [
        ("put", "written"),
        ("get", "value"),
        ("get", "absent"),
        ("delete", "deleted"),
        ("cas", "written"),
        ("cas", "mismatch"),
    ] {
        let found = rows.iter().any(|row| row["op"] == op && row["result"] == result);
        assert!(found, "no {op} with the result {result} among {} rows", rows.len());
    }
    let (code, verdict) = judge(dir.path(), &rows);
    assert_eq!((code, &verdict["verdict"]), (Some(0), &json!("linearizable")));
    assert_documented("## The verdict (", &verdict);

    // A stale read: a value long after it was overwritten.
    let mut stale = rows.clone();
    let reads: Vec<usize> = (0..rows.len()).filter(|i| rows[*i]["result"] == "value").collect();
    let (first, last) = (reads[0], *reads.last().unwrap());
    for field in ["key", "value", "version"] {
        stale[last][field] = rows[first][field].clone();
    }
    let (code, verdict) = judge(dir.path(), &stale);
    assert_eq!((code, &verdict["broken_keys"]), (Some(1), &json!(1)), "{verdict}");
    assert_eq!(verdict["broken"][0]["key"], rows[first]["key"]);
    let window = verdict["broken"][0]["operations"].as_array().unwrap().len();
    assert!(window <= 6, "a window of {window} operations");

    // A lost write: what was acknowledged never happened.
    let mut lost = rows.clone();
    let read = &rows[first];
    let writer = (1..rows.len()).find(|i| rows[*i]["result"] == "written" && rows[*i]["version"] == read["version"]);
    lost[writer.unwrap()]["value"] = json!("another value");
    assert_eq!(judge(dir.path(), &lost).0, Some(1));
}

#[test]
fn what_is_no_history_cannot_be_judged() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("no-history");
    fs::write(&file, "{}\n").unwrap();
    for path in [file.as_path(), Path::new("/nowhere/at/all")] {
        let output = run(&["check-history", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(path.to_str().unwrap()));
    }
    let head = json!({"history": "trireme.history/1", "fresh": true});
    let row = |op, from, to, result, value| {
        json!({"client": 0, "op": op, "key": "k", "value": value,
        "invoke_us": from, "return_us": to, "outcome": "ok", "result": result})
    };
    let mut rows = vec![head];
    rows.extend((0..40).map(|i| row("put", 0, 1_000, "written", i.to_string())));
    rows.push(row("get", 0, 500, "value", "never".to_owned()));
    let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
    fs::write(&file, text).unwrap();
    let output = run(&["check-history", file.to_str().unwrap(), "--max-worlds", "1000"]);
    assert_eq!(output.status.code(), Some(3), "{}", stdout(&output));
}
