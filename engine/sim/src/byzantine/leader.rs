//! Lies of a leader (FAULTS.md 1 to 9 and 66). The strategies that change a block for everybody do it before it is
//! shown to anybody; those that tell the halves different things do it on the way out.

use trireme_core::message::{Block, Justify, Message, SignedTimeout, Tc, TcEntry};
use trireme_core::types::Keys;
use trireme_core::{MemberId, Slot};

use super::Habit;
use super::strategy::{Me, Said, Strategy};
use crate::oracle::safe_tip;
use crate::prng::Prng;

/// The block that a message shows, if this member leads its view.
fn own_block<'a>(me: &Me, said: &'a Said) -> Option<&'a Block> {
    match &said.message {
        Message::Block(signed) if me.leads(signed.block.view) => Some(&signed.block),
        _ => None,
    }
}

/// 1: the other half gets a second version, each block on the second version of its parent.
pub(super) struct TwoChains;

impl Strategy for TwoChains {
    fn bend(&mut self, me: &mut Me, to: MemberId, mut said: Said, out: &mut Vec<Said>) {
        if let Some(block) = own_block(me, &said)
            && me.in_other_half(to)
        {
            let first = block.digest(&me.keys.domain());
            let mut block = block.clone();
            if let Some(parent) = me.second(&block.parent) {
                block.parent = parent;
            }
            block.timestamp = block.timestamp.wrapping_add(1);
            me.set_second(first, block.digest(&me.keys.domain()));
            me.fire(Habit::EquivocateBlocks);
            said.message = me.sign_block(block);
            let from = me.keys.me();
            me.memory.hear(&me.keys, from, &said.message);
        }
        out.push(said);
    }
}

/// 5: first blocks on those Timeouts that suit it.
pub(super) struct CherryPick;

impl Strategy for CherryPick {
    fn bend(&mut self, me: &mut Me, _to: MemberId, mut said: Said, out: &mut Vec<Said>) {
        if let Some(block) = own_block(me, &said)
            && me.prng.percent(50)
        {
            let block = block.clone();
            if let Some(other) = first_block_that_suits(me, &block) {
                said.message = other;
                me.fire(Habit::CherryPick);
            }
        }
        out.push(said);
    }
}

/// A first block for the same view, on another choice of the Timeouts that came in.
fn first_block_that_suits(me: &mut Me, block: &Block) -> Option<Message> {
    let Justify::Tc(tc) = &block.justify else { return None };
    let range = (tc.view, 0)..=(tc.view, MemberId::MAX);
    let mut known: Vec<SignedTimeout> = me.memory.timeouts.range(range).map(|(_, t)| t.clone()).collect();
    if known.len() < me.sizes.timeout {
        return None;
    }
    me.prng.shuffle(&mut known);
    known.truncate(me.sizes.timeout);
    known.sort_by_key(|timeout| timeout.member);
    let high_qc = known.iter().map(|t| &t.high_qc).max_by_key(|qc| qc.at)?.clone();
    let entry = |t: SignedTimeout| TcEntry {
        member: t.member,
        high_qc: t.timeout.high_qc,
        accepted: t.timeout.accepted,
        signature: t.signature,
    };
    let tc = Tc {
        view: tc.view,
        timeouts: known.into_iter().map(entry).collect(),
        high_qc,
    };
    let justify = Justify::Tc(Box::new(tc));
    let (view, slot, digest) = safe_tip(me.sizes, &justify)?;
    let parent = me.memory.blocks.get(&(view, slot, digest))?;
    let mut cut = parent.cut.clone();
    cut.iter_mut().for_each(|entry| entry.certificate = None);
    let other = Block {
        view: block.view,
        slot: slot + 1,
        parent: digest,
        cut,
        timestamp: block.timestamp.max(parent.timestamp.saturating_add(1)),
        handoff: None,
        justify,
    };
    Some(me.sign_block(other))
}

/// 5: a justification with a Timeout left out, emptied, or of another view. The block stands on what it then says.
pub(super) struct ForgedTc;

