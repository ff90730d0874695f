//! What the execute stage costs for one request, in microseconds of processor time: null and key-value, bundles of 1
//! and 64, with the share of the roots.
//!
//! `cargo run --release -p trireme-state --example execute_rate [seconds for each row]`

use std::time::Duration;

use bytes::Bytes;
use trireme_core::api::{Execution, OrderedBatch};
use trireme_core::request::{BundleBuilder, body};
use trireme_core::{Params, Slot};
use trireme_crypto::{Digest, Domain, PublicKey, Signature};
use trireme_state::kv::{Kv, Op};
use trireme_state::{Application, ClientRegistry, Executor, Null};

const KEYS: u64 = 100_000;
const VALUE_BYTES: usize = 512;
const CLIENTS: u64 = 64;
/// Requests of one slot, and slots between roots: the parameters' starting value.
const SLOT_OPS: u64 = 1_024;
const STATE_INTERVAL: Slot = 64;

/// Processor time of this thread: what others do on the machine shows in the caches only.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).expect("since the thread's start");
    Duration::new(seconds, u32::try_from(time.tv_nsec).expect("below a second"))
}

/// Makes the slots of a load: each client numbers its requests, and needs no reply older than four bundles.
struct Load {
    kv: bool,
    bundle: u64,
    random: u64,
    sent: Vec<u64>,
    slot: Slot,
}

impl Load {
    fn new(kv: bool, bundle: u64) -> Self {
        Self {
            kv,
            bundle,
            random: 1,
            sent: vec![0; CLIENTS as usize],
            slot: 0,
        }
    }

    fn next_random(&mut self) -> u64 {
        // xorshift64*: enough to visit keys in no order.
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn payload(&mut self, key: u64) -> Vec<u8> {
        let mut value = vec![0; VALUE_BYTES];
        for part in value.chunks_exact_mut(8) {
            part.copy_from_slice(&self.next_random().to_le_bytes());
        }
        let key = format!("key-{key:012}");
        if self.kv {
            Op::Put {
                key: key.as_bytes(),
                value: &value,
            }
            .encode()
        } else {
            value
        }
    }

    fn slot(&mut self, key: impl Fn(u64, u64) -> u64) -> Execution {
        let domain = Domain {
            cluster_id: Digest::ZERO,
            epoch: 0,
        };
        let mut bundles = Vec::new();
        for index in 0..SLOT_OPS / self.bundle {
            let client = index % CLIENTS;
            let sent = self.sent[client as usize];
            let done_below = (sent + 1).saturating_sub(4 * self.bundle);
            let mut builder = BundleBuilder::new(PublicKey([client as u8; 32]), done_below);
            for number in sent + 1..=sent + self.bundle {
                let random = self.next_random();
                let place = self.slot * SLOT_OPS + index * self.bundle + number - sent - 1;
                let payload = self.payload(key(place, random));
                builder.push(number, &payload).expect("within the limits");
            }
            self.sent[client as usize] += self.bundle;
            bundles.push(builder.finish(|_| Signature([0; 64]), &domain));
        }
        self.slot += 1;
        let body: Bytes = body::assemble(&bundles);
        let batches = vec![OrderedBatch {
            lane: 0,
            height: self.slot,
            digest: Digest::ZERO,
            body,
        }];
        let root = self.slot.is_multiple_of(STATE_INTERVAL);
        let (block, timestamp) = (Digest::ZERO, self.slot);
        Execution {
            slot: self.slot,
            block,
            view: 0,
            timestamp,
            batches,
            root,
            checkpoint: false,
            fast: true,
            replay: false,
        }
    }
}

fn run(name: &str, kv: bool, bundle: u64, least: Duration) {
    let app: Box<dyn Application> = if kv { Box::new(Kv::new()) } else { Box::new(Null::new()) };
    let mut executor = Executor::new(app, ClientRegistry::Open, &Params::new(4, 1));
    let mut load = Load::new(kv, bundle);
    let filling = if kv { KEYS.div_ceil(SLOT_OPS) } else { 8 };
    for _ in 0..filling {
        executor.execute(&load.slot(|place, _| place % KEYS), None);
    }
    executor.state_root(executor.executed());
    let (mut ops, mut executing, mut roots) = (0u64, Duration::ZERO, Duration::ZERO);
    while executing + roots < least {
        let mut execution = load.slot(|_, random| random % KEYS);
        let root = std::mem::take(&mut execution.root);
        let start = cpu();
        let done = executor.execute(&execution, None);
        let executed = cpu();
        if root {
            executor.state_root(execution.slot);
            roots += cpu() - executed;
        }
        executing += executed - start;
        assert_eq!(u64::from(done.fresh), SLOT_OPS);
        ops += SLOT_OPS;
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / ops as f64;
    println!(
        "{name:<14} {bundle:>6} {ops:>9} {:>12.3} {:>10.3} {:>10.3}",
        each(executing),
        each(roots),
        each(executing + roots)
    );
}

/// The store alone, with its root every [`STATE_INTERVAL`] slots: what a write costs without sessions and replies.
fn run_store(value_bytes: usize, least: Duration) {
    let mut store = Kv::new();
    let mut load = Load::new(true, 1);
    let value = vec![7; value_bytes];
    let keys: Vec<String> = (0..KEYS).map(|key| format!("key-{key:012}")).collect();
    for key in &keys {
        store.run(
            &Op::Put {
                key: key.as_bytes(),
                value: &value,
            },
            |_| (),
        );
    }
    store.root();
    let (mut ops, mut writing, mut roots) = (0u64, Duration::ZERO, Duration::ZERO);
    while writing + roots < least {
        let start = cpu();
        for _ in 0..SLOT_OPS * STATE_INTERVAL {
            let key = &keys[(load.next_random() % KEYS) as usize];
            store.run(
                &Op::Put {
                    key: key.as_bytes(),
                    value: &value,
                },
                |_| (),
            );
        }
        let written = cpu();
        store.root();
        roots += cpu() - written;
        writing += written - start;
        ops += SLOT_OPS * STATE_INTERVAL;
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / ops as f64;
    let name = format!("store {value_bytes} B");
    println!(
        "{name:<14} {:>6} {ops:>9} {:>12.3} {:>10.3} {:>10.3}",
        "-",
        each(writing),
        each(roots),
        each(writing + roots)
    );
}

fn main() {
    let seconds = std::env::args()
        .nth(1)
        .map_or(2.0, |text| text.parse().expect("seconds, as a number"));
    let least = Duration::from_secs_f64(seconds);
    println!(
        "{:<14} {:>6} {:>9} {:>12} {:>10} {:>10}",
        "application", "bundle", "requests", "execute us", "roots us", "sum us"
    );
    for bundle in [1, 64] {
        run("null", false, bundle, least);
        run("kv 512 B", true, bundle, least);
    }
    run_store(VALUE_BYTES, least);
    run_store(0, least);
}
