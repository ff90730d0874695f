//! Golden vectors: bytes that other versions and other implementations must reproduce (R-STATEMENT).
//!
//! The pinned values were computed by an implementation apart from this one: BLAKE3 written from its paper, Ed25519 from
//! RFC 8032. A change here is a change of the protocol: it takes new versions of the contexts that it touches.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use trireme_crypto::{Digest, Domain, PublicKey, SecretKey, Signature, context, decode, encode, hash, merkle};

use crate::forge::message;

const DOMAIN: Domain = Domain {
    cluster_id: Digest([0xc1; 32]),
    epoch: 0x0102_0304,
};

#[derive(Debug, PartialEq, BorshSerialize, BorshDeserialize)]
struct Sample {
    tag: Tag,
    number: u64,
    digest: Digest,
    key: PublicKey,
    signature: Signature,
    pairs: Vec<(u16, Option<bool>)>,
    text: String,
    map: BTreeMap<u8, u32>,
}

#[derive(Debug, PartialEq, BorshSerialize, BorshDeserialize)]
enum Tag {
    First,
    Second { bytes: Vec<u8> },
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sample() -> Sample {
    Sample {
        tag: Tag::Second {
            bytes: vec![0xaa, 0xbb],
        },
        number: 0x0102_0304_0506_0708,
        digest: Digest([0x11; 32]),
        key: PublicKey([0x22; 32]),
        signature: Signature([0x33; 64]),
        pairs: vec![(1, None), (0x0203, Some(true))],
        text: "ab".into(),
        map: BTreeMap::from([(9, 1), (3, 2)]),
    }
}

#[test]
fn encoding() {
    // Read by hand: tag and bytes, the number, the fixed-size strings, the pairs, the text, the map in order.
    let expected = [
        "01",
        "02000000aabb",
        "0807060504030201",
        &"11".repeat(32),
        &"22".repeat(32),
        &"33".repeat(64),
        "02000000",
        "010000",
        "03020101",
        "020000006162",
        "02000000",
        "0302000000",
        "0901000000",
    ]
    .concat();
    assert_eq!(hex(&encode(&sample())), expected);
    assert_eq!(decode(&encode(&sample())), Ok(sample()));
    assert_eq!(encode(&Tag::First), [0]);
}

#[test]
fn statements_of_every_kind() {
    let bytes = encode(&sample());
    let computed: Vec<String> = context::ALL
        .iter()
        .map(|context| format!("{} {context}", DOMAIN.statement(context, &bytes)))
        .collect();
    assert_eq!(computed, STATEMENTS);
}

#[test]
fn hashes() {
    let digest = |bytes: &[u8]| hash(context::BATCH_BODY, bytes).to_string();
    assert_eq!(digest(b""), HASHES[0]);
    assert_eq!(digest(b"abc"), HASHES[1]);
    assert_eq!(digest(&[0x5a; 5000]), HASHES[2]);
}

#[test]
fn keys_and_signatures() {
    let secret = SecretKey::from_seed(std::array::from_fn(|i| i as u8));
    let digest = DOMAIN.statement(context::VOTE, &encode(&sample()));
    assert_eq!(secret.public().to_string(), PUBLIC);
    assert_eq!(secret.sign(&digest).to_string(), SIGNATURE.concat());
    assert_eq!(secret.derive(context::TLS).public().to_string(), TLS_PUBLIC);
}

#[test]
fn merkle_roots() {
    let leaves: Vec<Digest> = (0..9).map(message).collect();
    let computed: Vec<String> = (0..=9)
        .map(|count| merkle::root(&leaves[..count]).to_string())
        .collect();
    assert_eq!(computed, ROOTS);
}

const STATEMENTS: &[&str] = &[
    "4eb7d642082b512d7f791bec6c36a362c8b2e8db4a36aa84cedef9372fcf6800 trireme 2026-11 batch-header v1",
    "79af466e4b90d330b6eb3611f68f8a25e37b68c8281f48e3f809ac50e04f3a62 trireme 2026-11 batch-body v1",
    "aae44562aea2b9bd656296d10355cdf9f555e3c7685084d4d62ef2ea7df39c95 trireme 2026-11 ack v1",
    "6715ba6993c7e61cb34f7abc726af0a6d9ca8f9309c3f86f99dd02e653312e0b trireme 2026-11 block v1",
    "c320ff7ea22506a7de0e5b8e8f369ea865f9138579da1264cb34fea38354d58c trireme 2026-11 vote v1",
    "ce5b966557af7c8277e6f9abac6c009aed5339403224a834322026bac8e2cd3b trireme 2026-11 timeout v1",
    "27a50de52fe50fb81dffdece2bb870a96ad6885aba6200c9ea19227302e90925 trireme 2026-11 state-vote v1",
    "c0d4a0374afa6b209a3afbe8b94ac92b13b6eaef70078f0b6707658b7ed24a0c trireme 2026-11 bundle v1",
    "7952da66a23c1a7a4ad5f9abdff7af69d422752af8674995db7e89cbfaf80007 trireme 2026-11 request v2",
    "dc68611120a77020b1122a6fe3fb29385980830598089b8058849a982ae93748 trireme 2026-11 receipts v1",
    "cadfa2fef9c1d34ea666a73f8bb880f65a312f39e72798059117bf889def5cbc trireme 2026-11 state v1",
    "45a5b4b9ed0e96c401c1228573cc4b21ccbeaafe8cc2bc907c7ff5e48a1344ef trireme 2026-11 result v1",
    "7acc34c629ff22c0e02aeff8e7b21b84fb53f51123916a101bae93f6441db720 trireme 2026-11 reply v1",
    "045bebb9db4c9905bcc7fbd804cedf5eb096617cec2f4e39f18925bc983d5752 trireme 2026-11 order v1",
    "f4d049a67f712536841b81a4130bd5f5ad0e3b496514c734343ebedc64488aa6 trireme 2026-11 frame v1",
    "d83518363bf0eb7c8f000a9260f1d3fdf2e37cd158ef4c854f7d15cf7801e803 trireme 2026-11 certificate v1",
    "875f025fb1051deb4d17a5175dbff9bee824ffb0674c6cb103ff8fb23ef54785 trireme 2026-11 checkpoint v1",
    "373cbe79813e3d21b4cf87f2e0e507b2455b72cb3f03e7122810ea06b8630316 trireme 2026-11 epoch v1",
    "90f60238d29abd29dc247220b593efc1288f9f986755eca8e81c443783ef349a trireme 2026-11 cluster v1",
    "fb61e0e56e1b7be29d066847aa43786c5f8de951ef7a7906d64390fd3c3ee08c trireme 2026-11 log v1",
    "2e0178841a2852944f7b44d6f871968d0a6657456f8f34e1d60b4cb0c1034663 trireme 2026-11 peer-answer v1",
    "c1bc4e9dfb8cf69df86d5ceec254c95c5cd3cf6005bc31323367f5f8f6c700d7 trireme 2026-11 tls-key v1",
    "8a38a2c940cfe2063f464b9cf955987943b716a3f5d2cc02ff9b5a1e75cb4d70 trireme 2026-11 seed v1",
    "1d5d8df294ceeb25471af01d4cd2c8aaf76d22d44886c4e86efee9edc7122608 trireme 2026-11 merkle-leaf v1",
    "40e08c5777374ff037c819959e177ea5e294e80e4be725a555aedb4464b65863 trireme 2026-11 merkle-inner v1",
    "ea906d46cc238fd21fe03bb3d63a3b65d41ae8cf494460d6ed466cf0839cfe95 trireme 2026-11 merkle-root v1",
    "bd338ca119f5ba795f53bb6db30cb9207c482e8c7f935d5d3d9e2e9feca06ce5 trireme 2026-11 batch-equation v1",
];

const HASHES: [&str; 3] = [
    "88b4fa5200ea8e879ad91b4ebcb2550ea3c1ba4754f6af879ecd0ab49c7332e8",
    "adcbfa71dfa9fda59daf435d0f0ad8a178c5c882dee5947ad5165e650c917488",
    "7cb40bc76c548e0b7456ab048f038a024e5c9b52f178f5a0524076074fb5d9ab",
];

const PUBLIC: &str = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8";
const SIGNATURE: [&str; 2] = [
    "29b13ef185f9ff06e16239a60e44fe3ff0d862e13214599764be63ae2477e61f",
    "37982fd06ac8bd00dd4d486d638854bba393dbbc2d9efa775591517336afab02",
];
const TLS_PUBLIC: &str = "c59a992d69eb0f10845080b403261b0d6d70929e571d889cfaf4f083876359be";

const ROOTS: &[&str] = &[
    "5177b258d4a0ccf3fcf38162938cabf6c8281070713e32b916730eab1b187bde",
    "249e0340e1be6b6008836accead85b4e09c75948d54d902f6d1930983b82da78",
    "717b969c77deef2ce8c665ce96929ad2daa802ddfcc68e45e1f02bf494a18185",
    "ab16352b3f384249bce95de386c56c026d57f924908408ae127c9d04e23f267d",
    "ff2cc45fcc2c356d76a671c76f13a4d1f61fd92a54b60102089e5ff8f65eeec8",
    "688197173271e9164160e0a94d16f320321c68a2c9a800e3b650b3f553ca9ca3",
    "c0f4859bb6f0ba5d712ca9ea16e9a7bac11a35b4c43edcf193567f623aa9c548",
    "475101e763e108d73e355c521ebc8839ca53da56b14848d7aac15a33b2f82da0",
    "2cdb668de4eec5896ee6cf7db394659ec6b307e32dc94b36cc9a129002ea0f36",
    "86df1e8c5fa6bce2ca06a99a22681c43349b5a99ca064e5648d57be3e7b83fe8",
];
