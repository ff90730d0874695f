//! Numbers that a person or a dashboard asks for.

use alloc::vec::Vec;

use crate::message::StateVote;
use crate::quarantine::QuarantineStatus;
use crate::replica::{Counters, Replica};
use crate::types::{Epoch, Height, MemberId, Slot, View};

/// One lane.
#[derive(Clone, Debug)]
pub struct LaneStatus {
    /// Highest stored height.
    pub stored: Height,
    /// Height in the committed cut.
    pub committed: Height,
    /// Height of the newest certificate above it, if any.
    pub certified: Option<Height>,
    /// Body bytes stored and not executed.
    pub live_bytes: u64,
    /// Whether it is this replica's.
    pub own: bool,
}

/// A snapshot of a replica.
#[derive(Clone, Debug)]
pub struct Status {
    /// Number of the membership.
    pub epoch: Epoch,
    /// Current view.
    pub view: View,
    /// Its leader.
    pub leader: MemberId,
    /// Newest committed slot.
    pub committed: Slot,
    /// Newest executed slot.
    pub executed: Slot,
    /// View and slot of the highest quorum certificate.
    pub high_qc: (View, Slot),
    /// Accepted slots above the committed one.
    pub in_flight_slots: u64,
    /// Lanes in member order.
    pub lanes: Vec<LaneStatus>,
    /// The newest state vote made here.
    pub state: Option<StateVote>,
    /// The newest state certificate.
    pub certified_state: Option<StateVote>,
    /// The newest stable checkpoint that this replica knows of; 0: none.
    pub stable: Slot,
    /// The newest checkpoint that is stable here and of which a snapshot is durable; 0: none.
    pub kept: Slot,
    /// The checkpoint whose image is to be fetched, if this replica lags so far.
    pub transfer: Option<Slot>,
    /// Sums since the start.
    pub counters: Counters,
    /// Requests for data sent.
    pub fetches: u64,
    /// Members whose channel is open.
    pub connected: Vec<MemberId>,
    /// Whether it has stopped signing after an alarm.
    pub halted: bool,
    /// Whether it is quarantined, why, and what it waits for.
    pub quarantine: Option<QuarantineStatus>,
    /// Least time between proposals now, in microseconds.
    pub pace_us: u64,
    /// The view's timer now, in microseconds.
    pub view_timer_us: u64,
}

/// What a replica holds in memory that others can make it hold, at most, for judges of budgets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Views of which votes are held.
    pub vote_views: usize,
    /// The most slots of one kind of vote held of one member and view.
    pub vote_slots: usize,
    /// Votes of one member for views ahead.
    pub future_votes: usize,
    /// Batches and blocks that are asked for.
    pub wanted: usize,
    /// Checks of bodies under way.
    pub jobs: usize,
    /// Bytes of batches of one lane that are stored and not executed.
    pub lane_bytes: u64,
    /// Bytes of client bundles that wait for a batch.
    pub intake_bytes: usize,
    /// Votes on states of one member.
    pub state_votes: usize,
}

impl Replica {
    /// Sums since the start, without the signatures of votes ([`Replica::status`] has all).
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Highest height of the own lane that is known to be certified or committed.
    pub fn own_certified(&self) -> Height {
        let lane = &self.lanes[usize::from(self.me)];
        lane.ac().map_or(lane.committed().0, |ac| ac.height)
    }

    /// What it holds now.
    pub fn held(&self) -> Held {
        let (vote_views, vote_slots) = self.books.held();
        Held {
            vote_views,
            vote_slots,
            future_votes: self.change.future_votes(),
            wanted: self.fetch.wanted(),
            jobs: self.witnessing.jobs(),
            lane_bytes: self.lanes.iter().map(|lane| lane.live_bytes).max().unwrap_or(0),
            intake_bytes: self.own.queued_bytes(),
            state_votes: self.state.most_votes(),
        }
    }

    /// How often the view's timer and the turnaround bound are doubled now (R-TIMER).
    pub fn timer_doublings(&self) -> (u32, u32) {
        self.timing.doublings()
    }

    /// A snapshot for status and metrics.
    pub fn status(&self) -> Status {
        let own = |lane: usize| lane == usize::from(self.me);
        let lanes = self.lanes.iter().enumerate().map(|(i, l)| LaneStatus {
            stored: l.top().0,
            committed: l.committed().0,
            certified: l.ac().map(|a| a.height),
            live_bytes: l.live_bytes,
            own: own(i),
        });
        let high = self.safety.high_ref();
        let mut counters = self.counters.clone();
        counters.signatures_made += self.safety.signatures;
        Status {
            epoch: self.domain.epoch,
            view: self.safety.view(),
            leader: self.leader(),
            committed: self.committed(),
            executed: self.executed(),
            high_qc: high.rank(),
            in_flight_slots: self.safety.last().map_or(0, |l| l.0.saturating_sub(self.committed())),
            lanes: lanes.collect(),
            state: self.state.newest().cloned(),
            certified_state: self.state.certified().cloned(),
            stable: self.state.stable().map_or(0, |c| c.vote.slot),
            kept: self.checkpoints.kept(),
            transfer: self.checkpoints.transfer(),
            counters,
            fetches: self.fetch.sent,
            connected: self.connected().iter().collect(),
            halted: self.halted,
            quarantine: self.quarantine(),
            pace_us: self.timing.pace_us(),
            view_timer_us: self.timing.view_us(self.timer_rtts()),
        }
    }
}
