//! The shell of one replica instance: what `engine/pipeline` is in a real process, under simulated time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use trireme_core::api::{Execution, Input, Stored};
use trireme_core::bugs::Bugs;
use trireme_core::check::CheckContext;
use trireme_core::message::{Message, StateVote};
use trireme_core::record::{Record, VoteRecord};
use trireme_core::types::{Keys, Params};
use trireme_core::{Effect, MemberId, Replica, Slot, View};
use trireme_crypto::{Digest, Domain};

use crate::byzantine::Liar;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::keys::MemberKeys;
use crate::machine::Machine;
use crate::network::{HostId, LinkId};
use crate::oracle::{Facts, TimerWatch};
use crate::quarantine::Memory;
use crate::vault::{Fetched, Vault};

/// Work of the execution stage, in order.
pub(crate) enum Work {
    Execute(Box<Execution>),
    Root(Slot),
    /// A state that was fetched takes the place of the one at hand.
    Install(Box<Fetched>),
}

/// One replica instance.
pub(crate) struct Host {
    pub(crate) member: MemberId,
    /// Follows the protocol.
    pub(crate) correct: bool,
    /// None while it is down.
    pub(crate) replica: Option<Replica>,
    /// Counts restarts: events of an earlier life are void.
    pub(crate) life: u32,
    /// Says and hears nothing any more.
    pub(crate) gone: bool,
    /// Correct, and broken for good: what it says has to be right, and nothing has to come of it.
    pub(crate) lost: bool,
    pub(crate) memory: Memory,
    pub(crate) context: CheckContext,
    pub(crate) clock: Clock,
    pub(crate) disk: Disk,
    /// Records up to here are in `facts`.
    pub(crate) known: usize,
    pub(crate) facts: Facts,
    pub(crate) machine: Machine,
    pub(crate) vault: Vault,
    pub(crate) work: VecDeque<Work>,
    /// The open channel to each host.
    pub(crate) channels: Vec<Option<LinkId>>,
    /// Simulated time for which a timer event is under way.
    pub(crate) timer_at: Option<u64>,
    pub(crate) idle_due: bool,
    pub(crate) frozen_until: u64,
    pub(crate) liar: Option<Liar>,
    /// Bundles that the replica has no room for yet.
    pub(crate) committed: Slot,
    pub(crate) view: View,
    /// When it entered that view, or began again in it.
    pub(crate) entered_at: u64,
    pub(crate) timer: TimerWatch,
    /// What it had committed when it began: read from the log, not by votes.
    pub(crate) recovered: Slot,
    params: Params,
    keys: Arc<MemberKeys>,
    genesis: Digest,
    bugs: Bugs,
}

/// What a host is made of.
pub(crate) struct Parts {
    pub(crate) hosts: usize,
    pub(crate) member: MemberId,
    pub(crate) liar: Option<Liar>,
    pub(crate) params: Params,
    pub(crate) keys: MemberKeys,
    pub(crate) genesis: Digest,
    pub(crate) clock: Clock,
    pub(crate) disk: Disk,
    pub(crate) bugs: Bugs,
}

impl Host {
    pub(crate) fn new(parts: Parts) -> Self {
        let correct = parts.liar.is_none();
        // A faulty member needs no broken clause: it breaks what it likes.
        let bugs = if correct { parts.bugs } else { Bugs::default() };
        let keys = Arc::new(parts.keys);
        let replica = replica(&parts.params, &keys, parts.genesis, &bugs);
        Self {
            member: parts.member,
            correct,
            context: replica.check_context(),
            replica: Some(replica),
            life: 0,
            gone: false,
            lost: false,
            memory: Memory::default(),
            disk: parts.disk,
            known: 0,
            facts: Facts::default(),
            machine: Machine::new(&parts.params, &bugs),
            vault: Vault::default(),
            work: VecDeque::new(),
            channels: vec![None; parts.hosts],
            timer_at: None,
            idle_due: false,
            frozen_until: 0,
            liar: parts.liar,
            committed: 0,
            view: 0,
            entered_at: 0,
            timer: watch(&parts.params, &parts.clock, 0, 0),
            recovered: 0,
            clock: parts.clock,
            params: parts.params,
            keys,
            genesis: parts.genesis,
            bugs,
        }
    }

    /// Whether liveness is promised to it.
    pub(crate) fn healthy(&self) -> bool {
        self.correct && !self.lost
    }

    /// Whether what it says and holds has to be right: it follows the protocol, and has not forgotten anything.
    pub(crate) fn judged(&self) -> bool {
        self.correct && !self.memory.forgot
    }

    /// Cluster and epoch.
    pub(crate) fn domain(&self) -> Domain {
        self.keys.domain()
    }

    /// Power is lost.
    pub(crate) fn go_down(&mut self) {
        self.replica = None;
        self.life += 1;
        self.work.clear();
        self.vault.go_down();
        self.channels.fill(None);
        self.timer_at = None;
        self.idle_due = false;
        self.frozen_until = 0;
    }

