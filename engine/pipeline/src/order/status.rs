//! What the order stage says of itself and of the core.

use serde_json::{Map, Value, json};
use trireme_core::types::Signed;
use trireme_core::{Counters, LaneStatus, MemberId, Status};

use super::Order;
use crate::orderer::Orderer;
use crate::stage::entries;

impl Order {
    /// Its part of the status.
    pub(super) fn describe(&self) -> Map<String, Value> {
        let status = self.replica.status();
        let mut all = entries(json!({
            "ready": !status.halted && status.quarantine.is_none() && status.connected.len() + 1 >= self.quorum,
            "view_changes": self.views.status(),
            "stages": self.passage.status(),
            "events": self.gate.events.status(),
            "held": held(&self.replica),
            "member_signatures": self.signatures(),
            "evidence_kinds": self.counts.evidence,
            "order": self.work(),
        }));
        all.extend(position(&status, self.replica.me()));
        all.extend(counted(&status.counters));
        all
    }

    fn signatures(&self) -> Value {
        let [made, verified, equations] = self.keys.counts();
        let kind = |(kind, made, verified): (Signed, u64, u64)| {
            let counts = json!({ "made": made, "verified": verified });
            (kind.name().to_owned(), counts)
        };
        let by_kind: Map<String, Value> = self.keys.counts_by_kind().map(kind).collect();
        json!({ "made": made, "verified": verified, "equations": equations, "by_kind": by_kind })
    }

    fn work(&self) -> Value {
        json!({
            "inputs": self.counts.inputs,
            "idles": self.counts.idles,
            "appends": self.counts.appends,
            "records": self.counts.records,
            "frames": self.counts.frames,
            "blocked_effects": self.blocked.len(),
            "waiting_slots": self.executions.len(),
            "waiting_bodies": self.bodies.len() + self.urgent.len(),
            "intake_room_bytes": self.replica.intake_bytes(),
        })
    }
}

/// Where the replica stands.
fn position(status: &Status, me: MemberId) -> Map<String, Value> {
    let lane = |(member, lane): (u16, &LaneStatus)| {
        json!({
            "member": member,
            "stored": lane.stored,
            "committed": lane.committed,
            "certified": lane.certified.unwrap_or(lane.committed),
            "live_bytes": lane.live_bytes,
            "own": lane.own,
        })
    };
    let lanes: Vec<Value> = (0..).zip(&status.lanes).map(lane).collect();
    let certified = status.certified_state.as_ref().map(|state| {
        json!({
            "slot": state.slot,
            "root": state.state_root.to_string(),
        })
    });
    entries(json!({
        "epoch": status.epoch,
        "view": status.view,
        "leader": status.leader,
        "leading": status.leader == me,
        "committed_slot": status.committed,
        "executed_slot": status.executed,
        "high_qc": { "view": status.high_qc.0, "slot": status.high_qc.1 },
        "slots_in_flight": status.in_flight_slots,
        "lanes": lanes,
        "certified_state": certified,
        "stable_checkpoint": status.stable,
        "kept_checkpoint": status.kept,
        "transfer_to": status.transfer,
        "halted": status.halted,
        "quarantined": status.quarantine.is_some(),
        "quarantine": status.quarantine.map(|quarantine| json!({
            "cause": quarantine.cause.name(),
            "waits_for": quarantine.waits.name(),
            "answers": quarantine.answers,
            "answers_needed": quarantine.needed,
            "certificate_above_view": quarantine.above,
        })),
        "fetches": status.fetches,
        "connected": status.connected,
        "pace_us": status.pace_us,
        "view_timer_us": status.view_timer_us,
    }))
}

/// What the core has counted.
fn counted(counters: &Counters) -> Map<String, Value> {
    let late = |(member, count): (u16, &u64)| json!({ "member": member, "count": count });
    entries(json!({
        "fast_commits": counters.fast_commits,
        "slow_commits": counters.slow_commits,
        "commits": {
            "fast": counters.fast_commits,
            "late_votes": counters.slow_late_votes,
            "member_away": counters.slow_member_away,
            "view_change": counters.slow_view_change,
            "replayed": counters.slow_replayed,
        },
        "late_votes": (0..).zip(&counters.late_votes).map(late).collect::<Vec<_>>(),
        "views_entered": counters.views_entered,
        "suspicions": {
            "uncommitted": counters.suspected_uncommitted,
            "turnaround": counters.suspected_turnaround,
            "leader_gone": counters.suspected_leader_gone,
        },
        "batches_ordered": counters.batches_ordered,
        "ops_ordered": counters.ops_ordered,
        "batch_bytes_ordered": counters.batch_bytes_ordered,
        "evidence": counters.evidence,
        "alarms": counters.alarms,
        "dropped_messages": counters.dropped,
    }))
}

/// What others make this replica hold.
fn held(replica: &Orderer) -> Value {
    let held = replica.held();
    json!({
        "vote_views": held.vote_views,
        "vote_slots": held.vote_slots,
        "future_votes": held.future_votes,
        "wanted": held.wanted,
        "verify_jobs": held.jobs,
        "lane_bytes": held.lane_bytes,
        "intake_bytes": held.intake_bytes,
    })
}
