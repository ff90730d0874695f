//! Several parts of one load, of other processes or machines, as one.

use std::collections::BTreeMap;

use crate::encoded::Encoded;
use crate::intervals::Interval;
use crate::record::Record;
use crate::summary::{LatencyUs, OperationFigures, Second, Summary};

/// Why records do not make one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// There are none.
    #[error("nothing to merge")]
    Nothing,
    /// Their times do not overlap: they are no parts of one load.
    #[error("the measured times of the first and of number {0} do not overlap: they are not parts of one load")]
    Apart(usize),
    /// Sweeps have many runs each.
    #[error("number {0} is a sweep: merge single runs")]
    Sweep(usize),
}

/// Makes one record of several: counts and rates add up, histograms are joined, seconds that began at the same time
/// (to half a second, by the machines' clocks) are one. The longest time without an acknowledgement of all is not
/// known; it is at most the shortest of the parts', which is taken.
///
/// # Errors
///
/// [`MergeError`].
pub fn merge(records: Vec<Record>) -> Result<Record, MergeError> {
    let mut parts = records.into_iter().enumerate();
    let (_, mut all) = parts.next().ok_or(MergeError::Nothing)?;
    if all.sweep.is_some() {
        return Err(MergeError::Sweep(1));
    }
    let mut seconds = vec![(0.0, std::mem::take(&mut all.seconds))];
    let from = |record: &Record| record.started_unix_us as f64 / 1e6;
    let first = from(&all);
    for (place, part) in parts {
        if part.sweep.is_some() {
            return Err(MergeError::Sweep(place + 1));
        }
        let offset = from(&part) - first;
        let apart = offset >= all.summary.measured_s || -offset >= part.summary.measured_s;
        if apart {
            return Err(MergeError::Apart(place + 1));
        }
        all.parts += part.parts;
        all.started_unix_us = all.started_unix_us.min(part.started_unix_us);
        all.setting.rate = all.setting.rate.zip(part.setting.rate).map(|(a, b)| a + b);
        all.latencies.add(&part.latencies);
        for (kind, figures) in part.operations {
            let own = all
                .operations
                .entry(kind)
                .or_insert_with(|| OperationFigures::of(Encoded::default()));
            own.latencies.add(&figures.latencies);
            *own = OperationFigures::of(std::mem::take(&mut own.latencies));
        }
        all.generator.join(&part.generator, &LatencyUs::of(&all.latencies.0));
        join(&mut all.summary, &part.summary);
        seconds.push((offset, part.seconds));
    }
    all.summary.latency_us = LatencyUs::of(&all.latencies.0);
    let start = from(&all) - first;
    seconds.iter_mut().for_each(|(offset, _)| *offset -= start);
    all.seconds = merge_seconds(seconds);
    Ok(all)
}

fn join(all: &mut Summary, part: &Summary) {
    let operations = |summary: &Summary| summary.throughput_ops_s * summary.measured_s;
    let (own, other) = (operations(all), operations(part));
    let cpu_us = all.client_cpu_us_per_op * own + part.client_cpu_us_per_op * other;
    all.client_cpu_us_per_op = if own + other > 0.0 { cpu_us / (own + other) } else { 0.0 };
    all.client_cpu_share += part.client_cpu_share;
    all.clients += part.clients;
    all.in_flight = all.in_flight.zip(part.in_flight).map(|(a, b)| a + b);
    all.measured_s = all.measured_s.max(part.measured_s);
    all.offered_ops_s += part.offered_ops_s;
    all.throughput_ops_s += part.throughput_ops_s;
    all.throughput_mb_s += part.throughput_mb_s;
    all.submitted += part.submitted;
    all.acknowledged += part.acknowledged;
    all.failed += part.failed;
    all.unknown += part.unknown;
    for (reason, count) in &part.failures {
        *all.failures.entry(reason.clone()).or_default() += count;
    }
    all.without_effect += part.without_effect;
    all.not_found += part.not_found;
    all.conflicts += part.conflicts;
    if part.longest_gap_ms < all.longest_gap_ms {
        (all.longest_gap_ms, all.longest_gap_at_s) = (part.longest_gap_ms, part.longest_gap_at_s);
    }
    all.retries += part.retries;
    all.refusals += part.refusals;
    all.wrong_replies += part.wrong_replies;
}

