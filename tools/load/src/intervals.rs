//! Interval logs of HdrHistogram (`.hlog`, version 1.3), which its log processor and its plotters read: a line for each
//! second with all operations, and, tagged by its name, one for each kind if there are several. Values are nanoseconds;
//! the column of the interval's maximum is in milliseconds.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, IntervalLogWriterBuilder, LogEntry, Tag};

use crate::encoded::Encoded;
use crate::summary::Second;

const NANOS_TO_MILLIS: f64 = 1e6;

/// Writes an interval log of the measured time and of what was acknowledged after it. `started` is the beginning of the
/// measured time: lines count from there.
///
/// # Errors
///
/// Those of the writer.
pub fn write_hlog<'a>(
    into: impl Write,
    started: SystemTime,
    seconds: impl Iterator<Item = &'a Second>,
) -> std::io::Result<()> {
    let measured = seconds.filter(|second| second.from_s > -1e-6);
    write_lines(into, started, |log| {
        for second in measured {
            let all = std::iter::once((None, &second.latencies));
            let kinds = second.by_operation.iter();
            let kinds = kinds.map(|(kind, latencies)| (Some(kind.name()), latencies));
            for (tag, latencies) in all.chain(kinds) {
                log(tag, second.from_s, second.length_s, latencies)?;
            }
        }
        Ok(())
    })
}

/// Writes lines that were read or merged; they count from `started`, which is not after any of them.
///
/// # Errors
///
/// Those of the writer.
pub fn write_intervals(into: impl Write, started: SystemTime, lines: &[Interval]) -> std::io::Result<()> {
    let base = started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    write_lines(into, started, |log| {
        lines.iter().try_for_each(|line| {
            log(
                line.tag.as_deref(),
                line.from_unix_s - base,
                line.length_s,
                &line.latencies,
            )
        })
    })
}

/// Writes one line: tag, beginning after the start and length in seconds, latencies.
type WriteLine<'a> = dyn FnMut(Option<&str>, f64, f64, &Encoded) -> std::io::Result<()> + 'a;

