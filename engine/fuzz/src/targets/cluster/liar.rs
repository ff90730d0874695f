//! The faulty member: holds its key, remembers what it heard, and says what the input makes of that.

use bytes::Bytes;
use trireme_core::message::{
    Ac, Ack, Block, CutEntry, Entry, Justify, LaneMark, Message, Qc, SignedAck, SignedTimeout, StateVote, Tc,
};
use trireme_core::{MemberId, Params, Slot, View};
use trireme_crypto::{Digest, Signature};

use crate::Source;
use crate::party::{self, domain, genesis};

/// Kinds of things that it says.
pub(super) const KINDS: usize = 14;
/// Things of a kind that it remembers.
const KEPT: usize = 16;

/// A place in the chain.
type Place = (View, Slot, Digest);

pub(super) struct Liar {
    pub(super) me: MemberId,
    params: Params,
    blocks: Vec<Block>,
    places: Vec<Place>,
    batches: Vec<(MemberId, u64, Digest)>,
    own: Vec<(u64, Digest)>,
    qcs: Vec<Qc>,
    tcs: Vec<Tc>,
    acs: Vec<Ac>,
    acks: Vec<(MemberId, SignedAck)>,
    timeouts: Vec<SignedTimeout>,
    heard: Vec<Message>,
}

fn keep<T>(list: &mut Vec<T>, item: T) {
    if list.len() == KEPT {
        list.remove(0);
    }
    list.push(item);
}

impl Liar {
    pub(super) fn new(me: MemberId, params: Params) -> Self {
        Self {
            me,
            params,
            blocks: Vec::new(),
            places: vec![(0, 0, genesis())],
            batches: Vec::new(),
            own: vec![(0, Digest::ZERO)],
            qcs: vec![Qc::genesis(genesis())],
            tcs: Vec::new(),
            acs: Vec::new(),
            acks: Vec::new(),
            timeouts: Vec::new(),
            heard: Vec::new(),
        }
    }

    pub(super) fn hear(&mut self, from: MemberId, message: &Message) {
        match message {
            Message::Block(signed) => self.learn(&signed.block),
            Message::Batch(batch) => {
                let header = &batch.head.header;
                keep(
                    &mut self.batches,
                    (header.lane, header.height, header.digest(&domain())),
                );
            }
            Message::HighQc(qc) => keep(&mut self.qcs, (**qc).clone()),
            Message::Entry(tc) => keep(&mut self.tcs, (**tc).clone()),
            Message::Certificate(ac) => keep(&mut self.acs, ac.clone()),
            Message::Ack(ack) => keep(&mut self.acks, (from, ack.clone())),
            Message::Timeout(timeout) => {
                keep(&mut self.qcs, timeout.high_qc.clone());
                keep(&mut self.timeouts, (**timeout).clone());
            }
            _ => {}
        }
        keep(&mut self.heard, message.clone());
    }

    fn learn(&mut self, block: &Block) {
        keep(&mut self.places, (block.view, block.slot, block.digest(&domain())));
        keep(&mut self.blocks, block.clone());
    }

    fn place(&self, source: &mut Source<'_>) -> Place {
        if source.chance(20) {
            return (source.number(), source.number(), Digest([source.byte(); 32]));
        }
        self.places[source.below(self.places.len())]
    }

    fn batch_named(&self, source: &mut Source<'_>) -> (MemberId, u64, Digest) {
        if self.batches.is_empty() || source.chance(30) {
            return (
                source.below(4) as MemberId,
                source.number(),
                Digest([source.byte(); 32]),
            );
        }
        self.batches[source.below(self.batches.len())]
    }

    fn high_qc(&self, source: &mut Source<'_>) -> Qc {
        self.qcs[source.below(self.qcs.len())].clone()
    }