/// How far the beginnings of two parts' seconds may be apart to be one second.
const TOGETHER_S: f64 = 0.5;

/// Joins the seconds of several parts, each with the time, in seconds, by which it began later than the whole.
pub fn merge_seconds(parts: Vec<(f64, Vec<Second>)>) -> Vec<Second> {
    let mut all: Vec<Second> = Vec::new();
    for (offset, seconds) in parts {
        // A second of the whole takes one of each part: those before this place have theirs.
        let mut open = 0;
        let mut new = Vec::new();
        for mut second in seconds {
            second.from_s += offset;
            let near = |own: &Second| (own.from_s - second.from_s).abs() < TOGETHER_S;
            let place = (open..all.len())
                .take_while(|&place| all[place].from_s < second.from_s + TOGETHER_S)
                .filter(|&place| near(&all[place]))
                .min_by(|&a, &b| {
                    let distance = |place: usize| (all[place].from_s - second.from_s).abs();
                    distance(a).total_cmp(&distance(b))
                });
            match place {
                Some(place) => {
                    join_second(&mut all[place], &second);
                    open = place + 1;
                }
                None => new.push(second),
            }
        }
        all.append(&mut new);
        all.sort_by(|a, b| a.from_s.total_cmp(&b.from_s));
    }
    for (number, second) in (1..).zip(&mut all) {
        second.second = number;
    }
    all
}

fn join_second(all: &mut Second, part: &Second) {
    all.latencies.add(&part.latencies);
    for (kind, latencies) in &part.by_operation {
        all.by_operation.entry(*kind).or_default().add(latencies);
    }
    all.length_s = all.length_s.max(part.length_s);
    all.measured &= part.measured;
    all.ops_s += part.ops_s;
    // The warm-up has no histograms: its percentiles are the worst of the parts'.
    let latency = LatencyUs::of(&all.latencies.0);
    let pick = |joined: f64, own: f64, other: f64| if joined > 0.0 { joined } else { own.max(other) };
    all.p50_us = pick(latency.p50, all.p50_us, part.p50_us);
    all.p90_us = pick(latency.p90, all.p90_us, part.p90_us);
    all.p99_us = pick(latency.p99, all.p99_us, part.p99_us);
    all.p99_9_us = pick(latency.p99_9, all.p99_9_us, part.p99_9_us);
    all.max_us = all.max_us.max(part.max_us);
    all.failed += part.failed;
    all.unknown += part.unknown;
    all.in_flight += part.in_flight;
    all.backlog += part.backlog;
    all.connected = all.connected.min(part.connected);
}

