//! The layout of the repository: what may stand at the root, and that pages name files which exist.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

const DIRECTORIES: [&str; 5] = ["engine", "transport", "tools", "benches", "tuning"];
const FILES: [&str; 5] = [
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "LICENSE",
    "rust-toolchain.toml",
];
/// What a build leaves there.
const BUILD: &str = "target";

pub(crate) fn check(root: &Path) -> Result<()> {
    let strangers = strangers(root)?;
    ensure!(
        strangers.is_empty(),
        "at the root, outside the fixed layout: {}",
        strangers.join(" ")
    );
    for file in FILES {
        ensure!(root.join(file).is_file(), "{file} is missing at the root");
    }
    Ok(())
}

fn strangers(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).with_context(|| format!("cannot read {}", root.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let directory = entry.file_type()?.is_dir();
        let belongs = name.starts_with('.')
            || directory && (DIRECTORIES.contains(&name.as_str()) || name == BUILD)
            || !directory && FILES.contains(&name.as_str());
        if !belongs {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_found() {
        let root = tempfile::tempdir().unwrap();
        for file in FILES.iter().chain(&[".gitignore"]) {
            fs::write(root.path().join(file), "").unwrap();
        }
        for directory in DIRECTORIES.iter().chain(&[".ci", "target"]) {
            fs::create_dir(root.path().join(directory)).unwrap();
        }
        check(root.path()).unwrap();
        fs::write(root.path().join("notes.md"), "").unwrap();
        fs::create_dir(root.path().join("src")).unwrap();
        assert_eq!(strangers(root.path()).unwrap(), ["notes.md", "src"]);
        fs::remove_file(root.path().join("notes.md")).unwrap();
        fs::remove_dir(root.path().join("src")).unwrap();
        fs::remove_file(root.path().join("LICENSE")).unwrap();
        assert!(check(root.path()).is_err());
    }
}
