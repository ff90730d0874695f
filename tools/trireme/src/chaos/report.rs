//! The report of a run: what the JSON file holds. README.md of this tool documents it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::chaos::ChaosArgs;
use crate::chaos::fault::Kind;
use crate::chaos::picture;
use crate::chaos::timeline::{Done, Second, around};
use crate::local::report::{Latency, Report, rounded};
use crate::proc::Machine;

/// Name and version of the schema.
const SCHEMA: &str = "trireme.chaos/1";

/// The report. What a run did not come to is null.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Outcome {
    schema: &'static str,
    pub(super) ok: bool,
    pub(super) error: Option<String>,
    version: &'static str,
    machine: Machine,
    seed: u64,
    minutes: f64,
    replicas: u16,
    f: u16,
    wan: String,
    /// Faults that were done.
    faults: u64,
    faults_by_kind: BTreeMap<&'static str, u64>,
    /// Kinds that were asked for and cannot be done here, with the reason.
    pub(super) skipped: Vec<String>,
    /// Of those faults, how many brought a replica into quarantine; all left it again.
    quarantines: u64,
    /// Promises in all logs that exclude each other. [`crate::chaos::audit`]
    pub(super) conflicting_signatures: Option<u64>,
    /// Promises that were looked at for that.
    pub(super) promises: Option<u64>,
    lost: Option<u64>,
    duplicated: Option<u64>,
    different: Option<u64>,
    diverged: Option<u64>,
    unseen: Option<u64>,
    linearizable: Option<bool>,
    state_roots_equal: Option<bool>,
    evidence: Option<u64>,
    alarms: Option<u64>,
    acknowledged: Option<u64>,
    failed: Option<u64>,
    unknown: Option<u64>,
    throughput_ops_s: Option<f64>,
    latency_us: Latency,
    longest_pause_ms: Option<f64>,
    /// From the kill (or stop, or partition) of a leader to the next commit.
    leader_kills: Pauses,
    leader_faults: Pauses,
    timeline: Vec<Entry>,
    seconds: Vec<Second>,
}

/// Longest times without a commit, of some faults, in milliseconds.
#[derive(Clone, Debug, Default, Serialize)]
struct Pauses {
    count: usize,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    max_ms: Option<f64>,
    /// Those longer than one view timer and four round trips, as measured before the fault, and what looking takes.
    above_bound: usize,
}

/// What is added to the bound: commits are looked for this often, at replicas that answer in turn.
const LOOKING_MS: f64 = 20.0;

/// A fault as the report shows it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) replica: u16,
    pub(super) leader: bool,
    pub(super) begin_s: f64,
    pub(super) end_s: f64,
    without_commits_ms: f64,
    /// One view timer and four round trips, as measured before the fault.
    bound_ms: f64,
    views: u64,
    pub(super) caught_up_s: f64,
    quarantined: bool,
    noticed: Option<&'static str>,
    votes_after_s: Option<f64>,
    /// Throughput meanwhile over that before.
    throughput_share: Option<f64>,
    /// From the end until the end of the first second with 95 % of the throughput before.
    back_after_s: Option<f64>,
}

impl Pauses {
    fn of(faults: &[Done], wanted: impl Fn(&Done) -> bool) -> Pauses {
        let faults: Vec<&Done> = faults.iter().filter(|done| wanted(done)).collect();
        let above = |done: &&&Done| done.without_commits_ms > done.bound_ms + LOOKING_MS;
        let mut times: Vec<f64> = faults.iter().map(|done| done.without_commits_ms).collect();
        times.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            times
                .get((times.len() * percent).div_ceil(100).saturating_sub(1))
                .copied()
                .map(rounded)
        };
        Pauses {
            count: times.len(),
            p50_ms: at(50),
            p99_ms: at(99),
            max_ms: at(100),
            above_bound: faults.iter().filter(above).count(),
        }
    }
}

impl Outcome {
    /// With what is known before the run.
    pub(super) fn new(args: &ChaosArgs) -> Outcome {
        Outcome {
            schema: SCHEMA,
            ok: false,
            error: None,
            version: env!("CARGO_PKG_VERSION"),
            machine: Machine::read(),
            seed: args.seed,
            minutes: args.minutes,
            replicas: args.replicas,
            f: args.local().f(),
            wan: args.wan.clone(),
            faults: 0,
            faults_by_kind: BTreeMap::new(),
            skipped: Vec::new(),
            quarantines: 0,
            conflicting_signatures: None,
            promises: None,
            lost: None,
            duplicated: None,
            different: None,
            diverged: None,
            unseen: None,
            linearizable: None,
            state_roots_equal: None,
            evidence: None,
            alarms: None,
            acknowledged: None,
            failed: None,
            unknown: None,
            throughput_ops_s: None,
            latency_us: Latency::default(),
            longest_pause_ms: None,
            leader_kills: Pauses::default(),
            leader_faults: Pauses::default(),
            timeline: Vec::new(),
            seconds: Vec::new(),
        }
    }