impl Strategy for ForgedTc {
    fn bend(&mut self, me: &mut Me, _to: MemberId, mut said: Said, out: &mut Vec<Said>) {
        if let Some(block) = own_block(me, &said)
            && let Justify::Tc(tc) = &block.justify
            && me.prng.percent(40)
        {
            let (mut block, mut tc) = (block.clone(), (**tc).clone());
            match me.prng.below(4) {
                0 => drop(tc.timeouts.pop()),
                1 => tc.timeouts.iter_mut().for_each(|entry| entry.accepted.clear()),
                2 => tc.view = tc.view.wrapping_sub(1),
                _ => tc.timeouts.rotate_left(1),
            }
            block.justify = Justify::Tc(Box::new(tc));
            if let Some((_, slot, digest)) = safe_tip(me.sizes, &block.justify) {
                (block.slot, block.parent) = (slot + 1, digest);
            }
            said.message = me.sign_block(block);
            me.fire(Habit::ForgedTc);
        }
        out.push(said);
    }
}

/// 3: to 2f+1 only, others each time; the rest has to fetch.
pub(super) struct BlockToFew;

impl Strategy for BlockToFew {
    fn bend(&mut self, me: &mut Me, to: MemberId, said: Said, out: &mut Vec<Said>) {
        let Some(block) = own_block(me, &said) else {
            return out.push(said);
        };
        // The members after the slot's own one, around the circle; oneself counts.
        let n = me.sizes.n as u64;
        let place = (u64::from(to) + n - block.slot % n) % n;
        if place < 2 * me.sizes.f as u64 {
            out.push(said);
        } else {
            me.fire(Habit::BlockToFew);
        }
    }
}

/// 4: one lane stays where it is.
pub(super) struct LeaveOutLane {
    lane: u64,
}

impl LeaveOutLane {
    pub(super) fn draw(prng: &mut Prng) -> Self {
        Self { lane: prng.next() }
    }
}

impl Strategy for LeaveOutLane {
    fn redraft(&mut self, me: &mut Me, block: &mut Block) {
        let lane = usize::try_from(self.lane % me.sizes.n as u64).expect("a lane");
        let parent = me
            .memory
            .blocks
            .iter()
            .find(|((_, _, digest), _)| *digest == block.parent);
        let Some((_, parent)) = parent else { return };
        let mut still = parent.cut[lane].clone();
        still.certificate = None;
        if block.cut[lane].height > still.height {
            block.cut[lane] = still;
            me.fire(Habit::LeaveOutLane);
        }
    }
}

/// 7: slots are left out. Sometimes just one, sometimes many.
pub(super) struct SlotGap;

impl Strategy for SlotGap {
    fn redraft(&mut self, me: &mut Me, block: &mut Block) {
        if me.prng.percent(10) {
            let gap: Slot = me
                .prng
                .pick(&[1, 2, me.params.window, 4 * me.params.window + 1, 1 << 50]);
            block.slot = block.slot.saturating_add(gap);
            me.fire(Habit::SlotGap);
        }
    }
}

/// 8: a tip above what its lane has.
pub(super) struct UnavailableTip;

impl Strategy for UnavailableTip {
    fn redraft(&mut self, me: &mut Me, block: &mut Block) {
        if me.prng.percent(20) {
            let lane = me.prng.index(block.cut.len());
            block.cut[lane].height += 1 + me.prng.below(3);
            block.cut[lane].digest = me.no_digest();
            block.cut[lane].certificate = None;
            me.fire(Habit::UnavailableTip);
        }
    }
}

/// 9: up to four empty blocks on top of each own block.
pub(super) struct EmptySpam;

impl Strategy for EmptySpam {
    fn spam(&mut self, me: &mut Me) -> u64 {
        me.prng.below(5)
    }
}

/// 66: the parent's timestamp again, just inside the bound, or far ahead.
pub(super) struct BadTimestamps;

impl Strategy for BadTimestamps {
    fn redraft(&mut self, me: &mut Me, block: &mut Block) {
        let drift = me.params.max_drift_us;
        let parent = me
            .memory
            .blocks
            .iter()
            .find(|((_, _, digest), _)| *digest == block.parent);
        let parent = parent.map_or(0, |(_, parent)| parent.timestamp);
        let timestamp = match me.prng.below(8) {
            0 => parent,
            1 => parent.saturating_sub(drift),
            2 => parent.saturating_add(1),
            3 => block.timestamp.saturating_add(drift * 9 / 10),
            4 => block.timestamp.saturating_add(4 * drift),
            5 => u64::MAX - 2,
            _ => return,
        };
        if timestamp != block.timestamp {
            block.timestamp = timestamp;
            me.fire(Habit::BadTimestamps);
        }
    }
}
