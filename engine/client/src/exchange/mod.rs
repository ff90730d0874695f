//! The client as a function: what it sends, retries, accepts and gives up, without clock, socket or runtime.
//!
//! A [`Exchange`] holds the sessions of several identities over one set of connections. Inputs are method calls with
//! the time; what is to be sent and what is done are taken with [`Exchange::drain_outgoing`] and
//! [`Exchange::drain_completions`].

mod connections;
mod replies;
mod retries;

use std::collections::HashMap;

use bytes::Bytes;
use trireme_core::quorum::{MemberSet, Quorums};
use trireme_core::request::{BUNDLE_OVERHEAD_BYTES, REQUEST_OVERHEAD_BYTES, request_digest};
use trireme_core::request::{BundleBuilder, MAX_BUNDLE_BYTES, MAX_BUNDLE_OPS, MAX_REQUEST_BYTES};
use trireme_core::types::{ClientId, MemberId, Slot, Tick, View};
use trireme_crypto::{Domain, SecretKey};

use crate::bundles::{Bundle, Bundles};
use crate::error::{Busy, Limit, SubmitError};
use crate::latency::Latency;
use crate::matching::Matcher;
use crate::options::Options;
use crate::routing::Routing;
use crate::session::{BundleKey, Session};
use crate::signer::Signer;

/// A reply that f+1 replicas agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The slot of the reply: that of the execution, or, for a request that was sent more than once, of a copy.
    pub slot: Slot,
    /// View of that slot's block, as one replica says: a guess at the leader.
    pub view: View,
    /// The application's result.
    pub result: Bytes,
}

/// The end of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Which identity, by its place in the keys.
    pub identity: u32,
    /// Number of the request.
    pub number: u64,
    /// The tag of its submission.
    pub tag: u64,
    /// Its place in the submitted bundle.
    pub position: u32,
    /// What became of it.
    pub result: Result<Accepted, SubmitError>,
}

/// A frame to send: `head` and `body` one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) member: MemberId,
    pub(crate) head: Bytes,
    pub(crate) body: Bytes,
    pub(crate) bundle: Option<BundleKey>,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests that were submitted.
    pub submitted: u64,
    /// Bundles that were sent again after a timeout or a lost connection.
    pub retries: u64,
    /// Refusals by replicas, of bundles.
    pub refusals: u64,
    /// Reply sets that contradict themselves, their sender, or what f+1 replicas agree on.
    pub wrong_replies: u64,
    /// Well-formed frames about nothing that this client asked for.
    pub unexpected: u64,
    /// Times that an identity changed the replica that it sends to.
    pub rehomed: u64,
}

impl Counters {
    /// Sums.
    #[must_use]
    pub fn plus(self, other: Counters) -> Counters {
        Counters {
            submitted: self.submitted + other.submitted,
            retries: self.retries + other.retries,
            refusals: self.refusals + other.refusals,
            wrong_replies: self.wrong_replies + other.wrong_replies,
            unexpected: self.unexpected + other.unexpected,
            rehomed: self.rehomed + other.rehomed,
        }
    }
}

struct Identity {
    session: Session,
    matcher: Matcher,
    signer: Signer,
}

/// What the exchange must know of the cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) quorums: Quorums,
    pub(crate) domain: Domain,
    pub(crate) session_window: u32,
    pub(crate) signed: bool,
}

pub(crate) struct Exchange {
    shape: Shape,
    options: Options,
    identities: Vec<Identity>,
    by_client: HashMap<ClientId, u32>,
    bundles: Bundles,
    routing: Routing,
    latency: Latency,
    settle_at: Tick,
    /// Connections that still send full replies to an identity that has another home now.
    stale_full: Vec<(MemberId, u32)>,
    outgoing: Vec<Outgoing>,
    completions: Vec<Completion>,
    counters: Counters,
}

impl Exchange {
    /// `first_number`: of each identity's first request.
    pub(crate) fn new(shape: Shape, keys: &[SecretKey], first_number: u64, options: Options) -> Self {
        let members = u16::try_from(shape.quorums.n()).expect("a member count");
        let window = options.window.min(shape.session_window).max(1);
        let identity = |key: &SecretKey| Identity {
            session: Session::new(key.public(), 0, first_number.max(1), window as usize),
            matcher: Matcher::new(shape.quorums.one_honest()),
            signer: if shape.signed {
                Signer::new(key)
            } else {
                Signer::Unsigned
            },
        };
        let identities: Vec<Identity> = keys.iter().map(identity).collect();
        let by_client = (0u32..)
            .zip(&identities)
            .map(|(index, identity)| (identity.session.client, index))
            .collect();
        Self {
            shape,
            options,
            identities,
            by_client,
            bundles: Bundles::default(),
            routing: Routing::new(options.route, members),
            latency: Latency::new(options.retry_floor_us, options.retry_ceiling_us),
            settle_at: Tick(0),
            stale_full: Vec::new(),
            outgoing: Vec::new(),
            completions: Vec::new(),
            counters: Counters::default(),
        }
    }

