//! The encoding is strict: what decodes encodes to the same bytes, and no bytes make decoding panic.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};
use proptest::prelude::*;
use trireme_crypto::merkle::Path;
use trireme_crypto::{
    Digest, Malformed, PublicKey, Signature, decode, decode_bounded, encode, encode_into, encoded_len,
};

/// All that messages are built of, nested.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Outer {
    epoch: u64,
    flag: bool,
    kind: Kind,
    cut: Vec<(u64, Digest, Option<Inner>)>,
    sets: BTreeMap<u16, BTreeSet<u8>>,
    note: Option<Box<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Inner {
    votes: Vec<(u16, Signature)>,
    keys: BTreeSet<PublicKey>,
    array: [Option<u8>; 3],
}

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
enum Kind {
    Nothing,
    One(u32),
    Many { bytes: Vec<u8>, text: String },
    Nested(Vec<Kind2>),
}

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
enum Kind2 {
    Wide(u128),
    Signed(i64),
    Unit,
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}

fn kind() -> impl Strategy<Value = Kind> {
    let kind2 = prop_oneof![
        any::<u128>().prop_map(Kind2::Wide),
        any::<i64>().prop_map(Kind2::Signed),
        Just(Kind2::Unit)
    ];
    prop_oneof![
        Just(Kind::Nothing),
        any::<u32>().prop_map(Kind::One),
        (prop::collection::vec(any::<u8>(), 0..40), "\\PC{0,12}").prop_map(|(bytes, text)| Kind::Many { bytes, text }),
        prop::collection::vec(kind2, 0..4).prop_map(Kind::Nested),
    ]
}

fn inner() -> impl Strategy<Value = Inner> {
    let signature =
        prop::array::uniform32(any::<u8>()).prop_map(|half| Signature([half, half].concat().try_into().unwrap()));
    let votes = prop::collection::vec((any::<u16>(), signature), 0..3);
    let keys = prop::collection::btree_set(any::<[u8; 32]>().prop_map(PublicKey), 0..3);
    (votes, keys, any::<[Option<u8>; 3]>()).prop_map(|(votes, keys, array)| Inner { votes, keys, array })
}

fn outer() -> impl Strategy<Value = Outer> {
    let cut = prop::collection::vec((any::<u64>(), digest(), prop::option::of(inner())), 0..4);
    let sets = prop::collection::btree_map(any::<u16>(), prop::collection::btree_set(any::<u8>(), 0..4), 0..4);
    let note = prop::option::of("\\PC{0,8}").prop_map(|note| note.map(String::into_boxed_str));
    (any::<u64>(), any::<bool>(), kind(), cut, sets, note).prop_map(|(epoch, flag, kind, cut, sets, note)| Outer {
        epoch,
        flag,
        kind,
        cut,
        sets,
        note,
    })
}

/// Decodes as `T`, and holds what came out against the bytes. No panic, whatever the bytes.
fn check<T: BorshSerialize + BorshDeserialize>(bytes: &[u8]) -> bool {
    let decoded = decode::<T>(bytes);
    if let Ok(value) = &decoded {
        assert_eq!(encode(value), bytes);
    }
    decoded.is_ok()
}

fn check_all(bytes: &[u8]) {
    check::<Outer>(bytes);
    check::<Inner>(bytes);
    check::<Kind>(bytes);
    check::<Vec<Kind2>>(bytes);
    check::<Vec<Vec<Option<bool>>>>(bytes);
    check::<BTreeMap<u8, BTreeMap<bool, Option<u8>>>>(bytes);
    check::<BTreeSet<Vec<u8>>>(bytes);
    check::<Path>(bytes);
    check::<(Digest, Option<Signature>)>(bytes);
    check::<Option<String>>(bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn values_come_back(value in outer()) {
        let bytes = encode(&value);
        prop_assert_eq!(encoded_len(&value), bytes.len());
        let mut appended = vec![1, 2];
        encode_into(&value, &mut appended);
        prop_assert_eq!(&appended[2..], &bytes[..]);
        prop_assert_eq!(decode_bounded::<Outer>(&bytes, bytes.len()), Ok(value.clone()));
        prop_assert_eq!(decode_bounded::<Outer>(&bytes, bytes.len() - 1), Err(Malformed::TooLong));
        prop_assert_eq!(decode::<Outer>(&bytes), Ok(value));
    }

    /// Every prefix is refused, and so is every longer string.
    #[test]
    fn cut_and_extended_encodings_are_refused(value in outer(), more in prop::collection::vec(any::<u8>(), 1..5)) {
        let bytes = encode(&value);
        for length in 0..bytes.len() {
            prop_assert_eq!(decode::<Outer>(&bytes[..length]), Err(Malformed::Invalid));
        }
        prop_assert_eq!(decode::<Outer>(&[bytes, more].concat()), Err(Malformed::TrailingBytes));
    }

    /// Encodings with a few bytes changed: near enough to be taken at times.
    #[test]
    fn damaged_encodings_decode_to_themselves_or_not(
        value in outer(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![0..4_u8, any::<u8>()]), 1..4),
    ) {
        let mut bytes = encode(&value);
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        check_all(&bytes);
    }

    #[test]
    fn noise_decodes_to_itself_or_not(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check_all(&bytes);
    }

    /// Small numbers are tags and lengths, so these get deeper into the types than noise does.
    #[test]
    fn small_noise_decodes_to_itself_or_not(bytes in prop::collection::vec(prop_oneof![4 => Just(0_u8), 2 => 0..4_u8], 0..120)) {
        check_all(&bytes);
    }
}

/// The strategies above do reach values, not only refusals.
#[test]
fn noise_reaches_values() {
    assert!(check::<Outer>(&[0; 8 + 1 + 1 + 4 + 4 + 1]));
    assert!(check::<Inner>(&[0; 4 + 4 + 3]));
    assert!(check::<Vec<Vec<Option<bool>>>>(&[1, 0, 0, 0, 2, 0, 0, 0, 0, 1, 1]));
}

#[test]
fn each_laxity_is_refused() {
    let refused = Err(Malformed::Invalid);
    assert_eq!(decode::<bool>(&[2]), refused.map(|()| true));
    assert_eq!(decode::<Option<u8>>(&[2, 0]), refused.map(|()| None));
    assert_eq!(decode::<Kind>(&[4]), refused.map(|()| Kind::Nothing));
    assert_eq!(decode::<String>(&[1, 0, 0, 0, 0xff]), refused.map(|()| String::new()));
    let unsorted = [2, 0, 0, 0, 7, 3];
    let doubled = [2, 0, 0, 0, 7, 7];
    for bytes in [unsorted, doubled] {
        assert_eq!(decode::<BTreeSet<u8>>(&bytes), refused.map(|()| BTreeSet::new()));
    }
    let unsorted_map = [2, 0, 0, 0, 7, 1, 3, 1];
    assert_eq!(
        decode::<BTreeMap<u8, bool>>(&unsorted_map),
        refused.map(|()| BTreeMap::new())
    );
}

/// A claimed length does not reserve memory that the bytes cannot fill.
#[test]
fn claimed_lengths_are_not_believed() {
    let claim = u32::MAX.to_le_bytes();
    assert_eq!(decode::<Vec<Digest>>(&claim), Err(Malformed::Invalid));
    assert_eq!(decode::<Vec<u8>>(&claim), Err(Malformed::Invalid));
    assert_eq!(decode::<Vec<Vec<u64>>>(&claim), Err(Malformed::Invalid));
    assert_eq!(decode::<String>(&claim), Err(Malformed::Invalid));
}
