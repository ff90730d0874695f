use super::*;
use crate::gate::{Intake, Permit};
use crate::link::link;
use crate::signal::Threads;
use crate::topology::{BODIES, CHECKED_BUNDLES, LinkSpec, OWN_BUNDLES, REFUSALS, Room, URGENT_BODIES, VERDICTS};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use trireme_core::Now;
use trireme_core::request::{BundleBuilder, body};
use trireme_crypto::SecretKey;
use trireme_transport::ConnId;

const DOMAIN: Domain = Domain {
    cluster_id: Digest([7; 32]),
    epoch: 0,
};

struct Bench {
    verify: Verify,
    own: Sender<OwnBundle>,
    bodies: Sender<BodyJob>,
    urgent: Sender<BodyJob>,
    refusals: Receiver<BadSignature>,
    checked: Receiver<CheckedBundle>,
    verdicts: Receiver<Verdict>,
    intake: Arc<Intake>,
}

impl Bench {
    fn new(signed: bool) -> Self {
        Self::with_rooms(signed, &Threads::new(1), |spec| spec.room())
    }

    /// The stage on thread 0, its neighbours on the last thread.
    fn with_rooms(signed: bool, threads: &Threads, room: impl Fn(&LinkSpec) -> Room) -> Self {
        let other = threads.count() - 1;
        let (own, own_out) = link(&OWN_BUNDLES, room(&OWN_BUNDLES), threads, other, 0);
        let (bodies, bodies_out) = link(&BODIES, room(&BODIES), threads, other, 0);
        let (urgent, urgent_out) = link(&URGENT_BODIES, room(&URGENT_BODIES), threads, other, 0);
        let (refusals_in, refusals) = link(&REFUSALS, room(&REFUSALS), threads, 0, other);
        let (checked_in, checked) = link(&CHECKED_BUNDLES, room(&CHECKED_BUNDLES), threads, 0, other);
        let (verdicts_in, verdicts) = link(&VERDICTS, room(&VERDICTS), threads, 0, other);
        let links = VerifyLinks {
            own: own_out,
            bodies: bodies_out,
            urgent: urgent_out,
            refusals: refusals_in,
            checked: checked_in,
            verdicts: verdicts_in,
        };
        let intake = Intake::new(&Arc::new(AtomicUsize::new(0)), threads, 0);
        let verify = Verify::new(links, DOMAIN, signed);
        Self {
            verify,
            own,
            bodies,
            urgent,
            refusals,
            checked,
            verdicts,
            intake,
        }
    }

    fn poll(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let mut turn = Turn {
            now: Now::default(),
            budget: 1_000,
            quiet: false,
            cx: &mut cx,
        };
        self.verify.poll(&mut turn).unwrap()
    }

    fn push_own(&mut self, bytes: Vec<u8>) {
        let permit = Permit::new(&self.intake, bytes.len());
        self.own.push(
            bytes.len(),
            OwnBundle {
                bytes: bytes.into(),
                ops: 1,
                conn: ConnId(1),
                permit,
                read: trireme_core::Tick::default(),
            },
        );
    }
}

fn bundle(client: u8, number: u64, good: bool) -> Vec<u8> {
    let key = SecretKey::from_seed([client; 32]);
    let mut builder = BundleBuilder::new(key.public(), 0);
    builder.push(number, b"payload").unwrap();
    let mut bytes = builder.finish(|statement| key.sign(statement), &DOMAIN);
    if !good {
        let last = bytes.len() - 40;
        bytes[last] ^= 1;
    }
    bytes
}

fn body_of(bundles: u64, bad: Option<u64>) -> Bytes {
    let bundles: Vec<_> = (1..=bundles).map(|n| bundle(1, n, Some(n) != bad)).collect();
    body::assemble(&bundles)
}