fn write_lines(
    mut into: impl Write,
    started: SystemTime,
    lines: impl FnOnce(&mut WriteLine<'_>) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let since = started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    writeln!(into, "#[Logged by trireme load {}]", env!("CARGO_PKG_VERSION"))?;
    writeln!(into, "#[Histogram log format version 1.3]")?;
    writeln!(into, "#[StartTime: {since:.3} (seconds since epoch)]")?;
    writeln!(into, "#[BaseTime: {since:.3} (seconds since epoch)]")?;
    writeln!(
        into,
        "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\""
    )?;
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .with_max_value_divisor(NANOS_TO_MILLIS)
        .begin_log_with(&mut into, &mut serializer)?;
    lines(&mut |tag, from_s, length_s, Encoded(latencies)| {
        let from = Duration::from_secs_f64(from_s.max(0.0));
        let length = Duration::from_secs_f64(length_s.max(0.0));
        log.write_histogram(latencies, from, length, tag.and_then(Tag::new))
            .map_err(|error| std::io::Error::other(error.to_string()))
    })
}

/// One line of an interval log.
#[derive(Clone, Debug)]
pub struct Interval {
    /// Its tag, if it has one.
    pub tag: Option<String>,
    /// When it began, in seconds since 1970.
    pub from_unix_s: f64,
    /// Its length in seconds.
    pub length_s: f64,
    /// Its latencies, in nanoseconds.
    pub latencies: Encoded,
}

/// Reads an interval log, ours or another program's.
///
/// # Errors
///
/// What is wrong, in words.
pub fn read_hlog(bytes: &[u8]) -> Result<Vec<Interval>, String> {
    let (mut start, mut base) = (0.0, None);
    let mut intervals = Vec::new();
    for entry in IntervalLogIterator::new(bytes) {
        match entry.map_err(|error| format!("not an interval log: {error:?}"))? {
            LogEntry::StartTime(time) => start = time.as_secs_f64(),
            LogEntry::BaseTime(time) => base = Some(time.as_secs_f64()),
            LogEntry::Interval(line) => {
                let from = line.start_timestamp().as_secs_f64();
                // As HdrHistogram's reader does it: without a base, stamps a year before the start count from there.
                let base = base.unwrap_or(if from < start - 365.0 * 86_400.0 { start } else { 0.0 });
                intervals.push(Interval {
                    tag: line.tag().map(|tag| tag.as_str().to_owned()),
                    from_unix_s: base + from,
                    length_s: line.duration().as_secs_f64(),
                    latencies: Encoded::from_text(line.encoded_histogram())?,
                });
            }
        }
    }
    Ok(intervals)
}

/// The columns of [`write_csv`].
pub const CSV_HEADER: &str = "second,from_s,length_s,measured,ops_s,p50_us,p90_us,p99_us,p99_9_us,max_us,failed,unknown,in_flight,backlog,connected";

/// Writes a row for each second.
///
/// # Errors
///
/// Those of the writer.
pub fn write_csv<'a>(mut into: impl Write, seconds: impl Iterator<Item = &'a Second>) -> std::io::Result<()> {
    writeln!(into, "{CSV_HEADER}")?;
    for s in seconds {
        writeln!(
            into,
            "{},{:.3},{:.3},{},{:.1},{:.1},{:.1},{:.1},{:.1},{:.1},{},{},{},{},{}",
            s.second,
            s.from_s,
            s.length_s,
            s.measured,
            s.ops_s,
            s.p50_us,
            s.p90_us,
            s.p99_us,
            s.p99_9_us,
            s.max_us,
            s.failed,
            s.unknown,
            s.in_flight,
            s.backlog,
            s.connected
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::{Meter, Moment};
    use crate::workload::{Operation, Workload};

    fn seconds() -> Vec<Second> {
        const S: u64 = 1_000_000_000;
        let mut meter = Meter::new(S, 3 * S, &Workload::named("ycsb-a").unwrap().mix);
        let end = |meter: &mut Meter, now_ns| {
            meter.end_second(&Moment {
                now_ns,
                in_flight: 1,
                backlog: 0,
                connected: 4,
            })
        };
        meter.complete(Operation::Read, 0, 10, 0);
        let mut all = vec![end(&mut meter, S)];
        for second in 1..3 {
            for _ in 0..second {
                meter.complete(Operation::Read, second * S, second * S + 2_000_000, 0);
                meter.complete(Operation::Update, second * S, second * S + 3_000_000, 0);
            }
            all.push(end(&mut meter, (second + 1) * S));
        }
        all
    }

    #[test]
    fn a_log_comes_back_without_its_warm_up() {
        let mut bytes = Vec::new();
        let started = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        write_hlog(&mut bytes, started, seconds().iter()).unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(text.contains("#[Histogram log format version 1.3]\n"), "{text}");
        let lines = read_hlog(&bytes).unwrap();
        let tags: Vec<_> = lines.iter().map(|line| line.tag.as_deref()).collect();
        assert_eq!(
            tags,
            [None, Some("read"), Some("update"), None, Some("read"), Some("update")]
        );
        let counts: Vec<u64> = lines.iter().map(|line| line.latencies.0.len()).collect();
        assert_eq!(counts, [2, 1, 1, 4, 2, 2]);
        assert_eq!((lines[3].from_unix_s, lines[3].length_s), (1_700_000_001.0, 1.0));
        assert!(read_hlog(b"0.1,0.2,x\n").is_err());
    }

    #[test]
    fn the_rows_have_the_columns() {
        let mut bytes = Vec::new();
        write_csv(&mut bytes, seconds().iter()).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let columns: Vec<usize> = text.lines().map(|line| line.split(',').count()).collect();
        assert_eq!(columns, [15; 4]);
        assert!(
            text.lines().nth(1).unwrap().starts_with("1,-1.000,1.000,false,1.0,"),
            "{text}"
        );
    }
}
