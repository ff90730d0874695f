//! Connections come and go: homes of the identities, and who sends them full replies.

use bytes::Bytes;
use trireme_core::reply::{MAX_SUBSCRIBE_CLIENTS, Refusal, ToReplica};
use trireme_core::types::{MemberId, Tick};

use super::{Exchange, Outgoing};
use crate::session::BundleKey;

impl Exchange {
    /// A connection is ready.
    pub(crate) fn on_connected(&mut self, now: Tick, member: MemberId, rtt_us: u64) {
        self.routing.set_connected(member, true);
        self.routing.set_rtt(member, rtt_us);
        self.routing.measure();
        for index in 0..self.identities() {
            let home = self.home(index);
            let wanted = self.routing.first_choice(index, now) == Some(member);
            if wanted || !self.routing.is_connected(home) {
                self.identities[index as usize].session.home = member;
                if home != member && self.routing.is_connected(home) {
                    self.stale_full.push((home, index));
                }
            }
        }
        let (full, brief): (Vec<u32>, Vec<u32>) = (0..self.identities()).partition(|&index| self.home(index) == member);
        self.subscribe(member, &full, true);
        self.subscribe(member, &brief, false);
        for key in self.bundles.at(None) {
            let identity = self.bundles.get(key).expect("just listed").identity;
            self.send(now, key, self.home(identity));
        }
    }

    /// A connection is gone: what went over it last goes elsewhere at once.
    pub(crate) fn on_disconnected(&mut self, now: Tick, member: MemberId) {
        self.routing.set_connected(member, false);
        self.outgoing.retain(|outgoing| outgoing.member != member);
        self.stale_full.retain(|&(stale, _)| stale != member);
        for index in 0..self.identities() {
            if self.home(index) == member
                && let Some(home) = self.routing.first_choice(index, now)
            {
                self.rehome(index, home);
            }
        }
        for key in self.bundles.at(Some(member)) {
            self.bundles.get_mut(key).expect("just listed").current = None;
            let identity = self.bundles.get(key).expect("just listed").identity;
            let home = self.home(identity);
            if self.routing.is_connected(home) {
                self.counters.retries += 1;
                self.send(now, key, home);
            }
        }
    }

    pub(crate) fn on_rtt(&mut self, member: MemberId, us: u64) {
        self.routing.set_rtt(member, us);
    }

    /// The outgoing queue of a connection had no room for a bundle: as if that replica had refused it.
    pub(crate) fn on_queue_full(&mut self, now: Tick, member: MemberId, key: BundleKey) {
        self.on_refused_bundle(now, member, key, Refusal::Overloaded);
    }

    /// Once in a while: back to the first choices, and no more full replies from former homes.
    pub(super) fn settle(&mut self, now: Tick) {
        let mut stale = std::mem::take(&mut self.stale_full);
        stale.sort_unstable();
        stale.dedup();
        stale.retain(|&(member, index)| self.home(index) != member && self.routing.is_connected(member));
        for run in stale.chunk_by(|a, b| a.0 == b.0) {
            let indices: Vec<u32> = run.iter().map(|&(_, index)| index).collect();
            self.subscribe(run[0].0, &indices, false);
        }
        self.routing.measure();
        for index in 0..self.identities() {
            match self.routing.first_choice(index, now) {
                Some(choice) if choice != self.home(index) => self.rehome(index, choice),
                _ => {}
            }
        }
    }

    /// The former home goes on sending full replies until the next `settle`: what is under way there needs them.
    pub(super) fn rehome(&mut self, index: u32, home: MemberId) {
        let before = std::mem::replace(&mut self.identities[index as usize].session.home, home);
        self.counters.rehomed += 1;
        if self.routing.is_connected(before) {
            self.stale_full.push((before, index));
        }
        self.subscribe(home, &[index], true);
    }

    fn subscribe(&mut self, member: MemberId, indices: &[u32], full: bool) {
        for some in indices.chunks(MAX_SUBSCRIBE_CLIENTS) {
            let clients = some.iter().map(|&index| self.client(index)).collect();
            let body = Bytes::from(ToReplica::Subscribe { clients, full }.to_bytes());
            self.outgoing.push(Outgoing {
                member,
                head: Bytes::new(),
                body,
                bundle: None,
            });
        }
    }
}
