//! Processors: how many, how fast, whose, and who interrupts them.

use crate::tune::finding::{Finding, Level};
use crate::tune::host::Host;

/// Time stolen by other guests of the machine, as a share of all time, from which on latencies are not the engine's.
const STOLEN: f64 = 0.02;
/// Interrupts of devices that one core takes, as a share of all, from which on it has no time for a stage.
const CROWDED: f64 = 0.6;
/// Fewer interrupts since the start of the host say nothing.
const FEW: u64 = 10_000;

/// Everything about processors.
pub(super) fn check(host: &Host) -> Vec<Finding> {
    let all = [
        quota(host),
        governor(host),
        clock(host),
        signatures(host),
        numa(host),
        stolen(host),
        interrupts(host),
    ];
    all.into_iter().flatten().collect()
}

/// What a control group leaves of the processors.
fn quota(host: &Host) -> Option<Finding> {
    let cores = host.cores();
    let text = host.read("/sys/fs/cgroup/cpu.max").unwrap_or_default();
    let mut words = text.split_whitespace();
    let limit = match (words.next()?.parse::<f64>(), words.next()?.parse::<f64>()) {
        (Ok(quota), Ok(period)) if period > 0.0 => quota / period,
        _ => f64::INFINITY,
    };
    let found = match limit.is_finite() {
        true => format!("{limit:.1} of {cores} cores"),
        false => format!("all {cores} cores"),
    };
    let reason = "a replica whose quota is used up stands still until the next period, a tenth of a second, and so do \
                  the votes that wait for it";
    let remedy = "give the container or unit a whole number of cores of its own instead of a quota";
    Some(Finding::judged(
        "cpu.quota",
        limit >= cores as f64,
        Level::Advice,
        found,
        reason,
        remedy,
    ))
}

fn governor(host: &Host) -> Option<Finding> {
    let mut kinds: Vec<String> = host
        .names("/sys/devices/system/cpu")
        .iter()
        .filter_map(|name| host.read(&format!("/sys/devices/system/cpu/{name}/cpufreq/scaling_governor")))
        .collect();
    kinds.sort();
    kinds.dedup();
    let reason = "a core that was slowed down while it waited takes the first requests slowly";
    if kinds.is_empty() {
        return Some(Finding::new(
            "cpu.governor",
            Level::Good,
            "not this system's to choose",
            reason,
        ));
    }
    let good = kinds == ["performance"];
    let remedy = "cpupower frequency-set -g performance";
    Some(Finding::judged(
        "cpu.governor",
        good,
        Level::Advice,
        kinds.join(", "),
        reason,
        remedy,
    ))
}

fn clock(host: &Host) -> Option<Finding> {
    let source = host.read("/sys/devices/system/clocksource/clocksource0/current_clocksource")?;
    let good = ["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"].contains(&source.as_str());
    let reason = "stages read the clock at each turn; other sources than these need a system call of a microsecond";
    let remedy = "boot with clocksource=tsc if the processors' counters are in step (the kernel's log says so)";
    Some(Finding::judged(
        "cpu.clock",
        good,
        Level::Advice,
        source,
        reason,
        remedy,
    ))
}

/// Which code checks signatures here.
fn signatures(host: &Host) -> Option<Finding> {
    let info = host.read("/proc/cpuinfo")?;
    let flags = info
        .lines()
        .find_map(|line| line.strip_prefix("flags")?.split_once(':'))?
        .1;
    let has = |flag: &str| flags.split_whitespace().any(|other| other == flag);
    let reason = "most of a signed request's cost is its signature: 1.4 times as much without AVX-512 (IFMA), three \
                  times without AVX2";
    let (good, found) = match (has("avx512ifma") && has("avx512vl"), has("avx2")) {
        (true, _) => (true, "AVX-512 (IFMA)"),
        (false, true) => (false, "AVX2"),
        (false, false) => (false, "neither AVX-512 nor AVX2"),
    };
    Some(match good {
        true => Finding::new("cpu.signatures", Level::Good, found, reason),
        false => Finding::new("cpu.signatures", Level::Note, found, reason),
    })
}

fn numa(host: &Host) -> Option<Finding> {
    let names = host.names("/sys/devices/system/node");
    let lists: Vec<String> = names
        .iter()
        .filter(|name| {
            name.strip_prefix("node")
                .is_some_and(|rest| rest.parse::<u32>().is_ok())
        })
        .filter_map(|name| host.read(&format!("/sys/devices/system/node/{name}/cpulist")))
        .collect();
    let reason = "a link between stages on different memories costs several times as much, and pages of the other \
                  memory do too";
    match lists.len() {
        0 => None,
        1 => Some(Finding::new("cpu.numa", Level::Good, "one memory", reason)),
        count => {
            let remedy = "pin a replica to cores of one memory (core_plan = \"4@FIRST\"), the one that its network card \
                          and disk are attached to (/sys/class/net/*/device/numa_node)";
            let found = format!("{count} memories with cores {}", lists.join(" / "));
            Some(Finding::new("cpu.numa", Level::Note, found, reason).remedy(remedy))
        }
    }
}