    pub(crate) fn identities(&self) -> u32 {
        u32::try_from(self.identities.len()).expect("bounded by the configuration")
    }

    pub(crate) fn client(&self, identity: u32) -> ClientId {
        self.identities[identity as usize].session.client
    }

    pub(crate) fn room(&self, identity: u32) -> usize {
        self.identities[identity as usize].session.room()
    }

    pub(crate) fn home(&self, identity: u32) -> MemberId {
        self.identities[identity as usize].session.home
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    pub(crate) fn connected(&self) -> MemberSet {
        self.routing.connected()
    }

    pub(crate) fn drain_outgoing(&mut self) -> std::vec::Drain<'_, Outgoing> {
        self.outgoing.drain(..)
    }

    pub(crate) fn drain_completions(&mut self) -> std::vec::Drain<'_, Completion> {
        self.completions.drain(..)
    }

    pub(crate) fn has_completions(&self) -> bool {
        !self.completions.is_empty()
    }

    pub(crate) fn next_timeout(&mut self) -> Tick {
        let due = self.bundles.next_due(&self.latency, self.options.give_up_us);
        due.map_or(self.settle_at, |due| due.min(self.settle_at))
    }

    /// Submits requests of one identity as one bundle under one signature. Gives the number of the first; the others
    /// follow without gaps.
    pub(crate) fn submit<P: AsRef<[u8]>>(
        &mut self,
        now: Tick,
        identity: u32,
        payloads: &[P],
        tag: u64,
    ) -> Result<u64, SubmitError> {
        self.check_limits(identity, payloads)?;
        let key = self.bundles.next_key();
        let Identity { session, signer, .. } = &mut self.identities[identity as usize];
        let (client, first) = (session.client, session.next());
        let mut builder = BundleBuilder::new(client, session.done_below());
        for payload in payloads {
            let payload = payload.as_ref();
            let digest = request_digest(&client, session.next(), payload);
            let number = session.take(digest, key);
            builder
                .push(number, payload)
                .expect("sizes were checked, numbers ascend");
        }
        let bytes = Bytes::from(builder.finish(|statement| signer.sign(statement), &self.shape.domain));
        let count = u32::try_from(payloads.len()).expect("checked");
        self.counters.submitted += u64::from(count);
        let bundle = Bundle {
            identity,
            tag,
            first,
            count,
            remaining: count,
            encoded: count,
            bytes,
            submitted: now,
            current: None,
            sent: now,
            attempt: 0,
            silent: MemberSet::default(),
            refused: MemberSet::default(),
            final_refused: MemberSet::default(),
            reason: None,
        };
        let inserted = self.bundles.insert(bundle);
        assert_eq!(inserted, key, "one place, one bundle");
        let home = self.home(identity);
        if self.routing.is_connected(home) {
            self.send(now, key, home);
        }
        Ok(first)
    }

    fn check_limits<P: AsRef<[u8]>>(&self, identity: u32, payloads: &[P]) -> Result<(), SubmitError> {
        assert!(!payloads.is_empty(), "a bundle holds a request");
        let check = |what, size, limit| {
            if size > limit {
                Err(SubmitError::TooLarge { what, size, limit })
            } else {
                Ok(())
            }
        };
        let sizes = payloads.iter().map(|payload| payload.as_ref().len());
        let longest = sizes.clone().max().unwrap_or(0);
        let bytes = BUNDLE_OVERHEAD_BYTES + sizes.map(|size| REQUEST_OVERHEAD_BYTES + size).sum::<usize>();
        check(Limit::RequestBytes, longest, MAX_REQUEST_BYTES)?;
        check(Limit::BundleRequests, payloads.len(), MAX_BUNDLE_OPS)?;
        check(Limit::BundleBytes, bytes, MAX_BUNDLE_BYTES)?;
        if payloads.len() > self.room(identity) {
            return Err(SubmitError::Busy(Busy::Window));
        }
        if self.bundles.held_bytes() + bytes > self.options.max_held_bytes {
            return Err(SubmitError::Busy(Busy::Bytes));
        }
        Ok(())
    }

    /// Sends a bundle and starts its retry timeout.
    fn send(&mut self, now: Tick, key: BundleKey, member: MemberId) {
        let bundle = self.bundles.get_mut(key).expect("the caller holds the key of a bundle");
        bundle.current = Some(member);
        bundle.sent = now;
        bundle.silent.insert(member);
        let body = bundle.bytes.clone();
        self.bundles.was_sent(key);
        self.outgoing.push(Outgoing {
            member,
            head: bundle_head(body.len()),
            body,
            bundle: Some(key),
        });
    }
}

/// What stands before a bundle in a [`ToReplica::Bundle`] frame, so that the bundle itself is not copied.
fn bundle_head(bundle_bytes: usize) -> Bytes {
    let len = u32::try_from(bundle_bytes).expect("bundles are bounded");
    let mut head = [0; 5];
    head[1..].copy_from_slice(&len.to_le_bytes());
    Bytes::copy_from_slice(&head)
}

#[cfg(test)]
#[path = "../tests/exchange.rs"]
mod tests;
