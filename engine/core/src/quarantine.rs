//! R-QUARANTINE: a replica that may have forgotten what it promised signs nothing until what it forgot cannot matter.
//!
//! The way out rests on two things that n-f other members say. W lies above every view that this replica can have voted
//! in: it entered its last view with a Tc, so f+1 correct members had timed out the view before, and of n-f answers one
//! at least is theirs. A Qc of a view above W was made without this replica's vote, by members of whom enough remember:
//! it stands at or above everything that was committed before, so from there on this replica reports that instead of
//! what it forgot. And the tips that n-f members stored cover every batch for whose availability it may have vouched.

use alloc::{boxed::Box, vec, vec::Vec};

use borsh::{BorshDeserialize, BorshSerialize};
use trireme_crypto::Digest;

use crate::api::{Effect, Outbox, To};
use crate::fetch::Kind;
use crate::message::{Entry, Message, Readmission, Recollection, Tip};
use crate::quorum::MemberSet;
use crate::record::{Record, VoteRecord};
use crate::replica::{Done, Replica};
use crate::types::{Height, MemberId, Tick, View};
use crate::view_state::Ground;

/// The longest wait between two questions.
const MAX_WAIT_US: u64 = 5_000_000;
/// Whether everything is here is looked at this often at most, while messages come.
const LOOK_EVERY_US: u64 = 1_000;
/// A member answers another one's `Inquire` once in this time at the most: an answer may be long.
const ANSWER_EVERY_US: u64 = 500_000;
/// A member's wish to leave a view is granted as often as f+3 times at once, and once more in this time: a faulty one
/// wishes for ever.
const GRANT_EVERY_US: u64 = 10_000_000;

/// Why a replica is quarantined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Cause {
    /// There is no log, and there was one.
    Missing,
    /// Vote records of the log are damaged or unknown.
    Damaged,
    /// The data were restored from a backup.
    Restored,
    /// A member showed a signed statement of this replica that its log does not know (generation check).
    Shown(MemberId),
}

impl Cause {
    /// Name for logs and status.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "log missing",
            Self::Damaged => "log damaged",
            Self::Restored => "restored from a backup",
            Self::Shown(_) => "log older than what this replica signed",
        }
    }
}

/// What a quarantined replica waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// Answers of n-f members.
    Answers,
    /// A quorum certificate of a view above W.
    Certificate,
    /// Blocks between the committed one and that certificate's.
    Blocks,
    /// Batches that the chain orders, or that the answers name.
    Batches,
    /// Its own disk: the last record.
    Disk,
}

impl Waits {
    /// Name for logs and status.
    pub fn name(self) -> &'static str {
        match self {
            Self::Answers => "answers of n-f members",
            Self::Certificate => "a certificate of a later view",
            Self::Blocks => "blocks",
            Self::Batches => "batches",
            Self::Disk => "its disk",
        }
    }
}

/// A quarantine for status and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuarantineStatus {
    /// Why.
    pub cause: Cause,
    /// What it waits for.
    pub waits: Waits,
    /// Members that have answered.
    pub answers: usize,
    /// Answers that are needed: n-f.
    pub needed: usize,
    /// W, once enough have answered: it leaves with a certificate of a view above.
    pub above: Option<View>,
}

/// One member's answer.
#[derive(Clone, Debug)]
struct Answer {
    view: View,
    tips: Vec<Tip>,
}

/// A quarantine.
#[derive(Clone, Debug)]
pub(crate) struct Quarantine {
    cause: Cause,
    answers: Vec<Option<Answer>>,
    /// W.
    above: Option<View>,
    /// The record of the way out is on its way to the disk.
    leaving: Option<Box<Readmission>>,
    /// When it asks again.
    ask_at: Tick,
    doublings: u32,
    /// When it last looked whether all that it fetches is here: a look walks the chain.
    looked_at: Tick,
    /// Whose tips are fetched first next time.
    turn: usize,
}

