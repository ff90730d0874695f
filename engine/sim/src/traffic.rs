//! Clients and replicas.

use std::rc::Rc;

use bytes::Bytes;
use trireme_core::MemberId;
use trireme_core::api::Input;
use trireme_core::reply::ReplySet;
use trireme_core::request::{BundleBuilder, BundleRef};
use trireme_crypto::{Signature, context, hash};

use crate::byzantine::Habit;
use crate::event::Event;
use crate::machine::payload;
use crate::network::HostId;
use crate::world::World;

impl World<'_> {
    /// A client has something new to do.
    pub(crate) fn submit(&mut self, client: usize) {
        let count = self.prng.range(1, self.plan.load.max_bundle);
        let numbers: Vec<u64> = (0..count).filter_map(|_| self.ask(client, false)).collect();
        let Some(bytes) = self.clients[client].cut(&self.ring, &numbers) else {
            return;
        };
        if self.prng.percent(self.plan.load.spread_percent) {
            for host in 0..self.hosts.len() {
                self.send_bundle(client, host, bytes.clone(), false);
            }
        } else {
            let host = self.prng.index(self.hosts.len());
            self.send_bundle(client, host, bytes, false);
        }
        self.forge(client);
    }

    /// Opens a request. Returns its number.
    fn ask(&mut self, client: usize, once: bool) -> Option<u64> {
        self.submitted += 1;
        let payload = payload(&mut self.prng, self.submitted);
        let number = self.clients[client].open(payload, once)?;
        let payload = self.clients[client].payload(number).expect("just opened");
        self.oracle.history.submitted(self.clients[client].id, number, payload);
        Some(number)
    }

    /// After healing: a request for one correct replica, never sent again (invariant 22).
    pub(crate) fn last_wish(&mut self, client: usize) {
        let correct: Vec<HostId> = (0..self.hosts.len())
            .filter(|host| self.hosts[*host].healthy())
            .collect();
        let host = self.prng.pick(&correct);
        if self.wish_of(client, host) {
            self.plan.load.last_wave -= 1;
        } else {
            // The client's window is full: later.
            self.at(self.time + 100_000, Event::LastWish { client });
        }
    }

    /// A request that this replica alone has to see through; false if the client may not open one now.
    pub(crate) fn wish_of(&mut self, client: usize, host: HostId) -> bool {
        let Some(number) = self.ask(client, true) else {
            return false;
        };
        let bytes = self.clients[client]
            .cut(&self.ring, &[number])
            .expect("the request waits");
        self.send_bundle(client, host, bytes, true);
        true
    }

    fn send_bundle(&mut self, client: usize, host: HostId, bytes: Bytes, again: bool) {
        if self.prng.millionths(self.network.weather.loss_ppm) {
            return;
        }
        let at = self.time + 100 + self.prng.skewed(2 * self.plan.latency_us);
        self.at(
            at,
            Event::Bundle {
                client,
                host,
                bytes,
                again,
            },
        );
    }

    /// A client is tired of waiting.
    pub(crate) fn retry(&mut self, client: usize) {
        let mut heard = true;
        for bytes in self.clients[client].retry(&self.ring, &mut self.prng) {
            self.oracle.verdict.count("retry");
            let host = self.prng.index(self.hosts.len());
            heard &= self.hosts[host].healthy();
            self.send_bundle(client, host, bytes, false);
        }
        // A faulty replica may have swallowed what it asked.
        self.lasso.retries[client] += u64::from(heard);
        self.at(self.time + self.plan.load.retry_us, Event::Retry { client });
    }

    /// A bundle reaches a replica's ingress. `again`: the client insists until there is room.
    pub(crate) fn intake(&mut self, client: usize, host: HostId, bytes: Bytes, again: bool) {
        if self.drops_bundle(host) {
            return;
        }
        let Ok(bundle) = BundleRef::parse(&bytes) else {
            unreachable!("clients are correct")
        };
        let (ops, statement) = (bundle.ops(), bundle.statement(&self.ring.domain()));
        let good = self
            .ring
            .client_signed(bundle.client(), &statement, &bundle.signature());
        assert!(good, "clients are correct");
        let room = self.hosts[host]
            .replica
            .as_ref()
            .is_some_and(|replica| replica.intake_bytes() >= bytes.len());
        let disk_full = room && self.hosts[host].disk.full();
        if disk_full {
            self.oracle.verdict.count("disk full refused intake");
        }
        if room && !disk_full {
            self.step(host, Input::Bundle { bytes, ops });
        } else {
            self.oracle.verdict.count("bundle refused");
            if again {
                self.at(
                    self.time + 20_000,
                    Event::Bundle {
                        client,
                        host,
                        bytes,
                        again,
                    },
                );
            }
        }
    }

    /// A faulty lane owner puts a request into its lane that nobody signed.
    fn forge(&mut self, client: usize) {
        for host in 0..self.hosts.len() {
            let forges = self.hosts[host]
                .liar
                .as_ref()
                .is_some_and(|liar| liar.is(Habit::ForgeClients));
            if !forges || self.hosts[host].gone || !self.prng.percent(30) {
                continue;
            }
            let number = 1 + self.prng.below(50);
            let payload = payload(&mut self.prng, u64::MAX);
            let mut bundle = BundleBuilder::new(self.clients[client].id, 0);
            bundle.push(number, &payload).expect("a small request");
            let bytes = bundle.finish(|_| Signature([3; 64]), &self.ring.domain());
            self.oracle.verdict.count("forged request");
            let liar = self.hosts[host].liar.as_mut().expect("a faulty member");
            liar.fire(Habit::ForgeClients);
            self.step(
                host,
                Input::Bundle {
                    bytes: bytes.into(),
                    ops: 1,
                },
            );
        }
    }

    /// A replica's replies of one slot.
    pub(crate) fn answer(&mut self, host: HostId, replies: Vec<ReplySet>) {
        if self.hosts[host].gone {
            return;
        }
        let from = self.hosts[host].member;
        let lies = self.hosts[host]
            .liar
            .as_ref()
            .is_some_and(|liar| liar.is(Habit::FalseState));
        for mut set in replies {
            let Some(client) = self.clients.iter().position(|client| client.id == set.client) else {
                self.judge_rogue_replies(host, &set);
                continue;
            };
            if lies {
                set.digest = hash(context::SEED, &set.digest.0);
            }
            if self.prng.millionths(self.network.weather.loss_ppm) {
                continue;
            }
            let at = self.time + 100 + self.prng.skewed(2 * self.plan.latency_us);
            self.at(
                at,
                Event::Reply {
                    client,
                    from,
                    set: Rc::new(set),
                },
            );
        }
    }

    /// A client hears a replica's answer.
    pub(crate) fn reply(&mut self, client: usize, from: MemberId, set: &ReplySet) {
        let id = self.clients[client].id;
        for (number, slot, result) in self.clients[client].reply(from, set) {
            self.oracle.verdict.count("request acknowledged");
            let (oracle, request) = (&mut self.oracle, (id, number, slot));
            oracle
                .history
                .acknowledged(&mut oracle.verdict, self.time, request, result.as_deref());
        }
    }
}
