//! Signatures: made, checked alone, in one equation, under keys that are known and keys that repeat.

use trireme_crypto::{Digest, Signature, Signed, VerifyingKey, context, hash, verify, verify_batch};

use crate::load::secret;
use crate::meter::Meter;

const MOST: usize = 1_024;

/// One signature made, and two sizes of equations.
pub(super) fn some(meter: &mut Meter) {
    sizes(meter, &[8, 64]);
}

pub(super) fn measure(meter: &mut Meter) {
    sizes(meter, &[2, 8, 16, 64, 256, MOST]);
}

fn sizes(meter: &mut Meter, sizes: &[usize]) {
    if !meter.wants("verify", "")
        && !["sign", "single", "batch", "key"]
            .iter()
            .any(|name| meter.wants("verify", name))
    {
        return;
    }
    let secrets: Vec<_> = (0..MOST as u64).map(secret).collect();
    let keys: Vec<VerifyingKey> = secrets.iter().map(trireme_crypto::SecretKey::verifying_key).collect();
    let messages: Vec<Digest> = (0..MOST)
        .map(|i| hash(context::SEED, &(i + MOST).to_le_bytes()))
        .collect();
    let own: Vec<Signature> = secrets
        .iter()
        .zip(&messages)
        .map(|(secret, message)| secret.sign(message))
        .collect();
    let one: Vec<Signature> = messages.iter().map(|message| secrets[0].sign(message)).collect();
    let public = secrets[0].public();
    meter.each("verify", "sign", 1, "us", || secrets[0].sign(&messages[0]));
    let single = Signed {
        key: &keys[0],
        message: &messages[0],
        signature: &own[0],
    };
    meter.each("verify", "single, key cached", 1, "us", || verify(single));
    meter.each("verify", "single, key decompressed", 1, "us", || {
        let key = VerifyingKey::from_public(&public).expect("a key");
        verify(Signed {
            key: &key,
            message: &messages[0],
            signature: &own[0],
        })
    });
    for size in sizes.iter().copied() {
        let many: Vec<Signed<'_>> = (0..size)
            .map(|i| Signed {
                key: &keys[i],
                message: &messages[i],
                signature: &own[i],
            })
            .collect();
        meter.each(
            "verify",
            &format!("batch {size}, distinct keys"),
            size,
            "us/signature",
            || verify_batch(&many),
        );
        let few: Vec<Signed<'_>> = (0..size)
            .map(|i| Signed {
                key: &keys[0],
                message: &messages[i],
                signature: &one[i],
            })
            .collect();
        meter.each(
            "verify",
            &format!("batch {size}, one key"),
            size,
            "us/signature",
            || verify_batch(&few),
        );
    }
}
