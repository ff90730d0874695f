//! Transfers from peers that lie, are silent, hold nothing, or cut the state otherwise.

mod common;

use bytes::Bytes;
use common::transfer::{ME, Source, cluster, executor, source};
use proptest::collection::vec;
use proptest::prelude::*;
use trireme_core::MemberId;
use trireme_core::api::Reject;
use trireme_crypto::encode;
use trireme_state::transfer::{Action, BadCertificate, Transfer, TransferLimits};
use trireme_state::{CutItem, Manifest, Part, Restorer, Sub};

const LIMITS: TransferLimits = TransferLimits {
    asks: 5,
    asks_per_peer: 3,
    bytes_per_second: 100_000,
    patience_us: 10_000,
};

/// What a peer does with a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Honest,
    /// Answers that many microseconds late.
    Slow(u64),
    Silent,
    Empty,
    /// Flips a bit of the answer, at this place of it.
    Flips(usize),
    /// Answers with another part.
    Swaps,
    /// Cuts finer than it should, which is no lie.
    Crumbles,
    /// As `Honest` to the manifest, as `Flips` after.
    LiesLater,
}

impl Manner {
    fn lies(self) -> bool {
        matches!(self, Self::Flips(_) | Self::Swaps | Self::LiesLater)
    }

    fn answer(self, source: &Source, part: u64) -> Option<(u64, Bytes)> {
        let honest = source.answer(part);
        let flip = |at: usize| {
            let mut bytes = honest.to_vec();
            let at = at % bytes.len();
            bytes[at] ^= 1 << (at % 8);
            Some((0, bytes.into()))
        };
        match self {
            Self::Honest => Some((0, honest)),
            Self::Slow(us) => Some((us, honest)),
            Self::Silent => None,
            Self::Empty => Some((0, Bytes::new())),
            Self::Flips(at) => flip(at),
            Self::Swaps => Some((0, source.answer(1 + part))),
            Self::LiesLater if part == Part::MANIFEST => Some((0, honest)),
            Self::LiesLater => flip(7),
            Self::Crumbles => Some((0, crumbled(source, part))),
        }
    }
}

/// The answer of a peer that cuts the state as finely as it can.
fn crumbled(source: &Source, part: u64) -> Bytes {
    let fine = Source {
        image: source.image.clone(),
        outline: source.image.outline(1),
        anchor: source.anchor.clone(),
        part_bytes: 1,
    };
    fine.answer(part)
}

/// What became of a transfer.
struct Outcome {
    transfer: Transfer,
    kept: Vec<(u64, Bytes)>,
    complete: bool,
    asked: usize,
    most_in_flight: usize,
    now: u64,
}

/// Runs a transfer among peers of these manners until nothing is due, or for `steps`.
fn run(mut transfer: Transfer, source: &Source, manners: &[Manner], steps: usize) -> Outcome {
    let (mut now, mut out) = (0, Vec::new());
    // When, from whom, which part.
    let mut mail: Vec<(u64, MemberId, u64, Bytes)> = Vec::new();
    let (mut kept, mut complete, mut asked, mut most_in_flight) = (Vec::new(), false, 0, 0);
    transfer.poll(now, &mut out);
    for _ in 0..steps {
        for action in std::mem::take(&mut out) {
            match action {
                Action::Ask { to, part } => {
                    assert_ne!(to, ME);
                    asked += 1;
                    if let Some((delay, bytes)) = manners[usize::from(to)].answer(source, part) {
                        mail.push((now + 100 + delay, to, part, bytes));
                    }
                }
                Action::Keep { part, bytes } => kept.push((part, bytes)),
                Action::Liar(member) => assert!(manners[usize::from(member)].lies(), "{member} was honest"),
                Action::Complete => complete = true,
            }
        }
        most_in_flight = most_in_flight.max(transfer.in_flight());
        mail.sort_by_key(|mail| std::cmp::Reverse(mail.0));
        let arrives = mail.last().map(|mail| mail.0);
        let Some(next) = [arrives, transfer.next_due()].into_iter().flatten().min() else {
            break;
        };
        assert!(next >= now || arrives == Some(next) || transfer.next_due() == Some(next));
        now = now.max(next);
        if arrives == Some(next) {
            let (_, from, part, bytes) = mail.pop().unwrap();
            transfer.receive(now, from, part, bytes, &mut out);
        } else {
            transfer.poll(now, &mut out);
        }
    }
    Outcome {
        transfer,
        kept,
        complete,
        asked,
        most_in_flight,
        now,
    }
}