    /// Whether anything happened at all.
    pub(super) fn has_faults(&self) -> bool {
        self.faults > 0
    }

    /// What the run's own report says.
    pub(super) fn take(&mut self, report: &Report) {
        self.lost = report.lost;
        self.duplicated = report.duplicated;
        self.different = report.different;
        self.diverged = report.diverged;
        self.unseen = report.unseen;
        self.linearizable = report.linearizable;
        self.state_roots_equal = report.state_roots_equal;
        self.evidence = report.evidence;
        self.alarms = report.alarms;
        self.acknowledged = report.acknowledged;
        self.failed = report.failed;
        self.unknown = report.unknown;
        self.throughput_ops_s = report.throughput_ops_s;
        self.latency_us = report.latency_us;
        self.longest_pause_ms = report.longest_gap_ms;
    }

    /// What was done, and what the load saw of it.
    pub(super) fn note(&mut self, faults: &[Done], seconds: Vec<Second>) {
        self.faults = faults.len() as u64;
        for done in faults {
            *self.faults_by_kind.entry(done.kind.name()).or_default() += 1;
        }
        self.quarantines = faults.iter().filter(|done| done.quarantined).count() as u64;
        self.leader_kills = Pauses::of(faults, |done| done.leader && done.kind == Kind::Kill);
        self.leader_faults = Pauses::of(faults, |done| done.leader);
        let entry = |done: &Done| {
            let (share, back) = around(&seconds, done.begin_s, done.end_s);
            Entry {
                kind: done.kind,
                replica: done.replica,
                leader: done.leader,
                begin_s: rounded(done.begin_s),
                end_s: rounded(done.end_s),
                without_commits_ms: rounded(done.without_commits_ms),
                bound_ms: rounded(done.bound_ms),
                views: done.views,
                caught_up_s: rounded(done.caught_up_s),
                quarantined: done.quarantined,
                noticed: done.noticed,
                votes_after_s: done.votes_after_s.map(rounded),
                throughput_share: share.map(rounded),
                back_after_s: back.map(rounded),
            }
        };
        self.timeline = faults.iter().map(entry).collect();
        self.timeline.sort_by(|a, b| a.begin_s.total_cmp(&b.begin_s));
        self.seconds = seconds;
    }

    /// Prints what matters.
    pub(super) fn print(&self) {
        use crate::say::say;
        let count = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
        let ms = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.0}"));
        let kinds: Vec<String> = self
            .faults_by_kind
            .iter()
            .map(|(kind, count)| format!("{kind} {count}"))
            .collect();
        say!("");
        say!("faults          {}: {}", self.faults, kinds.join(", "));
        say!(
            "requests        {} acknowledged, {} failed, {} unknown, {} lost, {} duplicated",
            count(self.acknowledged),
            count(self.failed),
            count(self.unknown),
            count(self.lost),
            count(self.duplicated)
        );
        say!(
            "signatures      {} promises in the logs, {} in conflict; {} pieces of evidence; {} quarantines, all left",
            count(self.promises),
            count(self.conflicting_signatures),
            count(self.evidence),
            self.quarantines
        );
        self.skipped
            .iter()
            .for_each(|skipped| say!("skipped         {skipped}"));
        say!(
            "linearizable    {}",
            self.linearizable
                .map_or("not checked", |yes| if yes { "yes" } else { "no" })
        );
        say!(
            "longest pause   {} ms without an acknowledgement",
            ms(self.longest_pause_ms)
        );
        for (name, pauses) in [
            ("leader killed", &self.leader_kills),
            ("leader hit", &self.leader_faults),
        ] {
            if pauses.count > 0 {
                let Pauses {
                    count,
                    p50_ms,
                    p99_ms,
                    max_ms,
                    above_bound,
                } = pauses;
                say!(
                    "{name:<14}  {count} times; without commits p50 {} ms, p99 {} ms, at most {} ms; {above_bound} above one \
                     timeout and four round trips",
                    ms(*p50_ms),
                    ms(*p99_ms),
                    ms(*max_ms)
                );
            }
        }
        let mut caught_up: Vec<f64> = self.timeline.iter().map(|entry| entry.caught_up_s).collect();
        caught_up.sort_by(f64::total_cmp);
        if let (Some(most), Some(half)) = (caught_up.last(), caught_up.get(caught_up.len() / 2)) {
            say!("caught up       after {half:.2} s in the median, {most:.2} s at most");
        }
        say!("");
    }

    /// Writes the report to a file.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("the report has no JSON form")?;
        std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
    }

    /// Draws throughput, latency and faults over time.
    pub(super) fn draw(&self, path: &Path) -> Result<()> {
        let title = format!(
            "{} replicas, f = {}, seed {}: {} faults",
            self.replicas, self.f, self.seed, self.faults
        );
        let text = picture::svg(&title, &self.seconds, &self.timeline, self.replicas);
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}
