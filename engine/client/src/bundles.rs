//! Bundles without all their results yet, and when each is due.

use std::collections::VecDeque;

use bytes::Bytes;
use trireme_core::quorum::MemberSet;
use trireme_core::reply::Refusal;
use trireme_core::types::{MemberId, Tick};

use crate::latency::Latency;
use crate::session::BundleKey;

/// Retry timeouts double up to this many tries.
const TRIES: usize = 6;

/// A bundle that was submitted.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// Whose.
    pub(crate) identity: u32,
    /// The caller's mark.
    pub(crate) tag: u64,
    /// Number of its first request.
    pub(crate) first: u64,
    /// Requests in it as submitted.
    pub(crate) count: u32,
    /// Requests without a result.
    pub(crate) remaining: u32,
    /// Requests in `bytes`: fewer than `count` once it was cut anew.
    pub(crate) encoded: u32,
    /// Encoded and signed, kept for retries.
    pub(crate) bytes: Bytes,
    /// When it was submitted.
    pub(crate) submitted: Tick,
    /// Where it went last.
    pub(crate) current: Option<MemberId>,
    /// When it went there.
    pub(crate) sent: Tick,
    /// Retry timeouts that have passed.
    pub(crate) attempt: usize,
    /// Got a copy and did not refuse it: may have it ordered.
    pub(crate) silent: MemberSet,
    /// Refused it in this pass over the members.
    pub(crate) refused: MemberSet,
    /// Gave a final reason.
    pub(crate) final_refused: MemberSet,
    /// What the last one said.
    pub(crate) reason: Option<Refusal>,
}

#[derive(Debug)]
struct Place {
    generation: u32,
    bundle: Option<Bundle>,
}

/// All bundles, and the queues in which they wait for their timeouts. A queue holds one kind of timeout, so it is in
/// order of time without sorting; entries of bundles that are done are skipped when they reach the front.
#[derive(Debug, Default)]
pub(crate) struct Bundles {
    places: Vec<Place>,
    free: Vec<u32>,
    held_bytes: usize,
    give_up: VecDeque<(Tick, BundleKey)>,
    retry: [VecDeque<(Tick, BundleKey)>; TRIES],
}

/// What a bundle's time has come for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// To be sent elsewhere.
    Retry(BundleKey),
    /// To be given up.
    GiveUp(BundleKey),
}

impl Bundles {
    /// Bytes that are held for retries.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// The key that the next bundle gets.
    pub(crate) fn next_key(&self) -> BundleKey {
        match self.free.last() {
            Some(&index) => BundleKey {
                index,
                generation: self.places[index as usize].generation,
            },
            None => BundleKey {
                index: u32::try_from(self.places.len()).expect("bounded by bytes"),
                generation: 0,
            },
        }
    }

    /// Adds a bundle under [`Bundles::next_key`].
    pub(crate) fn insert(&mut self, bundle: Bundle) -> BundleKey {
        let key = self.next_key();
        self.held_bytes += bundle.bytes.len();
        self.give_up.push_back((bundle.submitted, key));
        match self.free.pop() {
            Some(index) => self.places[index as usize].bundle = Some(bundle),
            None => self.places.push(Place {
                generation: 0,
                bundle: Some(bundle),
            }),
        }
        key
    }

    pub(crate) fn get(&self, key: BundleKey) -> Option<&Bundle> {
        let place = self.places.get(key.index as usize)?;
        place.bundle.as_ref().filter(|_| place.generation == key.generation)
    }

    pub(crate) fn get_mut(&mut self, key: BundleKey) -> Option<&mut Bundle> {
        let place = self.places.get_mut(key.index as usize)?;
        place.bundle.as_mut().filter(|_| place.generation == key.generation)
    }

    pub(crate) fn remove(&mut self, key: BundleKey) -> Bundle {
        let place = &mut self.places[key.index as usize];
        assert_eq!(place.generation, key.generation, "a bundle is removed once");
        let bundle = place.bundle.take().expect("a bundle is removed once");
        place.generation = place.generation.wrapping_add(1);
        self.free.push(key.index);
        self.held_bytes -= bundle.bytes.len();
        bundle
    }

    /// Other bytes for the same bundle.
    pub(crate) fn replace_bytes(&mut self, key: BundleKey, bytes: Bytes, encoded: u32) {
        let bundle = self.get_mut(key).expect("the caller holds the key of a bundle");
        let before = std::mem::replace(&mut bundle.bytes, bytes);
        bundle.encoded = encoded;
        let after = bundle.bytes.len();
        self.held_bytes = self.held_bytes + after - before.len();
    }

    /// Notes that the bundle was just sent: its retry timeout runs from its `sent`.
    pub(crate) fn was_sent(&mut self, key: BundleKey) {
        let bundle = self.get(key).expect("the caller holds the key of a bundle");
        let (queue, sent) = (bundle.attempt.min(TRIES - 1), bundle.sent);
        self.retry[queue].push_back((sent, key));
    }

    /// The bundles that went to this member last (None: that were never sent, or lost their member).
    pub(crate) fn at(&self, member: Option<MemberId>) -> Vec<BundleKey> {
        let key = |(index, place): (usize, &Place)| {
            let bundle = place.bundle.as_ref()?;
            let index = u32::try_from(index).expect("bounded by bytes");
            (bundle.current == member).then_some(BundleKey {
                index,
                generation: place.generation,
            })
        };
        self.places.iter().enumerate().filter_map(key).collect()
    }

    /// Every bundle.
    pub(crate) fn keys(&self) -> Vec<BundleKey> {
        let key = |(index, place): (usize, &Place)| {
            let index = u32::try_from(index).expect("bounded by bytes");
            place.bundle.as_ref().map(|_| BundleKey {
                index,
                generation: place.generation,
            })
        };
        self.places.iter().enumerate().filter_map(key).collect()
    }

    /// When [`Bundles::pop_due`] has something next.
    pub(crate) fn next_due(&mut self, latency: &Latency, give_up_us: u64) -> Option<Tick> {
        self.skip_done();
        let retries = self.retry.iter().enumerate().filter_map(|(attempt, queue)| {
            let (sent, _) = queue.front()?;
            Some(sent.plus(latency.timeout_us(attempt)))
        });
        let give_up = self.give_up.front().map(|(submitted, _)| submitted.plus(give_up_us));
        retries.chain(give_up).min()
    }

    /// A bundle whose time has come; it is out of the queue then.
    pub(crate) fn pop_due(&mut self, now: Tick, latency: &Latency, give_up_us: u64) -> Option<Due> {
        self.skip_done();
        if self
            .give_up
            .front()
            .is_some_and(|(submitted, _)| now >= submitted.plus(give_up_us))
        {
            return self.give_up.pop_front().map(|(_, key)| Due::GiveUp(key));
        }
        for (attempt, queue) in self.retry.iter_mut().enumerate() {
            if queue
                .front()
                .is_some_and(|(sent, _)| now >= sent.plus(latency.timeout_us(attempt)))
            {
                return queue.pop_front().map(|(_, key)| Due::Retry(key));
            }
        }
        None
    }

    fn skip_done(&mut self) {
        while self.give_up.front().is_some_and(|(_, key)| self.get(*key).is_none()) {
            self.give_up.pop_front();
        }
        for attempt in 0..TRIES {
            while let Some(&(sent, key)) = self.retry[attempt].front() {
                let waits = |bundle: &Bundle| bundle.sent == sent && bundle.attempt.min(TRIES - 1) == attempt;
                if self.get(key).is_some_and(waits) {
                    break;
                }
                self.retry[attempt].pop_front();
            }
        }
    }
}
