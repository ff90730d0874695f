//! Certificates of any composition, against a count that shares nothing with the gate's.

use std::collections::BTreeSet;
use std::sync::Arc;

use trireme_core::check::CheckContext;
use trireme_core::message::{Ac, Accepted, Entry, Qc, QcRef, Tc, Timeout, Vote};
use trireme_core::{MemberId, Params};
use trireme_crypto::{Digest, Signature};

use super::Samples;
use crate::Source;
use crate::party::{PartyKeys, ac, domain, genesis, qc, sign, tc, timeout};

/// The sizes of the protocol's section 1, by other arithmetic than the core's.
struct Sizes {
    n: u16,
    f: u16,
}

impl Sizes {
    fn quorum(&self) -> usize {
        // The least q with 2q - n > f.
        (1..)
            .find(|q| 2 * q > usize::from(self.n) + usize::from(self.f))
            .expect("some q")
    }

    fn distinct(&self, members: impl Iterator<Item = MemberId>) -> Option<usize> {
        let members: Vec<MemberId> = members.collect();
        let set: BTreeSet<MemberId> = members.iter().copied().filter(|m| *m < self.n).collect();
        // One encoding for a set: ascending.
        (set.len() == members.len() && members.is_sorted()).then_some(set.len())
    }
}

fn valid_qc(qc: &Qc, sizes: &Sizes) -> bool {
    if qc.at.slot == 0 {
        return (qc.at.view, qc.at.digest, qc.votes.len()) == (0, genesis(), 0);
    }
    let signed = qc.votes.iter().all(|entry| {
        let vote = Vote {
            view: qc.at.view,
            voted: Some((qc.at.slot, qc.at.digest)),
            locked: entry.locked,
        };
        sign(entry.member, &vote.statement(&domain())) == entry.signature
    });
    signed && sizes.distinct(qc.votes.iter().map(|v| v.member)) == Some(sizes.quorum())
}

fn valid_ac(ac: &Ac, sizes: &Sizes) -> bool {
    let signed = ac
        .statements(&domain())
        .all(|(member, statement, signature)| sign(member, &statement) == signature);
    let enough = sizes.distinct(ac.acks.iter().map(|a| a.member)) == Some(usize::from(sizes.f) + 1);
    signed && enough && ac.lane < sizes.n
}

/// R-TIMEOUT-VALID, as its text says it.
fn valid_list(view: u64, high_qc: &QcRef, list: &[Accepted], list_max: usize) -> bool {
    let above = list
        .iter()
        .all(|a| a.0 <= view && (a.0, a.1) > (high_qc.view, high_qc.slot));
    high_qc.view <= view && above && list.len() <= list_max && list.windows(2).all(|pair| pair[0] < pair[1])
}

fn valid_tc(tc: &Tc, sizes: &Sizes, list_max: usize) -> bool {
    let good = tc.timeouts.iter().all(|entry| {
        let timeout = Timeout {
            view: tc.view,
            high_qc: entry.high_qc,
            accepted: entry.accepted.clone(),
        };
        valid_list(tc.view, &entry.high_qc, &entry.accepted, list_max)
            && sign(entry.member, &timeout.statement(&domain())) == entry.signature
    });
    let enough = sizes
        .distinct(tc.timeouts.iter().map(|t| t.member))
        .is_some_and(|count| count >= usize::from(sizes.n - sizes.f));
    let rank = |at: &QcRef| (at.view, at.slot);
    let greatest = tc.timeouts.iter().map(|t| rank(&t.high_qc)).max() == Some(rank(&tc.high_qc.at));
    let named = tc.timeouts.iter().any(|t| t.high_qc == tc.high_qc.at);
    good && enough && greatest && named && valid_qc(&tc.high_qc, sizes)
}

/// Members in some order: mostly the ones that make a certificate, now and then others.
fn members(source: &mut Source<'_>, sizes: &Sizes, count: usize) -> Vec<MemberId> {
    let mut members: Vec<MemberId> = (0..sizes.n).collect();
    while members.len() > count {
        members.remove(source.below(members.len()));
    }
    for _ in 0..source.below(3) {
        match source.below(5) {
            0 => drop(members.pop()),
            1 => members.push(MemberId::from(source.byte() % 12)),
            2 if !members.is_empty() => members.insert(0, members[0]),
            3 => members.reverse(),
            _ => {}
        }
    }
    members
}

