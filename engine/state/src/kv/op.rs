//! Operations and results of the store, byte for byte (integers little-endian).
//!
//! ```text
//! put              [1][key_len u16][key][value to the end]
//! get              [2][key_len u16][key]
//! delete           [3][key_len u16][key]
//! compare-and-set  [4][key_len u16][key][expected version u64][value to the end]
//! scan             [5][key_len u16][first key][limit u16]
//!
//! written          [1][version u64]
//! value            [2][version u64][value to the end]
//! absent           [3]
//! deleted          [4][version u64]
//! mismatch         [5][version u64]
//! full             [6]
//! malformed        [7][reason u8]
//! found            [8], see [`Found`]
//! ```
//!
//! One byte string for each value; nothing follows.

use std::fmt;

use super::scan::{Found, MAX_SCAN_KEYS};
use trireme_core::reply::MAX_RESULT_BYTES;
use trireme_core::request::MAX_REQUEST_BYTES;

/// The longest key, in bytes. Keys are not empty.
pub const MAX_KEY_BYTES: usize = 1_024;
/// The longest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 64 << 10;

const _: () = assert!(1 + 2 + MAX_KEY_BYTES + 8 + MAX_VALUE_BYTES <= MAX_REQUEST_BYTES);
const _: () = assert!(1 + 8 + MAX_VALUE_BYTES <= MAX_RESULT_BYTES);

/// An operation, borrowed from its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// Writes a key.
    Put {
        /// Which.
        key: &'a [u8],
        /// What.
        value: &'a [u8],
    },
    /// Reads a key.
    Get {
        /// Which.
        key: &'a [u8],
    },
    /// Removes a key.
    Delete {
        /// Which.
        key: &'a [u8],
    },
    /// Writes a key if it has this version.
    CompareAndSet {
        /// Which.
        key: &'a [u8],
        /// The version that it must have; 0: it must be absent.
        expected: u64,
        /// What.
        value: &'a [u8],
    },
    /// Reads keys in their order, with their values: at most `limit` of them, and as many as a result has room for.
    Scan {
        /// The first one, or the place where it would stand.
        start: &'a [u8],
        /// 1 to [`MAX_SCAN_KEYS`].
        limit: u16,
    },
}

/// The result of an operation, borrowed from its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpResult<'a> {
    /// A put or compare-and-set took effect.
    Written {
        /// The key's version from now on.
        version: u64,
    },
    /// A get found the key.
    Value {
        /// Its version.
        version: u64,
        /// Its value.
        value: &'a [u8],
    },
    /// A get or delete found no key.
    Absent,
    /// A delete took effect.
    Deleted {
        /// The version that was removed.
        version: u64,
    },
    /// A compare-and-set found another version and changed nothing.
    Mismatch {
        /// The key's version; 0: absent.
        version: u64,
    },
    /// The store's limits do not allow the write; nothing changed.
    Full,
    /// The bytes are no operation.
    Malformed(BadOp),
    /// What a scan found.
    Found(Found<'a>),
}

/// Why bytes are no operation, or no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum BadOp {
    /// They end too early.
    Truncated = 1,
    /// Bytes follow.
    TrailingBytes = 2,
    /// An unknown kind.
    Tag = 3,
    /// An empty key, or one above [`MAX_KEY_BYTES`].
    Key = 4,
    /// A value above [`MAX_VALUE_BYTES`].
    Value = 5,
    /// A scan for no key, or for more than [`MAX_SCAN_KEYS`].
    Limit = 6,
}

impl BadOp {
    const ALL: [Self; 6] = [
        Self::Truncated,
        Self::TrailingBytes,
        Self::Tag,
        Self::Key,
        Self::Value,
        Self::Limit,
    ];
}

impl fmt::Display for BadOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "truncated",
            Self::TrailingBytes => "trailing bytes",
            Self::Tag => "unknown kind",
            Self::Key => "key empty or too long",
            Self::Value => "value too long",
            Self::Limit => "limit of a scan out of bounds",
        })
    }
}

impl std::error::Error for BadOp {}

