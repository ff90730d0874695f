//! Numbers that a person or a dashboard asks for, in the words of the default ordering.

use trireme_core::types::Height;
use trireme_core::{Counters, Held, LaneStatus, Status};

use crate::replica::RaftReplica;

impl RaftReplica {
    /// Sums since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Highest height of the own lane that is committed: there are no certificates.
    pub fn own_certified(&self) -> Height {
        self.committed_height(self.me)
    }

    /// What it holds now.
    pub fn held(&self) -> Held {
        Held {
            wanted: self.fetch.wanted(),
            jobs: self.jobs.len(),
            lane_bytes: self.lanes.iter().map(|lane| lane.live_bytes).max().unwrap_or(0),
            intake_bytes: self.own.queued_bytes(),
            state_votes: self.states.most_votes(),
            ..Held::default()
        }
    }

    /// A snapshot for status and metrics.
    pub fn status(&self) -> Status {
        let lanes = (0..).zip(&self.lanes).map(|(member, lane)| LaneStatus {
            stored: lane.top().0,
            committed: lane.committed().0,
            certified: None,
            live_bytes: lane.live_bytes,
            own: member == self.me,
        });
        Status {
            epoch: self.domain.epoch,
            view: self.view(),
            leader: self.leader(),
            committed: self.tip.slot,
            executed: self.executed,
            high_qc: (self.tip.term, self.tip.slot),
            in_flight_slots: self.in_flight(),
            lanes: lanes.collect(),
            state: self.states.newest().cloned(),
            certified_state: self.states.certified().cloned(),
            stable: self.states.stable().map_or(0, |certificate| certificate.vote.slot),
            kept: self.checkpoints.kept(),
            transfer: self.offered.map(|(_, slot)| slot),
            counters: self.counters.clone(),
            fetches: self.fetch.sent,
            connected: self.connected().iter().collect(),
            halted: self.halted,
            quarantine: None,
            pace_us: self.pace_us(),
            view_timer_us: self.election_us(),
        }
    }
}
