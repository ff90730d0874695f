//! The canonical and strict encoding: one byte string a value, one value a byte string (R-STATEMENT).
//!
//! Borsh with ordered maps and sets. Strictness holds for what this protocol is built of: integers, arrays, vectors,
//! options, enums, strings, ordered maps and sets. Types whose own implementation reads two encodings as one value
//! would break it, so messages derive theirs.

use alloc::vec::Vec;
use core::fmt;

use borsh::{BorshDeserialize, BorshSerialize};

pub(crate) const NO_ENCODING: &str = "statements and messages have an encoding";

/// Why bytes are not the encoding of a value of the type asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Malformed {
    /// Longer than the limit that the caller gave.
    TooLong,
    /// The bytes end within the value, or hold what no value encodes to: a bad tag, an unsorted map, bad text.
    Invalid,
    /// Bytes follow the value.
    TrailingBytes,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Malformed::TooLong => "encoding above the limit",
            Malformed::Invalid => "not an encoding of this type",
            Malformed::TrailingBytes => "bytes after the value",
        })
    }
}

impl core::error::Error for Malformed {}

/// The canonical encoding of `value`.
///
/// # Panics
///
/// If the value has none: a collection of 2^32 elements or more, elements of no size, a float that is not a number.
/// Limits on messages keep all three out.
pub fn encode<T: BorshSerialize + ?Sized>(value: &T) -> Vec<u8> {
    borsh::to_vec(value).expect(NO_ENCODING)
}

/// Appends the canonical encoding of `value` to `out`, for buffers that are used again.
///
/// # Panics
///
/// As [`encode`].
pub fn encode_into<T: BorshSerialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    value.serialize(out).expect(NO_ENCODING);
}

/// The length in bytes of `value`'s encoding.
///
/// # Panics
///
/// As [`encode`].
pub fn encoded_len<T: BorshSerialize + ?Sized>(value: &T) -> usize {
    borsh::object_length(value).expect(NO_ENCODING)
}

/// The value that `bytes` encode. Strict: whatever is accepted encodes to exactly `bytes` again.
///
/// Memory stays in proportion to `bytes`: a length that the bytes claim is not trusted for more than a page. The type
/// decides by how much elements grow in memory, so bound the input first, with [`decode_bounded`] or at the frame.
///
/// # Errors
///
/// [`Malformed`]; nothing of a malformed value is kept.
pub fn decode<T: BorshDeserialize>(bytes: &[u8]) -> Result<T, Malformed> {
    let mut rest = bytes;
    let value = T::deserialize(&mut rest).map_err(|_| Malformed::Invalid)?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(Malformed::TrailingBytes)
    }
}

/// [`decode`], of at most `max_len` bytes.
///
/// # Errors
///
/// [`Malformed::TooLong`] before anything is read, otherwise as [`decode`].
pub fn decode_bounded<T: BorshDeserialize>(bytes: &[u8], max_len: usize) -> Result<T, Malformed> {
    if bytes.len() > max_len {
        Err(Malformed::TooLong)
    } else {
        decode(bytes)
    }
}