    /// Something to say to one member, in a view.
    pub(super) fn speak(&mut self, source: &mut Source<'_>, view: View) -> Option<Message> {
        let view = match source.below(8) {
            0 => view + 1,
            1 => source.number(),
            2 => view.saturating_sub(1),
            _ => view,
        };
        let message = match source.below(KINDS) {
            0 | 1 => self.vote(source, view),
            2 => self.block(source, view),
            3 => self.batch(source),
            4 => self.ack(source),
            5 => self.timeout(source, view),
            6 => Message::Suspect {
                view,
                standing: source.chance(200),
            },
            7 => Message::Entry(Box::new(self.entry(source, view)?)),
            8 => Message::HighQc(Box::new(self.high_qc(source))),
            9 => self.certificate(source)?,
            10 => self.state_vote(source),
            11 => self.fetch(source),
            12 => Message::Lanes((0..4).map(|_| mark(source)).collect()),
            _ => {
                let at = source.below(self.heard.len().max(1));
                self.heard.get(at)?.clone()
            }
        };
        Some(message)
    }

    fn vote(&self, source: &mut Source<'_>, view: View) -> Message {
        let (_, slot, digest) = self.place(source);
        let (_, lock_slot, lock) = self.place(source);
        let voted = source.chance(220).then_some((slot, digest));
        let locked = (voted.is_none() || source.chance(60)).then_some((lock_slot, lock));
        let mut vote = party::vote(self.me, view, voted, locked);
        if source.chance(20) {
            vote.signature = Signature([1; 64]);
        }
        Message::Vote(vote)
    }

    /// A block of a view that it leads: on any parent, with any cut, with any justification that it has.
    fn block(&mut self, source: &mut Source<'_>, view: View) -> Message {
        let view = view - view.min(view % 4) + u64::from(self.me);
        let (_, slot, parent) = self.place(source);
        let justify = match self.entry(source, view.wrapping_sub(1)) {
            Some(tc) if source.chance(128) => Justify::Tc(Box::new(tc)),
            _ => Justify::None,
        };
        let mut block = party::block(view, (slot, parent), justify, &self.params);
        if let Some(below) = self.blocks.iter().find(|b| b.digest(&domain()) == parent) {
            block.cut.clone_from(&below.cut);
            block.cut.iter_mut().for_each(|entry| entry.certificate = None);
            block.timestamp = below.timestamp.saturating_add(1);
        }
        for _ in 0..source.below(3) {
            let (lane, height, digest) = self.batch_named(source);
            let certificate = self.acs.iter().find(|ac| ac.digest == digest).cloned();
            block.cut[usize::from(lane)] = CutEntry {
                height,
                digest,
                certificate,
            };
        }
        match source.below(12) {
            0 => block.timestamp = source.number(),
            1 => block.handoff = Some(source.below(4) as MemberId),
            2 => block.slot = source.number(),
            3 => block.timestamp += u64::from(source.byte()),
            _ => {}
        }
        self.learn(&block);
        Message::Block(Box::new(party::signed_block(block, 4).1))
    }

    fn batch(&mut self, source: &mut Source<'_>) -> Message {
        let parent = self.own[source.below(self.own.len())];
        let height = parent.0.saturating_add(1 + u64::from(source.byte() % 4));
        let body = match source.below(4) {
            0 => Bytes::from_static(b"forged"),
            salt => Bytes::copy_from_slice(&[salt as u8; 24]),
        };
        let mut parent_named = parent;
        if source.chance(20) {
            parent_named = (source.number(), Digest([source.byte(); 32]));
        }
        let batch = party::batch(self.me, height, parent_named, body, self.params.n, self.params.f);
        let digest = batch.head.header.digest(&domain());
        keep(&mut self.own, (height, digest));
        keep(&mut self.batches, (self.me, height, digest));
        Message::Batch(batch)
    }

    fn ack(&self, source: &mut Source<'_>) -> Message {
        let (lane, height, digest) = self.batch_named(source);
        let flags = source.byte();
        let ack = Ack {
            lane,
            height,
            digest,
            stored: flags & 1 == 0,
            verified: flags & 2 == 0,
            witnessed: flags & 4 == 0,
        };
        Message::Ack(party::ack(self.me, ack))
    }

