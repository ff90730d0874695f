//! The end of a run: its figures for people, and the verdict.

use anyhow::{Result, ensure};

use crate::load;
use crate::local::report::Report;
use crate::say::say;

/// Every check of the run that can fail without ending it before.
pub(crate) fn judge(report: &Report) -> Result<()> {
    let counts = [
        ("lost", report.lost),
        ("duplicated", report.duplicated),
        ("different", report.different),
        ("diverged", report.diverged),
        ("without effect", report.without_effect),
        ("wrong replies", report.wrong_replies),
        ("evidence", report.evidence),
        ("alarms", report.alarms),
    ];
    let bad: Vec<String> = counts
        .iter()
        .filter(|(_, count)| *count != Some(0))
        .map(|(name, count)| {
            format!(
                "{name} {}",
                count.map_or("unknown".to_owned(), |count| count.to_string())
            )
        })
        .collect();
    ensure!(bad.is_empty(), "the run is not clean: {}", bad.join(", "));
    ensure!(report.linearizable != Some(false), "the history is not linearizable");
    ensure!(
        report.acknowledged.is_some_and(|count| count > 0),
        "no request was acknowledged"
    );
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn micros(us: u64) -> f64 {
    us as f64
}

/// Prints the figures.
pub(super) fn print(report: &Report) {
    let count = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
    let figure = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
    let ms = |value: Option<f64>| value.map_or("-".to_owned(), |us| format!("{:.2}", us / 1e3));
    let latency = &report.latency_us;
    say!("");
    if let Some(sweep) = report.load.as_ref().and_then(|load| load.sweep.as_ref()) {
        load::print_knee(sweep);
    }
    say!(
        "throughput      {} ops/s, {} MB/s",
        figure(report.throughput_ops_s),
        figure(report.throughput_mb_s)
    );
    say!(
        "latency (ms)    p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
        ms(latency.p50),
        ms(latency.p90),
        ms(latency.p99),
        ms(latency.p99_9),
        ms(latency.max)
    );
    if let Some(floor) = &report.floor_us {
        let each = floor
            .by_region
            .iter()
            .map(|(region, us)| format!("{region} {}", ms(Some(micros(*us)))));
        say!(
            "physical floor  p50 {} ms with leader {}: {}",
            ms(Some(micros(floor.p50))),
            floor.leader,
            each.collect::<Vec<_>>().join(", ")
        );
    }
    say!(
        "requests        {} acknowledged, {} failed, {} unknown, {} lost, {} duplicated",
        count(report.acknowledged),
        count(report.failed),
        count(report.unknown),
        count(report.lost),
        count(report.duplicated)
    );
    let share = report.fast_path_share.map(|share| share * 100.0);
    say!(
        "ordering        {} slots, {} batches of {} bytes, {} % on the fast path, {} view(s)",
        count(report.slots_committed),
        count(report.batches),
        figure(report.bytes_per_batch),
        figure(share),
        count(report.views)
    );
    say!(
        "per operation   {} us CPU of all replicas, {} us of the clients; {} signatures made, {} verified",
        figure(report.cpu_us_per_op),
        figure(report.client_cpu_us_per_op),
        report
            .signatures_made_per_op
            .map_or("-".to_owned(), |value| format!("{value:.3}")),
        report
            .signatures_verified_per_op
            .map_or("-".to_owned(), |value| format!("{value:.3}"))
    );
    let stages: Vec<String> = report
        .cpu_us_per_op_by_stage
        .iter()
        .map(|(stage, us)| format!("{stage} {us:.1}"))
        .collect();
    say!("  by stage      {}", stages.join(", "));
    say!(
        "log             {} fsyncs ({})",
        count(report.fsyncs),
        report.durability
    );
    say!(
        "memory          {} MB at most for one replica",
        figure(report.rss_mb_max)
    );
    if let Some(record) = &report.load {
        load::print_generator(record);
    }
    if let Some(kill) = &report.kill_leader {
        say!(
            "leader killed   replica {} at {} s: {} ms without commits, {} ms without acknowledgements, caught up {} s after its \
             restart",
            kill.replica,
            kill.killed_at_s,
            kill.without_commits_ms,
            figure(report.longest_gap_ms),
            figure(kill.caught_up_s)
        );
    }
    for note in &report.notes {
        say!("note            {note}");
    }
    say!("");
}
