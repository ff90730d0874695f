//! Kernel parameters beside those of the profile.

use crate::tune::finding::{Finding, Level};
use crate::tune::host::Host;
use crate::tune::profile::Profile;

/// One finding for each parameter of the profile.
pub(super) fn check(host: &Host, wanted: &Profile) -> Vec<Finding> {
    let one = |(key, parameter): (&String, &crate::tune::profile::Parameter)| {
        let bound = if parameter.at_least { "at least " } else { "" };
        let remedy = format!("trireme tune apply, or: sysctl -w {key}={}", parameter.value);
        match host.sysctl(key) {
            Some(live) => {
                let found = format!("{live} (wanted: {bound}{})", parameter.value);
                Finding::judged(
                    key,
                    parameter.is_met(&live),
                    level(key, &live),
                    found,
                    &parameter.reason,
                    &remedy,
                )
            }
            None => Finding::new(key, Level::Note, "this kernel has no such parameter", &parameter.reason),
        }
    };
    wanted.sysctl.iter().map(one).collect()
}

/// Without `io_uring` a replica is slower, with 1 only for those outside its group, and runs all the same.
fn level(key: &str, live: &str) -> Level {
    match (key, live.parse::<u64>()) {
        // Half a batch of 4 MiB does not fit: what is sent is lost and sent again, always.
        ("net.core.rmem_max" | "net.core.wmem_max", Ok(bytes)) if bytes < 65_536 => Level::Bad,
        _ => Level::Advice,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::from;
    use super::*;
    use crate::tune::host::tests::fake;
    use crate::tune::profile;

    #[test]
    fn small_buffers_are_advice_tiny_ones_are_bad() {
        let wanted = profile::named("small-host").unwrap();
        let (host, _dir) = fake(&[
            ("/proc/sys/net/core/rmem_max", "212992"),
            ("/proc/sys/net/core/wmem_max", "4096"),
            ("/proc/sys/kernel/io_uring_disabled", "2"),
        ]);
        let findings = check(&host, &wanted);
        assert_eq!(from(&findings, Level::Bad), ["net.core.wmem_max"]);
        assert_eq!(from(&findings, Level::Advice).len(), 3);
        assert!(
            findings[1]
                .remedy
                .as_ref()
                .unwrap()
                .contains("sysctl -w net.core.rmem_max=4194304")
        );
        let (host, _dir) = fake(&[
            ("/proc/sys/net/core/rmem_max", "16777216"),
            ("/proc/sys/net/core/wmem_max", "4194304"),
        ]);
        assert_eq!(from(&check(&host, &wanted), Level::Advice), Vec::<&str>::new());
    }
}
