//! Runs the built binary.

use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

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
