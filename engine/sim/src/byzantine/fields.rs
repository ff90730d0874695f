//! The fields of every message, for the mutator: which there are, and what a small change of each is.

use trireme_core::message::{
    Accepted, Block, CutEntry, Justify, Message, Qc, QcRef, Recollection, Shown, SignedTimeout, Tc, Timeout, Vote,
};
use trireme_core::{MemberId, Slot};
use trireme_crypto::Digest;

/// What happens to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// One more; a list's entry twice.
    Up,
    /// One less; a list's entry left out.
    Down,
    /// What another recent message of the kind has there.
    Recent,
    /// Two entries change places; as `Recent` otherwise.
    Swap,
}

impl Change {
    pub(super) const ALL: [Self; 4] = [Self::Up, Self::Down, Self::Recent, Self::Swap];
}

/// One change of one field.
pub(super) struct Edit {
    /// Which field, modulo their number.
    pub(super) field: u64,
    pub(super) change: Change,
    /// Chooses entries of lists.
    pub(super) roll: u64,
}

impl Edit {
    fn number(&self, value: &mut u64, other: Option<u64>) {
        *value = match (self.change, other) {
            (Change::Recent | Change::Swap, Some(other)) => other,
            (Change::Down, _) => value.wrapping_sub(1),
            _ => value.wrapping_add(1),
        };
    }

    fn member(&self, value: &mut MemberId, other: Option<MemberId>) {
        let mut wide = u64::from(*value);
        self.number(&mut wide, other.map(u64::from));
        *value = wide as MemberId;
    }

    fn count(&self, value: &mut u32, other: Option<u32>) {
        let mut wide = u64::from(*value);
        self.number(&mut wide, other.map(u64::from));
        *value = wide as u32;
    }

    fn digest(&self, value: &mut Digest, other: Option<Digest>) {
        match (self.change, other) {
            (Change::Recent | Change::Swap, Some(other)) => *value = other,
            _ => value.0[(self.roll % 32) as usize] ^= 1,
        }
    }

    fn list<T: Clone>(&self, list: &mut Vec<T>, other: Option<&Vec<T>>) {
        if list.is_empty() {
            return;
        }
        let len = list.len() as u64;
        let (at, to) = ((self.roll % len) as usize, (self.roll / len % len) as usize);
        let foreign = other.and_then(|other| other.get((self.roll % other.len().max(1) as u64) as usize));
        match (self.change, foreign) {
            (Change::Up, _) => list.insert(at, list[at].clone()),
            (Change::Down, _) => drop(list.remove(at)),
            (Change::Recent, Some(foreign)) => list[at] = foreign.clone(),
            _ => list.swap(at, to),
        }
    }

    fn named(&self, part: &mut Option<(Slot, Digest)>, other: Option<(Slot, Digest)>) {
        match part {
            _ if self.change == Change::Down && self.roll.is_multiple_of(2) => *part = None,
            Some((slot, _)) if self.roll % 4 == 1 => self.number(slot, other.map(|o| o.0)),
            Some((_, digest)) => self.digest(digest, other.map(|o| o.1)),
            None => *part = other,
        }
    }

    fn vote(&self, vote: &mut Vote, other: Option<&Vote>) {
        match self.field % 4 {
            0 => self.number(&mut vote.view, other.map(|o| o.view)),
            1 | 2 => self.named(&mut vote.voted, other.and_then(|o| o.voted)),
            _ => self.named(&mut vote.locked, other.and_then(|o| o.locked.or(o.voted))),
        }
    }

    fn qc_ref(&self, at: &mut QcRef, other: Option<&QcRef>) {
        match self.roll % 3 {
            0 => self.number(&mut at.view, other.map(|o| o.view)),
            1 => self.number(&mut at.slot, other.map(|o| o.slot)),
            _ => self.digest(&mut at.digest, other.map(|o| o.digest)),
        }
    }

    fn qc(&self, qc: &mut Qc, other: Option<&Qc>) {
        if self.field.is_multiple_of(2) {
            self.qc_ref(&mut qc.at, other.map(|o| &o.at));
        } else {
            self.list(&mut qc.votes, other.map(|o| &o.votes));
        }
    }

    fn tc(&self, tc: &mut Tc, other: Option<&Tc>) {
        match self.field % 4 {
            0 => self.number(&mut tc.view, other.map(|o| o.view)),
            1 => self.list(&mut tc.timeouts, other.map(|o| &o.timeouts)),
            2 => match other {
                Some(other) if self.change == Change::Recent => tc.high_qc = other.high_qc.clone(),
                _ => self.qc_ref(&mut tc.high_qc.at, None),
            },
            _ => {
                let at = (self.roll % tc.timeouts.len().max(1) as u64) as usize;
                if let Some(entry) = tc.timeouts.get_mut(at) {
                    self.list(&mut entry.accepted, None);
                }
            }
        }
    }