/// Joins the lines of interval logs: those of one tag that began in the same second (after the first line of all) are
/// one line.
pub fn merge_intervals(logs: Vec<Vec<Interval>>) -> Vec<Interval> {
    let all = || logs.iter().flatten();
    let first = all().map(|line| line.from_unix_s).fold(f64::INFINITY, f64::min);
    let mut slots: BTreeMap<(i64, Option<String>), Interval> = BTreeMap::new();
    for line in all() {
        let slot = (line.from_unix_s - first).round() as i64;
        let own = slots.entry((slot, line.tag.clone())).or_insert_with(|| Interval {
            latencies: Encoded::default(),
            ..line.clone()
        });
        own.latencies.add(&line.latencies);
        own.length_s = own.length_s.max(line.length_s);
        own.from_unix_s = own.from_unix_s.min(line.from_unix_s);
    }
    slots.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::GeneratorCheck;
    use crate::meter::{Meter, Moment};
    use crate::options::LoadOptions;
    use crate::record::Setting;
    use crate::workload::{Operation, Workload};
    use std::time::{Duration, UNIX_EPOCH};

    const S: u64 = 1_000_000_000;

    /// Two measured seconds with `count` operations each, after 1.2 seconds of warm-up.
    fn part(started_s: f64, count: u64, latency_ns: u64) -> Record {
        let from = S + S / 5;
        let mut meter = Meter::new(from, from + 2 * S, &Workload::default().mix);
        let mut seconds = Vec::new();
        for end in [S / 5, from, from + S, from + 2 * S] {
            for _ in 0..count {
                meter.offer(end - S / 5);
                meter.complete(Operation::Update, end - S / 5, end - S / 5 + latency_ns, 100);
            }
            seconds.push(meter.end_second(&Moment {
                now_ns: end,
                in_flight: count,
                backlog: 0,
                connected: 4,
            }));
        }
        let latency_us = LatencyUs::of(&meter.measured);
        let summary = Summary {
            clients: 4,
            in_flight: None,
            measured_s: 2.0,
            offered_ops_s: meter.offered as f64 / 2.0,
            throughput_ops_s: meter.timely as f64 / 2.0,
            throughput_mb_s: 0.0,
            latency_us,
            submitted: 4 * count,
            acknowledged: 4 * count,
            failed: 1,
            unknown: 0,
            failures: BTreeMap::from([("overloaded".to_owned(), 1)]),
            without_effect: 0,
            not_found: 0,
            conflicts: 0,
            longest_gap_ms: 10.0,
            longest_gap_at_s: 0.0,
            client_cpu_us_per_op: latency_ns as f64 / 1e6,
            client_cpu_share: 0.5,
            retries: 0,
            refusals: 0,
            wrong_replies: 0,
        };
        let started = UNIX_EPOCH + Duration::from_secs_f64(started_s);
        let setting = Setting::of(&LoadOptions::default());
        Record::new(setting, started, summary, meter, seconds, GeneratorCheck::default())
    }

    #[test]
    fn counts_add_up_and_seconds_of_the_same_time_are_one() {
        let all = merge(vec![part(100.3, 10, 2_000_000), part(100.0, 30, 6_000_000)]).unwrap();
        assert_eq!((all.parts, all.summary.clients, all.summary.failed), (2, 8, 2));
        assert_eq!((all.summary.throughput_ops_s, all.latencies.0.len()), (40.0, 80));
        assert_eq!(all.summary.failures["overloaded"], 2);
        assert!(
            (all.summary.client_cpu_us_per_op - 5.0).abs() < 1e-9,
            "weighted by operations"
        );
        assert_eq!(all.started_unix_us, 100_000_000);
        let p50 = all.summary.latency_us.p50;
        assert!((5_990.0..6_010.0).contains(&p50), "{p50}");
        let counts: Vec<u64> = all.seconds.iter().map(|second| second.latencies.0.len()).collect();
        assert_eq!(
            counts,
            [0, 0, 40, 40],
            "{:?}",
            all.seconds.iter().map(|s| s.from_s).collect::<Vec<_>>()
        );
        assert_eq!(all.seconds[2].ops_s, 40.0);
        let text = serde_json::to_string(&all).unwrap();
        let again = Record::from_json(&text).unwrap();
        assert_eq!((again.latencies, again.parts), (all.latencies, 2));
    }

    #[test]
    fn runs_of_different_times_are_no_parts_of_one_load() {
        let apart = merge(vec![part(100.0, 1, 1_000_000), part(102.5, 1, 1_000_000)]);
        assert_eq!(apart.unwrap_err(), MergeError::Apart(2));
        assert_eq!(merge(Vec::new()).unwrap_err(), MergeError::Nothing);
        assert!(Record::from_json("{\"schema\":\"trireme.local/1\"}").is_err());
    }

    #[test]
    fn logs_are_joined_by_second_and_tag() {
        let line = |tag: Option<&str>, from_unix_s, value| {
            let mut latencies = Encoded::default();
            latencies.0.saturating_record(value);
            Interval {
                tag: tag.map(str::to_owned),
                from_unix_s,
                length_s: 1.0,
                latencies,
            }
        };
        let one = vec![
            line(None, 10.0, 1_000),
            line(Some("read"), 10.0, 2_000),
            line(None, 11.0, 1_000),
        ];
        let two = vec![line(None, 10.1, 5_000)];
        let all = merge_intervals(vec![one, two]);
        let shape: Vec<_> = all
            .iter()
            .map(|line| (line.from_unix_s, line.tag.as_deref(), line.latencies.0.len()))
            .collect();
        assert_eq!(shape, [(10.0, None, 2), (10.0, Some("read"), 1), (11.0, None, 1)]);
    }
}
