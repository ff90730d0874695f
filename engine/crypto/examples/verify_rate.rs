//! Measures what signatures cost on this machine: `cargo run --release -p trireme-crypto --example verify_rate`.
//!
//! One thread, time per operation as the fastest of several passes. "keys n" has a key for each signature, as in a
//! certificate; "keys 1" has one, as in a client's requests.

#![allow(
    clippy::disallowed_methods,
    reason = "a measurement reads the clock; the crate itself never does"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use trireme_crypto::{
    Digest, Domain, SecretKey, Signature, Signed, VerifyingKey, context, hash, invalid_in_batch, verify, verify_batch,
};

const PASSES: usize = 7;
const PASS: Duration = Duration::from_millis(120);

fn main() {
    let fixture = Fixture::new(1024);
    hashing();
    single(&fixture);
    println!(
        "\n{:>5} {:>14} {:>14} {:>16} {:>16}",
        "batch", "keys n us/sig", "keys 1 us/sig", "keys n sig/s", "keys 1 sig/s"
    );
    for size in [2, 3, 4, 8, 16, 32, 64, 128, 256, 512, 1024] {
        let [many, one] = [fixture.many(size), fixture.one(size)].map(|items| {
            assert!(verify_batch(&items));
            time(|| verify_batch(black_box(&items))).as_secs_f64() / size as f64
        });
        println!(
            "{size:>5} {:>14.2} {:>14.2} {:>16.0} {:>16.0}",
            many * 1e6,
            one * 1e6,
            1.0 / many,
            1.0 / one
        );
    }
    searching(&fixture);
}

fn hashing() {
    let domain = Domain {
        cluster_id: Digest([7; 32]),
        epoch: 1,
    };
    let statement = [3; 64];
    report(
        "statement of 64 bytes, known context",
        time(|| domain.statement(context::VOTE, black_box(&statement))),
    );
    report(
        "statement of 64 bytes, foreign context",
        time(|| domain.statement("a foreign one", black_box(&statement))),
    );
    let body = vec![5; 1 << 20];
    let each = time(|| hash(context::BATCH_BODY, black_box(&body)));
    println!(
        "{:<40} {:>10.2} GB/s",
        "hash of 1 MiB",
        body.len() as f64 / each.as_secs_f64() / 1e9
    );
}

fn single(fixture: &Fixture) {
    let public = fixture.secrets[0].public();
    report(
        "sign",
        time(|| fixture.secrets[0].sign(black_box(&fixture.messages[0]))),
    );
    report("verify", time(|| verify(black_box(fixture.many(1)[0]))));
    report("register a key", time(|| VerifyingKey::from_public(black_box(&public))));
}

fn searching(fixture: &Fixture) {
    for bad in [0, 1, 8, 1024] {
        let mut signatures = fixture.many_signatures.clone();
        for i in 0..bad {
            signatures[i * (1024 / bad)].0[40] ^= 1;
        }
        let items: Vec<_> = fixture
            .many(1024)
            .into_iter()
            .zip(&signatures)
            .map(|(item, signature)| Signed { signature, ..item })
            .collect();
        assert_eq!(invalid_in_batch(&items).len(), bad);
        let each = time(|| invalid_in_batch(black_box(&items))).as_secs_f64() / 1024.0;
        println!("search among 1024 with {bad:>4} bad {:>19.2} us/sig", each * 1e6);
    }
}

struct Fixture {
    secrets: Vec<SecretKey>,
    keys: Vec<VerifyingKey>,
    messages: Vec<Digest>,
    many_signatures: Vec<Signature>,
    one_signatures: Vec<Signature>,
}

impl Fixture {
    fn new(size: usize) -> Fixture {
        let seed = |i: usize| hash(context::SEED, &i.to_le_bytes());
        let secrets: Vec<_> = (0..size).map(|i| SecretKey::from_seed(seed(i).0)).collect();
        let messages: Vec<_> = (0..size).map(|i| seed(i + size)).collect();
        Fixture {
            keys: secrets.iter().map(SecretKey::verifying_key).collect(),
            many_signatures: secrets
                .iter()
                .zip(&messages)
                .map(|(secret, message)| secret.sign(message))
                .collect(),
            one_signatures: messages.iter().map(|message| secrets[0].sign(message)).collect(),
            secrets,
            messages,
        }
    }

    fn many(&self, size: usize) -> Vec<Signed<'_>> {
        let parts = self.keys.iter().zip(&self.messages).zip(&self.many_signatures);
        parts
            .take(size)
            .map(|((key, message), signature)| Signed {
                key,
                message,
                signature,
            })
            .collect()
    }

    fn one(&self, size: usize) -> Vec<Signed<'_>> {
        let parts = self.messages.iter().zip(&self.one_signatures);
        parts
            .take(size)
            .map(|(message, signature)| Signed {
                key: &self.keys[0],
                message,
                signature,
            })
            .collect()
    }
}

/// The time of one call: the best pass counts, because everything else on the machine only adds.
fn time<T>(mut call: impl FnMut() -> T) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..PASSES {
        let (start, mut calls) = (Instant::now(), 0);
        while calls == 0 || start.elapsed() < PASS {
            black_box(call());
            calls += 1;
        }
        best = best.min(start.elapsed() / calls);
    }
    best
}

fn report(what: &str, each: Duration) {
    println!("{what:<40} {:>10.2} us", each.as_secs_f64() * 1e6);
}
