//! What is known of the current view and of who stands against it: clocks, certificates sent, Timeouts heard (section 5).

use alloc::{vec, vec::Vec};

use crate::lanes::Lane;
use crate::message::{SignedTimeout, SignedVote};
use crate::quorum::MemberSet;
use crate::types::{Height, MemberId, Slot, Tick, View};

/// Why a view is suspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ground {
    /// Work is not committed within the view's timer.
    Uncommitted,
    /// A certified tip is not ordered within the turnaround bound.
    Turnaround,
    /// The leader's channel is dead, or it said that it cannot lead, and work waits.
    LeaderGone,
    /// This replica leads a view that it led before a restart, or is quarantined.
    Restarted,
    /// A quarantined member asked for it.
    Asked,
}

/// What a member is accused of, apart from two blocks, which accuse a view's leader.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Votes,
    Headers,
    FalseVerified,
}

/// What is known of views and their faults.
#[derive(Clone, Debug)]
pub(crate) struct ViewChange {
    pub(crate) suspects: Vec<Option<View>>,
    pub(crate) timeouts: Vec<Option<SignedTimeout>>,
    pub(crate) suspicion: Option<(View, Ground)>,
    pub(crate) entered_at: Tick,
    /// Since the start a quorum was connected once: only from then on can a view be at fault.
    pub(crate) met_quorum: bool,
    /// The leader of this view said that it cannot lead it.
    pub(crate) leader_gone: Option<View>,
    /// Per lane: since when a certified tip waits for its commit.
    pub(crate) certified_since: Vec<Option<Tick>>,
    /// Since when a block with a Qc waits for its commit.
    pub(crate) qc_since: Option<Tick>,
    /// Per lane: since when something waits to be ordered.
    pub(crate) unordered_since: Vec<Option<Tick>>,
    /// Per lane: since when a tip is ordered, not committed, and not certified; the tip's height.
    pub(crate) uncommitted_since: Vec<Option<(Tick, Height)>>,
    /// Per lane: certificate sent to this view's leader: when, which height, whether to all by now.
    pub(crate) sent: Vec<Option<(Tick, Height, bool)>>,
    /// Per lane: highest height in a block of this view.
    pub(crate) ordered: Vec<Height>,
    pub(crate) future: Vec<Vec<SignedVote>>,
    /// When the newest lock is told if the fast path has not committed by then.
    pub(crate) lock_due: Option<Tick>,
    /// When it is told although everything is committed: so long after the newest block's votes.
    pub(crate) idle_lock_due: Option<Tick>,
    pub(crate) told_lock: Option<(Slot, trireme_crypto::Digest)>,
    /// By fault.
    pub(crate) accused: [MemberSet; 3],
    pub(crate) resend_at: Tick,
    /// The newest slot whose q-th vote came, and when.
    pub(crate) q_reached: (Slot, Tick),
}

impl ViewChange {
    pub(crate) fn new(n: usize) -> Self {
        Self {
            suspects: vec![None; n],
            timeouts: vec![None; n],
            suspicion: None,
            entered_at: Tick::default(),
            met_quorum: false,
            leader_gone: None,
            certified_since: vec![None; n],
            qc_since: None,
            unordered_since: vec![None; n],
            uncommitted_since: vec![None; n],
            sent: vec![None; n],
            ordered: vec![0; n],
            future: vec![Vec::new(); n],
            lock_due: None,
            idle_lock_due: None,
            told_lock: None,
            accused: Default::default(),
            resend_at: Tick::default(),
            q_reached: (0, Tick::default()),
        }
    }

    pub(crate) fn new_view(&mut self, now: Tick) {
        self.suspicion = None;
        self.entered_at = now;
        self.sent.fill(None);
        self.ordered.fill(0);
        self.lock_due = None;
        self.idle_lock_due = None;
        self.told_lock = None;
    }

    pub(crate) fn certified(&mut self, lane: MemberId, now: Tick) {
        self.certified_since[usize::from(lane)].get_or_insert(now);
    }

    /// A Qc of an uncommitted block became the highest.
    pub(crate) fn qc_waits(&mut self, now: Tick) {
        self.qc_since.get_or_insert(now);
    }

    /// A vote with this lock leaves.
    pub(crate) fn voted(&mut self, locked: Option<(Slot, trireme_crypto::Digest)>) {
        if locked.is_some() {
            self.told_lock = locked;
        }
    }

    pub(crate) fn told_lock(&self) -> Option<(Slot, trireme_crypto::Digest)> {
        self.told_lock
    }

    /// The newest lock is to be told by `due` if its block is not committed by then.
    pub(crate) fn lock_by(&mut self, due: Tick) {
        self.lock_due = Some(self.lock_due.map_or(due, |d| d.min(due)));
    }

