//! What replicas answer: replies, which f+1 must agree on, and refusals, of which one alone decides nothing.

use trireme_core::reply::{FromReplica, Outcome, Refusal, ReplyEntry, ReplySet};
use trireme_core::types::{ClientId, MemberId, Slot, Tick, View};
use trireme_crypto::Malformed;

use super::{Accepted, Completion, Exchange};
use crate::error::SubmitError;
use crate::matching::Offer;
use crate::session::BundleKey;

impl Exchange {
    /// A frame of a replica. Status answers are handed back; an error means that the connection is to be closed.
    pub(crate) fn on_frame(
        &mut self,
        now: Tick,
        member: MemberId,
        frame: &[u8],
    ) -> Result<Option<(u64, String)>, Malformed> {
        match FromReplica::from_bytes(frame)? {
            FromReplica::Replies(set) => self.on_replies(now, member, set),
            FromReplica::Refused {
                client,
                numbers,
                reason,
            } => self.on_refused(now, member, client, &numbers, reason),
            FromReplica::Status { nonce, json } => return Ok(Some((nonce, json))),
        }
        Ok(None)
    }

    pub(super) fn on_replies(&mut self, now: Tick, member: MemberId, set: ReplySet) {
        let Some(&index) = self.by_client.get(&set.client) else {
            self.counters.unexpected += 1;
            return;
        };
        self.routing.heard(member, set.slot);
        let identity = &mut self.identities[index as usize];
        let open_limit = 2 * identity.session.span() + 16;
        match identity.matcher.offer(member, set, open_limit) {
            Offer::Waiting | Offer::Late => {}
            Offer::Wrong => self.counters.wrong_replies += 1,
            Offer::Accepted { slot, view, entries } => {
                self.routing.accepted(slot);
                let mut left_out = None;
                for entry in entries {
                    left_out = self.on_entry(now, index, slot, view, entry).or(left_out);
                }
                if let Some(key) = left_out.filter(|&key| self.bundles.get(key).is_some()) {
                    self.send_again(now, key, self.home(index));
                }
            }
        }
    }

    /// Gives the bundle's key if the result is to be asked for again.
    fn on_entry(&mut self, now: Tick, index: u32, slot: Slot, view: View, entry: ReplyEntry) -> Option<BundleKey> {
        let ReplyEntry {
            number,
            request,
            outcome,
        } = entry;
        let outstanding = *self.identities[index as usize].session.outstanding(number)?;
        let result = match outcome {
            _ if request != outstanding.request => Err(SubmitError::NumberTaken),
            Outcome::Executed(result) => Ok(Accepted { slot, view, result }),
            Outcome::ResultGone => Err(SubmitError::ResultGone),
            Outcome::NotRegistered => Err(SubmitError::Refused(Refusal::NotRegistered)),
            Outcome::NoSession => Err(SubmitError::Refused(Refusal::Quota)),
            Outcome::LeftOut => return Some(outstanding.bundle),
            // Not final, and not met by a client that keeps to its window: the retry timeout decides.
            Outcome::TooFarAhead { .. } => return None,
        };
        self.finish(now, number, outstanding.bundle, result);
        None
    }

    /// Ends one request; with the last of a bundle the bundle is done.
    fn finish(&mut self, now: Tick, number: u64, key: BundleKey, result: Result<Accepted, SubmitError>) {
        let bundle = self.bundles.get_mut(key).expect("an outstanding request has a bundle");
        bundle.remaining -= 1;
        let position = u32::try_from(number - bundle.first).expect("inside its bundle");
        let (identity, tag, accepted) = (bundle.identity, bundle.tag, result.is_ok());
        self.completions.push(Completion {
            identity,
            number,
            tag,
            position,
            result,
        });
        self.identities[identity as usize].session.finish(number);
        if bundle.remaining == 0 {
            let bundle = self.bundles.remove(key);
            if accepted {
                self.latency.sample(now.since(bundle.submitted));
            }
        }
    }

    fn on_refused(&mut self, now: Tick, member: MemberId, client: ClientId, numbers: &[u64], reason: Refusal) {
        let Some(&index) = self.by_client.get(&client) else {
            self.counters.unexpected += 1;
            return;
        };
        let mut before = None;
        for &number in numbers {
            let outstanding = self.identities[index as usize].session.outstanding(number);
            let Some(key) = outstanding.map(|outstanding| outstanding.bundle) else {
                continue;
            };
            if before.replace(key) != Some(key) {
                self.on_refused_bundle(now, member, key, reason);
            }
        }
    }

    /// One replica's refusal moves the bundle on to the next one. It ends the bundle only with f+1 final reasons (one
    /// of them is honest), or when all connected replicas refused it and none has it silently.
    pub(super) fn on_refused_bundle(&mut self, now: Tick, member: MemberId, key: BundleKey, reason: Refusal) {
        let Some(bundle) = self.bundles.get_mut(key) else {
            return;
        };
        if !bundle.silent.contains(member) {
            self.counters.unexpected += 1;
            return;
        }
        self.counters.refusals += 1;
        bundle.silent.remove(member);
        bundle.refused.insert(member);
        if reason != Refusal::Overloaded && bundle.reason == Some(Refusal::Overloaded) {
            // Kept: "overloaded" is the one that the caller can do something about.
        } else {
            bundle.reason = Some(reason);
        }
        if !reason.is_temporary() {
            bundle.final_refused.insert(member);
            if bundle.final_refused.count() >= self.shape.quorums.one_honest() {
                return self.fail(now, key, SubmitError::Refused(reason));
            }
        }
        let (refused, silent, current) = (bundle.refused, bundle.silent, bundle.current);
        if current != Some(member) {
            return;
        }
        match self.routing.next_after(member, refused) {
            Some(next) => self.send(now, key, next),
            None if silent.count() == 0 && self.options.fail_when_overloaded => {
                let error = self.refusal_error(key);
                self.fail(now, key, error);
            }
            None => {}
        }
    }

    pub(super) fn refusal_error(&self, key: BundleKey) -> SubmitError {
        match self.bundles.get(key).and_then(|bundle| bundle.reason) {
            None | Some(Refusal::Overloaded | Refusal::Quota) => SubmitError::Overloaded,
            Some(reason) => SubmitError::Refused(reason),
        }
    }

    /// Ends all that is left of a bundle.
    pub(super) fn fail(&mut self, now: Tick, key: BundleKey, error: SubmitError) {
        let bundle = self.bundles.get(key).expect("the caller holds the key of a bundle");
        let (identity, first, count) = (bundle.identity, bundle.first, bundle.count);
        for number in first..first + u64::from(count) {
            let session = &self.identities[identity as usize].session;
            if session.outstanding(number).is_some() {
                self.finish(now, number, key, Err(error));
            }
        }
    }
}
