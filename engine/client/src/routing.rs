//! Which replica a request goes to.

use trireme_core::quorum::MemberSet;
use trireme_core::types::{MemberId, Slot, Tick};

use crate::options::Route;

/// How long a replica that let a request time out is not the first choice.
const SUSPECT_US: u64 = 10_000_000;

/// A replica this many slots behind what was accepted last (it restarts, or is slow) is not the first choice: its full
/// replies would come late.
const BEHIND_SLOTS: Slot = 64;

/// A nearer replica must be this much nearer to be changed to, so that jitter moves nobody.
const NEARER_US: u64 = 500;

#[derive(Clone, Copy, Debug)]
struct Line {
    connected: bool,
    rtt_us: Option<u64>,
    suspect_until: Tick,
    /// The newest slot that it replied to.
    newest: Slot,
}

/// What is known about the ways to the replicas.
#[derive(Clone, Debug)]
pub(crate) struct Routing {
    route: Route,
    lines: Vec<Line>,
    nearest: MemberId,
    /// The newest slot that was accepted.
    accepted: Slot,
}

impl Routing {
    pub(crate) fn new(route: Route, members: u16) -> Self {
        assert!(members > 0, "a cluster has members");
        let line = Line {
            connected: false,
            rtt_us: None,
            suspect_until: Tick(0),
            newest: 0,
        };
        Self {
            route,
            lines: vec![line; usize::from(members)],
            nearest: 0,
            accepted: 0,
        }
    }

    pub(crate) fn set_connected(&mut self, member: MemberId, connected: bool) {
        let line = &mut self.lines[usize::from(member)];
        line.connected = connected;
        line.suspect_until = Tick(0);
    }

    pub(crate) fn set_rtt(&mut self, member: MemberId, us: u64) {
        self.lines[usize::from(member)].rtt_us = Some(us);
    }

    /// A request that went to this replica has timed out.
    pub(crate) fn suspect(&mut self, member: MemberId, now: Tick) {
        self.lines[usize::from(member)].suspect_until = now.plus(SUSPECT_US);
    }

    /// A replica answered what this slot executed.
    pub(crate) fn heard(&mut self, member: MemberId, slot: Slot) {
        let newest = &mut self.lines[usize::from(member)].newest;
        *newest = slot.max(*newest);
    }

    /// What this slot executed was accepted.
    pub(crate) fn accepted(&mut self, slot: Slot) {
        self.accepted = slot.max(self.accepted);
    }

    pub(crate) fn is_connected(&self, member: MemberId) -> bool {
        self.lines[usize::from(member)].connected
    }

    pub(crate) fn connected(&self) -> MemberSet {
        let mut set = MemberSet::default();
        for member in self.members().filter(|&member| self.is_connected(member)) {
            set.insert(member);
        }
        set
    }

    /// Every member, in order.
    pub(crate) fn members(&self) -> impl Iterator<Item = MemberId> + use<> {
        0..MemberId::try_from(self.lines.len()).expect("a member count")
    }

    /// The first connected member after `member`, going around, that is not to be avoided; `member` itself last.
    pub(crate) fn next_after(&self, member: MemberId, avoid: MemberSet) -> Option<MemberId> {
        let count = MemberId::try_from(self.lines.len()).expect("a member count");
        (1..=count)
            .map(|step| (member + step) % count)
            .find(|&m| self.is_connected(m) && !avoid.contains(m))
    }

    /// Where requests of an identity should go now: by the route, unless that one is gone or doubtful.
    pub(crate) fn first_choice(&self, identity: u32, now: Tick) -> Option<MemberId> {
        let count = u32::try_from(self.lines.len()).expect("a member count");
        let wanted = match self.route {
            Route::Nearest => self.nearest,
            Route::Spread => MemberId::try_from(identity % count).expect("below the member count"),
            Route::To(member) => member,
        };
        let good = |member: MemberId| self.is_connected(member) && !self.is_doubtful(member, now);
        if good(wanted) {
            return Some(wanted);
        }
        let mut doubtful = MemberSet::default();
        for member in self.members().filter(|&member| self.is_doubtful(member, now)) {
            doubtful.insert(member);
        }
        let others = self.next_after(wanted, doubtful);
        others
            .or_else(|| self.is_connected(wanted).then_some(wanted))
            .or_else(|| self.next_after(wanted, <_>::default()))
    }

