//! All arithmetic on n, f and p, in one place (PROTOCOL.md section 1).

use crate::types::MemberId;

/// Quorum sizes of an epoch with `n` members, at most `f` of them Byzantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorums {
    n: u16,
    f: u16,
}

/// Why a pair (n, f) is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuorumError {
    /// `n >= 3f + 1` does not hold, or n is zero.
    TooFewMembers,
    /// More members than a member set can name.
    TooManyMembers,
}

/// The most members that an epoch may have: a [`MemberSet`] is one word.
pub const MAX_MEMBERS: u16 = 128;

impl Quorums {
    /// Checks `n >= 3f + 1` and the limit on n.
    pub fn new(n: u16, f: u16) -> Result<Self, QuorumError> {
        if n > MAX_MEMBERS {
            return Err(QuorumError::TooManyMembers);
        }
        if n == 0 || u32::from(n) < 3 * u32::from(f) + 1 {
            return Err(QuorumError::TooFewMembers);
        }
        let quorums = Self { n, f };
        quorums.assert_intersections();
        Ok(quorums)
    }

    /// The default f of n members: the most that it can stand.
    pub fn default_f(n: u16) -> u16 {
        n.saturating_sub(1) / 3
    }

    /// Members of the epoch.
    pub fn n(&self) -> usize {
        usize::from(self.n)
    }

    /// The most Byzantine members that are stood.
    pub fn f(&self) -> usize {
        usize::from(self.f)
    }

    /// How many may be slow without losing the fast path.
    pub fn p(&self) -> usize {
        (self.n() - 3 * self.f() - 1) / 2
    }

    /// q: two quorums share an honest member.
    pub fn quorum(&self) -> usize {
        (self.n() + self.f() + 1).div_ceil(2)
    }

    /// t: Timeouts needed to leave a view.
    pub fn timeout(&self) -> usize {
        self.n() - self.f()
    }

    /// F: acceptances that commit on the fast path.
    pub fn fast(&self) -> usize {
        self.n() - self.p()
    }

    /// tau: reports that mark a block as possibly fast-committed.
    pub fn reports(&self) -> usize {
        self.n() - 2 * self.f() - self.p()
    }

    /// f + 1: at least one honest member.
    pub fn one_honest(&self) -> usize {
        self.f() + 1
    }

    /// All members in order.
    pub fn members(&self) -> impl Iterator<Item = MemberId> + use<> {
        0..self.n
    }

    fn assert_intersections(&self) {
        let (n, f, p) = (self.n(), self.f(), self.p());
        let (q, tau) = (self.quorum(), self.reports());
        assert!(2 * q - n > f, "two quorums share an honest member");
        assert!(q - p > 2 * f, "a quorum meets a fast quorum in f+1 honest members");
        assert!(tau > f + p, "tau reports hold p+1 honest ones");
        assert!(q <= n - f, "a quorum can be reached without the faulty");
    }
}

/// A set of members, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberSet(u128);

impl MemberSet {
    /// The set with one member.
    pub fn of(member: MemberId) -> Self {
        let mut set = Self::default();
        set.insert(member);
        set
    }

    /// Adds a member; false if it was in already.
    pub fn insert(&mut self, member: MemberId) -> bool {
        assert!(member < MAX_MEMBERS);
        let bit = 1u128 << member;
        let fresh = self.0 & bit == 0;
        self.0 |= bit;
        fresh
    }

    /// Takes a member out.
    pub fn remove(&mut self, member: MemberId) {
        assert!(member < MAX_MEMBERS);
        self.0 &= !(1u128 << member);
    }

    /// Whether the member is in.
    pub fn contains(&self, member: MemberId) -> bool {
        member < MAX_MEMBERS && self.0 & (1u128 << member) != 0
    }

    /// How many are in.
    pub fn count(&self) -> usize {
        self.0.count_ones() as usize
    }

    /// Members of either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = MemberId> + use<> {
        let bits = self.0;
        (0..MAX_MEMBERS).filter(move |m| bits & (1u128 << m) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_the_protocol_page() {
        // n, f, p, q, t, F, tau (PROTOCOL.md section 1).
        let table = [
            (4, 1, 0, 3, 3, 4, 2),
            (6, 1, 1, 4, 5, 5, 3),
            (7, 2, 0, 5, 5, 7, 3),
            (31, 10, 0, 21, 21, 31, 11),
        ];
        for (n, f, p, q, t, fast, tau) in table {
            let quorums = Quorums::new(n, f).unwrap();
            assert_eq!(
                (
                    quorums.p(),
                    quorums.quorum(),
                    quorums.timeout(),
                    quorums.fast(),
                    quorums.reports()
                ),
                (p, q, t, fast, tau),
                "n={n} f={f}"
            );
        }
    }

    #[test]
    fn intersections_hold_for_every_size() {
        for n in 1..=MAX_MEMBERS {
            for f in 0..=Quorums::default_f(n) {
                Quorums::new(n, f).unwrap();
            }
            assert_eq!(
                Quorums::new(n, Quorums::default_f(n) + 1),
                Err(QuorumError::TooFewMembers)
            );
        }
        assert_eq!(Quorums::new(0, 0), Err(QuorumError::TooFewMembers));
    }

    #[test]
    fn member_sets() {
        let mut set = MemberSet::of(3);
        assert!(set.insert(127) && !set.insert(3));
        assert_eq!(set.iter().collect::<alloc::vec::Vec<_>>(), [3, 127]);
        set.remove(3);
        assert_eq!((set.count(), set.contains(3), set.contains(127)), (1, false, true));
    }
}
