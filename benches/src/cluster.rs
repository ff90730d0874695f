//! A cluster of real cores under simulated time: each replica has a core of its own, every piece of work takes the CPU
//! time that it took here when it was done, and what is not done (sockets, disk, application) takes what it was measured
//! to take alone.
//!
//! Real: encoding, decoding, the gate, the core, member signatures, client signatures at the ingress and at witnesses,
//! hashing. Modelled, from [`Model`]: what a frame and a byte cost at a socket, a flush's time and CPU, an executed
//! request. The network has one delay everywhere and no limit on bytes.

mod keys;
mod replica;

use std::collections::BTreeMap;

use serde::Serialize;
use trireme_core::api::{Outbound, To};
use trireme_core::{MemberId, Params};
use trireme_crypto::SecretKey;

use crate::load;
use keys::Ring;
use replica::{Arrival, Host};

/// Measured costs of what is not done here.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Model {
    /// CPU of one frame at its sender and receiver together, microseconds.
    pub frame_us: f64,
    /// CPU of a byte on top, at both.
    pub byte_us: f64,
    /// CPU of one flush.
    pub flush_cpu_us: f64,
    /// From an append until it is durable.
    pub flush_us: f64,
    /// CPU of an executed request.
    pub execute_us: f64,
    /// One way between any two.
    pub network_us: f64,
}

impl Model {
    /// Nothing costs anything: what remains is what is done here.
    pub const FREE: Model = Model {
        frame_us: 0.0,
        byte_us: 0.0,
        flush_cpu_us: 0.0,
        flush_us: 0.0,
        execute_us: 0.0,
        network_us: 0.0,
    };
}

/// What a cluster is loaded with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Load {
    /// Requests in a bundle, under one signature.
    pub bundle: u32,
    /// Bytes of each.
    pub payload_bytes: usize,
    /// Bundles of own clients that each replica has under way; 0: one bundle in the whole cluster at a time, at the
    /// last replica, the next when the one before was executed by f + 1.
    pub in_flight: usize,
    /// The run ends when so many requests were executed everywhere.
    pub requests: u64,
    /// Ed25519 signatures, or a keyed hash in their place to see the core alone.
    pub signed: bool,
}

/// What a run cost: microseconds of all replicas together for each request, by kind of work.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Costs {
    /// Client signatures, at the ingress and at witnesses.
    pub client_signatures: f64,
    /// Member signatures made.
    pub signing: f64,
    /// Member signatures checked.
    pub checking: f64,
    /// Encoding, decoding, and the gate's other checks.
    pub codec: f64,
    /// The core, signatures apart.
    pub core: f64,
    /// Sockets (modelled).
    pub transport: f64,
    /// Flushes (modelled).
    pub log: f64,
    /// Requests executed (modelled).
    pub execute: f64,
}

impl Costs {
    /// All.
    pub fn sum(&self) -> f64 {
        self.signatures() + self.codec + self.core + self.transport + self.log + self.execute
    }

    /// What is spent on signatures.
    pub fn signatures(&self) -> f64 {
        self.client_signatures + self.signing + self.checking
    }
}

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Members.
    pub n: u16,
    /// By kind of work.
    pub costs_us: Costs,
    /// From the arrival of a bundle at its replica until f + 1 have executed it: median.
    pub p50_us: f64,
    /// Requests a second of simulated time.
    pub ops_s: f64,
    /// Slots that were committed.
    pub slots: u64,
    /// Requests that were executed.
    pub requests: u64,
    /// Core time of one replica for a slot.
    pub core_us_per_slot: f64,
    /// Frames that were sent for each request.
    pub frames: f64,
    /// Bytes that were sent for each request.
    pub bytes: f64,
}

struct Cluster {
    hosts: Vec<Host>,
    model: Model,
    load: Load,
    /// Bundles under way by their first request's number: when each came, and how many have executed it.
    pending: BTreeMap<u64, Pending>,
    clients: Vec<SecretKey>,
    next_number: u64,
    latencies: Vec<u64>,
    frames: u64,
    bytes: u64,
    order: u64,
}