    fn timeout(&self, source: &mut Source<'_>, view: View) -> Message {
        let high_qc = self.high_qc(source);
        let floor = high_qc.at.rank();
        let mut list: Vec<Place> = self.places.iter().filter(|_| source.chance(128)).copied().collect();
        list.retain(|place| (place.0, place.1) > floor && place.0 <= view);
        list.sort_unstable();
        list.dedup();
        let entry = self.tcs.iter().find(|tc| tc.view.checked_add(1) == Some(view));
        let entry = entry.map_or(Entry::Genesis, |tc| Entry::Tc(Box::new(tc.clone())));
        Message::Timeout(Box::new(party::timeout(self.me, view, &high_qc, &list, entry)))
    }

    /// A certificate for leaving a view: one that it was shown, or one of the Timeouts that it chooses, with its own.
    fn entry(&self, source: &mut Source<'_>, view: View) -> Option<Tc> {
        if !self.tcs.is_empty() && source.chance(90) {
            return Some(self.tcs[source.below(self.tcs.len())].clone());
        }
        let mut chosen: Vec<SignedTimeout> = Vec::new();
        for timeout in self.timeouts.iter().filter(|t| t.timeout.view == view) {
            if chosen.iter().all(|other| other.member != timeout.member) && chosen.len() < 2 {
                chosen.push(timeout.clone());
            }
        }
        let high_qc = self.high_qc(source);
        chosen.push(party::timeout(self.me, view, &high_qc, &[], Entry::Genesis));
        chosen.sort_by_key(|timeout| timeout.member);
        Some(party::tc(view, &chosen))
    }

    /// Acks that it heard and its own, as a certificate; or one that it was shown.
    fn certificate(&self, source: &mut Source<'_>) -> Option<Message> {
        if !self.acs.is_empty() && source.chance(100) {
            return Some(Message::Certificate(self.acs[source.below(self.acs.len())].clone()));
        }
        let (member, heard) = self.acks.get(source.below(self.acks.len().max(1)))?;
        let ack = &heard.ack;
        let mut ac = party::ac(ack.lane, ack.height, ack.digest, &[self.me]);
        let other = trireme_core::message::AcEntry {
            member: *member,
            verified: ack.verified,
            signature: heard.signature,
        };
        ac.acks.push(other);
        ac.acks.sort_by_key(|entry| entry.member);
        Some(Message::Certificate(ac))
    }

    fn state_vote(&self, source: &mut Source<'_>) -> Message {
        let vote = StateVote {
            slot: source.number(),
            state_root: Digest([source.byte(); 32]),
            receipts_root: Digest::ZERO,
            timestamp: source.number(),
            checkpoint: source.byte() % 2 == 1,
        };
        Message::StateVote(party::state_vote(self.me, vote))
    }

    fn fetch(&self, source: &mut Source<'_>) -> Message {
        match source.below(4) {
            0 => {
                let (_, slot, digest) = self.place(source);
                let floor = source.number();
                Message::FetchBlocks { slot, digest, floor }
            }
            1 => {
                let (lane, height, digest) = self.batch_named(source);
                let floor = source.number();
                Message::FetchBatches {
                    lane,
                    height,
                    digest,
                    floor,
                }
            }
            2 => Message::NotHeld {
                digest: self.place(source).2,
            },
            _ => {
                let digest = self.place(source).2;
                let known = self.blocks.iter().filter(|b| b.view % 4 == u64::from(self.me));
                let blocks = known.take(source.below(3)).map(|b| party::signed_block(b.clone(), 4).1);
                Message::Blocks {
                    digest,
                    blocks: blocks.collect(),
                }
            }
        }
    }
}

fn mark(source: &mut Source<'_>) -> LaneMark {
    LaneMark {
        stored: source.number(),
        acked: source.number(),
    }
}
