//! The differences of what the replicas count, over the time of the load.

use std::collections::{BTreeMap, BTreeSet};

use crate::local::report::{Report, SignatureFigures, ratio};
use crate::status::Status;

/// What the replicas said at the beginning of the load and at its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Span {
    /// At the beginning, by replica.
    pub(crate) before: Vec<Status>,
    /// The last words of a replica that was killed in between; its counts start again from zero.
    pub(crate) killed: Option<(usize, Status)>,
    /// At the end.
    pub(crate) after: Vec<Status>,
}

impl Span {
    /// By how much a count rose at each replica.
    fn rises(&self, count: impl Fn(&Status) -> u64) -> Vec<u64> {
        let pairs = self.before.iter().zip(&self.after).enumerate();
        let rise = |(member, (before, after)): (usize, (&Status, &Status))| match &self.killed {
            Some((killed, last)) if *killed == member => count(last).saturating_sub(count(before)) + count(after),
            _ => count(after).saturating_sub(count(before)),
        };
        pairs.map(rise).collect()
    }

    fn sum(&self, count: impl Fn(&Status) -> u64) -> u64 {
        self.rises(count).iter().sum()
    }

    /// By how much a count that is equal everywhere rose, at the first replica that ran all the time.
    fn common(&self, count: impl Fn(&Status) -> u64) -> u64 {
        let killed = self.killed.as_ref().map(|(member, _)| *member);
        let rises = self.rises(count);
        rises
            .iter()
            .enumerate()
            .find(|(member, _)| Some(*member) != killed)
            .map_or(0, |(_, rise)| *rise)
    }

    /// CPU time of all replicas by stage.
    fn stages(&self) -> BTreeMap<String, u64> {
        let names = self
            .after
            .iter()
            .flat_map(|status| status.cpu_us.keys())
            .filter(|name| *name != "process");
        let of = |status: &Status, name: &str| status.cpu_us.get(name).copied().unwrap_or(0);
        names
            .map(|name| (name.clone(), self.sum(|status| of(status, name))))
            .collect()
    }

    /// Signatures by kind, all replicas together. Clients sign a bundle once, however often they send it.
    fn signatures(&self, ops: u64, signed: bool, bundle: u32) -> BTreeMap<String, SignatureFigures> {
        let members = SignatureFigures {
            made: ratio(self.sum(|s| s.member_signatures.made), ops),
            verified: ratio(self.sum(|s| s.member_signatures.verified), ops),
        };
        let clients = SignatureFigures {
            made: if signed { ratio(1, bundle.into()) } else { Some(0.0) },
            verified: ratio(self.sum(|s| s.client_signatures.verified), ops),
        };
        BTreeMap::from([("members".to_owned(), members), ("clients".to_owned(), clients)])
    }

    /// Signatures of members by what they signed.
    fn statements(&self, ops: u64) -> BTreeMap<String, SignatureFigures> {
        let kinds: BTreeSet<&String> = self
            .after
            .iter()
            .flat_map(|s| s.member_signatures.by_kind.keys())
            .collect();
        let of = |status: &Status, kind: &str| status.member_signatures.by_kind.get(kind).copied().unwrap_or_default();
        let figures = |kind: &String| SignatureFigures {
            made: ratio(self.sum(|status| of(status, kind).made), ops),
            verified: ratio(self.sum(|status| of(status, kind).verified), ops),
        };
        kinds.into_iter().map(|kind| (kind.clone(), figures(kind))).collect()
    }

    /// Mean time of own operations in each stage, over all replicas; empty if they do not measure it.
    fn passage(&self) -> BTreeMap<String, f64> {
        let names: BTreeSet<&String> = self.after.iter().flat_map(|status| status.stages.keys()).collect();
        let of = |status: &Status, name: &str| status.stages.get(name).copied().unwrap_or_default();
        let mean = |name: &String| {
            let count = self.sum(|status| of(status, name).count);
            Some((name.clone(), ratio(self.sum(|status| of(status, name).sum_us), count)?))
        };
        names.into_iter().filter_map(mean).collect()
    }

    /// Puts everything that the replicas count into the report. `ops` are the acknowledged requests.
    pub(crate) fn fill(&self, report: &mut Report, ops: u64) {
        let (fast, slow) = (self.sum(|s| s.fast_commits), self.sum(|s| s.slow_commits));
        let view = |statuses: &[Status]| statuses.iter().map(|status| status.view).max().unwrap_or(0);
        let batches = self.common(|s| s.batches_ordered);
        report.fast_path_share = ratio(fast, fast + slow);
        report.views = Some(view(&self.after).saturating_sub(view(&self.before)) + 1);
        report.slots_committed = Some(self.common(|s| s.committed_slot));
        report.batches = Some(batches);
        report.bytes_per_batch = ratio(self.common(|s| s.batch_bytes_ordered), batches);
        report.signatures_made_per_op = ratio(self.sum(|s| s.member_signatures.made), ops);
        let verified = self.sum(|s| s.member_signatures.verified + s.client_signatures.verified);
        report.signatures_verified_per_op = ratio(verified, ops);
        report.signatures = self.signatures(ops, report.client_auth == "signed", report.bundle);
        report.member_signatures = self.statements(ops);
        report.stages_us = self.passage();
        report.fsyncs = Some(self.sum(|s| s.log.fsyncs));
        report.evidence = Some(self.after.iter().map(|status| status.evidence).sum());
        report.alarms = Some(self.after.iter().map(|status| status.alarms).sum());
        let stages = self.stages();
        let share = |(name, us): (&String, &u64)| Some((name.clone(), ratio(*us, ops)?));
        report.cpu_us_per_op_by_stage = stages.iter().filter_map(share).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(base: u64) -> Status {
        let value = json!({
            "view": base, "leader": 0, "committed_slot": 10 * base, "executed_slot": 10 * base,
            "fast_commits": 3 * base, "slow_commits": base, "batches_ordered": 5 * base,
            "batch_bytes_ordered": 500 * base, "evidence": 0, "alarms": 0,
            "member_signatures": {"made": base, "verified": 2 * base}, "client_signatures": {"verified": base},
            "log": {"device": "io_uring", "fsyncs": 7 * base}, "state": {"slot": base, "root": "ab"},
            "cpu_us": {"order": 100 * base, "process": 900 * base}, "peers": [], "lanes": [], "more": 1,
        });
        Status::read(value).unwrap()
    }

    #[test]
    fn counts_rise_over_a_restart() {
        let before = vec![status(1), status(1)];
        let quiet = Span {
            before: before.clone(),
            killed: None,
            after: vec![status(3), status(3)],
        };
        assert_eq!(
            (quiet.sum(|s| s.log.fsyncs), quiet.common(|s| s.committed_slot)),
            (28, 20)
        );
        let killed = Span {
            before,
            killed: Some((0, status(2))),
            after: vec![status(1), status(3)],
        };
        assert_eq!(killed.sum(|s| s.log.fsyncs), 7 + 7 + 14);
        assert_eq!(
            killed.common(|s| s.committed_slot),
            20,
            "of the one that ran all the time"
        );
        assert_eq!(killed.stages(), BTreeMap::from([("order".to_owned(), 100 + 100 + 200)]));
    }
}