    fn timeout(&self, signed: &mut SignedTimeout, other: Option<&SignedTimeout>) {
        match self.field % 6 {
            0 => self.number(&mut signed.timeout.view, other.map(|o| o.timeout.view)),
            1 => match other {
                // A whole certificate that somebody else reported: the change that passes the gate.
                Some(other) => signed.high_qc = other.high_qc.clone(),
                None => self.qc_ref(&mut signed.high_qc.at, None),
            },
            2 => self.list(&mut signed.timeout.accepted, other.map(|o| &o.timeout.accepted)),
            3 => self.accepted(&mut signed.timeout),
            4 => {
                if let Some(other) = other {
                    signed.entry = other.entry.clone();
                }
            }
            _ => self.member(&mut signed.member, other.map(|o| o.member)),
        }
    }

    fn accepted(&self, timeout: &mut Timeout) {
        let at = (self.roll % timeout.accepted.len().max(1) as u64) as usize;
        let next = timeout.accepted.get(at + 1).copied();
        if let Some(entry) = timeout.accepted.get_mut(at) {
            match self.field % 3 {
                0 => self.number(&mut entry.0, next.map(|n: Accepted| n.0)),
                1 => self.number(&mut entry.1, next.map(|n| n.1)),
                _ => self.digest(&mut entry.2, next.map(|n| n.2)),
            }
        }
    }

    fn block(&self, block: &mut Block, other: Option<&Block>) {
        match self.field % 9 {
            0 => self.number(&mut block.view, other.map(|o| o.view)),
            1 => self.number(&mut block.slot, other.map(|o| o.slot)),
            2 => self.digest(&mut block.parent, other.map(|o| o.parent)),
            3 => self.number(&mut block.timestamp, other.map(|o| o.timestamp)),
            4 => block.handoff = Some((self.roll % block.cut.len() as u64) as MemberId),
            5 => match (other, &mut block.justify) {
                (Some(other), _) if self.change == Change::Recent => block.justify = other.justify.clone(),
                (_, Justify::Tc(tc)) => self.tc(tc, None),
                _ => {}
            },
            6 => self.list(&mut block.cut, other.map(|o| &o.cut)),
            _ => {
                let at = (self.roll % block.cut.len().max(1) as u64) as usize;
                let foreign = other.and_then(|o| o.cut.get(at));
                if let Some(entry) = block.cut.get_mut(at) {
                    self.tip(entry, foreign);
                }
            }
        }
    }

    fn tip(&self, entry: &mut CutEntry, other: Option<&CutEntry>) {
        match self.roll % 4 {
            0 => self.number(&mut entry.height, other.map(|o| o.height)),
            1 => self.digest(&mut entry.digest, other.map(|o| o.digest)),
            2 => entry.certificate = other.and_then(|o| o.certificate.clone()),
            _ => {
                if let Some(other) = other {
                    *entry = other.clone();
                }
            }
        }
    }

    fn shown(&self, shown: &mut Shown, other: Option<&Shown>) {
        match self.field % 5 {
            0 => self.list(&mut shown.votes, other.map(|o| &o.votes)),
            1 => {
                if let Some(signed) = shown.votes.first_mut() {
                    let other = other.and_then(|o| o.votes.first());
                    self.vote(&mut signed.vote, other.map(|o| &o.vote));
                }
            }
            2 => shown.timeout = other.and_then(|o| o.timeout.clone()),
            3 => shown.header = other.and_then(|o| o.header.clone()),
            _ => self.member(&mut shown.member, other.map(|o| o.member)),
        }
    }

    fn told(&self, told: &mut Recollection, other: Option<&Recollection>) {
        let at = (self.roll % told.tips.len().max(1) as u64) as usize;
        match (self.field % 5, other, told.tips.get_mut(at)) {
            (0, Some(other), _) => told.entry = other.entry.clone(),
            (1, _, Some(tip)) => self.number(&mut tip.height, None),
            (2, _, Some(tip)) => self.digest(&mut tip.digest, None),
            (3, _, Some(tip)) => self.member(&mut tip.lane, None),
            _ => self.list(&mut told.tips, other.map(|o| &o.tips)),
        }
    }