    /// The newest lock is to be told by `due` in any case: later is safe, never is not (R-LOCK). A newer block puts it off:
    /// while blocks come, the lock rides on their votes.
    pub(crate) fn idle_lock_by(&mut self, due: Tick) {
        self.idle_lock_due = Some(due);
    }

    /// Every block that has its votes is committed.
    pub(crate) fn rest_lock(&mut self) {
        self.lock_due = None;
    }

    pub(crate) fn next_lock_due(&self) -> Option<Tick> {
        [self.lock_due, self.idle_lock_due].into_iter().flatten().min()
    }

    /// Which of the two is due, taken: (for uncommitted blocks, in any case).
    pub(crate) fn take_lock_due(&mut self, now: Tick) -> (bool, bool) {
        let soon = self.lock_due.take_if(|due| *due <= now).is_some();
        let idle = self.idle_lock_due.take_if(|due| *due <= now).is_some();
        (soon, idle)
    }

    /// What it said of itself is void (R-QUARANTINE).
    pub(crate) fn forget_own(&mut self, me: MemberId) {
        self.suspicion = None;
        self.suspects[usize::from(me)] = None;
        self.timeouts[usize::from(me)] = None;
    }

    /// A member's newest Timeout.
    pub(crate) fn timeout_of(&self, member: MemberId) -> Option<&SignedTimeout> {
        self.timeouts[usize::from(member)].as_ref()
    }

    /// The own Timeout, once it is durable.
    pub(crate) fn own_timeout(&self, me: MemberId) -> Option<&SignedTimeout> {
        self.timeouts[usize::from(me)].as_ref()
    }

    /// One piece of evidence of a kind is enough for a member: more would let it fill logs.
    pub(crate) fn accuse_once(&mut self, fault: Fault, member: MemberId) -> bool {
        self.accused[fault as usize].insert(member)
    }

    /// The most votes for views ahead that are kept of one member.
    pub(crate) fn future_votes(&self) -> usize {
        self.future.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Keeps a vote of a view that is not entered yet: only of the newest such view.
    pub(crate) fn keep_future(&mut self, from: MemberId, signed: SignedVote, window: u64) {
        let kept = &mut self.future[usize::from(from)];
        if kept.first().is_some_and(|v| v.vote.view < signed.vote.view) {
            kept.clear();
        }
        let same = kept.first().is_none_or(|v| v.vote.view == signed.vote.view);
        if same && (kept.len() as u64) < 2 * window {
            kept.push(signed);
        }
    }

    pub(crate) fn take_future(&mut self, view: View) -> Vec<(MemberId, SignedVote)> {
        let mut taken = Vec::new();
        for (member, kept) in (0..).zip(&mut self.future) {
            if kept.first().is_some_and(|v| v.vote.view <= view) {
                taken.extend(kept.drain(..).map(|v| (member, v)));
            }
        }
        taken
    }

    /// The committed cut moved: clocks of what it passed stop, those of what remains start anew.
    pub(crate) fn progressed(&mut self, lanes: &[Lane], certified: bool, now: Tick) {
        self.qc_since = certified.then_some(now);
        for (lane, state) in lanes.iter().enumerate() {
            if self.certified_since[lane].is_some() {
                self.certified_since[lane] = state.ac().map(|_| now);
            }
            if state.top().0 <= state.committed().0 {
                self.unordered_since[lane] = None;
            }
        }
    }

    /// Members that stand against the view: they may not vote in it, and may lack what others say in it.
    pub(crate) fn apart(&self, view: View) -> MemberSet {
        let mut set = MemberSet::default();
        for (member, (suspect, timeout)) in (0..).zip(self.suspects.iter().zip(&self.timeouts)) {
            if *suspect == Some(view) || timeout.as_ref().is_some_and(|t| t.timeout.view == view) {
                set.insert(member);
            }
        }
        set
    }

    pub(crate) fn count_against(&self, view: View) -> usize {
        let mut set = MemberSet::default();
        for (member, (suspect, timeout)) in (0..).zip(self.suspects.iter().zip(&self.timeouts)) {
            if *suspect == Some(view) || timeout.as_ref().is_some_and(|t| t.timeout.view >= view) {
                set.insert(member);
            }
        }
        set.count()
    }

    /// The (f+1)-th largest of the members' highest Timeout views.
    pub(crate) fn join_view(&self, count: usize) -> Option<View> {
        let mut views: Vec<Option<View>> = self
            .timeouts
            .iter()
            .map(|t| t.as_ref().map(|t| t.timeout.view))
            .collect();
        views.sort_unstable_by(|a, b| b.cmp(a));
        views[count - 1]
    }
}
