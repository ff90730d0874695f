//! Fetches the image of a stable checkpoint from several peers, some of which may lie or be silent.
//!
//! A machine without clock, socket or disk: it is told the time and what came in, and says whom to ask for what
//! ([`Action`]). The certificate is all that it trusts. Part 0, the manifest, has to add up to the certificate's root;
//! every other part has to have the digest that stands for it in what was checked before. So nothing is kept that is not
//! known to be right, whoever sent it, and a peer whose part is wrong has lied.
//!
//! How the manifest cuts the state is not under the root. A peer may cut it otherwise than others do, which costs time
//! and nothing else: parts are named by their places, so that every honest peer can answer for every part, with leaves
//! or with the digests of its halves.
//!
//! Limits: parts asked for at once, of one peer and in all; bytes a second; parts that are known and not held. A peer
//! that does not answer in time is asked for less and less until it does.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use trireme_core::check::{CheckContext, check};
use trireme_core::message::{Envelope, Message, SignedBlock, StateCertificate};
use trireme_core::{MemberId, Slot};
use trireme_crypto::decode_bounded;

use crate::application::Scheme;
use crate::image::{Manifest, Outline, scheme_of};
use crate::part::{Found, MAX_PART_BYTES, Part, check_part};
use crate::tree::Sub;

/// Parts that are known and not held; beyond, a cut is taken for a lie.
const MAX_OPEN: usize = 1 << 18;
/// A peer's pause doubles with each failure in a row, this many times.
const MAX_DOUBLINGS: u32 = 6;

/// What a transfer may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferLimits {
    /// Parts asked for at once.
    pub asks: usize,
    /// Of these: of one peer.
    pub asks_per_peer: usize,
    /// Bytes that may come in each second.
    pub bytes_per_second: u64,
    /// A peer that has not answered after this time, in microseconds, is not waited for.
    pub patience_us: u64,
}

impl Default for TransferLimits {
    /// 8 parts at once, 4 of one peer, 64 MiB a second, 1 s of patience, which doubles for whoever fails.
    fn default() -> Self {
        Self {
            asks: 8,
            asks_per_peer: 4,
            bytes_per_second: 64 << 20,
            patience_us: 1_000_000,
        }
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask a member for a part of the image.
    Ask {
        /// Whom.
        to: MemberId,
        /// The part's number.
        part: u64,
    },
    /// A checked part: store it. In the order in which they come here, [`Transfer::resume`] takes them again.
    Keep {
        /// Its number.
        part: u64,
        /// Its encoding.
        bytes: Bytes,
    },
    /// This member sent what cannot be right. It is not asked again.
    Liar(MemberId),
    /// All parts are here.
    Complete,
}

/// How far a transfer is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Parts held, the manifest included.
    pub held: u64,
    /// Parts known and not held. Parts may turn out to consist of several.
    pub missing: u64,
    /// Bytes of the parts held.
    pub bytes: u64,
    /// Questions that were not answered in time.
    pub timeouts: u64,
    /// Answers that said that the peer does not hold the image.
    pub not_held: u64,
    /// Members that lied.
    pub liars: Vec<MemberId>,
}

/// What a part has to be.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Manifest,
    Part(Part, Sub),
}

/// A part that is not held.
#[derive(Clone, Copy, Debug)]
struct Open {
    expected: Expected,
    /// Whom it was asked of, and until when that is waited for.
    asked: Option<(MemberId, u64)>,
}

#[derive(Clone, Debug)]
struct Peer {
    member: MemberId,
    asked: usize,
    /// Failures since its last good answer.
    failures: u32,
    paused_until: u64,
    liar: bool,
}

/// Why a transfer cannot be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadCertificate(pub trireme_core::api::Reject);