    /// Changes the message; `other` is a recent one of its kind.
    pub(super) fn message(&self, message: &mut Message, other: Option<&Message>) {
        macro_rules! peer {
            ($pattern:pat => $value:expr) => {
                match other {
                    Some($pattern) => Some($value),
                    _ => None,
                }
            };
        }
        match message {
            Message::Batch(batch) => {
                let header = &mut batch.head.header;
                match self.field % 7 {
                    0 => self.number(&mut header.height, None),
                    1 => self.digest(&mut header.parent, None),
                    2 => self.number(&mut header.parent_height, None),
                    3 => self.digest(&mut header.body_root, None),
                    4 => self.count(&mut header.ops, None),
                    5 => self.count(&mut header.bytes, None),
                    _ => self.list(&mut header.witnesses, None),
                }
            }
            Message::Ack(signed) => {
                let (ack, other) = (&mut signed.ack, peer!(Message::Ack(o) => &o.ack));
                match self.field % 6 {
                    0 => self.member(&mut ack.lane, other.map(|o| o.lane)),
                    1 => self.number(&mut ack.height, other.map(|o| o.height)),
                    2 => self.digest(&mut ack.digest, other.map(|o| o.digest)),
                    3 => ack.stored = !ack.stored,
                    4 => ack.verified = !ack.verified,
                    _ => ack.witnessed = !ack.witnessed,
                }
            }
            Message::Certificate(ac) => {
                let other = peer!(Message::Certificate(o) => o);
                match self.field % 4 {
                    0 => self.member(&mut ac.lane, other.map(|o| o.lane)),
                    1 => self.number(&mut ac.height, other.map(|o| o.height)),
                    2 => self.digest(&mut ac.digest, other.map(|o| o.digest)),
                    _ => self.list(&mut ac.acks, other.map(|o| &o.acks)),
                }
            }
            Message::Block(signed) => self.block(&mut signed.block, peer!(Message::Block(o) => &o.block)),
            Message::Vote(signed) => self.vote(&mut signed.vote, peer!(Message::Vote(o) => &o.vote)),
            Message::Committed { slot, digest } => {
                if self.field.is_multiple_of(2) {
                    self.number(slot, peer!(Message::Committed { slot, .. } => *slot));
                } else {
                    self.digest(digest, peer!(Message::Committed { digest, .. } => *digest));
                }
            }
            Message::Suspect { view, standing } => {
                if self.field.is_multiple_of(2) {
                    *standing = !*standing;
                } else {
                    self.number(view, peer!(Message::Suspect { view, .. } => *view));
                }
            }
            Message::Timeout(signed) => self.timeout(signed, peer!(Message::Timeout(o) => &**o)),
            Message::Entry(tc) => self.tc(tc, peer!(Message::Entry(o) => &**o)),
            Message::HighQc(qc) => self.qc(qc, peer!(Message::HighQc(o) => &**o)),
            Message::StateVote(signed) => {
                let (vote, other) = (&mut signed.vote, peer!(Message::StateVote(o) => &o.vote));
                match self.field % 4 {
                    0 => self.number(&mut vote.slot, other.map(|o| o.slot)),
                    1 => self.digest(&mut vote.state_root, other.map(|o| o.state_root)),
                    2 => self.digest(&mut vote.receipts_root, other.map(|o| o.receipts_root)),
                    _ => self.number(&mut vote.timestamp, other.map(|o| o.timestamp)),
                }
            }
            Message::StateCertificate(certificate) => {
                let other = peer!(Message::StateCertificate(o) => o);
                match self.field % 3 {
                    0 => self.number(&mut certificate.vote.slot, other.map(|o| o.vote.slot)),
                    1 => self.digest(&mut certificate.vote.state_root, other.map(|o| o.vote.state_root)),
                    _ => self.list(&mut certificate.votes, other.map(|o| &o.votes)),
                }
            }
            Message::Lanes(marks) => {
                let at = (self.roll % marks.len().max(1) as u64) as usize;
                match marks.get_mut(at) {
                    Some(mark) if self.field.is_multiple_of(3) => self.number(&mut mark.stored, None),
                    Some(mark) if self.field % 3 == 1 => self.number(&mut mark.acked, None),
                    _ => self.list(marks, None),
                }
            }
            Message::FetchBlocks { slot, digest, floor } => match self.field % 3 {
                0 => self.number(slot, None),
                1 => self.digest(digest, peer!(Message::FetchBlocks { digest, .. } => *digest)),
                _ => self.number(floor, Some(*slot)),
            },
            Message::Blocks { digest, blocks } => {
                if self.field.is_multiple_of(2) {
                    self.digest(digest, peer!(Message::Blocks { digest, .. } => *digest));
                } else {
                    self.list(blocks, peer!(Message::Blocks { blocks, .. } => blocks));
                }
            }
            Message::FetchBatches {
                lane,
                height,
                digest,
                floor,
            } => match self.field % 4 {
                0 => self.member(lane, peer!(Message::FetchBatches { lane, .. } => *lane)),
                1 => self.number(height, peer!(Message::FetchBatches { height, .. } => *height)),
                2 => self.digest(digest, peer!(Message::FetchBatches { digest, .. } => *digest)),
                _ => self.number(floor, Some(*height)),
            },
            Message::NotHeld { digest } => self.digest(digest, peer!(Message::NotHeld { digest } => *digest)),
            Message::FetchState { slot, .. } | Message::StatePart { slot, .. } => self.number(slot, None),
            Message::LeaveView(view) => self.number(view, peer!(Message::LeaveView(o) => *o)),
            Message::Recollection(told) => self.told(told, peer!(Message::Recollection(o) => &**o)),
            Message::Readmitted(way) => self.qc(&mut way.qc, peer!(Message::Readmitted(o) => &o.qc)),
            Message::Shown(shown) => self.shown(shown, peer!(Message::Shown(o) => &**o)),
            Message::Inquire | Message::Ordering(_) => {}
        }
    }
}

/// Makes the parts of a Timeout that name the same thing agree again, so that only the change stands out.
pub(super) fn fit_timeout(signed: &mut SignedTimeout) {
    signed.timeout.high_qc = signed.high_qc.at;
    let floor = signed.timeout.high_qc.rank();
    signed.timeout.accepted.retain(|entry| (entry.0, entry.1) > floor);
    signed.timeout.accepted.sort_unstable();
}