    /// A new replica and an empty state, before anything is read.
    pub(crate) fn begin(&mut self) -> Replica {
        self.machine = Machine::new(&self.params, &self.bugs);
        replica(&self.params, &self.keys, self.genesis, &self.bugs)
    }

    /// A record as recovery reads it.
    pub(crate) fn as_read(&self, record: &Record, encode: bool) -> Record {
        if encode { through_bytes(record) } else { record.clone() }
    }

    /// The replica has read everything and starts.
    pub(crate) fn come_up(&mut self, time_us: u64, mut replica: Replica, out: &mut Vec<Effect>) {
        replica.await_proof();
        // An empty log beside the mark that there was one.
        if let Some(cause) = self.memory.cause.filter(|_| !replica.has_replayed()) {
            replica.start_quarantined(cause);
        }
        replica.start(self.clock.now(time_us), out);
        self.committed = 0;
        self.view = replica.view();
        self.entered_at = time_us;
        self.recovered = replica.committed();
        self.timer = watch(&self.params, &self.clock, time_us, self.view);
        self.replica = Some(replica);
    }

    /// One step of the replica.
    pub(crate) fn step(&mut self, time_us: u64, input: Input) -> Vec<Effect> {
        let mut out = Vec::new();
        let now = self.clock.now(time_us);
        if let Some(replica) = &mut self.replica {
            replica.step(now, input, &mut out);
        }
        out
    }

    /// When the replica wants to be woken, in simulated time.
    pub(crate) fn wake_at(&self, time_us: u64) -> Option<u64> {
        let tick = self.replica.as_ref()?.next_timeout()?;
        Some(self.clock.when(tick, time_us))
    }

    /// Looks batches or blocks up in the log: as many of the first as are there in a row.
    pub(crate) fn look_up(&mut self, kind: Stored, digests: &[Digest]) -> Vec<Message> {
        let domain = self.domain();
        let found = digests
            .iter()
            .map_while(|digest| self.disk.look_up(kind, digest, &domain));
        let mut messages = Vec::new();
        let mut blocks = Vec::new();
        for record in found {
            match record {
                Record::Batch(batch) => messages.push(Message::Batch(batch)),
                Record::Vote(VoteRecord::Accept(block) | VoteRecord::Block(block)) => blocks.push(*block),
                other @ (Record::Vote(_) | Record::Ordering(_)) => unreachable!("{other:?} has no digest"),
            }
        }
        if !blocks.is_empty() {
            let digest = digests[0];
            messages.push(Message::Blocks { digest, blocks });
        }
        let absent = messages.is_empty().then(|| Message::NotHeld { digest: digests[0] });
        messages.into_iter().chain(absent).collect()
    }

    /// The state after the slot executed last.
    pub(crate) fn final_state(&mut self) -> StateVote {
        let slot = self.machine.executed();
        self.machine.state_root(slot)
    }
}

fn watch(params: &Params, clock: &Clock, time_us: u64, view: View) -> TimerWatch {
    let (n, f) = (usize::from(params.n), usize::from(params.f));
    TimerWatch::new(n, f, params.timer_decay_commits, clock.now(time_us).tick.0, view)
}

fn replica(params: &Params, keys: &Arc<MemberKeys>, genesis: Digest, bugs: &Bugs) -> Replica {
    let keys: Arc<dyn Keys> = Arc::<MemberKeys>::clone(keys);
    let mut replica = Replica::with_bugs(params.clone(), keys, genesis, bugs.clone());
    // Both ways stand trial; a constant that is drawn anyway decides, so that seeds keep their meaning.
    replica.set_eager_acks(params.idle_lock_us < EAGER_BELOW_US);
    replica
}

/// Clusters with a shorter `idle_lock_us` ack each batch as soon as it is stored.
const EAGER_BELOW_US: u64 = 10_000;

/// A record as a real log would give it back.
fn through_bytes(record: &Record) -> Record {
    let (kind, head, body) = trireme_core::wire::encode_record(record);
    let payload = [&head[..], &body[..]].concat();
    let read = trireme_core::wire::decode_record(kind, payload.into()).expect("what was written is read");
    assert_eq!(&read, record, "a record comes back as it was");
    read
}

/// Which host of a member another one is connected to: twins share the others between them.
#[derive(Default)]
pub(crate) struct Sides {
    /// For each pair (member with twins, other host): which twin.
    twin_of: BTreeMap<(MemberId, HostId), bool>,
}

impl Sides {
    /// The second twin of `member` is the one that `other` talks to.
    pub(crate) fn second(&self, member: MemberId, other: HostId) -> bool {
        self.twin_of.get(&(member, other)).copied().unwrap_or(false)
    }

    pub(crate) fn set(&mut self, member: MemberId, other: HostId, second: bool) {
        self.twin_of.insert((member, other), second);
    }
}
