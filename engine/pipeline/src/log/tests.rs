use super::*;
use crate::link::link;
use crate::signal::Threads;
use crate::topology::{APPENDS, DURABLE, RELEASED};
use bytes::Bytes;
use std::task::{Context, Waker};
use trireme_core::Now;
use trireme_core::api::Stored;
use trireme_core::message::{Batch, BatchHeader, Message, SignedHeader};
use trireme_core::record::Record;
use trireme_core::wire::decode_envelope;
use trireme_crypto::{Digest, Domain, Signature};

const DOMAIN: Domain = Domain {
    cluster_id: Digest([3; 32]),
    epoch: 0,
};

struct Bench {
    stage: LogStage,
    jobs: Sender<LogJob>,
    durable: Receiver<AppendId>,
    released: Receiver<ToMembers>,
    gate: Arc<Gate>,
}

impl Bench {
    fn new(dir: &std::path::Path, change: impl FnOnce(&mut LogConfig)) -> Self {
        let threads = Threads::new(1);
        let (jobs, jobs_out) = link(&APPENDS, APPENDS.room(), &threads, 0, 0);
        let (durable_in, durable) = link(&DURABLE, DURABLE.room(), &threads, 0, 0);
        let (released_in, released) = link(&RELEASED, RELEASED.room(), &threads, 0, 0);
        let mut config = LogConfig::new(dir.join("log"), [0; 32]);
        (config.segment_bytes, config.max_record_bytes, config.max_log_bytes) = (1 << 20, 1 << 19, 4 << 20);
        (config.durability, config.reserve_bytes) = (Durability::Async, 0);
        change(&mut config);
        let mut opening = Log::open(config.clone()).unwrap();
        while opening.next().is_some() {}
        let gate = Arc::new(Gate::default());
        let links = LogLinks {
            jobs: jobs_out,
            durable: durable_in,
            released: released_in,
        };
        let log = opening.finish().unwrap();
        let event = LogEvent::new(log.event_fd()).unwrap();
        let (recovered, clock) = (Recovered { log, event, mark: None }, Clock::start());
        let stage = LogStage::new(recovered, links, gate.clone(), 0, LogLimits::of(&config), clock);
        Self {
            stage,
            jobs,
            durable,
            released,
            gate,
        }
    }

    fn append(&mut self, id: AppendId, batch: &Batch, urgent: bool) {
        let frame = frame(
            To::All,
            &envelope(Message::Suspect {
                view: id,
                standing: true,
            }),
        );
        let records = vec![encode(&Record::Batch(batch.clone()), &DOMAIN)];
        self.jobs.push(
            0,
            LogJob::Append {
                id,
                records,
                release: vec![frame],
                urgent,
            },
        );
    }

    fn poll(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let mut turn = Turn {
            now: Now::default(),
            budget: 100,
            quiet: false,
            cx: &mut cx,
        };
        self.stage.poll(&mut turn).unwrap()
    }

    /// What was released, decoded.
    fn messages(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.released.pop())
            .map(|item| match item {
                ToMembers::Frame { frame, .. } => decode_envelope(frame).unwrap().message,
                ToMembers::Disconnect(..) => panic!("the log disconnects nobody"),
            })
            .collect()
    }
}

fn envelope(message: Message) -> Envelope {
    Envelope {
        epoch: 0,
        view: 0,
        message,
    }
}

fn batch(height: u64, bytes: usize) -> Batch {
    let header = BatchHeader {
        lane: 1,
        height,
        parent: Digest::ZERO,
        parent_height: 0,
        body_root: Digest::ZERO,
        ops: 1,
        bytes: u32::try_from(bytes).unwrap(),
        witnesses: Vec::new(),
    };
    Batch {
        head: SignedHeader {
            header,
            signature: Signature([0; 64]),
        },
        body: Bytes::from(vec![7; bytes]),
    }
}

fn in_runtime(test: impl FnOnce(&std::path::Path)) {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _guard = runtime.enter();
    test(dir.path());
}

#[test]
fn frames_leave_when_their_records_are_durable_and_in_order() {
    in_runtime(|dir| {
        let mut bench = Bench::new(dir, |_| {});
        for id in 1..=20 {
            bench.append(id, &batch(id, 10_000), true);
        }
        let (mut told, mut left) = (0, 0);
        while told < 20 {
            bench.poll();
            for message in bench.messages() {
                left += 1;
                assert_eq!(
                    message,
                    Message::Suspect {
                        view: left,
                        standing: true
                    }
                );
                assert!(
                    bench.stage.durable.0 >= left,
                    "a frame left before its record was durable"
                );
            }
            while let Some(id) = bench.durable.pop() {
                assert!(id > told && id <= left, "told before its frame left");
                told = id;
            }
        }
    });
}

