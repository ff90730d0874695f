//! Checkpoints in the shell of a replica: images, snapshots, transfers, release of the log. What `engine/pipeline` does in
//! a real one, with the same machines of `engine/state`.

use bytes::Bytes;
use trireme_core::api::{AppendId, Effect, Execution, Input};
use trireme_core::message::{Message, SignedBlock, StateCertificate, StateVote};
use trireme_core::record::Record;
use trireme_core::{MemberId, Outbound, Replica, Slot, To};
use trireme_crypto::Digest;
use trireme_state::transfer::{Action, Transfer, TransferLimits};
use trireme_state::{Part, Restorer};

use crate::disk::Needless;
use crate::event::Event;
use crate::host::Work;
use crate::network::HostId;
use crate::vault::{Allowed, Fetched, Fetching, Snapshot};
use crate::world::World;

/// A transfer that has a newer checkpoint to turn to does so after this time, in simulated microseconds.
const TURN_US: u64 = 3_000_000;

impl World<'_> {
    /// A new replica reads what its disk has: the newest snapshot that is sound, then the log.
    pub(crate) fn recover(&mut self, host: HostId, records: &[Record]) -> Vec<Effect> {
        let mut replica = self.hosts[host].begin();
        self.start_from_snapshot(host, &mut replica);
        let mut out = Vec::new();
        for record in records {
            replica.replay(self.hosts[host].as_read(record, self.plan.encode), &mut out);
            for effect in out.drain(..) {
                self.hash.effect(&effect);
                let Effect::Execute(execution) = effect else {
                    panic!("a replay only executes, not {effect:?}");
                };
                if let Some(state) = self.replay_slot(host, execution) {
                    replica.replayed(state);
                }
            }
        }
        self.hosts[host].come_up(self.time, replica, &mut out);
        out
    }

    fn start_from_snapshot(&mut self, host: HostId, replica: &mut Replica) {
        // A snapshot that is damaged is as good as none: an older one takes its place, or a transfer.
        while self.checkpoint_prng.percent(5) && self.hosts[host].vault.damage() {
            self.oracle.verdict.count("snapshot damaged");
        }
        let Some(snapshot) = self.hosts[host].vault.sound().cloned() else {
            return;
        };
        let Snapshot {
            certificate,
            anchor,
            outline,
            image,
            ..
        } = snapshot;
        let blank = self.hosts[host].machine.blank();
        let restored = Restorer::new(&blank, certificate.vote.clone(), &outline).and_then(|mut restorer| {
            let parts = outline.check(&blank.scheme(), &certificate.vote.state_root);
            for (part, _) in parts.expect("an own snapshot adds up") {
                restorer.part(part, &image.part(part, crate::vault::PART_BYTES))?;
            }
            restorer.finish()
        });
        let restored = restored.expect("an own snapshot is sound");
        assert!(self.hosts[host].machine.install(restored), "a start has no state");
        self.installed(host, &anchor);
        replica.anchored(certificate, anchor);
        self.oracle.verdict.count("restart from a snapshot");
    }

    /// The state of a host is that after the anchor (invariant 10).
    fn installed(&mut self, host: HostId, anchor: &SignedBlock) {
        let slot = anchor.block.slot;
        self.hosts[host].vault.base = slot;
        if !self.hosts[host].correct {
            return;
        }
        let state = self.hosts[host].machine.state_root(slot);
        let scene = self.scene(host);
        let digest = anchor.block.digest(&self.ring.domain());
        self.oracle.committed(scene, slot, digest);
        self.oracle.history.installed(scene.member, slot);
        self.oracle.history.state_vote(scene, &mut self.oracle.verdict, &state);
    }

    /// An image of the checkpoint that was just executed.
    pub(crate) fn make_image(&mut self, host: HostId, execution: &Execution) {
        if execution.checkpoint {
            self.oracle.verdict.count("checkpoint executed");
            let image = self.hosts[host].machine.image();
            self.hosts[host].vault.made(image);
        }
    }

    /// A checkpoint is stable here: its image becomes a snapshot, after a while.
    pub(crate) fn stable(&mut self, host: HostId, certificate: StateCertificate, anchor: SignedBlock) {
        self.oracle.verdict.count("checkpoint is stable");
        self.judge_stable(host, &certificate, Some(&anchor));
        let (slot, life) = (certificate.vote.slot, self.hosts[host].life);
        if self.hosts[host].vault.write(certificate, anchor) {
            let us = 1 + self.checkpoint_prng.skewed(20 * self.plan.disk.flush_us + 5_000);
            self.at(self.time + us, Event::Snapshot { host, life, slot });
        }
    }

    /// A snapshot is durable.
    pub(crate) fn snapshotted(&mut self, host: HostId, slot: Slot) {
        if self.hosts[host].vault.written(slot, self.time) {
            self.step(host, Input::Snapshotted { slot });
        }
    }

    /// Invariant 11: what counts as stable has the signatures of a quorum, and is the state after that block.
    fn judge_stable(&mut self, host: HostId, certificate: &StateCertificate, anchor: Option<&SignedBlock>) {
        if !self.hosts[host].correct {
            return;
        }
        let scene = self.scene(host);
        let domain = self.ring.domain();
        let vote = &certificate.vote;
        let statement = vote.statement(&domain);
        let entries: Vec<(MemberId, Digest, _)> = certificate.votes.iter().map(|v| (v.0, statement, v.1)).collect();
        let bad = self.hosts[host].context.keys.invalid(&entries);
        let good = entries.iter().enumerate().filter(|(at, _)| !bad.contains(at));
        let mut members: Vec<MemberId> = good.map(|(_, entry)| entry.0).collect();
        members.sort_unstable();
        members.dedup();
        let needed = self.oracle.sizes.quorum;
        self.oracle
            .verdict
            .check(vote.checkpoint && members.len() >= needed, scene, "11", || {
                format!(
                    "takes the checkpoint at {} for stable with {} signatures",
                    vote.slot,
                    members.len()
                )
            });
        if let Some(anchor) = anchor {
            let digest = anchor.block.digest(&domain);
            self.oracle.committed(scene, vote.slot, digest);
        }
    }

    /// The log may drop what a checkpoint makes needless, once an append is durable. Invariant 11: there is a stable
    /// checkpoint at or above, on this disk.
    pub(crate) fn may_release(&mut self, host: HostId, after: AppendId, needless: Needless) {
        let scene = self.scene(host);
        self.oracle.verdict.count("release");
        if self.hosts[host].judged() {
            let slot = needless.slot;
            let held = self.hosts[host].vault.holds_from(slot);
            self.oracle.verdict.check(held, scene, "11", || {
                format!("releases what lies below slot {slot}, and holds no stable checkpoint from there on")
            });
            self.oracle.released(&needless.heights);
        }
        self.hosts[host].disk.release(after, needless.clone());
        let allowed = Allowed { after, needless };
        self.hosts[host].vault.releases.push_back(allowed);
    }

    /// An append is durable: the log drops what may go by now.
    pub(crate) fn release_log(&mut self, host: HostId, id: AppendId) {
        let state = &mut self.hosts[host];
        while let Some(allowed) = state.vault.releases.pop_front_if(|allowed| allowed.after <= id) {
            let dropped = state.disk.drop_needless(&allowed.needless, &mut self.checkpoint_prng);
            self.oracle.verdict.add("records released", dropped as u64);
        }
    }

    /// A message about images does not go to the core. True if it was one.
    pub(crate) fn routed(&mut self, host: HostId, from: MemberId, message: &Message) -> bool {
        match message {
            Message::FetchState { slot, part } => {
                let (slot, part) = (*slot, *part);
                let bytes = self.hosts[host].vault.serve(slot, part, self.time);
                let name = if bytes.is_empty() {
                    "part of an image not held"
                } else {
                    "part of an image served"
                };
                self.oracle.verdict.count(name);
                let message = Message::StatePart { slot, part, bytes };
                let to = To::One(from);
                self.emit(host, &Outbound { to, message });
                true
            }
            Message::StatePart { slot, part, bytes } => {
                self.part_came(host, from, (*slot, *part), bytes.clone());
                true
            }
            _ => false,
        }
    }

    /// A replica lags: its host fetches an image.
    pub(crate) fn begin_transfer(&mut self, host: HostId, certificate: StateCertificate) {
        self.judge_stable(host, &certificate, None);
        let (now, slot) = (self.time, certificate.vote.slot);
        if slot <= self.hosts[host].machine.executed() {
            return;
        }
        if let Some(fetching) = &mut self.hosts[host].vault.fetching {
            if fetching.transfer.slot() < slot {
                fetching.newer = Some(certificate);
            }
            return;
        }
        let limits = TransferLimits {
            asks: 4,
            asks_per_peer: 2,
            bytes_per_second: 1 << 20,
            patience_us: 4 * self.plan.latency_us + self.plan.weather.jitter_us + 20_000,
        };
        let scheme = self.hosts[host].machine.blank().scheme();
        let context = self.hosts[host].context.clone();
        let Ok(transfer) = Transfer::new(&context, certificate, scheme, limits, now) else {
            let scene = self.scene(host);
            return self
                .oracle
                .verdict
                .fail(scene, "11", "asks for an image without a certificate".into());
        };
        self.oracle.verdict.count("transfer begun");
        self.hosts[host].vault.fetching = Some(Fetching {
            transfer,
            kept: Vec::new(),
            newer: None,
            begun_at: now,
            tick_at: None,
        });
        self.drive_transfer(host);
    }

    /// The transfer's clock.
    pub(crate) fn transfer_tick(&mut self, host: HostId) {
        if let Some(fetching) = &mut self.hosts[host].vault.fetching {
            fetching.tick_at = None;
            self.drive_transfer(host);
        }
    }

    fn drive_transfer(&mut self, host: HostId) {
        let mut actions = Vec::new();
        let now = self.time;
        if let Some(fetching) = &mut self.hosts[host].vault.fetching {
            fetching.transfer.poll(now, &mut actions);
        }
        self.act_on_transfer(host, actions);
    }

    fn part_came(&mut self, host: HostId, from: MemberId, (slot, part): (Slot, u64), bytes: Bytes) {
        let (mut actions, now) = (Vec::new(), self.time);
        let Some(fetching) = &mut self.hosts[host].vault.fetching else {
            return;
        };
        if fetching.transfer.slot() == slot {
            fetching.transfer.receive(now, from, part, bytes, &mut actions);
            self.act_on_transfer(host, actions);
        }
    }

    fn act_on_transfer(&mut self, host: HostId, actions: Vec<Action>) {
        for action in actions {
            let Some(fetching) = &mut self.hosts[host].vault.fetching else {
                return;
            };
            let slot = fetching.transfer.slot();
            match action {
                Action::Ask { to, part } => {
                    let message = Message::FetchState { slot, part };
                    let to = To::One(to);
                    self.emit(host, &Outbound { to, message });
                }
                Action::Keep { part, bytes } => fetching.kept.push((part, bytes)),
                Action::Liar(member) => {
                    let scene = self.scene(host);
                    self.oracle.verdict.count("lying part of an image noticed");
                    let fair = !self.oracle.is_correct(member) || !self.hosts[host].correct;
                    self.oracle.verdict.check(fair, scene, "19", || {
                        format!("takes correct {member} for a liar about an image")
                    });
                }
                Action::Complete => return self.transferred(host),
            }
        }
        self.mind_transfer(host);
    }

    /// Turns to a newer image if nobody serves this one, begins anew if nobody is left to ask, and sets the clock.
    fn mind_transfer(&mut self, host: HostId) {
        let (now, f) = (self.time, self.oracle.sizes.f as u64);
        let Some(fetching) = &mut self.hosts[host].vault.fetching else {
            return;
        };
        let refused = fetching.transfer.progress().not_held > f || now > fetching.begun_at + TURN_US;
        let turns = refused && fetching.newer.is_some();
        if turns || fetching.transfer.is_lost() {
            let same = fetching.transfer.certificate().clone();
            let certificate = fetching.newer.take().unwrap_or(same);
            self.hosts[host].vault.fetching = None;
            self.oracle.verdict.count("transfer begun anew");
            return self.begin_transfer(host, certificate);
        }
        let Some(due) = fetching.transfer.next_due().map(|due| due.max(now + 1)) else {
            return;
        };
        if fetching.tick_at.is_none_or(|at| due < at) {
            fetching.tick_at = Some(due);
            let life = self.hosts[host].life;
            self.at(due, Event::Transfer { host, life });
        }
    }

    /// All parts are here: the executor takes them over in its turn.
    fn transferred(&mut self, host: HostId) {
        let Some(fetching) = self.hosts[host].vault.fetching.take() else {
            return;
        };
        let transfer = &fetching.transfer;
        let certificate = transfer.certificate().clone();
        let anchor = transfer.anchor().expect("the manifest is here").clone();
        let outline = transfer.outline().expect("the manifest is here");
        let blank = self.hosts[host].machine.blank();
        let restored = Restorer::new(&blank, certificate.vote.clone(), outline).and_then(|mut restorer| {
            for (id, bytes) in &fetching.kept {
                if let Some(part) = Part::from_id(*id) {
                    restorer.part(part, bytes)?;
                }
            }
            restorer.finish()
        });
        match restored {
            Ok(restored) => {
                let fetched = Fetched {
                    restored,
                    certificate,
                    anchor,
                };
                self.enqueue(host, Work::Install(Box::new(fetched)));
            }
            Err(error) => {
                let scene = self.scene(host);
                let text = format!("parts that were all checked do not make the state: {error}");
                self.oracle.verdict.fail(scene, "10", text);
            }
        }
    }

    /// The executor's turn has come.
    pub(crate) fn install(&mut self, host: HostId, fetched: Fetched) {
        let Fetched {
            restored,
            certificate,
            anchor,
        } = fetched;
        if self.hosts[host].machine.install(restored) {
            self.oracle.verdict.count("transfer finished");
            self.installed(host, &anchor);
            let image = self.hosts[host].machine.image();
            let snapshot = Snapshot::new(certificate.clone(), anchor.clone(), image);
            self.hosts[host].vault.store(snapshot, self.time);
            let view = self.hosts[host].view;
            let left = self.hosts[host].facts.timeouts.last_key_value().map(|(left, _)| *left);
            if left.is_some_and(|left| left >= view) {
                self.oracle.verdict.count("transfer during a view change");
            }
        } else {
            self.oracle.verdict.count("transfer came too late");
        }
        let (certificate, anchor) = (Box::new(certificate), Box::new(anchor));
        self.step(host, Input::Installed { certificate, anchor });
    }

    /// A slot is executed again in a recovery.
    fn replay_slot(&mut self, host: HostId, execution: Execution) -> Option<StateVote> {
        self.judge_ordered(host, &execution);
        self.execute(host, &execution)
    }
}
