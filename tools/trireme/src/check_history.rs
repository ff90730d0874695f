//! `trireme check-history`: whether a recorded history is linearizable.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use trireme_history::{Broken, Limits, Outcome, Report, Row, Told, Verdict, check, read};

use crate::say::say;

/// Arguments of `trireme check-history`.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckHistoryArgs {
    /// The history, as `trireme load --history` and `trireme local --history` write it
    file: PathBuf,
    /// Where to write the verdict as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Refuse longer histories: each operation takes about 200 bytes of memory
    #[arg(long, value_name = "COUNT", default_value_t = 10_000_000)]
    max_operations: usize,
    /// Give a key up when so many orders at once remain possible
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().worlds)]
    max_worlds: usize,
}

/// The JSON file.
#[derive(Serialize)]
struct Written<'a> {
    schema: &'static str,
    file: String,
    #[serde(flatten)]
    report: &'a Report,
}

/// Runs `trireme check-history`. Exit code 0: linearizable; 1: not; 2: the file cannot be read; 3: undecided.
pub(crate) fn run(args: &CheckHistoryArgs) -> ExitCode {
    match judge(args) {
        Ok(Verdict::Linearizable) => ExitCode::SUCCESS,
        Ok(Verdict::NotLinearizable) => ExitCode::from(1),
        Ok(Verdict::Undecided) => ExitCode::from(3),
        Err(error) => {
            eprintln!("trireme check-history: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether a history that this process wrote is linearizable; a failure if that is undecided.
pub(crate) fn is_linearizable(file: &std::path::Path) -> Result<bool> {
    let verdict = judge(&CheckHistoryArgs {
        file: file.to_owned(),
        json: None,
        max_operations: usize::MAX,
        max_worlds: Limits::default().worlds,
    })?;
    ensure!(
        verdict != Verdict::Undecided,
        "{}: undecided whether it is linearizable",
        file.display()
    );
    Ok(verdict == Verdict::Linearizable)
}

fn judge(args: &CheckHistoryArgs) -> Result<Verdict> {
    let name = args.file.display();
    let file = File::open(&args.file).with_context(|| name.to_string())?;
    let history = read(BufReader::new(file), args.max_operations).with_context(|| name.to_string())?;
    let limits = Limits {
        worlds: args.max_worlds,
        ..Limits::default()
    };
    let report = check(&history, &limits);
    if let Some(path) = &args.json {
        let written = Written {
            schema: "trireme.check-history/1",
            file: name.to_string(),
            report: &report,
        };
        let text = serde_json::to_string_pretty(&written)? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    print(&report, history.header.fresh);
    Ok(report.verdict)
}

fn print(report: &Report, fresh: bool) {
    let Report {
        operations,
        ok,
        failed,
        unknown,
        keys,
        ..
    } = report;
    say!("{operations} operations on {keys} keys: {ok} executed, {failed} failed, {unknown} of unknown outcome");
    if !fresh {
        say!("the store was not empty at the beginning: the first value of each key is taken as it is read");
    }
    report.broken.iter().for_each(show);
    let more = report.broken_keys - report.broken.len();
    if more > 0 {
        say!("and {more} more keys without an order");
    }
    for key in &report.undecided {
        say!(
            "key {}: undecided, {} operations allow too many orders",
            key.key,
            key.operations
        );
    }
    match report.verdict {
        Verdict::Linearizable => say!("linearizable: every key has an order that explains every result"),
        Verdict::NotLinearizable => say!("NOT linearizable: {} keys have no order", report.broken_keys),
        Verdict::Undecided => say!("undecided: {} keys were too much", report.undecided.len()),
    }
}

fn show(broken: &Broken) {
    say!("key {}: {}; no order explains these:", broken.key, broken.why);
    for shown in &broken.operations {
        let mark = if shown.optional { "  (whatever it was told)" } else { "" };
        say!("  line {:>7}  {}{mark}", shown.line, one(&shown.row));
    }
    if broken.others > 0 {
        say!("  with {} more writes that may have happened meanwhile", broken.others);
    }
}

fn one(row: &Row) -> String {
    let until = row.return_us.map_or("never".to_owned(), |at| at.to_string());
    let version = row
        .version
        .map_or(String::new(), |version| format!(" version {version}"));
    let expected = row
        .expected
        .map_or(String::new(), |version| format!(" at version {version}"));
    let value = row.value.as_deref().unwrap_or("");
    let op = format!("{:?}", row.op).to_lowercase();
    let said = match (row.outcome, row.result) {
        (Outcome::Ok, Some(Told::Value)) => format!("value {value}{version}"),
        (Outcome::Ok, Some(told)) => format!("{}{version}", format!("{told:?}").to_lowercase()),
        (outcome, _) => format!("{outcome:?}").to_lowercase(),
    };
    let wrote = if row.result == Some(Told::Value) { "" } else { value };
    format!(
        "[{} .. {until}] us  client {}  {op} {wrote}{expected} -> {said}",
        row.invoke_us, row.client
    )
}