/// The machine.
pub struct Transfer {
    certificate: StateCertificate,
    context: CheckContext,
    scheme: Scheme,
    limits: TransferLimits,
    peers: Vec<Peer>,
    next_peer: usize,
    open: BTreeMap<u64, Open>,
    /// Numbers of open parts that are not asked for; some may be held by now.
    queue: VecDeque<u64>,
    in_flight: usize,
    /// Bytes that may still be asked for; below zero after large answers.
    allowance: i64,
    refilled: u64,
    manifest: Option<Manifest>,
    progress: Progress,
}

impl Transfer {
    /// A transfer of the image of `certificate`'s slot, from time `now` in microseconds. `context` judges signatures.
    ///
    /// # Errors
    ///
    /// [`BadCertificate`] if fewer than f+1 members signed it.
    pub fn new(
        context: &CheckContext,
        certificate: StateCertificate,
        scheme: Scheme,
        limits: TransferLimits,
        now: u64,
    ) -> Result<Self, BadCertificate> {
        certifies(context, &certificate)?;
        let manifest = Open {
            expected: Expected::Manifest,
            asked: None,
        };
        let me = context.keys.me();
        let members = 0..MemberId::try_from(context.quorums.n()).expect("members have numbers");
        let peer = |member| Peer {
            member,
            asked: 0,
            failures: 0,
            paused_until: 0,
            liar: false,
        };
        Ok(Self {
            certificate,
            context: context.clone(),
            scheme,
            limits,
            peers: members.filter(|member| *member != me).map(peer).collect(),
            next_peer: usize::from(me),
            open: BTreeMap::from([(Part::MANIFEST, manifest)]),
            queue: VecDeque::from([Part::MANIFEST]),
            in_flight: 0,
            allowance: burst(&limits),
            refilled: now,
            manifest: None,
            progress: Progress {
                missing: 1,
                ..Progress::default()
            },
        })
    }

    /// What is fetched.
    pub fn certificate(&self) -> &StateCertificate {
        &self.certificate
    }

    /// The slot whose image is fetched.
    pub fn slot(&self) -> Slot {
        self.certificate.vote.slot
    }

    /// The block of that slot; once the manifest is here.
    pub fn anchor(&self) -> Option<&SignedBlock> {
        self.manifest.as_ref().map(|manifest| &manifest.anchor)
    }

    /// What the image consists of; once the manifest is here.
    pub fn outline(&self) -> Option<&Outline> {
        self.manifest.as_ref().map(|manifest| &manifest.outline)
    }

