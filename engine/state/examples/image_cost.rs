//! What an image costs the running state: making it, executing while it is shared, and, beside the state, writing it out
//! and making a state of it again.
//!
//! `cargo run --release -p trireme-state --example image_cost [keys] [value bytes]`

use std::time::Duration;

use bytes::Bytes;
use trireme_core::api::{Execution, OrderedBatch};
use trireme_core::request::{BundleBuilder, body};
use trireme_core::{Params, Slot};
use trireme_crypto::{Digest, Domain, PublicKey, Signature};
use trireme_state::kv::{Kv, Op};
use trireme_state::{ClientRegistry, Executor, Image, PART_BYTES, Part, Restorer};

const CLIENTS: u64 = 64;
const SLOT_OPS: u64 = 1_024;
/// Slots executed with and without an image beside them.
const SLOTS: usize = 400;

/// Processor time of this thread: what others do on the machine shows in the caches only.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).expect("since the thread's start");
    Duration::new(seconds, u32::try_from(time.tv_nsec).expect("below a second"))
}

/// Writes to keys in an order of their own.
struct Load {
    random: u64,
    slot: Slot,
    value_bytes: usize,
}

impl Load {
    fn random(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn slot(&mut self, mut key: impl FnMut(&mut Self, u64) -> u64) -> Execution {
        self.slot += 1;
        let domain = Domain {
            cluster_id: Digest::ZERO,
            epoch: 0,
        };
        let each = SLOT_OPS / CLIENTS;
        let bundles: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let first = (self.slot - 1) * each;
                let mut builder = BundleBuilder::new(PublicKey([client as u8; 32]), first.saturating_sub(4 * each));
                for number in 0..each {
                    let at = (self.slot - 1) * SLOT_OPS + client * each + number;
                    let key = format!("key-{:012}", key(self, at));
                    let value = vec![self.random() as u8; self.value_bytes];
                    let op = Op::Put {
                        key: key.as_bytes(),
                        value: &value,
                    };
                    builder
                        .push(first + number + 1, &op.encode())
                        .expect("within the limits");
                }
                builder.finish(|_| Signature([0; 64]), &domain)
            })
            .collect();
        let body: Bytes = body::assemble(&bundles);
        let batch = OrderedBatch {
            lane: 0,
            height: self.slot,
            digest: Digest::ZERO,
            body,
        };
        Execution {
            slot: self.slot,
            block: Digest::ZERO,
            view: 0,
            timestamp: self.slot,
            batches: vec![batch],
            root: self.slot.is_multiple_of(64),
            checkpoint: false,
            fast: true,
            replay: false,
        }
    }
}

/// Times of slots, sorted.
fn slots(executor: &mut Executor, load: &mut Load, keys: u64) -> Vec<Duration> {
    let mut times: Vec<Duration> = (0..SLOTS)
        .map(|_| {
            let execution = load.slot(|load, _| load.random() % keys);
            let start = cpu();
            executor.execute(&execution, None);
            cpu() - start
        })
        .collect();
    println!("    first ten: {:.1?}", &times[..10]);
    times.sort_unstable();
    times
}

fn show(what: &str, times: &[Duration]) {
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!(
        "{what}: p50 {:.2?}, p99 {:.2?}, longest {:.2?}",
        at(50),
        at(99),
        at(100)
    );
}

fn write_out(image: &Image, executor: &Executor) -> Vec<(Part, Vec<u8>)> {
    let start = cpu();
    let outline = image.outline(PART_BYTES);
    println!("outline: {:.2?}", cpu() - start);
    let start = cpu();
    let parts = outline.check(&executor.blank().scheme(), &image.vote().state_root);
    let parts = parts.expect("an outline of its own root").into_iter();
    let parts: Vec<_> = parts.map(|(part, _)| (part, image.part(part, PART_BYTES))).collect();
    let bytes: usize = parts.iter().map(|part| part.1.len()).sum();
    println!(
        "{} parts, {:.1} MB: {:.2?}",
        parts.len(),
        bytes as f64 / 1e6,
        cpu() - start
    );
    parts
}

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|text| text.parse::<u64>().expect("a number"));
    let keys = arguments.next().unwrap_or(1_000_000);
    let value_bytes = usize::try_from(arguments.next().unwrap_or(128)).expect("fits");
    let mut executor = Executor::new(Box::new(Kv::new()), ClientRegistry::Open, &Params::new(4, 1));
    let mut load = Load {
        random: 1,
        slot: 0,
        value_bytes,
    };
    for _ in 0..keys.div_ceil(SLOT_OPS) {
        executor.execute(&load.slot(|_, at| at % keys), None);
    }
    println!("{keys} keys with values of {value_bytes} bytes; slots of {SLOT_OPS} writes to random keys");
    show("without an image", &slots(&mut executor, &mut load, keys));
    executor.state_root(executor.executed());
    let start = cpu();
    let image = executor.image();
    println!("image: {:.2?}", cpu() - start);
    show("with an image", &slots(&mut executor, &mut load, keys));
    show("and after", &slots(&mut executor, &mut load, keys));
    let parts = write_out(&image, &executor);
    let start = cpu();
    let mut restorer =
        Restorer::new(&executor.blank(), image.vote().clone(), &image.outline(PART_BYTES)).expect("a good head");
    for (part, bytes) in &parts {
        restorer.part(*part, bytes).expect("a good part");
    }
    restorer.finish().expect("the same root");
    println!("restored: {:.2?}", cpu() - start);
}
