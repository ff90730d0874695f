//! One rule for signatures (R-SIG): single and batch give one answer in every composition.

use std::sync::LazyLock;

use trireme_crypto::{
    Digest, PublicKey, SecretKey, Signature, Signed, VerifyingKey, context, forge, hash, invalid_in_batch, verify,
    verify_batch,
};

use super::Samples;
use crate::Source;

static KEYS: LazyLock<Vec<(SecretKey, VerifyingKey)>> = LazyLock::new(|| {
    let key = |number: u8| {
        let secret = SecretKey::from_seed(hash(context::SEED, &[number]).0);
        let public = secret.verifying_key();
        (secret, public)
    };
    (0..4).map(key).collect()
});

/// Encodings of points of small order, canonical and not (ZIP-215's list).
const SMALL: [[u8; 32]; 4] = {
    let mut one = [0; 32];
    one[0] = 1;
    let mut p = [0xff; 32];
    (p[0], p[31]) = (0xed, 0x7f);
    let mut negative = one;
    negative[31] = 0x80;
    [[0; 32], one, p, negative]
};

/// The order of the base point, little-endian.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

struct Item {
    key: usize,
    message: Digest,
    signature: Signature,
    /// Known by how it was made; nothing where bytes were drawn.
    valid: Option<bool>,
}

fn draw(source: &mut Source<'_>) -> Item {
    let key = source.below(KEYS.len());
    let message = hash(context::REQUEST, &[source.byte() % 16]);
    let secret = &KEYS[key].0;
    let mut item = Item {
        key,
        message,
        signature: secret.sign(&message),
        valid: Some(true),
    };
    match source.below(8) {
        0 | 1 => {}
        2 | 3 => item.signature = forge::torsioned(secret, &message, source.byte()),
        4 => {
            item.message = hash(context::REQUEST, b"another");
            item.valid = Some(false);
        }
        5 => {
            let (at, bit) = (usize::from(source.byte() % 64), source.byte() % 8);
            item.signature.0[at] ^= 1 << bit;
            item.valid = Some(false);
        }
        6 => {
            let mut bytes = [0; 64];
            let drawn = source.take(32);
            bytes[..drawn.len()].copy_from_slice(drawn);
            if source.chance(128) {
                bytes[..32].copy_from_slice(&source.pick(&SMALL));
            }
            item.signature = Signature(bytes);
            item.valid = None;
        }
        _ => {
            // S + L: the same scalar, another encoding.
            let mut carry = 0;
            for (byte, order) in item.signature.0[32..].iter_mut().zip(ORDER) {
                let sum = u16::from(*byte) + u16::from(order) + carry;
                *byte = sum.to_le_bytes()[0];
                carry = sum >> 8;
            }
            item.valid = Some(false);
        }
    }
    item
}

pub(super) fn run(bytes: &[u8]) -> bool {
    let mut source = Source::new(bytes);
    let key = PublicKey(core::array::from_fn(|_| source.byte()));
    if let Ok(checked) = VerifyingKey::from_public(&key) {
        assert_eq!(checked.public(), key);
    }
    let items: Vec<Item> = (0..1 + source.below(10)).map(|_| draw(&mut source)).collect();
    let signed = |item: &'_ Item| -> bool {
        verify(Signed {
            key: &KEYS[item.key].1,
            message: &item.message,
            signature: &item.signature,
        })
    };
    let alone: Vec<bool> = items.iter().map(signed).collect();
    for (item, alone) in items.iter().zip(&alone) {
        assert!(
            item.valid.is_none_or(|valid| valid == *alone),
            "a signature is what it was made to be"
        );
    }
    for _ in 0..4 {
        let mask = source.word();
        compare(&items, &alone, mask);
    }
    compare(&items, &alone, u16::MAX);
    true
}

/// One composition.
fn compare(items: &[Item], alone: &[bool], mask: u16) {
    let chosen: Vec<usize> = (0..items.len()).filter(|i| mask >> i & 1 == 1).collect();
    let batch: Vec<Signed<'_>> = chosen
        .iter()
        .map(|i| Signed {
            key: &KEYS[items[*i].key].1,
            message: &items[*i].message,
            signature: &items[*i].signature,
        })
        .collect();
    let invalid: Vec<usize> = (0..chosen.len()).filter(|place| !alone[chosen[*place]]).collect();
    assert_eq!(verify_batch(&batch), invalid.is_empty(), "all at once, and one by one");
    assert_eq!(invalid_in_batch(&batch), invalid, "the invalid ones are found");
}

pub(super) fn samples() -> Samples {
    let with = |items: &[u8]| [&[7; 32][..], items].concat();
    vec![
        ("honest".into(), with(&[3, 0, 1, 0, 1, 2, 0, 2, 3, 0, 3, 4, 0])),
        (
            "torsioned".into(),
            with(&[4, 0, 1, 2, 1, 1, 2, 2, 3, 0, 2, 2, 5, 2, 3, 1, 0, 5, 2, 7]),
        ),
        (
            "mixed".into(),
            with(&[5, 0, 1, 2, 4, 1, 1, 4, 2, 2, 5, 9, 1, 3, 3, 7, 0, 4, 2, 1, 85, 0, 170]),
        ),
        (
            "small-order".into(),
            [&[0; 32][..], &[2, 0, 1, 6], &[0; 32], &[0, 1, 0, 2, 6]].concat(),
        ),
    ]
}
