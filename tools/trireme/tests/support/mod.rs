//! Runs the built binary.

use std::collections::BTreeSet;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

static ONE_CLUSTER: Mutex<()> = Mutex::new(());

/// Clusters take turns: two at once would be slow, not wrong.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    ONE_CLUSTER.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn trireme() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trireme"));
    command.stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    trireme().args(arguments).output().unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Keys of the table under a heading of README.md, with their types.
fn documented(heading: &str) -> Vec<(String, String)> {
    let readme = include_str!("../../README.md");
    let lines = readme.lines().skip_while(|line| !line.starts_with(heading)).skip(1);
    let rows = lines
        .take_while(|line| !line.starts_with("## "))
        .filter(|line| line.starts_with("| `"));
    let cells = rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    cells
        .flat_map(|cells| {
            let keys = cells[0]
                .split(',')
                .map(|key| key.trim().trim_matches('`').to_owned())
                .collect::<Vec<_>>();
            keys.into_iter()
                .map(move |key| (key, cells[1].to_owned()))
                .collect::<Vec<_>>()
        })
        .collect()
}

pub(crate) fn has_type(value: &Value, kind: &str) -> bool {
    kind.split(" or ").any(|kind| match kind {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "bool" => value.is_boolean(),
        "null" => value.is_null(),
        "object" => value.is_object(),
        "array of objects" => value.as_array().is_some_and(|all| all.iter().all(Value::is_object)),
        "array of strings" => value.as_array().is_some_and(|all| all.iter().all(Value::is_string)),
        other => panic!("README names the type {other}"),
    })
}

/// A report has the keys of the table under a heading of README.md, no others, in the types that stand there.
pub(crate) fn assert_documented(heading: &str, report: &Value) {
    let documented = documented(heading);
    let written: BTreeSet<&str> = report.as_object().unwrap().keys().map(String::as_str).collect();
    let listed: BTreeSet<&str> = documented.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(written, listed);
    for (key, kind) in &documented {
        assert!(has_type(&report[key], kind), "{key}: {} is no {kind}", report[key]);
    }
}
