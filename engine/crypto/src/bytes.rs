//! The fixed-size byte strings of the protocol: digests, public keys, signatures.

use core::cmp::Ordering;
use core::fmt;
use core::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};

/// A 32-byte BLAKE3 digest. The protocol derives every one under a [`context`](crate::context).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Digest(pub [u8; 32]);

/// By their bytes. The first eight nearly always decide, and maps by digest compare often.
impl Ord for Digest {
    fn cmp(&self, other: &Self) -> Ordering {
        let first = |digest: &Self| u64::from_be_bytes(*digest.0.first_chunk().expect("eight of 32 bytes"));
        first(self).cmp(&first(other)).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Digest {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// An Ed25519 public key as it travels: 32 bytes, unchecked. [`VerifyingKey`](crate::VerifyingKey) is the checked form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct PublicKey(pub [u8; 32]);

/// An Ed25519 signature as it travels: `R` in the first 32 bytes, `S` in the last, unchecked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Signature(pub [u8; 64]);

/// Why a text is not the hex form of a byte string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HexError {
    /// The text is not twice as long as the byte string.
    Length,
    /// A character is none of `0-9`, `a-f`, `A-F`.
    Character,
}

impl Digest {
    /// 32 zero bytes: "no digest yet", the parent of a first block. Nothing is known that hashes to it.
    pub const ZERO: Digest = Digest([0; 32]);

    /// The digest's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 4 bytes as 8 hex characters: for logs and tables, not for comparisons.
    pub fn short(&self) -> alloc::string::String {
        alloc::format!("{}", Hex(&self.0[..4]))
    }
}

impl PublicKey {
    /// The key's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Signature {
    /// The signature's bytes, `R` and `S`.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }

    /// The encoding of the point `R`.
    pub(crate) fn r(&self) -> [u8; 32] {
        let (r, _) = self.0.split_at(32);
        r.try_into().expect("64 bytes split at 32")
    }

    /// The encoding of the scalar `S`.
    pub(crate) fn s(&self) -> [u8; 32] {
        let (_, s) = self.0.split_at(32);
        s.try_into().expect("64 bytes split at 32")
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Digest {
        Digest(bytes)
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for PublicKey {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Signature {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Writes bytes as lower-case hex.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Hex(&self.0), f)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Hex(&self.0), f)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Hex(&self.0), f)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Hex(&self.0), f)
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Hex(&self.0), f)
    }
}

/// Short: the first 8 bytes are enough to tell signatures apart in a trace.
impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..", Hex(&self.0[..8]))
    }
}

impl FromStr for Digest {
    type Err = HexError;
    fn from_str(text: &str) -> Result<Digest, HexError> {
        parse_hex(text).map(Digest)
    }
}

impl FromStr for PublicKey {
    type Err = HexError;
    fn from_str(text: &str) -> Result<PublicKey, HexError> {
        parse_hex(text).map(PublicKey)
    }
}

impl FromStr for Signature {
    type Err = HexError;
    fn from_str(text: &str) -> Result<Signature, HexError> {
        parse_hex(text).map(Signature)
    }
}

impl fmt::Display for HexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HexError::Length => "wrong number of hex characters",
            HexError::Character => "not a hex character",
        })
    }
}

impl core::error::Error for HexError {}

fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], HexError> {
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return Err(HexError::Length);
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = hex_value(pair[0])? << 4 | hex_value(pair[1])?;
    }
    Ok(bytes)
}

fn hex_value(character: u8) -> Result<u8, HexError> {
    match character {
        b'0'..=b'9' => Ok(character - b'0'),
        b'a'..=b'f' => Ok(character - b'a' + 10),
        b'A'..=b'F' => Ok(character - b'A' + 10),
        _ => Err(HexError::Character),
    }
}
