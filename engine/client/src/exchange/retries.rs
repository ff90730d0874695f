//! Time passes: retries, giving up, and cutting anew what is left of a bundle.

use bytes::Bytes;
use trireme_core::quorum::MemberSet;
use trireme_core::request::{BundleBuilder, BundleRef};
use trireme_core::types::{MemberId, Tick};

use super::{Exchange, Identity};
use crate::bundles::Due;
use crate::error::SubmitError;
use crate::session::BundleKey;

/// How often the routes are looked at again.
const SETTLE_US: u64 = 1_000_000;

impl Exchange {
    /// To be called when [`Exchange::next_timeout`] has passed.
    pub(crate) fn on_timeout(&mut self, now: Tick) {
        while let Some(due) = self.bundles.pop_due(now, &self.latency, self.options.give_up_us) {
            match due {
                Due::Retry(key) => self.retry(now, key),
                Due::GiveUp(key) => self.give_up(now, key),
            }
        }
        if now >= self.settle_at {
            self.settle_at = now.plus(SETTLE_US);
            self.settle(now);
        }
    }

    fn retry(&mut self, now: Tick, key: BundleKey) {
        let bundle = self.bundles.get_mut(key).expect("due bundles are outstanding");
        let (identity, Some(current)) = (bundle.identity, bundle.current) else {
            return;
        };
        bundle.attempt += 1;
        bundle.refused = MemberSet::default();
        let next = self
            .routing
            .next_after(current, MemberSet::of(current))
            .unwrap_or(current);
        if self.home(identity) == current && next != current {
            self.routing.suspect(current, now);
            self.rehome(identity, next);
        }
        if self.routing.is_connected(next) {
            self.counters.retries += 1;
            self.send_again(now, key, next);
        }
    }

    /// Sends what is left of a bundle, cut anew if some of it is done: a copy of the whole would bring the results
    /// again that the client already has.
    pub(super) fn send_again(&mut self, now: Tick, key: BundleKey, member: MemberId) {
        let bundle = self.bundles.get(key).expect("the caller holds the key of a bundle");
        if bundle.remaining < bundle.encoded {
            let Identity { session, signer, .. } = &self.identities[bundle.identity as usize];
            let mut builder = BundleBuilder::new(session.client, session.done_below());
            let old = BundleRef::parse(&bundle.bytes).expect("made here");
            for request in old
                .requests()
                .filter(|request| session.outstanding(request.number).is_some())
            {
                builder
                    .push(request.number, request.payload)
                    .expect("a part of what was in limits");
            }
            let left = builder.ops();
            let bytes = builder.finish(|statement| signer.sign(statement), &self.shape.domain);
            self.bundles.replace_bytes(key, Bytes::from(bytes), left);
        }
        if self.routing.is_connected(member) {
            self.send(now, key, member);
        }
    }

    fn give_up(&mut self, now: Tick, key: BundleKey) {
        let bundle = self.bundles.get(key).expect("due bundles are outstanding");
        let error = match (bundle.silent.count(), bundle.reason) {
            (0, None) => SubmitError::Unreachable,
            (0, Some(_)) => self.refusal_error(key),
            _ => SubmitError::TimedOut,
        };
        self.fail(now, key, error);
    }

    /// Ends everything that is outstanding.
    pub(crate) fn close(&mut self, now: Tick) {
        for key in self.bundles.keys() {
            let sent = self.bundles.get(key).is_some_and(|bundle| bundle.silent.count() > 0);
            self.fail(
                now,
                key,
                if sent {
                    SubmitError::Closed
                } else {
                    SubmitError::Unreachable
                },
            );
        }
    }
}