/// Time that other guests took, since the start of the host.
fn stolen(host: &Host) -> Option<Finding> {
    let text = host.read("/proc/stat")?;
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<f64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let all: f64 = ticks.iter().take(8).sum();
    let share = ticks.get(7)? / all.max(1.0);
    let reason = "processor time that another guest of this machine took while this one was ready to work: latencies \
                  of a replica here are not its own";
    let remedy = "a host whose cores are not shared";
    let found = format!("{:.1} % of the time since the host started", share * 100.0);
    Some(Finding::judged(
        "cpu.stolen",
        share < STOLEN,
        Level::Note,
        found,
        reason,
        remedy,
    ))
}

/// How device interrupts are spread.
fn interrupts(host: &Host) -> Option<Finding> {
    let text = host.read("/proc/interrupts")?;
    let by_core = device_interrupts(&text);
    let all: u64 = by_core.iter().sum();
    let (busiest, most) = by_core.iter().enumerate().max_by_key(|(_, count)| **count)?;
    let reason = "a core that takes the interrupts of network and disk has the less time for the stages on it";
    if by_core.len() < 2 || all < FEW {
        return Some(Finding::new(
            "cpu.interrupts",
            Level::Good,
            format!("{all} of devices so far"),
            reason,
        ));
    }
    let share = *most as f64 / all as f64;
    let found = format!("core {busiest} takes {:.0} % of the devices' interrupts", share * 100.0);
    let remedy = format!(
        "keep pinned threads off core {busiest} (core_plan = \"N@FIRST\"), or spread them: irqbalance, or /proc/irq/*/smp_affinity"
    );
    Some(Finding::judged(
        "cpu.interrupts",
        share < CROWDED,
        Level::Note,
        found,
        reason,
        &remedy,
    ))
}

/// Interrupts by core, of lines with a number: devices. Those with letters (timers, other cores' calls) are not.
fn device_interrupts(text: &str) -> Vec<u64> {
    let mut lines = text.lines();
    let cores = lines.next().map_or(0, |head| head.split_whitespace().count());
    let mut sums = vec![0; cores];
    for line in lines {
        let Some((name, counts)) = line.split_once(':') else {
            continue;
        };
        if name.trim().parse::<u32>().is_err() {
            continue;
        }
        for (sum, count) in sums.iter_mut().zip(counts.split_whitespace()) {
            *sum += count.parse::<u64>().unwrap_or(0);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::super::tests::from;
    use super::*;
    use crate::tune::host::tests::fake;

    #[test]
    fn a_fit_host_has_nothing_to_say() {
        let (host, _dir) = fake(&[
            (
                "/proc/cpuinfo",
                "processor : 0\nflags : avx2 avx512ifma avx512vl\nprocessor : 1\n",
            ),
            ("/sys/fs/cgroup/cpu.max", "max 100000"),
            ("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance"),
            (
                "/sys/devices/system/clocksource/clocksource0/current_clocksource",
                "tsc",
            ),
            ("/sys/devices/system/node/node0/cpulist", "0-1"),
            ("/proc/stat", "cpu  100 0 100 800 0 0 0 1 0 0\n"),
            (
                "/proc/interrupts",
                "  CPU0 CPU1\n 24: 9000 9000 x nvme\nLOC: 1 99999999 timer\n",
            ),
        ]);
        let findings = check(&host);
        assert_eq!(findings.len(), 7);
        assert_eq!(from(&findings, Level::Note), Vec::<&str>::new());
    }

    #[test]
    fn every_fault_is_seen() {
        let (host, _dir) = fake(&[
            ("/proc/cpuinfo", "processor : 0\nflags : avx2\nprocessor : 1\n"),
            ("/sys/fs/cgroup/cpu.max", "150000 100000"),
            ("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave"),
            (
                "/sys/devices/system/clocksource/clocksource0/current_clocksource",
                "hpet",
            ),
            ("/sys/devices/system/node/node0/cpulist", "0"),
            ("/sys/devices/system/node/node1/cpulist", "1"),
            ("/proc/stat", "cpu  100 0 100 800 0 0 0 100 0 0\n"),
            ("/proc/interrupts", "  CPU0 CPU1\n 24: 10 90000 x nvme\n"),
        ]);
        let findings = check(&host);
        assert_eq!(from(&findings, Level::Note).len(), 7, "{findings:?}");
        assert_eq!(
            from(&findings, Level::Advice),
            ["cpu.quota", "cpu.governor", "cpu.clock"]
        );
        assert!(
            findings[6].found.contains("core 1 takes 100 %"),
            "{}",
            findings[6].found
        );
    }
}
