//! What a link does to datagrams, and how that is changed by words: `delay=200ms loss=2% bandwidth=10mbit`.

use super::WanError;
use serde::{Deserialize, Serialize};

/// What one direction of a link does to datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Settings {
    /// From end to end.
    pub delay_us: u64,
    /// At most this much more, evenly drawn; does not reorder.
    pub jitter_us: u64,
    /// Share of datagrams that never arrive, 0 to 1.
    pub loss: f64,
    /// Share that arrives twice.
    pub duplicate: f64,
    /// Share that arrives behind others that were sent later.
    pub reorder: f64,
    /// 0: without a limit. Beyond it datagrams queue for a tenth of a second and are then dropped, as by a router.
    pub bits_per_s: u64,
    /// Nothing arrives.
    pub cut: bool,
}

impl Settings {
    /// Whether datagrams pass untouched.
    pub fn is_plain(&self) -> bool {
        *self == Settings::default()
    }
}

/// Changes of [`Settings`]; what is `None` stays. Times in milliseconds, as in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// One way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<f64>,
    /// See [`Settings::jitter_us`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<f64>,
    /// See [`Settings::loss`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// See [`Settings::duplicate`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicate: Option<f64>,
    /// See [`Settings::reorder`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reorder: Option<f64>,
    /// See [`Settings::bits_per_s`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits_per_s: Option<u64>,
    /// See [`Settings::cut`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<bool>,
}

/// A minute: no path is longer.
const LONGEST_MS: f64 = 60_000.0;

impl Change {
    /// Reads words like `delay=200ms`, `jitter=5ms`, `loss=2%`, `duplicate=1%`, `reorder=0.5%`, `bandwidth=10mbit`.
    ///
    /// # Errors
    ///
    /// [`WanError::Setting`] with the word.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Change, WanError> {
        let mut change = Change::default();
        for word in words {
            let fault = |why| WanError::Setting {
                text: word.to_owned(),
                why,
            };
            let (name, value) = word.split_once('=').ok_or_else(|| fault("give NAME=VALUE"))?;
            match name {
                "delay" => change.delay_ms = Some(milliseconds(value).map_err(fault)?),
                "jitter" => change.jitter_ms = Some(milliseconds(value).map_err(fault)?),
                "loss" => change.loss = Some(share(value).map_err(fault)?),
                "duplicate" => change.duplicate = Some(share(value).map_err(fault)?),
                "reorder" => change.reorder = Some(share(value).map_err(fault)?),
                "bandwidth" => change.bits_per_s = Some(bits_per_s(value).map_err(fault)?),
                _ => return Err(fault("settings are delay, jitter, loss, duplicate, reorder, bandwidth")),
            }
        }
        Ok(change)
    }

    /// Nothing wrong in a file that somebody edited.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let time = |ms: Option<f64>| ms.is_none_or(|ms| (0.0..=LONGEST_MS).contains(&ms));
        let part = |share: Option<f64>| share.is_none_or(|share| (0.0..=1.0).contains(&share));
        if !time(self.delay_ms) || !time(self.jitter_ms) {
            return Err("times are 0 to 60000 ms");
        }
        if !part(self.loss) || !part(self.duplicate) || !part(self.reorder) {
            return Err("shares are 0 to 1");
        }
        Ok(())
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        *self == Change::default()
    }

    /// What stands in a later change stands.
    pub(super) fn merge(&mut self, later: &Change) {
        self.delay_ms = later.delay_ms.or(self.delay_ms);
        self.jitter_ms = later.jitter_ms.or(self.jitter_ms);
        self.loss = later.loss.or(self.loss);
        self.duplicate = later.duplicate.or(self.duplicate);
        self.reorder = later.reorder.or(self.reorder);
        self.bits_per_s = later.bits_per_s.or(self.bits_per_s);
        self.cut = later.cut.or(self.cut);
    }

    pub(super) fn apply(&self, settings: &mut Settings) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to a minute, checked"
        )]
        let us = |ms: f64| (ms * 1_000.0).round() as u64;
        settings.delay_us = self.delay_ms.map_or(settings.delay_us, us);
        settings.jitter_us = self.jitter_ms.map_or(settings.jitter_us, us);
        settings.loss = self.loss.unwrap_or(settings.loss);
        settings.duplicate = self.duplicate.unwrap_or(settings.duplicate);
        settings.reorder = self.reorder.unwrap_or(settings.reorder);
        settings.bits_per_s = self.bits_per_s.unwrap_or(settings.bits_per_s);
        settings.cut = self.cut.unwrap_or(settings.cut);
    }
}

/// A number and the rest behind it.
fn number(text: &str) -> Option<(f64, &str)> {
    let end = text
        .find(|c: char| c != '.' && !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

fn milliseconds(text: &str) -> Result<f64, &'static str> {
    const WHY: &str = "times are like 1.5ms, 300us, 2s, at most a minute";
    let (value, unit) = number(text).ok_or(WHY)?;
    let ms = match unit {
        "us" => value / 1_000.0,
        "ms" => value,
        "s" => value * 1_000.0,
        _ => return Err(WHY),
    };
    if ms <= LONGEST_MS { Ok(ms) } else { Err(WHY) }
}

fn share(text: &str) -> Result<f64, &'static str> {
    const WHY: &str = "shares are like 2% or 0.02";
    let (value, unit) = number(text).ok_or(WHY)?;
    let share = match unit {
        "%" => value / 100.0,
        "" => value,
        _ => return Err(WHY),
    };
    if share <= 1.0 { Ok(share) } else { Err(WHY) }
}

fn bits_per_s(text: &str) -> Result<u64, &'static str> {
    const WHY: &str = "bandwidths are like 500kbit, 10mbit, 1gbit (a second), or unlimited";
    if text == "unlimited" {
        return Ok(0);
    }
    let (value, unit) = number(text).ok_or(WHY)?;
    let factor = match unit {
        "kbit" => 1e3,
        "mbit" => 1e6,
        "gbit" => 1e9,
        _ => return Err(WHY),
    };
    let bits = value * factor;
    if !(8e3..=1e12).contains(&bits) {
        return Err("bandwidths are 8kbit to 1000gbit");
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "in the range above"
    )]
    let bits = bits as u64;
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_settings() {
        let change = Change::parse("delay=200ms loss=2% jitter=300us bandwidth=10mbit".split(' ')).unwrap();
        let mut settings = Settings {
            reorder: 0.5,
            ..Settings::default()
        };
        change.apply(&mut settings);
        let expected = Settings {
            delay_us: 200_000,
            jitter_us: 300,
            loss: 0.02,
            reorder: 0.5,
            bits_per_s: 10_000_000,
            ..Settings::default()
        };
        assert_eq!(settings, expected);
        let mut merged = change;
        merged.merge(&Change::parse(["loss=0", "bandwidth=unlimited"]).unwrap());
        assert_eq!(
            (merged.loss, merged.bits_per_s, merged.delay_ms),
            (Some(0.0), Some(0), Some(200.0))
        );
    }

    #[test]
    fn what_is_no_setting_is_refused() {
        for word in [
            "delay",
            "delay=",
            "delay=5",
            "delay=5m",
            "delay=-5ms",
            "delay=61s",
            "loss=101%",
            "loss=2",
            "loss=x%",
            "speed=3",
            "bandwidth=10",
            "bandwidth=1kbit",
            "bandwidth=1e9gbit",
            "cut=yes",
        ] {
            assert!(matches!(Change::parse([word]), Err(WanError::Setting { .. })), "{word}");
        }
    }
}