impl Quarantine {
    pub(crate) fn new(cause: Cause, n: usize) -> Self {
        Self {
            cause,
            answers: vec![None; n],
            above: None,
            leaving: None,
            ask_at: Tick::default(),
            doublings: 0,
            looked_at: Tick::default(),
            turn: 0,
        }
    }

    pub(crate) fn next_due(&self) -> Tick {
        self.ask_at
    }

    fn answered(&self) -> usize {
        self.answers.iter().flatten().count()
    }

    /// Asks again at once.
    fn hurry(&mut self, now: Tick) {
        self.ask_at = now;
        self.doublings = 0;
    }
}

/// What members grant to one that asks: see [`GRANT_EVERY_US`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Grants {
    used: u64,
    since: Tick,
    answered: Option<Tick>,
}

impl Grants {
    fn take(&mut self, now: Tick, most: u64) -> bool {
        let refilled = now.since(self.since) / GRANT_EVERY_US;
        if refilled > 0 {
            self.used = self.used.saturating_sub(refilled);
            self.since = now;
        }
        let granted = self.used < most;
        self.used += u64::from(granted);
        granted
    }

    fn may_answer(&mut self, now: Tick) -> bool {
        let may = self.answered.is_none_or(|last| now.since(last) >= ANSWER_EVERY_US);
        if may {
            self.answered = Some(now);
        }
        may
    }
}

impl Replica {
    /// Starts in quarantine: the host knows that what the log says is not all that this replica signed. Before
    /// [`Replica::start`]; the log keeps it until the way out.
    pub fn start_quarantined(&mut self, cause: Cause) {
        assert!(self.replaying, "before the start");
        if self.quarantine.is_none() {
            self.starts_quarantined = Some(cause);
        }
    }

    /// Whether and why it is quarantined, and what it waits for.
    pub fn quarantine(&self) -> Option<QuarantineStatus> {
        let quarantine = self.quarantine.as_ref()?;
        Some(QuarantineStatus {
            cause: quarantine.cause,
            waits: self.readmission_waits().unwrap_or(Waits::Disk),
            answers: quarantine.answered(),
            needed: self.quorums.timeout(),
            above: quarantine.above,
        })
    }

    /// The record that has to outlive a release of the log: that it is quarantined, or with what it left.
    pub fn standing_quarantine(&self) -> Option<Record> {
        let record = match &self.quarantine {
            // A way out that is on its way to the disk stands there before this record.
            Some(Quarantine {
                leaving: Some(readmission),
                ..
            }) => VoteRecord::Readmitted(readmission.clone()),
            Some(quarantine) => VoteRecord::Quarantined(quarantine.cause),
            None => VoteRecord::Readmitted(self.readmission.clone()?),
        };
        Some(Record::Vote(record))
    }

    /// Stops signing, from now on and durably.
    pub(crate) fn enter_quarantine(&mut self, cause: Cause, out: &mut Outbox) {
        self.replay_quarantined(cause);
        let record = Record::Vote(VoteRecord::Quarantined(cause));
        self.append(vec![record], Vec::new(), true, Done::Nothing, out);
        self.begin_quarantine(out);
    }

    /// Recovery: the log says so.
    pub(crate) fn replay_quarantined(&mut self, cause: Cause) {
        self.quarantine = Some(Quarantine::new(cause, self.quorums.n()));
        self.safety.silence();
        self.unproven = None;
        self.standing_votes = [None, None];
        self.change.forget_own(self.me);
    }

    /// Tells the host, and asks everybody.
    pub(crate) fn begin_quarantine(&mut self, out: &mut Outbox) {
        let Some(quarantine) = &mut self.quarantine else { return };
        quarantine.hurry(self.now.tick);
        out.push(Effect::Quarantined(quarantine.cause));
    }

    /// A member knows a way to the present: asks it.
    pub(crate) fn inquire(&self, member: MemberId, out: &mut Outbox) {
        let unasked = |q: &Quarantine| q.answers[usize::from(member)].is_none();
        if self.quarantine.as_ref().is_some_and(unasked) {
            self.send(To::One(member), Message::Inquire, out);
        }
    }

