//! What replicas and clients write holds no secrets: no private keys and no values of requests, in either form of the
//! logs, at the level that shows everything of our own.

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{stderr, trireme, turn};

/// Bytes that a log must not show, in the forms in which programs print bytes.
fn forms(secret: &[u8]) -> Vec<String> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    // As many bytes as no other number shares by chance.
    let list: Vec<String> = secret.iter().take(12).map(u8::to_string).collect();
    let spaced: Vec<String> = secret.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    vec![
        String::from_utf8_lossy(secret).into_owned(),
        hex[..24].to_owned(),
        hex[..24].to_uppercase(),
        list.join(", "),
        list.join(","),
        spaced.join(" "),
        spaced.join(":"),
        secret.escape_ascii().to_string(),
    ]
}

/// Every file below a directory.
fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.is_file() {
            found.push(path);
        }
    }
}

/// The seed in a key file.
fn seed(path: &Path) -> Vec<u8> {
    let text = fs::read_to_string(path).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("seed = \"")).unwrap();
    let hex = line.trim_end_matches('"');
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// A cluster under a recorded load whose leader is killed; what its replicas wrote, and the secrets.
fn written(format: &str, dir: &Path) -> (String, Vec<Vec<u8>>) {
    let data = dir.join("data");
    let history = dir.join("history.jsonl");
    let output = trireme()
        .env(
            "TRIREME_LOG",
            "trireme=debug,trireme_pipeline=debug,trireme_transport=debug,debug",
        )
        .env("TRIREME_LOG_FORMAT", format)
        .args([
            "local",
            "--durability",
            "none",
            "--duration",
            "1500ms",
            "--rate",
            "100",
            "--keep",
        ])
        .args([
            "--payload",
            "48",
            "--kill-leader-at",
            "300ms",
            "--data",
            data.to_str().unwrap(),
        ])
        .args(["--json", history.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let mut keys = Vec::new();
    files(&data, &mut keys);
    keys.retain(|path| path.extension().is_some_and(|extension| extension == "key"));
    assert_eq!(keys.len(), 5, "of four replicas and the clients");
    let secrets = keys.iter().map(|path| seed(path)).collect();
    let outputs = (0..4).map(|replica| fs::read_to_string(data.join(format!("replica-{replica}/output.txt"))).unwrap());
    (outputs.collect::<String>() + &stderr(&output), secrets)
}

#[test]
fn logs_hold_no_keys_and_no_values() {
    let _turn = turn();
    for format in ["text", "json"] {
        let dir = tempfile::tempdir().unwrap();
        let (log, mut secrets) = written(format, dir.path());
        assert!(
            log.contains("DEBUG") && log.contains("view changed"),
            "it is worth looking at:\n{log}"
        );
        assert_eq!(log.lines().any(|line| line.starts_with('{')), format == "json");
        // The values that the load wrote begin with a running number and go on with bytes that follow from its seed:
        // the logs of the store have them.
        secrets.extend(values(&dir.path().join("data")));
        for secret in &secrets {
            for form in forms(secret) {
                assert!(!log.contains(&form), "{format}: {form:?} is in the logs");
            }
        }
    }
}

/// Values that were written, as the replicas' state has them: what a client reads back.
fn values(data: &Path) -> Vec<Vec<u8>> {
    let (mut found, mut logs) = (Vec::new(), Vec::new());
    files(&data.join("replica-0/log"), &mut logs);
    for path in logs {
        let bytes = fs::read(path).unwrap();
        // A put is written as [1][key length][key][value]: after the name of a key its value follows.
        for (at, _) in bytes.windows(4).enumerate().filter(|(_, window)| *window == b"key-") {
            found.extend(bytes.get(at + 16 + 8..at + 16 + 48).map(<[u8]>::to_vec));
        }
    }
    assert!(found.len() > 50, "{} values", found.len());
    found.truncate(200);
    found
}

#[test]
fn an_unknown_format_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_trireme"))
        .env("TRIREME_LOG_FORMAT", "xml")
        .args(["replica", "--config", "/nowhere/replica.toml"])
        .output()
        .unwrap();
    assert!(stderr(&output).contains("text or json"), "{}", stderr(&output));
}
