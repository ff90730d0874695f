//! Interval logs as HdrHistogram's own log processor reads them (Debian package libhdrhistogram-java).

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use trireme_load::{Encoded, Interval, write_intervals};

const JAR: &str = "/usr/share/java/hdrhistogram.jar";

/// What the processor prints; none where it is not installed.
fn processed(log: &Path, more: &[&str]) -> Option<String> {
    if !Path::new(JAR).exists() {
        eprintln!("SKIPPED: {JAR} (Debian package libhdrhistogram-java) is not there");
        return None;
    }
    let mut command = Command::new("java");
    command.args(["-cp", JAR, "org.HdrHistogram.HistogramLogProcessor", "-i"]);
    let output = match command.arg(log).args(more).output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("SKIPPED: java does not run: {error}");
            return None;
        }
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// The number behind a word, such as `Total count    =`.
fn figure(text: &str, word: &str) -> f64 {
    let (_, after) = text
        .split_once(word)
        .unwrap_or_else(|| panic!("{word} is not in\n{text}"));
    let number = after.trim_start_matches([' ', '=']);
    let end = number.find([',', ']', '\n']).unwrap_or(number.len());
    number[..end].trim().parse().unwrap()
}

#[test]
fn the_log_processor_sees_what_was_measured() {
    let interval = |second: u64, tag: Option<&str>, values: std::ops::RangeInclusive<u64>| {
        let mut latencies = Encoded::default();
        values.for_each(|ms| latencies.0.record(ms * 1_000_000).unwrap());
        Interval {
            tag: tag.map(str::to_owned),
            from_unix_s: 1_700_000_000.0 + second as f64,
            length_s: 1.0,
            latencies,
        }
    };
    let lines = [
        interval(0, None, 1..=500),
        interval(0, Some("read"), 1..=100),
        interval(1, None, 501..=1_000),
    ];
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("run.hlog");
    let started = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    write_intervals(File::create(&log).unwrap(), started, &lines).unwrap();
    assert!(
        fs::read_to_string(&log)
            .unwrap()
            .contains("[Histogram log format version 1.3]")
    );
    let Some(all) = processed(&log, &[]) else { return };
    assert_eq!(figure(&all, "Total count"), 1_000.0);
    assert!(
        (figure(&all, "#[Max") - 1_000.0).abs() < 1.0,
        "milliseconds, to three digits:\n{all}"
    );
    assert!((figure(&all, "#[Mean") - 500.5).abs() < 1.0, "{all}");
    let reads = processed(&log, &["-tag", "read"]).unwrap();
    assert_eq!(figure(&reads, "Total count"), 100.0);
    assert!((figure(&reads, "#[Max") - 100.0).abs() < 0.2, "{reads}");
}
