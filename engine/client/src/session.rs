//! One identity's numbers: which are outstanding, and the mark below which all are done (R-EXECUTE).

use std::collections::VecDeque;

use trireme_core::types::{ClientId, MemberId};
use trireme_crypto::Digest;

/// Place of a bundle in the table of bundles, with the place's generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BundleKey {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// One number at or above the mark.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outstanding {
    /// What a reply must carry.
    pub(crate) request: Digest,
    /// Whose part it is.
    pub(crate) bundle: BundleKey,
    done: bool,
}

/// The session of one identity.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: ClientId,
    /// Where its requests go, and its full replies come from.
    pub(crate) home: MemberId,
    low: u64,
    numbers: VecDeque<Outstanding>,
    window: usize,
}

impl Session {
    pub(crate) fn new(client: ClientId, home: MemberId, first_number: u64, window: usize) -> Self {
        assert!(
            first_number >= 1 && window >= 1,
            "numbers start at 1, a window holds one"
        );
        Self {
            client,
            home,
            low: first_number,
            numbers: VecDeque::new(),
            window,
        }
    }

    /// R-EXECUTE's `done_below`: every number below it is done.
    pub(crate) fn done_below(&self) -> u64 {
        self.low
    }

    /// The number of the next request.
    pub(crate) fn next(&self) -> u64 {
        self.low + self.numbers.len() as u64
    }

    /// Requests that may be sent now, so that each number m has `done_below >= m - W`.
    pub(crate) fn room(&self) -> usize {
        self.window - self.numbers.len()
    }

    /// Numbers at or above the mark that were given out.
    pub(crate) fn span(&self) -> usize {
        self.numbers.len()
    }

    /// Takes the next number for a request.
    pub(crate) fn take(&mut self, request: Digest, bundle: BundleKey) -> u64 {
        assert!(self.room() > 0, "the caller looked for room");
        let number = self.next();
        self.numbers.push_back(Outstanding {
            request,
            bundle,
            done: false,
        });
        number
    }

    /// The outstanding request of a number, None if it is done or was never sent.
    pub(crate) fn outstanding(&self, number: u64) -> Option<&Outstanding> {
        let place = usize::try_from(number.checked_sub(self.low)?).ok()?;
        self.numbers.get(place).filter(|entry| !entry.done)
    }

    /// Marks a number as done; the mark moves over all that are.
    pub(crate) fn finish(&mut self, number: u64) {
        let place = usize::try_from(number - self.low).expect("an outstanding number lies in the window");
        let entry = &mut self.numbers[place];
        assert!(!entry.done, "a number is finished once");
        entry.done = true;
        while self.numbers.front().is_some_and(|entry| entry.done) {
            self.numbers.pop_front();
            self.low += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: BundleKey = BundleKey {
        index: 0,
        generation: 0,
    };

    fn session(window: usize) -> Session {
        Session::new(trireme_crypto::PublicKey([1; 32]), 0, 100, window)
    }

    #[test]
    fn the_mark_stops_at_the_oldest_outstanding_number() {
        let mut session = session(4);
        for expected in 100..104 {
            assert_eq!(session.take(Digest::ZERO, KEY), expected);
        }
        assert_eq!(session.room(), 0);
        session.finish(101);
        session.finish(102);
        assert_eq!((session.done_below(), session.room()), (100, 0));
        assert!(session.outstanding(101).is_none() && session.outstanding(100).is_some());
        session.finish(100);
        assert_eq!((session.done_below(), session.room()), (103, 3));
        assert!(session.outstanding(99).is_none() && session.outstanding(104).is_none());
    }

    proptest! {
        /// Whatever the order of completion: the mark is the least number that is not done, and no number is further
        /// above it than the window.
        #[test]
        fn the_mark_is_the_least_number_that_is_not_done(steps in prop::collection::vec(any::<(bool, u16)>(), 1..400)) {
            let window = 16;
            let mut session = session(window);
            let mut open = std::collections::BTreeSet::new();
            for (send, which) in steps {
                if send && session.room() > 0 {
                    open.insert(session.take(Digest::ZERO, KEY));
                } else if let Some(&number) = open.iter().nth(usize::from(which) % open.len().max(1)) {
                    open.remove(&number);
                    session.finish(number);
                }
                let least = open.first().copied().unwrap_or(session.next());
                prop_assert_eq!(session.done_below(), least);
                prop_assert!(session.next() <= session.done_below() + window as u64);
            }
        }
    }
}