    /// How far it is.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Parts that are asked for and waited for.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether all parts are here.
    pub fn is_complete(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether nobody is left to ask.
    pub fn is_lost(&self) -> bool {
        !self.is_complete() && self.peers.iter().all(|peer| peer.liar)
    }

    /// When [`Transfer::poll`] wants to be called again, in microseconds.
    pub fn next_due(&self) -> Option<u64> {
        let answers = self.open.values().filter_map(|open| open.asked.map(|asked| asked.1));
        let mut due = answers.min();
        if self.in_flight < self.limits.asks && self.in_flight < self.open.len() {
            let honest = self.peers.iter().filter(|peer| !peer.liar);
            let free = honest.filter(|peer| peer.asked < self.limits.asks_per_peer);
            let ready = free.map(|peer| peer.paused_until).min();
            let ready = ready.map(|ready| ready.max(self.affordable_at()));
            due = [due, ready].into_iter().flatten().min();
        }
        due
    }

    /// Gives up on late answers, and asks for what is missing.
    pub fn poll(&mut self, now: u64, out: &mut Vec<Action>) {
        self.refill(now);
        self.expire(now);
        while self.in_flight < self.limits.asks && self.allowance > 0 {
            let Some(part) = self.next_part() else { break };
            let Some(peer) = self.free_peer(now) else { break };
            self.queue.pop_front();
            let peer = &mut self.peers[peer];
            peer.asked += 1;
            self.in_flight += 1;
            let open = self.open.get_mut(&part).expect("a part to ask for is open");
            open.asked = Some((
                peer.member,
                now + (self.limits.patience_us << peer.failures.min(MAX_DOUBLINGS)),
            ));
            out.push(Action::Ask { to: peer.member, part });
        }
    }

    /// A part came. Empty: the peer does not hold the image.
    pub fn receive(&mut self, now: u64, from: MemberId, part: u64, bytes: Bytes, out: &mut Vec<Action>) {
        self.allowance -= i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        let known = self.peers.iter().position(|peer| peer.member == from && !peer.liar);
        let (Some(peer), Some(open)) = (known, self.open.get(&part).copied()) else {
            return;
        };
        let asked = open.asked.is_some_and(|asked| asked.0 == from);
        if bytes.is_empty() {
            if asked {
                self.progress.not_held += 1;
                self.unask(now, part);
            }
        } else if self.accept(part, open.expected, &bytes) {
            // A late answer is as good as another: whoever was asked since is not waited for.
            if let Some((member, _)) = open.asked {
                self.in_flight -= 1;
                self.peer_mut(member).asked -= 1;
            }
            let peer = &mut self.peers[peer];
            (peer.failures, peer.paused_until) = (0, 0);
            out.push(Action::Keep { part, bytes });
            if self.is_complete() {
                out.push(Action::Complete);
            }
        } else {
            self.drop_liar(from);
            out.push(Action::Liar(from));
        }
        self.poll(now, out);
    }

    /// Takes a part that was kept before, by this transfer or one that was interrupted. False: it is not one of this
    /// image.
    pub fn resume(&mut self, part: u64, bytes: &[u8]) -> bool {
        let open = self.open.get(&part).copied().filter(|open| open.asked.is_none());
        open.is_some_and(|open| self.accept(part, open.expected, bytes))
    }

    /// Checks a part and notes what it says.
    fn accept(&mut self, part: u64, expected: Expected, bytes: &[u8]) -> bool {
        let found = match expected {
            Expected::Manifest => self.check_manifest(bytes),
            Expected::Part(part, sub) => self.check_part(part, sub, bytes),
        };
        let Some(found) = found.filter(|found| self.open.len() + found.len() <= MAX_OPEN) else {
            return false;
        };
        self.open.remove(&part);
        for (part, sub) in found {
            let open = Open {
                expected: Expected::Part(part, sub),
                asked: None,
            };
            self.open.insert(part.id(), open);
            self.queue.push_back(part.id());
        }
        self.progress.held += 1;
        self.progress.bytes += bytes.len() as u64;
        self.progress.missing = self.open.len() as u64;
        true
    }

    /// The parts of the image, if the manifest adds up to the certificate's root and its anchor is that root's block.
    fn check_manifest(&mut self, bytes: &[u8]) -> Option<Vec<(Part, Sub)>> {
        let manifest: Manifest = decode_bounded(bytes, MAX_PART_BYTES).ok()?;
        let vote = &self.certificate.vote;
        let parts = manifest.outline.check(&self.scheme, &vote.state_root)?;
        anchors(&self.context, &manifest.anchor, &manifest.outline, vote.slot).then_some(())?;
        self.manifest = Some(manifest);
        Some(parts)
    }

    fn check_part(&self, part: Part, expected: Sub, bytes: &[u8]) -> Option<Vec<(Part, Sub)>> {
        if bytes.len() > MAX_PART_BYTES {
            return None;
        }
        let map = part.map;
        match check_part(scheme_of(&self.scheme, map), part.prefix, expected, bytes)? {
            Found::Leaves => Some(Vec::new()),
            Found::Parts(parts) => {
                let parts = parts.into_iter().map(|(prefix, sub)| (Part { map, prefix }, sub));
                Some(parts.collect())
            }
        }
    }

    fn refill(&mut self, now: u64) {
        let passed = now.saturating_sub(self.refilled);
        let earned = u128::from(passed) * u128::from(self.limits.bytes_per_second) / 1_000_000;
        if earned == 0 {
            return;
        }
        self.refilled = now;
        let earned = i64::try_from(earned).unwrap_or(i64::MAX);
        self.allowance = self.allowance.saturating_add(earned).min(burst(&self.limits));
    }

    /// When the allowance is above zero.
    fn affordable_at(&self) -> u64 {
        let debt = u64::try_from(1 - self.allowance).unwrap_or(0);
        if debt == 0 {
            return 0;
        }
        self.refilled + (debt * 1_000_000).div_ceil(self.limits.bytes_per_second.max(1)).max(1)
    }

    fn expire(&mut self, now: u64) {
        let late = |(part, open): (&u64, &Open)| open.asked.filter(|asked| asked.1 <= now).map(|_| *part);
        let late: Vec<u64> = self.open.iter().filter_map(late).collect();
        for part in late {
            self.progress.timeouts += 1;
            self.unask(now, part);
        }
    }

    /// The member that was asked for a part does not give it: others are asked first from now on.
    fn unask(&mut self, now: u64, part: u64) {
        let open = self.open.get_mut(&part).expect("it was asked for");
        let Some((member, _)) = open.asked.take() else { return };
        self.queue.push_front(part);
        self.in_flight -= 1;
        let patience = self.limits.patience_us;
        let peer = self.peer_mut(member);
        peer.asked -= 1;
        peer.paused_until = now + (patience << peer.failures.min(MAX_DOUBLINGS));
        peer.failures += 1;
    }

    fn drop_liar(&mut self, member: MemberId) {
        let asked = |(part, open): (&u64, &Open)| open.asked.filter(|asked| asked.0 == member).map(|_| *part);
        let asked: Vec<u64> = self.open.iter().filter_map(asked).collect();
        for part in asked {
            self.unask(0, part);
        }
        self.peer_mut(member).liar = true;
        self.progress.liars.push(member);
    }

    fn peer_mut(&mut self, member: MemberId) -> &mut Peer {
        let peer = self.peers.iter_mut().find(|peer| peer.member == member);
        peer.expect("only peers are asked")
    }

    /// Among the peers that may be asked the one with the fewest questions; they take turns.
    fn free_peer(&mut self, now: u64) -> Option<usize> {
        let count = self.peers.len();
        let turn = (0..count).map(|step| (self.next_peer + step) % count);
        let may = |at: &usize| {
            let peer = &self.peers[*at];
            !peer.liar && peer.paused_until <= now && peer.asked < self.limits.asks_per_peer
        };
        let chosen = turn.filter(may).min_by_key(|at| self.peers[*at].asked)?;
        self.next_peer = chosen + 1;
        Some(chosen)
    }

    /// The first part to ask for, which stays in the queue.
    fn next_part(&mut self) -> Option<u64> {
        loop {
            let part = *self.queue.front()?;
            if self.open.get(&part).is_some_and(|open| open.asked.is_none()) {
                return Some(part);
            }
            self.queue.pop_front();
        }
    }
}

/// A quarter of a second's bytes, and a part at least.
fn burst(limits: &TransferLimits) -> i64 {
    let quarter = i64::try_from(limits.bytes_per_second / 4).unwrap_or(i64::MAX);
    quarter.max(1)
}

/// Whether `block` is the block of `slot` that the outline names, signed by its leader.
pub fn anchors(context: &CheckContext, block: &SignedBlock, outline: &Outline, slot: Slot) -> bool {
    block.block.slot == slot
        && block.block.digest(&context.bugs.domain(context.keys.domain())) == outline.block
        && says(context, Message::Block(Box::new(block.clone()))).is_ok()
}

/// Whether a certificate has f+1 good signatures.
///
/// # Errors
///
/// [`BadCertificate`].
pub fn certifies(context: &CheckContext, certificate: &StateCertificate) -> Result<(), BadCertificate> {
    says(context, Message::StateCertificate(Box::new(certificate.clone()))).map_err(BadCertificate)
}

/// Whether a message passes the gate: the same one as for messages from members.
fn says(context: &CheckContext, message: Message) -> Result<(), trireme_core::api::Reject> {
    let envelope = Envelope {
        epoch: context.keys.domain().epoch,
        view: 0,
        message,
    };
    check(context, context.keys.me(), envelope).map(drop)
}
