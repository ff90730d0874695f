//! A key-value store: put, get, delete, compare-and-set, scans in the order of keys, with versions and an authenticated
//! root.
//!
//! Every successful write takes the next revision of the store, from 1, and the key's version is the revision that
//! wrote it. So a version names one write for ever: a compare-and-set cannot be fooled by a key that was deleted and
//! put again. Version 0 means that the key is absent.
//!
//! # What the root covers
//!
//! The revision, and for each key present its version and value. Not covered: anything else, such as the order of
//! writes, reads, failed writes, or deleted keys, except through the revision and the versions that are left.
//!
//! Values are hashed when a root is asked for, and once then: a key written a thousand times in between costs one
//! hash.

mod leaf;
mod op;
mod scan;
mod store;

pub use op::{BadOp, MAX_KEY_BYTES, MAX_VALUE_BYTES, Op, OpResult};
pub use scan::{Found, FoundKey, MAX_SCAN_KEYS};
pub use store::{Kv, KvLimits};