    /// A view was entered: what was asked of the one before is done.
    pub(crate) fn quarantine_in_new_view(&mut self) {
        let (now, patience) = (self.now.tick, self.timing.view_us(self.timer_rtts()));
        let mine = self.leader() == self.me;
        let view = self.safety.view();
        if let Some(quarantine) = &mut self.quarantine {
            quarantine.hurry(now);
            if !mine && quarantine.above.is_some_and(|above| view > above) {
                // Its leader proposes a block at once; its certificate is the way out.
                quarantine.ask_at = now.plus(patience);
            }
        }
    }

    /// Somebody asks what it may have forgotten.
    pub(crate) fn on_inquire(&mut self, from: MemberId, out: &mut Outbox) {
        let now = self.now.tick;
        if self.is_silent() || !self.peers[usize::from(from)].grants.may_answer(now) {
            return;
        }
        let most = usize::try_from(3 * self.params.lane_window_heights).expect("a window fits in memory");
        let mut tips = Vec::new();
        for (lane, state) in (0..).zip(&self.lanes) {
            let found = state.tips().into_iter().take(most);
            tips.extend(found.map(|(height, digest)| Tip { lane, height, digest }));
        }
        let entry = self.safety.entry().clone();
        self.send(
            To::One(from),
            Message::Recollection(Box::new(Recollection { entry, tips })),
            out,
        );
    }

    /// An answer: the first one of each member counts.
    pub(crate) fn on_recollection(&mut self, from: MemberId, recollection: Recollection, out: &mut Outbox) {
        let view = recollection.entry.view();
        if let Entry::Tc(tc) = recollection.entry {
            self.enter(*tc, out);
        }
        let (needed, now) = (self.quorums.timeout(), self.now.tick);
        let Some(quarantine) = &mut self.quarantine else { return };
        let answer = &mut quarantine.answers[usize::from(from)];
        if answer.is_some() {
            return;
        }
        let tips = recollection.tips;
        *answer = Some(Answer { view, tips });
        if quarantine.above.is_none() && quarantine.answered() >= needed {
            let proven = quarantine.answers.iter().flatten().map(|answer| answer.view).max();
            quarantine.above = proven.map(|view| view.saturating_add(1));
        }
        quarantine.hurry(now);
    }

    /// A quarantined member asks to leave a view, because only a certificate of a later one lets it out: an idle
    /// cluster, or one under a lasting leader, would keep it for ever (decision 0009). Suspicion is always safe.
    pub(crate) fn on_leave_view(&mut self, from: MemberId, view: View, out: &mut Outbox) {
        let most = self.quorums.f() as u64 + 3;
        let now = self.now.tick;
        let of_now = view == self.safety.view() && !self.safety.timed_out(view) && !self.suspects(view);
        if of_now && !self.is_silent() && self.peers[usize::from(from)].grants.take(now, most) {
            self.suspect(Ground::Asked, out);
        }
    }

    /// Asks again for what is missing, and leaves when nothing is. With every step.
    pub(crate) fn tend_quarantine(&mut self, out: &mut Outbox) {
        let Some(quarantine) = &self.quarantine else { return };
        let now = self.now.tick;
        let due = now >= quarantine.ask_at;
        if quarantine.leaving.is_some() || !due && now.since(quarantine.looked_at) < LOOK_EVERY_US {
            return;
        }
        self.quarantine.as_mut().expect("looked at").looked_at = now;
        let Some(waits) = self.readmission_waits() else {
            return self.leave_quarantine(out);
        };
        if !due {
            return;
        }
        match waits {
            Waits::Answers => self.connected().iter().for_each(|member| self.inquire(member, out)),
            Waits::Certificate => self.ask_to_leave_view(out),
            Waits::Blocks => {
                let at = self.safety.high_ref();
                let gap = self.chain.gap(&at.digest, at.slot);
                let (slot, digest) = gap.unwrap_or((at.slot, at.digest));
                self.want_block(slot, digest, MemberSet::default());
            }
            Waits::Batches => {
                // Members beyond the n-f may have answered instead of those that name what nobody has.
                self.connected().iter().for_each(|member| self.inquire(member, out));
                self.want_tips();
            }
            Waits::Disk => {}
        }
        let (patience, fetch) = (self.timing.view_us(self.timer_rtts()), self.fetch_wait_us());
        let quarantine = self.quarantine.as_mut().expect("looked at");
        let wait = match waits {
            Waits::Answers | Waits::Certificate => patience.saturating_mul(1 << quarantine.doublings),
            Waits::Blocks | Waits::Batches | Waits::Disk => fetch,
        };
        quarantine.ask_at = now.plus(wait.min(MAX_WAIT_US));
        quarantine.doublings = (quarantine.doublings + 1).min(8);
    }

