//! Keys, domain-separated digests, strict encoding, the one signature rule, Merkle trees.
//!
//! Everything here is a pure function: no input or output, no clock, no source of randomness. The crate is `no_std`
//! and needs only `alloc`, so that the engine's core and the simulator use the very code that a replica runs.
//!
//! # What is signed (R-STATEMENT)
//!
//! A statement is never signed as bytes of its own. Its canonical encoding ([`encode`]) goes, behind the cluster's
//! identity and the epoch, through BLAKE3 in key derivation mode under a context that is unique for the kind of
//! statement ([`context`]); the 32 bytes that come out ([`Domain::statement`]) are what Ed25519 signs. So a signature
//! of one kind, cluster or epoch means nothing for another.
//!
//! # When a signature is valid (R-SIG)
//!
//! There is one rule, [`verify`], and everything else in the crate agrees with it:
//!
//! - the 32 bytes of `S` are the canonical encoding of a scalar, that is `S < L`;
//! - the 32 bytes of `R` decode to a point of the curve. As in ZIP-215, `y` may be given unreduced and zero may carry
//!   a sign: those encodings are few, nobody but the signer can swap one for another (the challenge covers the bytes
//!   as sent), and a rule with fewer exceptions is easier to implement twice;
//! - `8 * (S*B - R - k*A) = 0`, where `k` is SHA-512 over `R`, `A` and the message, reduced modulo `L`.
//!
//! The factor 8 removes every component of small order before the comparison. Without it a batch equation accepts
//! some signatures that the single equation refuses, with a probability that depends on who shares the batch; two
//! replicas would then disagree about a certificate. With it [`verify`], [`verify_batch`] and [`invalid_in_batch`] give
//! one answer in every composition, up to the chance 2^-128 of hitting a coefficient.
//!
//! The rule is about signatures. What keys may be used is decided earlier and more strictly, once, at registration:
//! [`VerifyingKey::from_public`] refuses encodings that are not canonical and points that are not of prime order.
//!
//! # Equal bytes, equal values
//!
//! [`decode`] accepts exactly the byte strings that [`encode`] writes: no trailing bytes, no unknown tag, no unsorted
//! map. Digests and signatures are computed over bytes as received, and a value that was decoded encodes to them.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod batch;
#[cfg(feature = "bugs")]
pub mod bugs;
mod bytes;
pub mod context;
mod digest;
mod encoding;
#[cfg(feature = "forge")]
pub mod forge;
mod keys;
mod many;
pub mod merkle;
mod rule;

pub use batch::{MAX_EQUATION, invalid_in_batch, verify_batch};
pub use bytes::{Digest, HexError, PublicKey, Signature};
pub use digest::{Domain, hash, hash_of, hash_parts};
pub use encoding::{Malformed, decode, decode_bounded, encode, encode_into, encoded_len};
pub use keys::{KeyError, SecretKey, VerifyingKey};
pub use many::{ManyHasher, padding};
pub use rule::{Signed, verify};

#[cfg(test)]
mod speccheck;