impl<'a> Op<'a> {
    /// Appends the encoding to `out`. Limits on key and value are the decoder's: what breaks them comes back as
    /// [`OpResult::Malformed`].
    ///
    /// # Panics
    ///
    /// If the key has 2^16 bytes or more: that has no encoding.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let mut start = |tag: u8, key: &[u8]| {
            let len = u16::try_from(key.len()).expect("a key has an encoding");
            out.push(tag);
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(key);
        };
        match *self {
            Self::Put { key, value } => {
                start(1, key);
                out.extend_from_slice(value);
            }
            Self::Get { key } => start(2, key),
            Self::Delete { key } => start(3, key),
            Self::CompareAndSet { key, expected, value } => {
                start(4, key);
                out.extend_from_slice(&expected.to_le_bytes());
                out.extend_from_slice(value);
            }
            Self::Scan { start: first, limit } => {
                start(5, first);
                out.extend_from_slice(&limit.to_le_bytes());
            }
        }
    }

    /// The encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_into(&mut out);
        out
    }

    /// Reads an operation, strictly.
    ///
    /// # Errors
    ///
    /// [`BadOp`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, BadOp> {
        let mut rest = bytes;
        let [tag] = take(&mut rest)?;
        if !(1..=5).contains(&tag) {
            return Err(BadOp::Tag);
        }
        let len = usize::from(u16::from_le_bytes(take(&mut rest)?));
        if len == 0 || len > MAX_KEY_BYTES {
            return Err(BadOp::Key);
        }
        let (key, mut rest) = rest.split_at_checked(len).ok_or(BadOp::Truncated)?;
        match tag {
            1 => Ok(Self::Put {
                key,
                value: bounded(rest)?,
            }),
            2 => end(rest).map(|()| Self::Get { key }),
            3 => end(rest).map(|()| Self::Delete { key }),
            5 => {
                let limit = u16::from_le_bytes(take(&mut rest)?);
                end(rest)?;
                match (1..=MAX_SCAN_KEYS).contains(&limit) {
                    true => Ok(Self::Scan { start: key, limit }),
                    false => Err(BadOp::Limit),
                }
            }
            _ => {
                let expected = u64::from_le_bytes(take(&mut rest)?);
                Ok(Self::CompareAndSet {
                    key,
                    expected,
                    value: bounded(rest)?,
                })
            }
        }
    }

    /// The key that it reads or writes; of a scan, where it begins.
    pub fn key(&self) -> &'a [u8] {
        match *self {
            Self::Put { key, .. } | Self::Get { key } | Self::Delete { key } | Self::CompareAndSet { key, .. } => key,
            Self::Scan { start, .. } => start,
        }
    }
}

impl<'a> OpResult<'a> {
    /// Appends the encoding to `out`.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let mut versioned = |tag: u8, version: u64| {
            out.push(tag);
            out.extend_from_slice(&version.to_le_bytes());
        };
        match *self {
            Self::Written { version } => versioned(1, version),
            Self::Value { version, value } => {
                versioned(2, version);
                out.extend_from_slice(value);
            }
            Self::Absent => out.push(3),
            Self::Deleted { version } => versioned(4, version),
            Self::Mismatch { version } => versioned(5, version),
            Self::Full => out.push(6),
            Self::Malformed(reason) => out.extend_from_slice(&[7, reason as u8]),
            Self::Found(found) => {
                out.push(8);
                found.encode_into(out);
            }
        }
    }

    /// The encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_into(&mut out);
        out
    }

    /// Reads a result, strictly.
    ///
    /// # Errors
    ///
    /// [`BadOp`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, BadOp> {
        let mut rest = bytes;
        let [tag] = take(&mut rest)?;
        let result = match tag {
            1 => Self::Written {
                version: take_version(&mut rest)?,
            },
            2 => {
                let version = take_version(&mut rest)?;
                return Ok(Self::Value {
                    version,
                    value: bounded(rest)?,
                });
            }
            3 => Self::Absent,
            4 => Self::Deleted {
                version: take_version(&mut rest)?,
            },
            5 => Self::Mismatch {
                version: take_version(&mut rest)?,
            },
            6 => Self::Full,
            7 => {
                let [reason] = take(&mut rest)?;
                let reason = BadOp::ALL.into_iter().find(|known| *known as u8 == reason);
                Self::Malformed(reason.ok_or(BadOp::Tag)?)
            }
            8 => return Found::decode(rest).map(Self::Found),
            _ => return Err(BadOp::Tag),
        };
        end(rest).map(|()| result)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], BadOp> {
    let (taken, after) = rest.split_first_chunk().ok_or(BadOp::Truncated)?;
    *rest = after;
    Ok(*taken)
}

fn take_version(rest: &mut &[u8]) -> Result<u64, BadOp> {
    take(rest).map(u64::from_le_bytes)
}

fn bounded(value: &[u8]) -> Result<&[u8], BadOp> {
    if value.len() > MAX_VALUE_BYTES {
        Err(BadOp::Value)
    } else {
        Ok(value)
    }
}

fn end(rest: &[u8]) -> Result<(), BadOp> {
    if rest.is_empty() {
        Ok(())
    } else {
        Err(BadOp::TrailingBytes)
    }
}
