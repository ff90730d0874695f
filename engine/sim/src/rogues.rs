//! Faulty clients at work: what they send, and what becomes of it; how replicas react to lies.

use std::collections::BTreeMap;

use bytes::Bytes;
use trireme_core::api::Input;
use trireme_core::reply::{Outcome, ReplySet};
use trireme_core::request::BundleRef;
use trireme_core::types::ClientId;
use trireme_core::{MemberId, Slot};
use trireme_crypto::Digest;

use crate::byzantine::{Habit, Prank, Rogue, Shot, Target};
use crate::event::Event;
use crate::network::HostId;
use crate::world::World;

/// All faulty clients of a run.
pub(crate) struct Rogues {
    all: Vec<Rogue>,
    /// The request that a number stands for, and the slot that said so first.
    meaning: BTreeMap<(ClientId, u64), (Slot, Digest)>,
    signs_torsioned: bool,
    /// Whom each replica asked last for something that it misses.
    asked: BTreeMap<(HostId, Digest), MemberId>,
}

impl Rogues {
    pub(crate) fn new(all: Vec<Rogue>) -> Self {
        Self {
            all,
            meaning: BTreeMap::new(),
            signs_torsioned: false,
            asked: BTreeMap::new(),
        }
    }
}

impl World<'_> {
    /// A faulty client does something.
    pub(crate) fn prank(&mut self, rogue: usize) {
        let history = &self.oracle.history;
        let settled = self.clients.iter().all(|client| history.has_session(client.id));
        let Some((prank, shots)) = self.rogues.all[rogue].play(&self.ring, settled) else {
            return;
        };
        self.oracle.verdict.count(prank.counter());
        self.rogues.signs_torsioned |= prank == Prank::Torsion;
        shots.into_iter().for_each(|shot| self.shoot(shot));
    }

    fn shoot(&mut self, shot: Shot) {
        for (identity, number, payload) in &shot.signed {
            let client = self.ring.client_id(*identity);
            self.oracle.history.submitted(client, *number, payload);
        }
        for host in self.targets(&shot.target) {
            let at = self.time + 100 + self.prng.skewed(2 * self.plan.latency_us);
            let bytes = shot.bytes.clone();
            self.at(at, Event::RogueBundle { host, bytes });
        }
    }

    fn targets(&self, target: &Target) -> Vec<HostId> {
        let hosts = self.hosts.len();
        match target {
            Target::All => (0..hosts).collect(),
            Target::One(roll) => vec![usize::try_from(roll % hosts as u64).expect("a host")],
            Target::Pair(which) => {
                // Two lane owners who collude carry one version each; correct ones do it as well, unknowingly.
                let mut order: Vec<HostId> = (0..hosts).collect();
                order.sort_by_key(|host| self.hosts[*host].correct);
                vec![order[which % hosts]]
            }
            Target::Leader => {
                let view = self
                    .hosts
                    .iter()
                    .filter(|host| host.correct)
                    .map(|host| host.view)
                    .max();
                let leader = view.unwrap_or(0) % self.plan.roles.len() as u64;
                let leader = MemberId::try_from(leader).expect("a member");
                (0..hosts)
                    .filter(|host| self.hosts[*host].member == leader)
                    .take(1)
                    .collect()
            }
        }
    }

    /// A faulty client's frame at a replica's ingress, which checks it as it checks everybody's.
    pub(crate) fn intake_rogue(&mut self, host: HostId, bytes: Bytes) {
        let Ok(bundle) = BundleRef::parse(&bytes) else {
            return self.oracle.verdict.count("bundle refused: malformed");
        };
        let signed = (
            *bundle.client(),
            bundle.statement(&self.ring.domain()),
            bundle.signature(),
        );
        let ops = bundle.ops();
        let lets_in = self.hosts[host]
            .liar
            .as_ref()
            .is_some_and(|liar| liar.is(Habit::ForgeClients));
        if !self.ring.client_signed(&signed.0, &signed.1, &signed.2) {
            self.oracle.verdict.count("bundle refused: signature");
            if !lets_in {
                return;
            }
        }
        let room = |replica: &trireme_core::Replica| replica.intake_bytes() >= bytes.len();
        if self.hosts[host].replica.as_ref().is_some_and(room) {
            self.step(host, Input::Bundle { bytes, ops });
        } else {
            self.oracle.verdict.count("bundle refused: no room");
        }
    }

    /// A correct replica asks a member for what it misses; once one did not help, another (R-FETCH).
    pub(crate) fn asks(&mut self, host: HostId, of: MemberId, digest: Digest) {
        let asked = &mut self.rogues.asked;
        if asked.len() > 4_096 {
            asked.clear();
        }
        let before = asked.insert((host, digest), of);
        if before.is_some_and(|before| before != of) {
            self.oracle.verdict.count("fetch turned to another member");
        }
    }

    /// Whether a faulty member throws a client's bundle away.
    pub(crate) fn drops_bundle(&mut self, host: HostId) -> bool {
        let Some(liar) = self.hosts[host]
            .liar
            .as_mut()
            .filter(|liar| liar.is(Habit::DropBundles))
        else {
            return false;
        };
        liar.fire(Habit::DropBundles);
        true
    }

    /// What a correct replica answers to a faulty client: one number means one request, everywhere (invariant 12).
    pub(crate) fn judge_rogue_replies(&mut self, host: HostId, set: &ReplySet) {
        if !self.hosts[host].correct {
            return;
        }
        let scene = self.scene(host);
        let (meaning, verdict) = (&mut self.rogues.meaning, &mut self.oracle.verdict);
        for entry in set.entries.iter().flatten() {
            match entry.outcome {
                Outcome::TooFarAhead { .. } => verdict.count("rogue answered: too far ahead"),
                Outcome::ResultGone => verdict.count("rogue answered: result gone"),
                Outcome::NoSession => verdict.count("rogue answered: no session"),
                Outcome::Executed(_) | Outcome::LeftOut => {
                    let key = (set.client, entry.number);
                    let (slot, request) = *meaning.entry(key).or_insert((set.slot, entry.request));
                    verdict.check(request == entry.request, scene, "12", || {
                        format!("number {} of {} stands for two requests", entry.number, set.client)
                    });
                    verdict.count("rogue answered: executed");
                    if set.slot != slot {
                        verdict.count("rogue answered: executed before");
                    }
                }
                Outcome::NotRegistered => {}
            }
        }
        if self.rogues.signs_torsioned {
            verdict.count("torsioned request executed");
        }
    }
}
