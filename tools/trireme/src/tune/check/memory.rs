//! Limits of this user, and memory.

use crate::tune::finding::{Finding, Level, bytes};
use crate::tune::host::Host;
use crate::tune::profile::Profile;

/// Registered buffers of one replica: flushes in flight and two more, 1 MiB each, and the rings.
const MEMLOCK_LEAST: u64 = 8 << 20;
/// Segments, sockets, readers; fewer and a replica with a long log cannot open it.
const FILES_LEAST: u64 = 1_024;

/// Locked memory, open files, swap.
pub(super) fn check(host: &Host, wanted: &Profile) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(limit) = host.soft_limit("Max locked memory") {
        findings.push(locked(limit, privileged(host)));
    }
    if let Some(limit) = host.soft_limit("Max open files") {
        findings.push(files(limit, wanted));
    }
    findings.extend(swap(host));
    findings
}

/// Whether limits on locked memory do not count for this process (CAP_IPC_LOCK, bit 14).
fn privileged(host: &Host) -> bool {
    let status = host.read("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    set.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|set| set >> 14 & 1 == 1)
}

fn locked(limit: u64, privileged: bool) -> Finding {
    let reason = "the log registers its buffers with io_uring, 4 MiB a replica and more with more flushes in flight; \
                  all replicas of a user share the limit, and without registration each write pins its pages anew";
    let found = match privileged {
        true => format!("{} (not counted: this user may lock any amount)", bytes(limit)),
        false => bytes(limit),
    };
    let remedy = "LimitMEMLOCK=infinity in the unit file (tuning/systemd has one), or trireme tune apply for logins";
    Finding::judged(
        "limit.memlock",
        privileged || limit >= MEMLOCK_LEAST,
        Level::Advice,
        found,
        reason,
        remedy,
    )
}

fn files(limit: u64, wanted: &Profile) -> Finding {
    let reason = "log segments (64 MiB each), sockets, and readers of the admin port are open files";
    let remedy = "LimitNOFILE in the unit file, ulimit -n in a shell, or trireme tune apply for logins";
    let wish = wanted
        .limits
        .get("nofile")
        .and_then(|limit| limit.value.parse().ok())
        .unwrap_or(FILES_LEAST);
    let level = if limit < FILES_LEAST { Level::Bad } else { Level::Advice };
    let shown = if limit == u64::MAX {
        "unlimited".to_owned()
    } else {
        limit.to_string()
    };
    Finding::judged(
        "limit.nofile",
        limit >= wish,
        level,
        format!("{shown} (wanted: {wish})"),
        reason,
        remedy,
    )
}

fn swap(host: &Host) -> Option<Finding> {
    let areas = host.read("/proc/swaps")?.lines().skip(1).count();
    let swappiness = host.number("/proc/sys/vm/swappiness").unwrap_or(60);
    let reason = "a stage whose pages were swapped out stalls every vote behind it";
    let found = match areas {
        0 => "none".to_owned(),
        count => format!("{count} area(s), vm.swappiness {swappiness}"),
    };
    let remedy = "swapoff, or vm.swappiness=1 (profile big-host)";
    Some(Finding::judged(
        "memory.swap",
        areas == 0 || swappiness <= 10,
        Level::Note,
        found,
        reason,
        remedy,
    ))
}

#[cfg(test)]
mod tests {
    use super::super::tests::from;
    use super::*;
    use crate::tune::host::tests::fake;
    use crate::tune::profile;

    #[test]
    fn limits_are_judged_and_privilege_lifts_that_of_locked_memory() {
        let limits = "Max locked memory 65536 65536 bytes\nMax open files 512 4096 files\n";
        let plain = [
            ("/proc/self/limits", limits),
            ("/proc/self/status", "CapEff:\t0000000000000000\n"),
        ];
        let (host, _dir) = fake(&plain);
        let wanted = profile::named("small-host").unwrap();
        let findings = check(&host, &wanted);
        assert_eq!(from(&findings, Level::Advice), ["limit.memlock", "limit.nofile"]);
        assert_eq!(from(&findings, Level::Bad), ["limit.nofile"]);
        let root = [
            ("/proc/self/limits", limits),
            ("/proc/self/status", "CapEff:\t000001ffffffffff\n"),
        ];
        let (host, _dir) = fake(&root);
        assert_eq!(from(&check(&host, &wanted), Level::Advice), ["limit.nofile"]);
    }

    #[test]
    fn swap_is_noted_where_it_is_used_readily() {
        let area = "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n";
        let (host, _dir) = fake(&[("/proc/swaps", area), ("/proc/sys/vm/swappiness", "60")]);
        assert_eq!(swap(&host).unwrap().level, Level::Note);
        let (host, _dir) = fake(&[("/proc/swaps", "Filename\n")]);
        assert_eq!(swap(&host).unwrap().level, Level::Good);
    }
}
