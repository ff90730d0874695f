//! Lies of a lane owner, and of those who ack (FAULTS.md 22 to 28).

use trireme_core::MemberId;
use trireme_core::message::{Ack, Batch, BatchHeader, Message};
use trireme_core::request::Body;
use trireme_core::types::Keys;
use trireme_crypto::Digest;

use super::Habit;
use super::strategy::{Act, Me, Said, Strategy};
use crate::prng::Prng;

/// The batch that a message shows, if it is of the own lane.
pub(super) fn own_batch<'a>(me: &Me, said: &'a Said) -> Option<&'a Batch> {
    match &said.message {
        Message::Batch(batch) if batch.head.header.lane == me.keys.me() => Some(batch),
        _ => None,
    }
}

fn with_header(me: &Me, header: BatchHeader, batch: &Batch) -> Message {
    Message::Batch(Batch {
        head: me.sign_header(header),
        body: batch.body.clone(),
    })
}

/// 22: two chains, which differ in whom they name as witnesses.
pub(super) struct TwoLanes;

impl Strategy for TwoLanes {
    fn bend(&mut self, me: &mut Me, to: MemberId, mut said: Said, out: &mut Vec<Said>) {
        if let Some(batch) = own_batch(me, &said)
            && me.in_other_half(to)
        {
            let (first, mut header) = (batch.head.header.digest(&me.keys.domain()), batch.head.header.clone());
            if let Some(parent) = me.second(&header.parent) {
                header.parent = parent;
            }
            let mut others: Vec<MemberId> = (0..me.params.n).filter(|m| *m != header.lane).collect();
            me.prng.shuffle(&mut others);
            others.truncate(usize::from(me.params.f));
            others.sort_unstable();
            header.witnesses = others;
            let second = header.digest(&me.keys.domain());
            me.set_second(first, second);
            if first != second {
                me.fire(Habit::EquivocateLane);
            }
            said.message = with_header(me, header, batch);
        }
        out.push(said);
    }
}

/// 23: most of one half gets nothing.
pub(super) struct HideBatches;

impl Strategy for HideBatches {
    fn bend(&mut self, me: &mut Me, to: MemberId, said: Said, out: &mut Vec<Said>) {
        if own_batch(me, &said).is_some() && !me.in_other_half(to) && me.prng.percent(80) {
            me.fire(Habit::HideBatches);
        } else {
            out.push(said);
        }
    }
}

/// 23: to the leader only, or to f+1 only, by turns.
pub(super) struct LeaderOnly;

impl Strategy for LeaderOnly {
    fn bend(&mut self, me: &mut Me, to: MemberId, said: Said, out: &mut Vec<Said>) {
        let Some(batch) = own_batch(me, &said) else {
            return out.push(said);
        };
        let n = me.sizes.n as u64;
        let shown = if batch.head.header.height % 2 == 0 {
            me.view % n == u64::from(to)
        } else {
            // Oneself and the f next ones.
            (u64::from(to) + n - u64::from(me.keys.me())) % n <= me.sizes.f as u64
        };
        if shown {
            out.push(said);
        } else {
            me.fire(Habit::LeaderOnly);
        }
    }
}

/// 24, 25: says of everything that it is stored, checked and vouched for.
pub(super) struct EmptyAcks;

impl Strategy for EmptyAcks {
    fn bend(&mut self, me: &mut Me, _to: MemberId, mut said: Said, out: &mut Vec<Said>) {
        if let Message::Ack(signed) = &said.message {
            let all = Ack {
                stored: true,
                verified: true,
                witnessed: true,
                ..signed.ack.clone()
            };
            if all != signed.ack {
                said.message = me.sign_ack(all);
                me.fire(Habit::EmptyAcks);
            }
        }
        out.push(said);
    }
}

/// 24: acks what comes in, at once.
pub(super) struct AckAtOnce;

impl Strategy for AckAtOnce {
    fn hear(&mut self, me: &mut Me, _from: MemberId, message: &Message, acts: &mut Vec<Act>) {
        let Message::Batch(batch) = message else { return };
        let header = &batch.head.header;
        let ack = Ack {
            lane: header.lane,
            height: header.height,
            digest: header.digest(&me.keys.domain()),
            stored: true,
            verified: true,
            witnessed: true,
        };
        me.fire(Habit::AckAtOnce);
        acts.push(Act::Say(None, me.sign_ack(ack)));
    }
}

/// 26: what clients gave to others goes into the own lane, too.
pub(super) struct CarryCopies;

impl Strategy for CarryCopies {
    fn hear(&mut self, me: &mut Me, _from: MemberId, message: &Message, acts: &mut Vec<Act>) {
        let Message::Batch(batch) = message else { return };
        if batch.head.header.lane == me.keys.me() || !me.prng.percent(40) {
            return;
        }
        let Ok(body) = Body::parse(&batch.body) else { return };
        for bundle in body.bundles().take(4) {
            me.fire(Habit::CarryCopies);
            acts.push(Act::TakeIn(batch.body.slice_ref(bundle.bytes()), bundle.ops()));
        }
    }
}

/// 27: batches of the same body, heights in a row far past the window.
pub(super) struct FloodLane {
    left: u64,
    /// Height and digest of the last one.
    last: Option<(u64, Digest)>,
}

impl FloodLane {
    pub(super) fn draw(prng: &mut Prng) -> Self {
        Self {
            left: prng.range(20, 150),
            last: None,
        }
    }
}

impl Strategy for FloodLane {
    fn bend(&mut self, me: &mut Me, _to: MemberId, said: Said, out: &mut Vec<Said>) {
        let Some(batch) = own_batch(me, &said).cloned() else {
            return out.push(said);
        };
        out.push(said);
        let digest = batch.head.header.digest(&me.keys.domain());
        let (mut height, mut parent) = self.last.unwrap_or((batch.head.header.height, digest));
        let many = self.left.min(1 + me.params.lane_window_heights / 4).min(16);
        self.left -= many;
        for _ in 0..many {
            let header = BatchHeader {
                height: height + 1,
                parent,
                parent_height: height,
                ..batch.head.header.clone()
            };
            (height, parent) = (height + 1, header.digest(&me.keys.domain()));
            me.fire(Habit::FloodLane);
            out.push(with_header(me, header, &batch).into());
        }
        self.last = Some((height, parent));
    }
}

/// 28: the parent is a digest of nothing, or the height below is not where the header says.
pub(super) struct Orphans;

impl Strategy for Orphans {
    fn bend(&mut self, me: &mut Me, _to: MemberId, mut said: Said, out: &mut Vec<Said>) {
        if let Some(batch) = own_batch(me, &said)
            && me.prng.percent(30)
        {
            let mut header = batch.head.header.clone();
            match me.prng.below(4) {
                // A cycle as far as heights go; refused by its shape.
                0 => header.parent_height = header.height,
                1 => header.parent_height = header.parent_height.saturating_sub(1),
                2 => {
                    // Something below a lane's first batch, too.
                    header.parent = me.no_digest();
                    header.height += 1;
                    header.parent_height = header.height - 1;
                }
                _ => header.parent = me.no_digest(),
            }
            said.message = with_header(me, header, batch);
            me.fire(Habit::Orphans);
        }
        out.push(said);
    }
}
