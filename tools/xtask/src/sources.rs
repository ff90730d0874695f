//! What may stand in which source file: the table "threads, IO, unsafe, time" of the architecture page, as checks.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// A word that only some places may use.
struct Rule {
    /// As it stands in the code; comments and texts do not count.
    words: &'static [&'static str],
    /// Beginnings of the paths that may use it.
    allowed: &'static [&'static str],
    why: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        words: &["unsafe"],
        allowed: &["engine/log/src/", "engine/pipeline/src/"],
        why: "unsafe code: log (ring, buffers) and pipeline (links, affinity) only",
    },
    Rule {
        words: &["allow(unsafe_code)", "expect(unsafe_code)"],
        allowed: &["engine/log/src/", "engine/pipeline/src/"],
        why: "unsafe code is switched on in log and pipeline only",
    },
    Rule {
        words: &["std::", "extern crate std"],
        allowed: NOT_IN_CORE,
        why: "engine/core and engine/crypto know no operating system",
    },
    Rule {
        words: &["HashMap", "HashSet"],
        allowed: NOT_AN_ORDERING,
        why: "what orders iterates in a fixed order",
    },
    Rule {
        words: &["std::fs", "File::open", "File::create", "OpenOptions"],
        allowed: &[
            "engine/log/",
            "engine/fuzz/",
            "tools/",
            "benches/",
            "engine/pipeline/src/admin/process.rs",
            "engine/pipeline/src/identity.rs",
            "engine/pipeline/src/snapshots/",
            "engine/pipeline/tests/",
            "engine/model/src/main.rs",
            "engine/sim/src/scenario/",
            "engine/sim/tests/",
            "transport/src/wan/",
        ],
        why: "files are opened in log, pipeline's snapshots and identity mark, and tools (and /proc by the admin port), by the commands of fuzz and model, and where scenarios and emulated \
              networks are read, only",
    },
    Rule {
        words: &["UdpSocket", "TcpStream", "TcpListener"],
        allowed: &[
            "transport/",
            "tools/",
            "benches/",
            "engine/client/tests/",
            "engine/pipeline/src/admin/",
            "engine/pipeline/tests/",
        ],
        why: "sockets are opened in transport and tools, and by the admin port, only",
    },
    Rule {
        words: &["thread::sleep"],
        allowed: &[
            "tools/",
            "benches/src/storage/",
            "engine/log/tests/",
            "engine/pipeline/tests/",
            "transport/tests/",
        ],
        why: "nothing waits by sleeping",
    },
    Rule {
        words: &["todo!", "unimplemented!", "dbg!"],
        allowed: &[],
        why: "unfinished code",
    },
];

/// All places but core and crypto.
const NOT_IN_CORE: &[&str] = &[
    "engine/raft/",
    "engine/client/",
    "engine/config/",
    "engine/core/examples/",
    "engine/core/tests/",
    "engine/crypto/examples/",
    "engine/crypto/tests/",
    "engine/fuzz/",
    "engine/log/",
    "engine/model/",
    "engine/pipeline/",
    "engine/sim/",
    "engine/sim-stages/",
    "engine/state/",
    "transport/",
    "tools/",
    "benches/",
];

/// The same without what orders otherwise than the core: the first of them.
const NOT_AN_ORDERING: &[&str] = NOT_IN_CORE.split_at(1).1;

/// Crates whose root file need not forbid unsafe code, because one of their modules has it.
const WITH_UNSAFE: [&str; 2] = ["engine/log/", "engine/pipeline/"];
const WITHOUT_STD: [&str; 2] = ["engine/core/src/lib.rs", "engine/crypto/src/lib.rs"];

pub(crate) fn check(root: &Path) -> Result<()> {
    let mut faults = Vec::new();
    let files = rust_files(root)?;
    ensure!(!files.is_empty(), "no source files found");
    for path in &files {
        let text = fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"))?;
        // This file holds the words as data.
        if path != "tools/xtask/src/sources.rs" {
            faults.extend(broken_rules(path, &text));
        }
        faults.extend(missing_attributes(path, &text));
    }
    faults.iter().for_each(|fault| println!("   {fault}"));
    ensure!(faults.is_empty(), "{} places break a rule", faults.len());
    Ok(())
}

/// All `.rs` files, relative to the root.
fn rust_files(root: &Path) -> Result<Vec<String>> {
    let mut pending: Vec<PathBuf> = ["engine", "transport", "tools", "benches"]
        .map(|dir| root.join(dir))
        .to_vec();
    let mut files = Vec::new();
    while let Some(dir) = pending.pop() {
        if !dir.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default();
            if path.is_dir() && name != "target" {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(root).context("a file outside the root")?;
                files.push(relative.to_string_lossy().into_owned());
            }
        }
    }
    files.sort();
    Ok(files)
}

