//! Checks that are a command each.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// Version that is installed where cargo-deny is missing.
const DENY_VERSION: &str = "0.20.2";

/// `cargo` with these arguments, in the root.
pub(crate) fn cargo(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root);
    command
}

/// Runs a command; its output goes where ours goes.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

pub(crate) fn fmt(root: &Path) -> Result<()> {
    run(&mut cargo(root, &["fmt", "--all", "--check"]))
}

pub(crate) fn clippy(root: &Path) -> Result<()> {
    run(&mut cargo(
        root,
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ],
    ))
}

pub(crate) fn docs(root: &Path) -> Result<()> {
    let mut command = cargo(root, &["doc", "--workspace", "--no-deps", "--quiet"]);
    run(command.env("RUSTDOCFLAGS", "-D warnings"))
}

/// README's command.
pub(crate) fn test(root: &Path) -> Result<()> {
    run(&mut cargo(root, &["test", "--workspace", "--quiet"]))
}

/// Every fuzz target over its corpus and a fixed number of mutants of it.
pub(crate) fn fuzz(root: &Path) -> Result<()> {
    run(&mut cargo(
        root,
        &["run", "--quiet", "--package", "trireme-fuzz", "--", "smoke"],
    ))
}

pub(crate) fn build(root: &Path) -> Result<()> {
    run(&mut cargo(root, &["build", "--release", "--bin", "trireme", "--quiet"]))
}

/// Licences, duplicates, sources; advisories where their database can be reached.
pub(crate) fn deny(root: &Path) -> Result<()> {
    let program = deny_program(root)?;
    let deny = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command
            .args(["--config", ".deny.toml"])
            .args(arguments)
            .current_dir(root);
        command
    };
    run(&mut deny(&[
        "--log-level",
        "error",
        "check",
        "licenses",
        "bans",
        "sources",
    ]))?;
    let fetched = deny(&["fetch", "db"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if fetched.success() {
        return run(&mut deny(&["--log-level", "error", "check", "advisories"]));
    }
    println!("   advisories not checked: their database cannot be reached");
    Ok(())
}

fn deny_program(root: &Path) -> Result<PathBuf> {
    let answers = |program: &Path| {
        let quiet = Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        quiet.is_ok_and(|status| status.success())
    };
    let installed = PathBuf::from("cargo-deny");
    if answers(&installed) {
        return Ok(installed);
    }
    // Under target/, so that a check leaves nothing else on the machine.
    let tools = target_directory(root).join("tools");
    let own = tools.join("bin/cargo-deny");
    if !answers(&own) {
        println!("   installing cargo-deny {DENY_VERSION}");
        let mut install = cargo(
            root,
            &["install", "cargo-deny", "--version", DENY_VERSION, "--locked", "--root"],
        );
        run(install.arg(&tools))?;
    }
    Ok(own)
}

/// Where cargo puts what it builds.
pub(crate) fn target_directory(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}
