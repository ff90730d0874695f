//! What was found, and how it is shown.

use serde::Serialize;

use crate::say::say;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    /// As it should be.
    Good,
    /// To be known; nothing to do.
    Note,
    /// A change would pay.
    Advice,
    /// Has to be mended: a replica will not start, loses data, or is slow beyond use.
    Bad,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Level::Good => "ok",
            Level::Note => "note",
            Level::Advice => "advice",
            Level::Bad => "BAD",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    /// Its name: stable, for scripts.
    pub(crate) id: String,
    pub(crate) level: Level,
    /// What is there.
    pub(crate) found: String,
    /// Why it matters.
    pub(crate) reason: String,
    /// What to do, unless nothing has to be done.
    pub(crate) remedy: Option<String>,
}

impl Finding {
    pub(crate) fn new(id: &str, level: Level, found: impl Into<String>, reason: &str) -> Finding {
        Finding {
            id: id.to_owned(),
            level,
            found: found.into(),
            reason: reason.to_owned(),
            remedy: None,
        }
    }

    /// With what to do about it.
    pub(crate) fn remedy(mut self, words: impl Into<String>) -> Finding {
        self.remedy = Some(words.into());
        self
    }

    /// `level`, or [`Level::Good`] if `good`. What is good needs no remedy.
    pub(crate) fn judged(
        id: &str,
        good: bool,
        level: Level,
        found: impl Into<String>,
        reason: &str,
        remedy: &str,
    ) -> Finding {
        match good {
            true => Finding::new(id, Level::Good, found, reason),
            false => Finding::new(id, level, found, reason).remedy(remedy),
        }
    }
}

/// Prints findings: one line each, reason and remedy below those that want something.
pub(crate) fn print(findings: &[Finding]) {
    let width = findings.iter().map(|finding| finding.id.len()).max().unwrap_or(0);
    for finding in findings {
        say!("{:<7} {:<width$}  {}", finding.level.word(), finding.id, finding.found);
        if finding.level > Level::Good {
            say!("        why: {}", finding.reason);
        }
        if let Some(remedy) = &finding.remedy {
            say!("        do:  {remedy}");
        }
    }
}

/// The most serious level.
pub(crate) fn worst(findings: &[Finding]) -> Level {
    findings
        .iter()
        .map(|finding| finding.level)
        .max()
        .unwrap_or(Level::Good)
}

/// Bytes for people.
pub(crate) fn bytes(count: u64) -> String {
    match count {
        u64::MAX => "unlimited".to_owned(),
        count if count >= 1 << 30 => format!("{:.1} GiB", count as f64 / f64::from(1 << 30)),
        count if count >= 1 << 20 => format!("{:.1} MiB", count as f64 / f64::from(1 << 20)),
        count if count >= 1 << 10 => format!("{:.0} KiB", count as f64 / 1024.0),
        count => format!("{count} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_counts_and_what_is_good_has_no_remedy() {
        let good = Finding::judged("a", true, Level::Bad, "x", "y", "z");
        let advice = Finding::judged("b", false, Level::Advice, "x", "y", "z");
        assert_eq!((good.level, good.remedy.clone()), (Level::Good, None));
        assert_eq!(advice.remedy.as_deref(), Some("z"));
        assert_eq!(worst(&[good, advice]), Level::Advice);
        assert_eq!(worst(&[]), Level::Good);
        assert_eq!(
            (bytes(u64::MAX), bytes(8 << 20), bytes(10)),
            ("unlimited".into(), "8.0 MiB".into(), "10 B".into())
        );
    }
}