    /// Looks anew for the nearest replica.
    pub(crate) fn measure(&mut self) {
        let rtt = |member: MemberId| {
            let line = &self.lines[usize::from(member)];
            line.rtt_us.filter(|_| line.connected)
        };
        let Some((best, member)) = self.members().filter_map(|member| Some((rtt(member)?, member))).min() else {
            return;
        };
        if rtt(self.nearest).is_none_or(|current| best + NEARER_US < current) {
            self.nearest = member;
        }
    }

    /// Whether others are to be preferred: it let a request time out, or lags behind.
    fn is_doubtful(&self, member: MemberId, now: Tick) -> bool {
        let line = &self.lines[usize::from(member)];
        now < line.suspect_until || line.newest.saturating_add(BEHIND_SLOTS) < self.accepted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_up(route: Route) -> Routing {
        let mut routing = Routing::new(route, 4);
        for (member, rtt) in [(0, 40_000), (1, 20_000), (2, 5_000), (3, 60_000)] {
            routing.set_connected(member, true);
            routing.set_rtt(member, rtt);
        }
        routing.measure();
        routing
    }

    #[test]
    fn requests_go_to_the_nearest_and_jitter_moves_nobody() {
        let mut routing = all_up(Route::Nearest);
        assert_eq!(routing.first_choice(7, Tick(0)), Some(2));
        routing.set_rtt(1, 4_700);
        routing.measure();
        assert_eq!(routing.first_choice(7, Tick(0)), Some(2));
        routing.set_rtt(1, 1_000);
        routing.measure();
        assert_eq!(routing.first_choice(7, Tick(0)), Some(1));
        routing.set_connected(1, false);
        routing.measure();
        assert_eq!(routing.first_choice(7, Tick(0)), Some(2));
    }

    #[test]
    fn a_suspect_is_left_for_a_while() {
        let mut routing = all_up(Route::To(2));
        routing.suspect(2, Tick(100));
        assert_eq!(routing.first_choice(0, Tick(100)), Some(3));
        assert_eq!(routing.first_choice(0, Tick(100 + SUSPECT_US)), Some(2));
        for member in 0..4 {
            routing.suspect(member, Tick(100));
        }
        assert_eq!(
            routing.first_choice(0, Tick(100)),
            Some(2),
            "all suspect: the wanted one again"
        );
        routing.set_connected(2, false);
        assert_eq!(routing.first_choice(0, Tick(100)), Some(3));
    }

    #[test]
    fn a_replica_that_lags_behind_is_no_first_choice() {
        let mut routing = all_up(Route::To(2));
        for slot in 1..=100 {
            for member in [0, 1, 3] {
                routing.heard(member, slot);
            }
            routing.accepted(slot);
        }
        assert_eq!(routing.first_choice(0, Tick(0)), Some(3));
        routing.heard(2, 100);
        assert_eq!(routing.first_choice(0, Tick(0)), Some(2));
    }

    #[test]
    fn identities_are_spread_and_retries_go_around() {
        let mut routing = all_up(Route::Spread);
        let homes: Vec<_> = (0..5)
            .map(|identity| routing.first_choice(identity, Tick(0)).unwrap())
            .collect();
        assert_eq!(homes, [0, 1, 2, 3, 0]);
        routing.set_connected(0, false);
        assert_eq!(routing.next_after(3, MemberSet::default()), Some(1));
        assert_eq!(routing.next_after(3, MemberSet::of(1)), Some(2));
        for member in 1..4 {
            routing.set_connected(member, false);
        }
        assert_eq!(routing.next_after(3, MemberSet::default()), None);
        assert_eq!(routing.first_choice(1, Tick(0)), None);
    }
}