#[test]
fn a_body_that_waits_for_the_place_of_its_verdict_is_taken_up_when_there_is_one() {
    struct Flag(AtomicBool);
    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let threads = Threads::new(2);
    let one = |spec: &LinkSpec| Room {
        depth: if spec.name == VERDICTS.name { 1 } else { spec.depth },
        ..spec.room()
    };
    let mut bench = Bench::with_rooms(true, &threads, one);
    for job in 1..=2 {
        let body = body_of(1, None);
        bench.bodies.push(body.len(), BodyJob { job, ops: 1, body });
    }
    assert!(bench.poll());
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    threads.signal(0).arm(&Waker::from(flag.clone()));
    assert!(!bench.poll(), "the verdict of the second has no place");
    assert_eq!(bench.verdicts.pop().unwrap().job, 1);
    threads.flush(1);
    assert!(flag.0.load(Ordering::SeqCst), "the stage is woken");
    assert!(bench.poll());
    assert_eq!(bench.verdicts.pop().unwrap().job, 2);
}

#[test]
fn own_bundles_that_pass_together_keep_within_the_bytes_of_their_link() {
    let bytes = bundle(1, 1, true).len();
    let room = |spec: &LinkSpec| Room {
        bytes: if spec.name == CHECKED_BUNDLES.name {
            bytes + 1
        } else {
            spec.bytes
        },
        ..spec.room()
    };
    let mut bench = Bench::with_rooms(true, &Threads::new(1), room);
    (1..=5).for_each(|number| bench.push_own(bundle(1, number, true)));
    let mut passed = Vec::new();
    while bench.poll() {
        passed.push(std::iter::from_fn(|| bench.checked.pop()).count());
    }
    assert_eq!(passed, [2, 2, 1], "the second one begins while there is room");
}

#[test]
fn a_bad_signature_is_refused_and_its_neighbours_pass() {
    let mut bench = Bench::new(true);
    for number in 1..=20 {
        bench.push_own(bundle(1 + (number % 3) as u8, number, number != 7 && number != 20));
    }
    assert!(bench.poll());
    let mut refused = Vec::new();
    while let Some(bad) = bench.refusals.pop() {
        let bundle = BundleRef::parse(&bad.bytes).unwrap();
        refused.push(bundle.requests().next().unwrap().number);
    }
    assert_eq!(refused, [7, 20]);
    let mut passed = 0;
    while let Some(bundle) = bench.checked.pop() {
        passed += bundle.ops;
    }
    assert_eq!(passed, 18);
    assert_eq!(bench.intake.bytes(), 0, "permits ended with their bundles");
    assert!(!bench.poll());
}

#[test]
fn bodies_longer_than_an_equation_are_judged_as_a_whole() {
    let long = PART as u64 + 44;
    let mut bench = Bench::new(true);
    let jobs = [
        (1, long as u32, body_of(long, None)),
        (2, long as u32, body_of(long, Some(long))),
        (3, 4, body_of(3, None)),
        (4, 3, body_of(3, None).slice(1..)),
        (5, 3, body_of(3, Some(2))),
    ];
    for (job, ops, body) in jobs {
        bench.bodies.push(body.len(), BodyJob { job, ops, body });
    }
    let urgent = body_of(3, None);
    bench.urgent.push(
        urgent.len(),
        BodyJob {
            job: 6,
            ops: 3,
            body: urgent,
        },
    );
    while bench.poll() {}
    let verdicts: Vec<_> = std::iter::from_fn(|| bench.verdicts.pop())
        .map(|v| (v.job, v.good))
        .collect();
    assert_eq!(
        verdicts,
        [(6, true), (1, true), (2, false), (3, false), (4, false), (5, false)]
    );
}

#[test]
fn without_client_signatures_bundles_and_bodies_are_parsed_only() {
    let mut bench = Bench::new(false);
    bench.push_own(bundle(1, 1, false));
    let body = body_of(3, Some(2));
    bench.bodies.push(
        0,
        BodyJob {
            job: 1,
            ops: 3,
            body: body.clone(),
        },
    );
    bench.bodies.push(
        0,
        BodyJob {
            job: 2,
            ops: 3,
            body: body.slice(..body.len() - 1),
        },
    );
    while bench.poll() {}
    assert!(bench.checked.pop().is_some() && bench.refusals.pop().is_none());
    let verdicts: Vec<_> = std::iter::from_fn(|| bench.verdicts.pop()).map(|v| v.good).collect();
    assert_eq!(verdicts, [true, false]);
    assert_eq!(bench.verify.counts.signatures, 0);
}
