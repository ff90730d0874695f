//! The table of all metrics: how a row is written, and the rows by what they are about.

mod log;
mod ordering;
mod replica;
mod traffic;

use super::{Kind, Metric, Source};

const fn metric(kind: Kind, name: &'static str, path: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        kind,
        help,
        labels: &[],
        optional: false,
        source: Source::At(path),
        micros: false,
    }
}

const fn counter(name: &'static str, path: &'static str, help: &'static str) -> Metric {
    metric(Kind::Counter, name, path, help)
}

const fn gauge(name: &'static str, path: &'static str, help: &'static str) -> Metric {
    metric(Kind::Gauge, name, path, help)
}

const fn histogram(name: &'static str, path: &'static str, help: &'static str) -> Metric {
    metric(Kind::Histogram, name, path, help)
}

impl Metric {
    /// Its labels, in the order of the varying parts of its path.
    const fn by(self, labels: &'static [&'static str]) -> Self {
        Self { labels, ..self }
    }

    /// Its values stand at these paths, each with a value of the only label.
    const fn at(self, paths: &'static [(&'static str, &'static str)]) -> Self {
        Self {
            source: Source::Several(paths),
            ..self
        }
    }

    /// The status has microseconds.
    const fn micros(self) -> Self {
        Self { micros: true, ..self }
    }

    /// It has no value in some states.
    const fn optional(self) -> Self {
        Self { optional: true, ..self }
    }
}

/// Every metric, in the order of the exposition.
pub fn metrics() -> impl Iterator<Item = &'static Metric> {
    [replica::REPLICA, ordering::ORDERING, traffic::TRAFFIC, log::LOG]
        .into_iter()
        .flatten()
}
