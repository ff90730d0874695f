//! Choices as people write them: a name, then settings, as in `sine:period=10s,depth=0.8`. The command line and
//! workload files share this form.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

/// Why a text is no choice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadWords(pub(crate) String);

/// A name with its settings, which are taken out one by one.
pub(crate) struct Words<'a> {
    text: &'a str,
    pub(crate) name: &'a str,
    settings: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, BadWords> {
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        let mut settings = BTreeMap::new();
        for part in rest.split(',').filter(|part| !part.is_empty()) {
            let Some((key, value)) = part.split_once('=') else {
                return Err(BadWords(format!("{text}: `{part}` has no value; write {part}=...")));
            };
            if settings.insert(key.trim(), value.trim()).is_some() {
                return Err(BadWords(format!("{text}: {key} twice")));
            }
        }
        Ok(Self {
            text,
            name: name.trim(),
            settings,
        })
    }

    /// A setting, or what it is without.
    pub(crate) fn take<T: FromStr>(&mut self, key: &str, otherwise: T) -> Result<T, BadWords> {
        match self.settings.remove(key) {
            None => Ok(otherwise),
            Some(value) => value
                .parse()
                .map_err(|_| BadWords(format!("{}: {key}={value} cannot be read", self.text))),
        }
    }

    pub(crate) fn take_duration(&mut self, key: &str, otherwise: Duration) -> Result<Duration, BadWords> {
        match self.settings.remove(key) {
            None => Ok(otherwise),
            Some(value) => duration(value).map_err(|why| BadWords(format!("{}: {key}={value}: {why}", self.text))),
        }
    }

    /// Every setting was known.
    pub(crate) fn end(self) -> Result<(), BadWords> {
        match self.settings.keys().next() {
            None => Ok(()),
            Some(key) => Err(BadWords(format!("{}: {} has no setting `{key}`", self.text, self.name))),
        }
    }

    pub(crate) fn refuse(&self, why: &str) -> BadWords {
        BadWords(format!("{}: {why}", self.text))
    }

    /// Refuses a value outside of its bounds.
    pub(crate) fn within(&self, holds: bool, why: &str) -> Result<(), BadWords> {
        if holds { Ok(()) } else { Err(self.refuse(why)) }
    }
}

/// Reads `10s`, `500ms`, `2m`, `1.5s`.
///
/// # Errors
///
/// What is expected, in words.
pub fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "give a number and a unit: 500ms, 10s, 2m".to_owned();
    let digits = text
        .find(|c: char| c != '.' && !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(expected()),
    };
    let number: f64 = number.parse().map_err(|_| expected())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| "too long".to_owned())
}

/// A duration as [`duration`] reads it.
pub(crate) fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds >= 1.0 {
        format!("{seconds}s")
    } else {
        format!("{}ms", seconds * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_once_each_and_strangers_are_named() {
        let mut words = Words::parse("sine:period=10s,depth=0.8").unwrap();
        assert_eq!(words.name, "sine");
        assert_eq!(
            words.take_duration("period", Duration::ZERO),
            Ok(Duration::from_secs(10))
        );
        assert_eq!(words.take("depth", 0.1), Ok(0.8));
        assert_eq!(words.take("phase", 3), Ok(3));
        words.end().unwrap();
        let left = Words::parse("sine:speed=3").unwrap().end().unwrap_err();
        assert!(left.to_string().contains("no setting `speed`"), "{left}");
        for bad in ["sine:period", "sine:a=1,a=2"] {
            assert!(Words::parse(bad).is_err(), "{bad}");
        }
        assert!(Words::parse("x:a=y").unwrap().take("a", 1u32).is_err());
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        for text in ["10s", "1.5s", "250ms", "0.5ms"] {
            assert_eq!(duration_text(duration(text).unwrap()), text);
        }
    }
}
