//! Who orders: the core, or Raft behind the same inputs and effects (PROTOCOL.md section 9, decision 0015). All stages but
//! the two that ask here are the same under either.

use trireme_config::{ClientAuth, Cluster, OrderingKind};
use trireme_core::api::Reject;
use trireme_core::check::{CheckContext, Checked, check, check_crash};
use trireme_core::message::{Envelope, SignedBlock, StateCertificate, StateVote};
use trireme_core::quarantine::Cause;
use trireme_core::record::Record;
use trireme_core::types::Height;
use trireme_core::{Counters, Held, Input, MemberId, Now, Outbox, Replica, Slot, Status, Tick, View};
use trireme_raft::RaftReplica;

use crate::keys::MemberKeys;
use std::sync::Arc;

/// A replica's protocol.
pub(crate) enum Orderer {
    Trireme(Box<Replica>),
    Raft(Box<RaftReplica>),
}

/// The same call on either.
macro_rules! either {
    ($self:ident, $replica:ident => $call:expr) => {
        match $self {
            Self::Trireme($replica) => $call,
            Self::Raft($replica) => $call,
        }
    };
}

impl Orderer {
    /// With an empty log.
    pub(crate) fn new(cluster: &Cluster, keys: Arc<MemberKeys>) -> Self {
        let (params, genesis) = (cluster.params.clone(), cluster.genesis());
        match cluster.ordering {
            OrderingKind::Trireme => Self::Trireme(Box::new(Replica::new(params, keys, genesis))),
            OrderingKind::Raft => {
                let signed = cluster.client_auth == ClientAuth::Signed;
                Self::Raft(Box::new(RaftReplica::new(params, keys, genesis, signed)))
            }
        }
    }

    pub(crate) fn anchored(&mut self, certificate: StateCertificate, anchor: SignedBlock) {
        either!(self, replica => replica.anchored(certificate, anchor));
    }

    pub(crate) fn replay(&mut self, record: Record, out: &mut Outbox) {
        either!(self, replica => replica.replay(record, out));
    }

    pub(crate) fn replayed(&mut self, vote: StateVote) {
        either!(self, replica => replica.replayed(vote));
    }

    pub(crate) fn has_replayed(&self) -> bool {
        either!(self, replica => replica.has_replayed())
    }

    /// After the last record. What it promised is in its log: the core asks the others whether that is so, Raft cannot.
    pub(crate) fn await_proof(&mut self) {
        if let Self::Trireme(replica) = self {
            replica.await_proof();
        }
    }

    /// Whether its log is known to lack promises, so that it must not start.
    pub(crate) fn forgot(&self) -> bool {
        matches!(self, Self::Raft(replica) if replica.forgot())
    }

    /// Starts it in quarantine. With f = 0, and so under Raft, there is no way out of one: the host refuses to start before.
    pub(crate) fn start_quarantined(&mut self, cause: Cause) {
        match self {
            Self::Trireme(replica) => replica.start_quarantined(cause),
            Self::Raft(_) => unreachable!("a cluster with f = 0 knows no quarantine"),
        }
    }

    pub(crate) fn start(&mut self, now: Now, out: &mut Outbox) {
        either!(self, replica => replica.start(now, out));
    }

    pub(crate) fn step(&mut self, now: Now, input: Input, out: &mut Outbox) {
        either!(self, replica => replica.step(now, input, out));
    }

    pub(crate) fn next_timeout(&self) -> Option<Tick> {
        either!(self, replica => replica.next_timeout())
    }

    pub(crate) fn me(&self) -> MemberId {
        either!(self, replica => replica.me())
    }

    pub(crate) fn view(&self) -> View {
        either!(self, replica => replica.view())
    }

    pub(crate) fn leader(&self) -> MemberId {
        either!(self, replica => replica.leader())
    }

    pub(crate) fn committed(&self) -> Slot {
        either!(self, replica => replica.committed())
    }

    pub(crate) fn intake_bytes(&self) -> usize {
        either!(self, replica => replica.intake_bytes())
    }

    pub(crate) fn own_certified(&self) -> Height {
        either!(self, replica => replica.own_certified())
    }

    pub(crate) fn counters(&self) -> &Counters {
        either!(self, replica => replica.counters())
    }

    pub(crate) fn held(&self) -> Held {
        either!(self, replica => replica.held())
    }

    pub(crate) fn status(&self) -> Status {
        either!(self, replica => replica.status())
    }
}

/// The gate for messages between members of a cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MessageGate(pub(crate) OrderingKind);

impl MessageGate {
    pub(crate) fn check(self, context: &CheckContext, from: MemberId, envelope: Envelope) -> Result<Checked, Reject> {
        match self.0 {
            OrderingKind::Trireme => check(context, from, envelope),
            OrderingKind::Raft => check_crash(context, from, envelope),
        }
    }
}