    fn ask_to_leave_view(&self, out: &mut Outbox) {
        let view = self.safety.view();
        self.send(To::All, Message::LeaveView(view), out);
    }

    /// What is missing for the way out.
    fn readmission_waits(&self) -> Option<Waits> {
        let quarantine = self.quarantine.as_ref()?;
        if quarantine.leaving.is_some() {
            return Some(Waits::Disk);
        }
        let Some(above) = quarantine.above else {
            return Some(Waits::Answers);
        };
        let at = self.safety.high_ref();
        let checkpoint = self.bugs.quarantine_until_checkpoint() && at.slot > 0;
        if at.view <= above && !checkpoint {
            return Some(Waits::Certificate);
        }
        let known = self.chain.get(&at.digest).is_some() && self.chain.gap(&at.digest, at.slot).is_none();
        if !known || self.certified_cut().is_none() {
            return Some(Waits::Blocks);
        }
        (!self.holds_certified() || self.whole_answers() < self.quorums.timeout()).then_some(Waits::Batches)
    }

    fn certified_cut(&self) -> Option<Vec<(Height, Digest)>> {
        let block = self.chain.get(&self.safety.high_ref().digest)?;
        Some(block.cut.iter().map(|tip| (tip.height, tip.digest)).collect())
    }

    /// Heights up to which everything was gathered for execution: what lies above is looked for.
    fn gathered(&self) -> Vec<Height> {
        let cut = self.gathered_cut();
        cut.into_iter().map(|(height, _)| height).collect()
    }

    fn holds_certified(&self) -> bool {
        let floors = self.gathered();
        let tips = self.certified_cut().unwrap_or_default();
        (0..)
            .zip(tips)
            .all(|(lane, (height, digest))| self.holds_tip(&floors, Tip { lane, height, digest }))
    }

    fn holds_tip(&self, floors: &[Height], tip: Tip) -> bool {
        let (lane, floor) = (&self.lanes[usize::from(tip.lane)], floors[usize::from(tip.lane)]);
        tip.height <= floor || lane.path((tip.height, tip.digest), floor).is_ok()
    }

    /// Answers of which every tip is stored here, or passed by what was executed.
    fn whole_answers(&self) -> usize {
        let quarantine = self.quarantine.as_ref().expect("quarantined");
        let floors = self.gathered();
        let whole = |answer: &&Answer| answer.tips.iter().all(|tip| self.holds_tip(&floors, *tip));
        quarantine.answers.iter().flatten().filter(whole).count()
    }