struct Pending {
    came: u64,
    executed: usize,
    at: usize,
}

/// Runs a cluster of `n` until the load is done.
///
/// # Panics
///
/// If the cluster stands still: with correct members on a network without faults that is a fault of the core.
pub fn run(n: u16, load: &Load, model: &Model) -> Outcome {
    let rings = Ring::all(n, load.signed);
    let f = (n - 1) / 3;
    let params = Params::new(n, f);
    let hosts = rings.into_iter().map(|ring| Host::new(&params, ring)).collect();
    let mut cluster = Cluster {
        hosts,
        model: *model,
        load: *load,
        pending: BTreeMap::new(),
        clients: (0..load::CLIENTS as u64).map(load::secret).collect(),
        next_number: 1,
        latencies: Vec::new(),
        frames: 0,
        bytes: 0,
        order: 0,
    };
    cluster.start();
    let mut turns = 0u64;
    while cluster.hosts.iter().any(|host| host.executed < load.requests) {
        assert!(cluster.turn(), "the cluster of {n} stands still");
        turns += 1;
        assert!(turns < 50_000_000, "the cluster of {n} does not come to an end");
    }
    cluster.outcome(n)
}

impl Cluster {
    fn start(&mut self) {
        let n = self.hosts.len();
        for member in 0..n {
            self.hosts[member].start(n);
        }
        match self.load.in_flight {
            0 => self.submit(n - 1, 0),
            count => (0..n).for_each(|member| (0..count).for_each(|_| self.submit(member, 0))),
        }
    }

    /// A bundle arrives at a replica.
    fn submit(&mut self, member: usize, now: u64) {
        let first = self.next_number;
        self.next_number += u64::from(self.load.bundle);
        let client = &self.clients[(first / u64::from(self.load.bundle)) as usize % load::CLIENTS];
        let bytes = load::bundle(client, first, self.load.bundle, self.load.payload_bytes);
        self.pending.insert(
            first,
            Pending {
                came: now,
                executed: 0,
                at: member,
            },
        );
        self.arrive(member, now, Arrival::Bundle { bytes });
    }

    fn arrive(&mut self, member: usize, at: u64, arrival: Arrival) {
        self.order += 1;
        self.hosts[member].arrive(at, self.order, arrival);
    }

    /// The next replica that has something to do does it; false: nobody has.
    fn turn(&mut self) -> bool {
        let starts = self
            .hosts
            .iter()
            .enumerate()
            .filter_map(|(member, host)| Some((host.next_start()?, member)));
        let Some((start, member)) = starts.min() else {
            return false;
        };
        let load = self.load;
        let done = self.hosts[member].turn(start, &self.model, &load);
        for (at, outbound) in done.sent {
            self.send(member, at, outbound);
        }
        for (at, id) in done.durable {
            self.arrive(member, at, Arrival::Durable { id });
        }
        for first in done.executed {
            self.executed(first, self.hosts[member].free);
        }
        true
    }

    fn send(&mut self, from: usize, at: u64, outbound: Outbound) {
        let (frame, encoding) = self.hosts[from].encode(outbound.message);
        let receivers: Vec<usize> = match outbound.to {
            To::One(member) => vec![usize::from(member)],
            To::All => (0..self.hosts.len()).filter(|member| *member != from).collect(),
        };
        let each = self.model.frame_us / 2.0 + self.model.byte_us / 2.0 * frame.len() as f64;
        let sending = nanos(each * receivers.len() as f64);
        let host = &mut self.hosts[from];
        host.parts.codec += encoding;
        host.parts.transport += sending;
        host.free = host.free.max(at) + encoding + sending;
        let arrival = host.free + nanos(self.model.network_us);
        for to in receivers {
            self.frames += 1;
            self.bytes += frame.len() as u64;
            let from = MemberId::try_from(from).expect("a member");
            self.arrive(
                to,
                arrival,
                Arrival::Frame {
                    from,
                    frame: frame.clone(),
                },
            );
        }
    }