fn start(source: &Source, limits: TransferLimits) -> Transfer {
    let (context, _) = cluster(ME);
    let scheme = executor().blank().scheme();
    Transfer::new(&context, source.certificate(&[0, 1]), scheme, limits, 0).expect("f+1 signatures")
}

/// The state of what was kept is the one of the certificate.
fn restores(source: &Source, outcome: &Outcome) {
    let mut executor = executor();
    let vote = source.image.vote();
    let outline = outcome.transfer.outline().unwrap();
    let mut restorer = Restorer::new(&executor.blank(), vote.clone(), outline).unwrap();
    for (id, bytes) in &outcome.kept {
        if let Some(part) = Part::from_id(*id) {
            restorer.part(part, bytes).unwrap();
        }
    }
    assert!(executor.install(restorer.finish().unwrap()));
    assert_eq!(executor.state_root(1), *vote);
}

fn manner() -> impl Strategy<Value = Manner> {
    prop_oneof![
        Just(Manner::Honest),
        (1..30_000u64).prop_map(Manner::Slow),
        Just(Manner::Silent),
        Just(Manner::Empty),
        (0..100_000usize).prop_map(Manner::Flips),
        Just(Manner::Swaps),
        Just(Manner::Crumbles),
        Just(Manner::LiesLater),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn one_honest_peer_is_enough(others in vec(manner(), 2), at in 0..3usize, keys in 0..80u64, part_bytes in 60..2_000usize) {
        let (context, _) = cluster(ME);
        let source = source(&context, keys, part_bytes);
        let mut manners = others;
        manners.insert(at, Manner::Honest);
        let outcome = run(start(&source, LIMITS), &source, &manners, 20_000);
        prop_assert!(outcome.complete, "{:?}", outcome.transfer.progress());
        prop_assert!(outcome.transfer.is_complete());
        restores(&source, &outcome);
        let progress = outcome.transfer.progress();
        prop_assert_eq!(progress.held, outcome.kept.len() as u64);
        prop_assert_eq!(progress.bytes, outcome.kept.iter().map(|kept| kept.1.len() as u64).sum::<u64>());
        prop_assert!(progress.liars.iter().all(|liar| manners[usize::from(*liar)].lies()));
        prop_assert!(outcome.most_in_flight <= LIMITS.asks);
    }

    #[test]
    fn nothing_is_kept_of_liars(manners in vec(prop_oneof![(0..100_000usize).prop_map(Manner::Flips), Just(Manner::Swaps)], 3)) {
        let (context, _) = cluster(ME);
        let source = source(&context, 40, 400);
        let outcome = run(start(&source, LIMITS), &source, &manners, 5_000);
        prop_assert!(!outcome.complete && outcome.kept.is_empty());
        prop_assert!(outcome.transfer.is_lost());
        prop_assert_eq!(outcome.transfer.progress().liars.len(), 3);
    }

    #[test]
    fn an_interrupted_transfer_goes_on(stop in 1..40usize, keys in 20..80u64) {
        let (context, _) = cluster(ME);
        let source = source(&context, keys, 300);
        let first = run(start(&source, LIMITS), &source, &[Manner::Honest; 3], stop);
        let mut second = start(&source, LIMITS);
        for (part, bytes) in &first.kept {
            prop_assert!(second.resume(*part, bytes));
            prop_assert!(!second.resume(*part, bytes), "a part is taken once");
        }
        let mut second = run(second, &source, &[Manner::Honest; 3], 10_000);
        let fresh = second.kept.len();
        prop_assert_eq!(second.asked, fresh, "nothing is asked for that was held");
        second.kept.splice(0..0, first.kept);
        restores(&source, &second);
    }
}

#[test]
fn the_rate_is_kept_to() {
    let (context, _) = cluster(ME);
    let source = source(&context, 400, 500);
    let limits = TransferLimits {
        bytes_per_second: 20_000,
        ..LIMITS
    };
    let outcome = run(start(&source, limits), &source, &[Manner::Honest; 3], 100_000);
    assert!(outcome.complete);
    let bytes = outcome.transfer.progress().bytes;
    // What is in flight when the allowance ends still comes.
    let free = limits.bytes_per_second / 4 + 5 * 600 + 2_000;
    assert!(bytes > 2 * free, "enough to be limited: {bytes}");
    assert!(
        outcome.now >= (bytes - free) * 1_000_000 / limits.bytes_per_second,
        "{} us",
        outcome.now
    );
}

#[test]
fn a_certificate_needs_an_honest_signer() {
    let (context, _) = cluster(ME);
    let source = source(&context, 5, 500);
    let scheme = executor().blank().scheme();
    let transfer = |context, signers: &[MemberId]| {
        Transfer::new(context, source.certificate(signers), scheme, LIMITS, 0).map(drop)
    };
    assert_eq!(transfer(&context, &[1]), Err(BadCertificate(Reject::Count)));
    assert_eq!(transfer(&context, &[1, 1]), Err(BadCertificate(Reject::Members)));
    assert_eq!(transfer(&context, &[0, 9]), Err(BadCertificate(Reject::Members)));
    assert_eq!(transfer(&context, &[0, 2]), Ok(()));
    let mut forged = source.certificate(&[0, 2]);
    forged.votes[1].1.0[0] ^= 1;
    let forged = Transfer::new(&context, forged, scheme, LIMITS, 0).map(drop);
    assert_eq!(forged, Err(BadCertificate(Reject::Signature)));
}

/// One part at a time, and two of three peers that never answer: the third has its turn.
#[test]
fn the_silent_do_not_stand_in_the_way() {
    let (context, _) = cluster(ME);
    let source = source(&context, 0, 500);
    for honest in 0..3 {
        let mut manners = [Manner::Silent; 3];
        manners[honest] = Manner::Honest;
        assert!(run(start(&source, LIMITS), &source, &manners, 20).complete);
    }
}

/// A manifest in which a leaf is claimed to lie deeper than it does would let honest peers pass for liars.
#[test]
fn a_manifest_cannot_misplace_a_leaf() {
    let (context, _) = cluster(ME);
    let source = source(&context, 1, 500);
    let scheme = executor().blank().scheme();
    let root = source.image.vote().state_root;
    let leaf = source.outline.app.cut.clone();
    assert!(matches!(leaf[..], [CutItem::Part(Sub::Leaf(_))]));
    let mut outline = source.outline.clone();
    outline.app.cut = vec![CutItem::Split, CutItem::Part(Sub::Empty), leaf[0]];
    assert_eq!(outline.check(&scheme, &root), None);
    assert!(source.outline.check(&scheme, &root).is_some());
}

/// The anchor is the block under the root, whatever its signature says, and its signature has to be the leader's.
#[test]
fn another_anchor_is_a_lie() {
    let (context, _) = cluster(ME);
    let source = source(&context, 5, 500);
    let manifest = |change: fn(&mut Manifest)| {
        let mut manifest = Manifest {
            anchor: source.anchor.clone(),
            outline: source.outline.clone(),
        };
        change(&mut manifest);
        let (mut transfer, mut out) = (start(&source, LIMITS), Vec::new());
        transfer.poll(0, &mut out);
        let Some(Action::Ask { to, .. }) = out.pop() else {
            panic!("asks for the manifest")
        };
        transfer.receive(1, to, Part::MANIFEST, encode(&manifest).into(), &mut out);
        out.contains(&Action::Liar(to))
    };
    assert!(!manifest(|_| {}));
    assert!(manifest(|manifest| manifest.anchor.block.timestamp += 1));
    assert!(manifest(|manifest| manifest.anchor.signature.0[0] ^= 1));
    assert!(manifest(|manifest| manifest.outline.block.0[0] ^= 1));
}
