//! What a replica writes down for people and collectors: text or JSON lines on the standard error, at a bounded rate.
//!
//! Each place in the code may write a burst of lines and then a few each second; what is held back is counted and told.
//! Nothing secret is ever a field: keys print as their public parts or not at all.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// Lines of one place that may follow each other at once.
const BURST: u32 = 20;
/// And one more each time this has passed.
const EVERY: Duration = Duration::from_millis(500);
/// Target of the lines that tell what was held back; they are never held back themselves.
const NOTES: &str = "trireme::held_back";

/// Form of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line, for collectors
    Json,
}

impl LogFormat {
    /// What TRIREME_LOG_FORMAT says; text without it.
    pub(crate) fn of_environment() -> anyhow::Result<LogFormat> {
        use clap::ValueEnum as _;
        let Ok(name) = std::env::var("TRIREME_LOG_FORMAT") else {
            return Ok(LogFormat::Text);
        };
        let known = LogFormat::from_str(&name, false);
        known.map_err(|_| anyhow::anyhow!("TRIREME_LOG_FORMAT is {name:?}: text or json"))
    }
}

/// From here on what happens is written to the standard error, as far as TRIREME_LOG asks for it.
pub(crate) fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_env("TRIREME_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter).with(Limit::default());
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    match format {
        LogFormat::Text => registry.with(lines).init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
    }
}

/// Holds back what comes too fast.
#[derive(Default)]
struct Limit {
    /// One for each place in the code that has written: as many as there are.
    places: Mutex<HashMap<Identifier, Bucket>>,
}

/// The allowance of one place.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: u32,
    filled: Instant,
    held_back: u64,
}

impl Bucket {
    fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            filled: now,
            held_back: 0,
        }
    }

    /// Whether a line may be written now, and how many were held back before it.
    fn pass(&mut self, now: Instant) -> Option<u64> {
        let due = now.saturating_duration_since(self.filled).as_millis() / EVERY.as_millis();
        let due = u32::try_from(due).unwrap_or(BURST).min(BURST);
        if due > 0 {
            self.left = BURST.min(self.left + due);
            self.filled = now;
        }
        if self.left == 0 {
            self.held_back += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.held_back))
    }
}

impl Limit {
    fn pass(&self, metadata: &Metadata<'_>, now: Instant) -> Option<u64> {
        let mut places = self.places.lock().expect("nobody panics with it");
        let bucket = places.entry(metadata.callsite()).or_insert_with(|| Bucket::new(now));
        bucket.pass(now)
    }
}

impl<S: Subscriber> Layer<S> for Limit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if metadata.target() == NOTES {
            return true;
        }
        let Some(held_back) = self.pass(metadata, Instant::now()) else {
            return false;
        };
        if held_back > 0 {
            let (file, line) = (metadata.file().unwrap_or_default(), metadata.line().unwrap_or_default());
            tracing::warn!(target: NOTES, lines = held_back, like = %format_args!("{file}:{line}"), "lines were held back");
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::Arc;

    #[test]
    fn a_burst_passes_and_then_a_few_each_second() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        let passed = (0..100).filter(|_| bucket.pass(start).is_some()).count();
        assert_eq!(passed, BURST as usize);
        assert_eq!(bucket.pass(start + EVERY), Some(80), "those held back are told once");
        assert_eq!(bucket.pass(start + EVERY), None);
        assert_eq!(bucket.pass(start + EVERY * 3), Some(1));
        assert_eq!(bucket.pass(start + EVERY * 3), Some(0));
        let later = start + EVERY * 10_000;
        let passed = (0..100).filter(|_| bucket.pass(later).is_some()).count();
        assert_eq!(passed, BURST as usize, "a long silence saves up no more than a burst");
    }

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_storm_becomes_few_lines_of_json_and_others_pass() {
        let kept = Kept::default();
        let writer = kept.clone();
        let lines = fmt::layer()
            .with_writer(move || writer.clone())
            .json()
            .flatten_event(true);
        let subscriber = tracing_subscriber::registry().with(Limit::default()).with(lines);
        tracing::subscriber::with_default(subscriber, || {
            for index in 0..1_000 {
                tracing::warn!(index, "storm");
            }
            tracing::info!("something else");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let storm = lines.iter().filter(|line| line["message"] == "storm").count();
        assert!((BURST as usize..100).contains(&storm), "{storm}");
        assert_eq!(lines.last().unwrap()["message"], "something else");
    }
}
