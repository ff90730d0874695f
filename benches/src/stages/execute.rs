//! Execution and state roots, a request at a time as a slot's root shares it, at sizes of the state.

use std::time::Duration;

use bytes::Bytes;
use trireme_core::api::{Execution, OrderedBatch};
use trireme_core::request::{BundleBuilder, body};
use trireme_core::{Params, Slot};
use trireme_crypto::{Digest, PublicKey, Signature};
use trireme_state::kv::{Kv, Op};
use trireme_state::{Application, ClientRegistry, Executor, Null};

use crate::load::DOMAIN;
use crate::meter::{Meter, thread_cpu};

/// Requests of one slot, and slots between roots: the parameters' starting value.
const SLOT_OPS: u64 = 1_024;
const STATE_INTERVAL: Slot = 64;
const CLIENTS: u64 = 64;
const BUNDLE: u64 = 64;
const VALUE_BYTES: usize = 100;
const KEYS: [(u64, &str); 3] = [(1_000, "1e3"), (100_000, "1e5"), (1_000_000, "1e6")];

/// Without the sizes that take long to fill.
pub(super) fn some(meter: &mut Meter) {
    run(meter, "null", None);
    run(meter, &format!("kv, {} keys", KEYS[1].1), Some(KEYS[1].0));
}

pub(super) fn measure(meter: &mut Meter) {
    run(meter, "null", None);
    for (keys, words) in KEYS {
        run(meter, &format!("kv, {words} keys"), Some(keys));
    }
}

fn run(meter: &mut Meter, name: &str, keys: Option<u64>) {
    if !meter.wants("execute", name) {
        return;
    }
    let app: Box<dyn Application> = if keys.is_some() {
        Box::new(Kv::new())
    } else {
        Box::new(Null::new())
    };
    let mut executor = Executor::new(app, ClientRegistry::Open, &Params::new(4, 1));
    let mut slots = Slots {
        keys,
        random: 1,
        sent: [0; CLIENTS as usize],
        slot: 0,
    };
    for _ in 0..keys.unwrap_or(1).div_ceil(SLOT_OPS) {
        executor.execute(&slots.next(|place, _| place), None);
    }
    executor.state_root(executor.executed());
    let (mut ops, mut executing, mut roots) = (0u64, Duration::ZERO, Duration::ZERO);
    // At least one root, and all that comes before it.
    while executing + roots < meter.time() || !slots.slot.is_multiple_of(STATE_INTERVAL) {
        let execution = slots.next(|_, random| random);
        let start = thread_cpu();
        let done = executor.execute(&execution, None);
        let executed = thread_cpu();
        executing += executed - start;
        if slots.slot.is_multiple_of(STATE_INTERVAL) {
            executor.state_root(execution.slot);
            roots += thread_cpu() - executed;
        }
        assert_eq!(u64::from(done.fresh), SLOT_OPS, "every request is new");
        ops += SLOT_OPS;
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / ops as f64;
    meter.put("execute", name, each(executing), "us/op");
    meter.put("execute", &format!("{name}, roots"), each(roots), "us/op");
}

/// Slots whose clients number their requests on.
struct Slots {
    keys: Option<u64>,
    random: u64,
    sent: [u64; CLIENTS as usize],
    slot: Slot,
}

impl Slots {
    fn next_random(&mut self) -> u64 {
        // xorshift64*: enough to visit keys in no order.
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn payload(&mut self, key: u64) -> Vec<u8> {
        let value = [self.next_random().to_le_bytes()[0]; VALUE_BYTES];
        match self.keys {
            Some(keys) => {
                let key = format!("key-{:012}", key % keys);
                Op::Put {
                    key: key.as_bytes(),
                    value: &value,
                }
                .encode()
            }
            None => value.to_vec(),
        }
    }

    /// The next slot; `key` chooses by place and by chance.
    fn next(&mut self, key: impl Fn(u64, u64) -> u64) -> Execution {
        let mut bundles = Vec::new();
        for index in 0..SLOT_OPS / BUNDLE {
            let client = usize::try_from(index % CLIENTS).expect("few");
            let sent = self.sent[client];
            let done_below = (sent + 1).saturating_sub(4 * BUNDLE);
            let name = PublicKey([u8::try_from(client).expect("few"); 32]);
            let mut builder = BundleBuilder::new(name, done_below);
            for number in sent + 1..=sent + BUNDLE {
                let random = self.next_random();
                let place = self.slot * SLOT_OPS + index * BUNDLE + number - sent - 1;
                let payload = self.payload(key(place, random));
                builder.push(number, &payload).expect("within the limits");
            }
            self.sent[client] += BUNDLE;
            bundles.push(builder.finish(|_| Signature([0; 64]), &DOMAIN));
        }
        self.slot += 1;
        let body: Bytes = body::assemble(&bundles);
        Execution {
            slot: self.slot,
            block: Digest::ZERO,
            view: 0,
            timestamp: self.slot,
            batches: vec![OrderedBatch {
                lane: 0,
                height: self.slot,
                digest: Digest::ZERO,
                body,
            }],
            root: false,
            checkpoint: false,
            fast: true,
            replay: false,
        }
    }
}
