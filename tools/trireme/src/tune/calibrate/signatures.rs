//! What signatures cost on this host, with the code that a replica runs.

use std::hint::black_box;
use std::time::{Duration, Instant};

use trireme_crypto::{Digest, SecretKey, Signature, Signed, VerifyingKey, context, hash, verify, verify_batch};

use super::figure;

const BATCH: usize = 256;

/// Microseconds.
pub(crate) struct Figures {
    sign_us: f64,
    single_us: f64,
    /// A signature of 256 in one equation, each under its own key.
    batch_us: f64,
    /// The same under one key.
    one_key_us: f64,
    backend: &'static str,
}

impl Figures {
    pub(crate) fn words(&self) -> String {
        format!(
            "{}: sign {:.1} us, verify {:.1} us, of {BATCH} together {:.1} us each, under one key {:.1}",
            self.backend, self.sign_us, self.single_us, self.batch_us, self.one_key_us
        )
    }

    /// For the profile.
    pub(crate) fn table(&self) -> toml::Table {
        let mut table = toml::Table::new();
        table.insert("backend".into(), self.backend.into());
        table.insert("sign_us".into(), figure(self.sign_us));
        table.insert("verify_us".into(), figure(self.single_us));
        table.insert("verify_batch_256_us".into(), figure(self.batch_us));
        table.insert("verify_batch_256_one_key_us".into(), figure(self.one_key_us));
        table
    }
}

/// Measures, each for a quarter of the time.
pub(crate) fn measure(time: Duration) -> Figures {
    let seed = |i: usize| hash(context::SEED, &i.to_le_bytes());
    let secrets: Vec<SecretKey> = (0..BATCH).map(|i| SecretKey::from_seed(seed(i).0)).collect();
    let keys: Vec<VerifyingKey> = secrets.iter().map(SecretKey::verifying_key).collect();
    let messages: Vec<Digest> = (0..BATCH).map(|i| seed(i + BATCH)).collect();
    let own: Vec<Signature> = secrets
        .iter()
        .zip(&messages)
        .map(|(secret, message)| secret.sign(message))
        .collect();
    let one: Vec<Signature> = messages.iter().map(|message| secrets[0].sign(message)).collect();
    let signed = |i: usize| Signed {
        key: &keys[i],
        message: &messages[i],
        signature: &own[i],
    };
    let many: Vec<Signed<'_>> = (0..BATCH).map(signed).collect();
    let under_one = |i: usize| Signed {
        key: &keys[0],
        message: &messages[i],
        signature: &one[i],
    };
    let few: Vec<Signed<'_>> = (0..BATCH).map(under_one).collect();
    let part = time / 4;
    Figures {
        sign_us: each_us(part, || secrets[0].sign(black_box(&messages[0]))),
        single_us: each_us(part, || verify(black_box(signed(0)))),
        batch_us: each_us(part, || verify_batch(black_box(&many))) / BATCH as f64,
        one_key_us: each_us(part, || verify_batch(black_box(&few))) / BATCH as f64,
        backend: backend(),
    }
}

/// What the processor lets the arithmetic use.
fn backend() -> &'static str {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has = |flag: &str| info.split_whitespace().any(|word| word == flag);
    match (has("avx512ifma") && has("avx512vl"), has("avx2")) {
        (true, _) => "avx512",
        (false, true) => "avx2",
        (false, false) => "serial",
    }
}

/// Time of a call: the best of five passes, since everything else on the machine only adds.
fn each_us<T>(time: Duration, mut call: impl FnMut() -> T) -> f64 {
    let pass = || {
        let (start, mut calls) = (Instant::now(), 0u32);
        while calls == 0 || start.elapsed() < time / 5 {
            black_box(call());
            calls += 1;
        }
        start.elapsed().as_secs_f64() * 1e6 / f64::from(calls)
    };
    std::iter::repeat_with(pass).take(5).fold(f64::INFINITY, f64::min)
}