    /// A replica has executed a bundle; with f + 1 of them the client has its answer and sends the next.
    fn executed(&mut self, first: u64, now: u64) {
        let enough = (self.hosts.len() - 1) / 3 + 1;
        let Some(pending) = self.pending.get_mut(&first) else {
            return;
        };
        pending.executed += 1;
        if pending.executed != enough {
            return;
        }
        let (came, at) = (pending.came, pending.at);
        self.pending.remove(&first);
        self.latencies.push(now - came);
        self.submit(at, now);
    }

    fn outcome(mut self, n: u16) -> Outcome {
        let requests = self.hosts.iter().map(|host| host.executed).min().unwrap_or(0).max(1);
        let slots = self
            .hosts
            .iter()
            .map(|host| host.replica.committed())
            .min()
            .unwrap_or(0)
            .max(1);
        let sum = |part: fn(&replica::Parts) -> u64| self.hosts.iter().map(|host| part(&host.parts)).sum::<u64>();
        let each = |nanos: u64| nanos as f64 / 1e3 / requests as f64;
        self.latencies.sort_unstable();
        let end = self.hosts.iter().map(|host| host.free).max().unwrap_or(1).max(1);
        let keys: Vec<(u64, u64)> = self.hosts.iter().map(|host| host.ring.spent()).collect();
        Outcome {
            n,
            costs_us: Costs {
                client_signatures: each(sum(|parts| parts.clients)),
                signing: each(keys.iter().map(|spent| spent.0).sum()),
                checking: each(keys.iter().map(|spent| spent.1).sum()),
                codec: each(sum(|parts| parts.codec)),
                core: each(sum(|parts| parts.core)),
                transport: each(sum(|parts| parts.transport)),
                log: each(sum(|parts| parts.log)),
                execute: each(sum(|parts| parts.execute)),
            },
            p50_us: self
                .latencies
                .get(self.latencies.len() / 2)
                .map_or(0.0, |ns| *ns as f64 / 1e3),
            ops_s: requests as f64 / (end as f64 / 1e9),
            slots,
            requests,
            core_us_per_slot: sum(|parts| parts.core) as f64 / 1e3 / slots as f64 / f64::from(n),
            frames: self.frames as f64 / requests as f64,
            bytes: self.bytes as f64 / requests as f64,
        }
    }
}

/// Microseconds as nanoseconds.
fn nanos(us: f64) -> u64 {
    (us * 1e3) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAN: Model = Model {
        frame_us: 2.0,
        byte_us: 0.001,
        flush_cpu_us: 10.0,
        flush_us: 100.0,
        execute_us: 0.3,
        network_us: 50.0,
    };

    #[test]
    fn one_bundle_at_a_time_takes_its_steps_and_a_loaded_cluster_batches() {
        let load = Load {
            bundle: 4,
            payload_bytes: 64,
            in_flight: 0,
            requests: 40,
            signed: true,
        };
        let idle = run(4, &load, &LAN);
        // Batch, block, votes: three ways, and one flush on the way at least.
        assert!(idle.p50_us >= 3.0 * 50.0 + 100.0, "{idle:?}");
        assert!(idle.costs_us.signing > 0.0 && idle.costs_us.client_signatures > 0.0);
        let busy = run(
            4,
            &Load {
                in_flight: 8,
                requests: 800,
                ..load
            },
            &LAN,
        );
        assert!(
            busy.requests >= 800 && busy.costs_us.sum() < idle.costs_us.sum(),
            "{busy:?}"
        );
        assert!(busy.frames < idle.frames);
    }

    #[test]
    fn without_signatures_and_models_the_core_remains() {
        let load = Load {
            bundle: 1,
            payload_bytes: 8,
            in_flight: 2,
            requests: 60,
            signed: false,
        };
        let outcome = run(7, &load, &Model::FREE);
        let costs = &outcome.costs_us;
        assert!(costs.core > 0.0 && outcome.core_us_per_slot > 0.0);
        assert_eq!(
            (costs.transport, costs.log, costs.execute, costs.client_signatures),
            (0.0, 0.0, 0.0, 0.0)
        );
    }
}