    /// Asks for batches that the answers name, of whoever named them; a few at a time, in turn, since a faulty member
    /// names what does not exist.
    fn want_tips(&mut self) {
        let floors = self.gathered();
        let quarantine = self.quarantine.as_mut().expect("quarantined");
        quarantine.turn += 1;
        let members = quarantine.answers.len();
        let turn = quarantine.turn;
        let quarantine = self.quarantine.as_ref().expect("quarantined");
        let mut wants = Vec::new();
        for index in (0..members).map(|offset| (turn + offset) % members) {
            let named = quarantine.answers[index].iter().flat_map(|answer| &answer.tips);
            let missing = named.filter(|tip| !self.holds_tip(&floors, **tip));
            wants.extend(missing.map(|tip| (MemberId::try_from(index).expect("a member"), *tip)));
        }
        for (member, tip) in wants {
            let floor = floors[usize::from(tip.lane)].min(tip.height - 1);
            let kind = Kind::Batch {
                lane: tip.lane,
                height: tip.height,
                floor,
            };
            self.fetch
                .want_hearsay(tip.digest, kind, MemberSet::of(member), self.now.tick);
        }
        // The chain's own are asked for by execution, once it is committed; above that, here.
        let above: Vec<Tip> = (0..)
            .zip(self.certified_cut().unwrap_or_default())
            .map(|(lane, (height, digest))| Tip { lane, height, digest })
            .filter(|tip| !self.holds_tip(&floors, *tip))
            .collect();
        for tip in above {
            let floor = floors[usize::from(tip.lane)];
            self.want_batch(tip.lane, (tip.height, tip.digest), floor, MemberSet::default());
        }
    }

    fn leave_quarantine(&mut self, out: &mut Outbox) {
        let qc = self.safety.high_qc().clone();
        let block = self.chain.node(&qc.at.digest).expect("looked up").signed.clone();
        let readmission = Box::new(Readmission { qc, block });
        let mut records = self.unlogged_ancestors(&readmission.qc.at.digest);
        // Everything that the way out rests on was appended before: it is durable when this is.
        records.push(Record::Vote(VoteRecord::Readmitted(readmission.clone())));
        self.quarantine.as_mut().expect("quarantined").leaving = Some(readmission);
        self.append(records, Vec::new(), true, Done::Readmitted, out);
    }

    /// The record of the way out is durable.
    pub(crate) fn readmitted(&mut self, out: &mut Outbox) {
        let leaving = self
            .quarantine
            .as_mut()
            .and_then(|quarantine| quarantine.leaving.take());
        let readmission = leaving.expect("a way out was written");
        let at = readmission.qc.at;
        self.replay_readmitted(readmission.clone());
        out.push(Effect::Readmitted(at));
        self.send(To::All, Message::Readmitted(readmission), out);
        self.begin_signing(out);
    }

    /// What the way out changes, at run time and in recovery: blocks below are never accepted, and the own lane goes on
    /// above every height that this replica can have signed.
    pub(crate) fn replay_readmitted(&mut self, readmission: Box<Readmission>) {
        self.quarantine = None;
        let at = readmission.qc.at;
        self.safety.readmit(at);
        // What it proposed before it forgot, it proposed in views below.
        self.restart_view = Some(self.restart_view.unwrap_or(0).max(at.view));
        let tip = &readmission.block.block.cut[usize::from(self.me)];
        let base = tip.height + self.params.lane_window_heights;
        self.own.readmitted((tip.height, tip.digest), base);
        self.bases[usize::from(self.me)] = base;
        self.readmission = Some(readmission);
    }

    /// A member came back: its lane's window is measured from its base (R-QUARANTINE).
    pub(crate) fn on_readmitted(&mut self, from: MemberId, readmission: &Readmission, out: &mut Outbox) {
        let tip = &readmission.block.block.cut[usize::from(from)];
        let base = tip.height.saturating_add(self.params.lane_window_heights);
        let known = &mut self.bases[usize::from(from)];
        *known = base.max(*known);
        self.adopt_qc(&readmission.qc, out);
    }

    /// Tells a peer where this replica's lane goes on, as long as that lies above what is committed.
    pub(crate) fn tell_readmission(&self, to: MemberId, out: &mut Outbox) {
        let open = self.bases[usize::from(self.me)] > self.committed_height(self.me);
        if let Some(readmission) = self.readmission.as_ref().filter(|_| open && self.quarantine.is_none()) {
            self.send(To::One(to), Message::Readmitted(readmission.clone()), out);
        }
    }

    /// From which height a lane's window is measured.
    pub(crate) fn lane_floor(&self, lane: MemberId) -> Height {
        self.committed_height(lane).max(self.bases[usize::from(lane)])
    }
}