#[test]
fn what_members_ask_for_is_read_back() {
    in_runtime(|dir| {
        let mut bench = Bench::new(dir, |_| {});
        let (first, second) = (batch(1, 100), batch(2, 200));
        bench.append(1, &first, false);
        bench.append(2, &second, true);
        while bench.durable.pop() != Some(2) {
            bench.poll();
        }
        bench.messages();
        let digest = |batch: &Batch| batch.head.header.digest(&DOMAIN);
        let ask = |kind, digests| LogJob::Serve {
            to: 2,
            view: 5,
            kind,
            digests,
        };
        bench.jobs.push(
            0,
            ask(Stored::Batches, vec![digest(&second), digest(&first), Digest([1; 32])]),
        );
        while bench.poll() {}
        assert_eq!(
            bench.messages(),
            [Message::Batch(second), Message::Batch(first.clone())]
        );
        bench
            .jobs
            .push(0, ask(Stored::Batches, vec![Digest([1; 32]), digest(&first)]));
        bench.jobs.push(0, ask(Stored::Blocks, vec![digest(&first)]));
        while bench.poll() {}
        let not_held = |digest| Message::NotHeld { digest };
        assert_eq!(bench.messages(), [not_held(Digest([1; 32])), not_held(digest(&first))]);
    });
}

#[test]
fn a_full_log_closes_the_gate_before_it_stalls() {
    in_runtime(|dir| {
        let mut bench = Bench::new(dir, |config| config.max_log_bytes = 2 << 20);
        let mut id = 0;
        let mut told = 0;
        while !bench.stage.stalled {
            id += 1;
            bench.append(id, &batch(id, 100_000), true);
            while told < id && !bench.stage.stalled {
                bench.poll();
                bench.messages();
                told = bench.durable.pop().unwrap_or(told);
            }
            if told == id && id > 17 {
                assert!(bench.gate.log_full(), "nearly two MiB are used");
            }
        }
        assert!(bench.gate.log_full());
        assert!(id > 10, "a full log is not empty");
    });
}

#[test]
fn a_checkpoint_releases_old_segments() {
    in_runtime(|dir| {
        let mut bench = Bench::new(dir, |config| config.max_log_bytes = 8 << 20);
        // A lane that stands still: its batch in the first segment is not committed.
        let mut slow = batch(7, 1_000);
        slow.head.header.lane = 2;
        bench.append(1, &slow, true);
        let last = 40;
        for id in 2..=last {
            bench.append(id, &batch(id, 100_000), true);
            while bench.durable.pop() != Some(id) {
                bench.poll();
                bench.messages();
            }
        }
        let before = bench.stage.log.stats();
        assert!(before.segments >= 4 && before.first_segment == 1);
        let heights = vec![0, 30, 6];
        bench.jobs.push(
            0,
            LogJob::Release {
                after: last,
                slot: 5,
                heights,
            },
        );
        while bench.stage.log.stats().released_segments == 0 {
            bench.poll();
        }
        let stats = bench.stage.log.stats();
        assert!(
            stats.first_segment >= 3 && stats.disk_bytes < before.disk_bytes,
            "{stats:?}"
        );
        assert!(stats.keys < before.keys);
        let digest = |batch: &Batch| batch.head.header.digest(&DOMAIN);
        let mut ask = |wanted: &Batch| {
            bench.jobs.push(
                0,
                LogJob::Serve {
                    to: 2,
                    view: 5,
                    kind: Stored::Batches,
                    digests: vec![digest(wanted)],
                },
            );
            while bench.poll() {}
            bench.messages()
        };
        assert_eq!(ask(&slow), [Message::Batch(slow.clone())], "copied");
        let kept = batch(31, 100_000);
        assert_eq!(ask(&kept), [Message::Batch(kept.clone())], "above the height");
        let gone = batch(2, 100_000);
        assert_eq!(ask(&gone), [Message::NotHeld { digest: digest(&gone) }]);
    });
}

#[test]
fn a_checkpoint_right_behind_another_finds_nothing_left_to_release() {
    in_runtime(|dir| {
        let mut bench = Bench::new(dir, |config| config.max_log_bytes = 8 << 20);
        let last = 40;
        for id in 1..=last {
            bench.append(id, &batch(id, 100_000), true);
            while bench.durable.pop() != Some(id) {
                bench.poll();
                bench.messages();
            }
        }
        let heights = vec![0, 30, 0];
        for (after, slot) in [(last, 5), (last + 1, 6)] {
            if after > last {
                bench.append(after, &batch(after, 1_000), true);
            }
            let heights = heights.clone();
            bench.jobs.push(0, LogJob::Release { after, slot, heights });
        }
        // The files of the first go in the background; the second is there already.
        while bench.stage.log.stats().released_segments == 0 {
            bench.poll();
        }
        let first = bench.stage.log.stats().first_segment;
        while bench.stage.log.releasing() {
            bench.poll();
            bench.messages();
        }
        for _ in 0..100 {
            bench.poll();
        }
        assert_eq!(bench.stage.log.stats().first_segment, first);
    });
}