fn draw_ref(source: &mut Source<'_>) -> QcRef {
    QcRef {
        view: source.number(),
        slot: source.number(),
        digest: Digest([source.byte() % 4; 32]),
    }
}

fn draw_qc(source: &mut Source<'_>, sizes: &Sizes) -> Qc {
    if source.chance(40) {
        return Qc::genesis(genesis());
    }
    let at = draw_ref(source);
    let mut qc = qc(at, &members(source, sizes, sizes.quorum()));
    if source.chance(60) && !qc.votes.is_empty() {
        let entry = source.below(qc.votes.len());
        spoil(&mut qc.votes[entry].signature, source);
    }
    match source.below(16) {
        0 => qc.at.digest = Digest([source.byte() % 4; 32]),
        1 => qc.at.view = source.number(),
        2 if !qc.votes.is_empty() => qc.votes[0].locked = Some((source.number(), Digest([1; 32]))),
        _ => {}
    }
    qc
}

fn spoil(signature: &mut Signature, source: &mut Source<'_>) {
    signature.0[usize::from(source.byte() % 64)] ^= source.byte();
}

fn draw_tc(source: &mut Source<'_>, sizes: &Sizes) -> Tc {
    let view = source.number();
    let high: Vec<Qc> = (0..3).map(|_| draw_qc(source, sizes)).collect();
    let most = usize::from(sizes.n - source.below(2) as u16 * sizes.f);
    let timeouts: Vec<_> = members(source, sizes, most)
        .into_iter()
        .map(|member| {
            let list: Vec<Accepted> = (0..source.below(3))
                .map(|_| (source.number(), source.number(), Digest([source.byte() % 4; 32])))
                .collect();
            let high = if source.chance(160) {
                &high[0]
            } else {
                &high[source.below(3)]
            };
            timeout(member, view, high, &list, Entry::Genesis)
        })
        .collect();
    let mut tc = tc(view, &timeouts);
    match source.below(16) {
        0 if !tc.timeouts.is_empty() => spoil(&mut tc.timeouts[0].signature, source),
        1 => tc.high_qc = draw_qc(source, sizes),
        2 if !tc.timeouts.is_empty() => tc.timeouts[0].high_qc = draw_ref(source),
        3 => tc.view = source.number(),
        _ => {}
    }
    tc
}

pub(super) fn run(bytes: &[u8]) -> bool {
    let mut source = Source::new(bytes);
    let (n, f) = source.pick(&[(4, 1), (6, 1), (7, 2), (1, 0)]);
    let sizes = Sizes { n, f };
    let params = Params::new(n, f);
    let list_max = usize::try_from(2 * params.window + 64 * params.w0).expect("a list fits");
    let context = CheckContext::new(params, genesis(), Arc::new(PartyKeys { me: 0, n }));
    let mut accepted = false;
    while !source.is_empty() {
        let (said, valid, what) = match source.below(3) {
            0 => {
                let qc = draw_qc(&mut source, &sizes);
                (context.qc(&qc).is_ok(), valid_qc(&qc, &sizes), "a Qc")
            }
            1 => {
                let (lane, height) = (MemberId::from(source.byte()), source.number());
                let count = usize::from(f) + 1;
                let mut ac = ac(
                    lane % (n + 1),
                    height,
                    Digest([3; 32]),
                    &members(&mut source, &sizes, count),
                );
                if source.chance(60) && !ac.acks.is_empty() {
                    let entry = source.below(ac.acks.len());
                    ac.acks[entry].verified = source.chance(128);
                    spoil(&mut ac.acks[entry].signature, &mut source);
                }
                (context.ac(&ac).is_ok(), valid_ac(&ac, &sizes), "an Ac")
            }
            _ => {
                let tc = draw_tc(&mut source, &sizes);
                (context.tc(&tc).is_ok(), valid_tc(&tc, &sizes, list_max), "a Tc")
            }
        };
        assert_eq!(said, valid, "{what} of {n} members: the gate, and the count");
        accepted |= said;
    }
    accepted
}

pub(super) fn samples() -> Samples {
    vec![
        ("qc".into(), vec![0, 0, 200, 1, 2, 0, 0, 0, 255, 9]),
        ("ac".into(), vec![0, 1, 1, 5, 0, 0, 0, 255]),
        ("tc".into(), vec![0, 2, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]),
        (
            "seven".into(),
            vec![2, 1, 6, 5, 3, 2, 1, 0, 0, 255, 0, 200, 1, 2, 0, 0, 0, 255, 9],
        ),
    ]
}