fn broken_rules(path: &str, text: &str) -> Vec<String> {
    let code = without_texts(text);
    let mut faults = Vec::new();
    for rule in RULES
        .iter()
        .filter(|rule| !rule.allowed.iter().any(|prefix| path.starts_with(prefix)))
    {
        for (index, line) in code.lines().enumerate() {
            if let Some(word) = rule.words.iter().find(|word| holds_word(line, word)) {
                faults.push(format!("{path}:{}: `{word}` ({})", index + 1, rule.why));
            }
        }
    }
    faults
}

fn missing_attributes(path: &str, text: &str) -> Vec<String> {
    let crate_root = path.ends_with("/src/lib.rs") || path.ends_with("/src/main.rs");
    let needs = |attribute: &str, wanted: bool| {
        let missing = crate_root && wanted && !text.contains(attribute);
        missing.then(|| format!("{path}: `{attribute}` is missing"))
    };
    let safe = !WITH_UNSAFE.iter().any(|prefix| path.starts_with(prefix));
    let mut faults: Vec<String> = needs("#![forbid(unsafe_code)]", safe).into_iter().collect();
    faults.extend(needs("#![no_std]", WITHOUT_STD.contains(&path)));
    faults
}

/// Whether the word stands in the line, not as a part of a longer name.
fn holds_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let starts = word.starts_with(part);
    let ends = word.ends_with(part);
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let longer = starts && before.is_some_and(part) || ends && after.is_some_and(part);
        !longer
    })
}

/// The code with comments, strings and characters blanked out; lines stay where they are.
fn without_texts(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = text_length(rest, out.chars().next_back());
        if length == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            out.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[length..];
        }
    }
    out
}

/// Bytes of the comment, string or character that `rest` starts with, 0 if it starts with code.
fn text_length(rest: &str, before: Option<char>) -> usize {
    let name = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return rest.find("*/").map_or(rest.len(), |at| at + 2);
    }
    if !name && (rest.starts_with("r\"") || rest.starts_with("r#")) {
        let hashes = rest[1..].chars().take_while(|c| *c == '#').count();
        let end = format!("\"{}", "#".repeat(hashes));
        let body = hashes + 2;
        // `r#name` is a name.
        return match rest.get(1 + hashes..body) {
            Some("\"") => rest[body..].find(&end).map_or(rest.len(), |at| body + at + end.len()),
            _ => 0,
        };
    }
    match rest.chars().next() {
        Some('"') => quoted_length(rest, '"').unwrap_or(rest.len()),
        // A character is one character or an escape; anything else is a lifetime.
        Some('\'') => {
            let length = quoted_length(rest, '\'').unwrap_or(0);
            let inside = rest.get(1..length.saturating_sub(1)).unwrap_or("");
            let character = inside.starts_with('\\') || inside.chars().count() == 1;
            if character { length } else { 0 }
        }
        _ => 0,
    }
}

/// Bytes up to and with the closing quote.
fn quoted_length(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(at + c.len_utf8()),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_blanked_and_code_is_not() {
        let source = "let a = \"unsafe \\\" unsafe\"; // unsafe\nlet b = 'x'; /* unsafe\n */ fn f<'a>(x: &'a str) {}\nlet c = r#\"unsafe\"#; r#type; b\"unsafe\"; '\\'';\nunsafe {}";
        let code = without_texts(source);
        assert_eq!(code.lines().count(), source.lines().count());
        let lines: Vec<usize> = (0..)
            .zip(code.lines())
            .filter(|(_, l)| holds_word(l, "unsafe"))
            .map(|(i, _)| i)
            .collect();
        assert_eq!(lines, [4], "{code}");
        assert!(code.contains("fn f<'a>(x: &'a str) {}") && code.contains("r#type"));
    }

    #[test]
    fn words_are_whole() {
        assert!(holds_word("unsafe { x }", "unsafe"));
        assert!(!holds_word("#![forbid(unsafe_code)]", "unsafe"));
        assert!(holds_word("#![allow(unsafe_code)]", "allow(unsafe_code)"));
        assert!(holds_word("use std::fs;", "std::"));
        assert!(!holds_word("mystd::x", "std::"));
    }

    #[test]
    fn rules_hold_in_their_places() {
        assert!(broken_rules("engine/log/src/ring.rs", "unsafe {}").is_empty());
        assert_eq!(broken_rules("engine/core/src/a.rs", "fn f() { unsafe {} }").len(), 1);
        assert_eq!(broken_rules("engine/core/src/a.rs", "use std::vec::Vec;").len(), 1);
        assert!(broken_rules("engine/core/src/a.rs", "use alloc::vec::Vec; // std::").is_empty());
        assert_eq!(broken_rules("engine/state/src/a.rs", "std::fs::read(p)").len(), 1);
        assert!(broken_rules("tools/trireme/src/a.rs", "std::fs::read(p)").is_empty());
        assert_eq!(broken_rules("tools/trireme/src/a.rs", "todo!()").len(), 1);
        assert_eq!(missing_attributes("engine/core/src/lib.rs", "").len(), 2);
        assert_eq!(missing_attributes("engine/log/src/lib.rs", "").len(), 0);
        assert_eq!(
            missing_attributes("tools/load/src/lib.rs", "#![forbid(unsafe_code)]").len(),
            0
        );
    }
}
