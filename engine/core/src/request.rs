//! What clients ask for, byte for byte: requests, signed bundles of them, and the bodies of batches.
//!
//! A bundle is one client's run of requests under one signature (all integers little-endian):
//!
//! ```text
//! [client 32][done_below u64][count u32] count x ([number u64][len u32][payload len]) [signature 64]
//! ```
//!
//! The body of a batch is a run of bundles:
//!
//! ```text
//! [count u32] count x ([len u32][bundle len])
//! ```
//!
//! There is one byte string for each value: counts are at least one, numbers ascend strictly from at least 1,
//! `done_below` is at most the first number (R-EXECUTE), and nothing follows. Parsing borrows; it allocates nothing.

pub mod body;

use core::fmt;

use alloc::vec::Vec;

use trireme_crypto::{Digest, Domain, ManyHasher, PublicKey, Signature, context, hash_parts, padding};

use crate::types::ClientId;

pub use body::{Body, Bundles};

/// Number of a request: unique for its client, ascending from 1.
pub type RequestNumber = u64;

/// The longest payload of one request, in bytes.
pub const MAX_REQUEST_BYTES: usize = 128 << 10;
/// The most requests of one bundle.
pub const MAX_BUNDLE_OPS: usize = 1_024;
/// The longest encoded bundle, in bytes.
pub const MAX_BUNDLE_BYTES: usize = 256 << 10;
/// The longest body of a batch that is parsed, in bytes. A cluster's own limit (`Params::max_batch_bytes`) is lower.
pub const MAX_BODY_BYTES: usize = 8 << 20;
/// Bytes of a bundle without its requests.
pub const BUNDLE_OVERHEAD_BYTES: usize = HEAD_BYTES + SIGNATURE_BYTES;
/// Bytes of a request in a bundle without its payload.
pub const REQUEST_OVERHEAD_BYTES: usize = 8 + 4;

const HEAD_BYTES: usize = 32 + 8 + 4;
const SIGNATURE_BYTES: usize = 64;

const _: () = assert!(BUNDLE_OVERHEAD_BYTES + REQUEST_OVERHEAD_BYTES + MAX_REQUEST_BYTES <= MAX_BUNDLE_BYTES);
const _: () = assert!(4 + 4 + MAX_BUNDLE_BYTES <= MAX_BODY_BYTES);

/// Why bytes are no bundle, or no body. Closed and counted by variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum BadBundle {
    /// The bytes end too early.
    Truncated,
    /// Bytes follow the value.
    TrailingBytes,
    /// No request, or no bundle.
    Empty,
    /// More requests than [`MAX_BUNDLE_OPS`].
    TooManyRequests,
    /// A payload above [`MAX_REQUEST_BYTES`], a bundle above [`MAX_BUNDLE_BYTES`], or a body above [`MAX_BODY_BYTES`].
    TooLarge,
    /// A number that is 0 or not above the one before.
    Numbers,
    /// `done_below` above the first number (R-EXECUTE).
    DoneBelow,
}

impl BadBundle {
    /// Number of variants.
    pub const COUNT: usize = 7;

    /// Name for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::TrailingBytes => "trailing_bytes",
            Self::Empty => "empty",
            Self::TooManyRequests => "too_many_requests",
            Self::TooLarge => "too_large",
            Self::Numbers => "numbers",
            Self::DoneBelow => "done_below",
        }
    }
}

impl fmt::Display for BadBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl core::error::Error for BadBundle {}

/// The digest by which replies name a request (context `REQUEST`; the signature of its bundle is not covered, so a
/// request keeps its digest when bundles are cut anew). It covers client, number, length, payload, and zeros up to whole
/// blocks, so that many requests can be hashed at once ([`RequestHasher`]).
pub fn request_digest(client: &ClientId, number: RequestNumber, payload: &[u8]) -> Digest {
    let head = digest_head(client, number, payload);
    hash_parts(context::REQUEST, &[&head, payload, tail(payload)])
}

/// Bytes in front of the payload under a request's digest.
const DIGEST_HEAD_BYTES: usize = 32 + 8 + 4;

fn digest_head(client: &ClientId, number: RequestNumber, payload: &[u8]) -> [u8; DIGEST_HEAD_BYTES] {
    let len = u32::try_from(payload.len()).expect("payloads are bounded");
    let mut head = [0; DIGEST_HEAD_BYTES];
    head[..32].copy_from_slice(&client.0);
    head[32..40].copy_from_slice(&number.to_le_bytes());
    head[40..].copy_from_slice(&len.to_le_bytes());
    head
}

/// What fills a request's digest up to whole blocks.
fn tail(payload: &[u8]) -> &'static [u8] {
    padding(DIGEST_HEAD_BYTES + payload.len())
}

/// Gives the digests of many requests, several at once.
#[derive(Clone, Debug)]
pub struct RequestHasher(ManyHasher);

impl Default for RequestHasher {
    fn default() -> Self {
        Self(ManyHasher::new(context::REQUEST))
    }
}

impl RequestHasher {
    /// Appends the [`request_digest`] of each request of a bundle to `out`. They are there after
    /// [`RequestHasher::finish`]; until then `out` is the same list.
    pub fn bundle(&mut self, bundle: &BundleRef<'_>, out: &mut Vec<Digest>) {
        for request in bundle.requests() {
            let head = digest_head(&bundle.client, request.number, request.payload);
            self.0.push(&[&head, request.payload, tail(request.payload)], out);
        }
    }

    /// Computes what is left of the digests.
    pub fn finish(&mut self, out: &mut [Digest]) {
        self.0.finish(out);
    }
}

/// One request of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRef<'a> {
    /// Its number.
    pub number: RequestNumber,
    /// The application's bytes.
    pub payload: &'a [u8],
}

impl RequestRef<'_> {
    /// [`request_digest`] of this request.
    pub fn digest(&self, client: &ClientId) -> Digest {
        request_digest(client, self.number, self.payload)
    }
}

/// A well-formed bundle, borrowed from its bytes. Its signature is not checked here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BundleRef<'a> {
    bytes: &'a [u8],
    client: ClientId,
    done_below: RequestNumber,
    ops: u32,
}

impl<'a> BundleRef<'a> {
    /// Reads a whole bundle, strictly.
    ///
    /// # Errors
    ///
    /// [`BadBundle`]; sizes are judged before anything else.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BadBundle> {
        if bytes.len() > MAX_BUNDLE_BYTES {
            return Err(BadBundle::TooLarge);
        }
        let mut rest = bytes;
        let client = PublicKey(take_array(&mut rest)?);
        let done_below = take_u64(&mut rest)?;
        let ops = take_u32(&mut rest)?;
        match ops as usize {
            0 => return Err(BadBundle::Empty),
            1..=MAX_BUNDLE_OPS => {}
            _ => return Err(BadBundle::TooManyRequests),
        }
        let mut floor = done_below.max(1);
        for index in 0..ops {
            let request = take_request(&mut rest)?;
            if request.number < floor {
                let below_mark = index == 0 && request.number > 0;
                return Err(if below_mark {
                    BadBundle::DoneBelow
                } else {
                    BadBundle::Numbers
                });
            }
            // The number 2^64 - 1 can only be the last one; what follows it is below the floor or equal to it.
            floor = match request.number.checked_add(1) {
                Some(floor) => floor,
                None if index + 1 == ops => break,
                None => return Err(BadBundle::Numbers),
            };
        }
        match rest.len() {
            SIGNATURE_BYTES => Ok(Self {
                bytes,
                client,
                done_below,
                ops,
            }),
            len if len < SIGNATURE_BYTES => Err(BadBundle::Truncated),
            _ => Err(BadBundle::TrailingBytes),
        }
    }

    /// Whose bundle it is: the key that its signature must verify under.
    pub fn client(&self) -> &ClientId {
        &self.client
    }

    /// The client needs no reply to requests below this number any more (R-EXECUTE).
    pub fn done_below(&self) -> RequestNumber {
        self.done_below
    }

    /// Number of requests, at least 1.
    pub fn ops(&self) -> u32 {
        self.ops
    }

    /// The whole encoding.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The requests, numbers ascending.
    pub fn requests(&self) -> Requests<'a> {
        Requests {
            rest: &self.signed_bytes()[HEAD_BYTES..],
            left: self.ops,
        }
    }

    /// What the signature covers: everything before it.
    pub fn signed_bytes(&self) -> &'a [u8] {
        &self.bytes[..self.bytes.len() - SIGNATURE_BYTES]
    }

    /// The client's signature over [`BundleRef::statement`].
    pub fn signature(&self) -> Signature {
        let bytes = &self.bytes[self.bytes.len() - SIGNATURE_BYTES..];
        Signature(bytes.try_into().expect("cut to 64 bytes"))
    }

    /// What is signed (R-STATEMENT, context `BUNDLE`).
    pub fn statement(&self, domain: &Domain) -> Digest {
        domain.statement(context::BUNDLE, self.signed_bytes())
    }
}

/// The requests of a bundle that was parsed.
#[derive(Clone, Debug)]
pub struct Requests<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Iterator for Requests<'a> {
    type Item = RequestRef<'a>;

    fn next(&mut self) -> Option<RequestRef<'a>> {
        self.left = self.left.checked_sub(1)?;
        Some(take_request(&mut self.rest).expect("a bundle is parsed before it is read"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Requests<'_> {}

/// Writes one bundle.
#[derive(Clone, Debug)]
pub struct BundleBuilder {
    bytes: Vec<u8>,
    ops: u32,
    /// The lowest number that may follow; `None` after the highest number there is.
    floor: Option<RequestNumber>,
}

impl BundleBuilder {
    /// An empty bundle of `client`, who needs no reply below `done_below` any more.
    pub fn new(client: ClientId, done_below: RequestNumber) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&client.0);
        bytes.extend_from_slice(&done_below.to_le_bytes());
        bytes.extend_from_slice(&0u32.to_le_bytes());
        Self {
            bytes,
            ops: 0,
            floor: Some(done_below.max(1)),
        }
    }

    /// Requests so far.
    pub fn ops(&self) -> u32 {
        self.ops
    }

    /// Bytes of the bundle if it were finished now.
    pub fn encoded_len(&self) -> usize {
        self.bytes.len() + SIGNATURE_BYTES
    }

    /// Whether a request with this many payload bytes has room.
    pub fn fits(&self, payload_bytes: usize) -> bool {
        payload_bytes <= MAX_REQUEST_BYTES
            && (self.ops as usize) < MAX_BUNDLE_OPS
            && self.encoded_len() + REQUEST_OVERHEAD_BYTES + payload_bytes <= MAX_BUNDLE_BYTES
    }

    /// Appends a request; the bundle is unchanged if it is refused.
    ///
    /// # Errors
    ///
    /// What [`BundleRef::parse`] would say about the bundle with it.
    pub fn push(&mut self, number: RequestNumber, payload: &[u8]) -> Result<&mut Self, BadBundle> {
        if !self.fits(payload.len()) {
            let full = self.ops as usize >= MAX_BUNDLE_OPS;
            return Err(if full {
                BadBundle::TooManyRequests
            } else {
                BadBundle::TooLarge
            });
        }
        if self.floor.is_none_or(|floor| number < floor) {
            return Err(if self.ops == 0 && number > 0 {
                BadBundle::DoneBelow
            } else {
                BadBundle::Numbers
            });
        }
        let len = u32::try_from(payload.len()).expect("payloads are bounded");
        self.bytes.extend_from_slice(&number.to_le_bytes());
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(payload);
        self.ops += 1;
        self.floor = number.checked_add(1);
        Ok(self)
    }

    /// The encoded bundle, signed by `sign` over its statement in `domain`.
    ///
    /// # Panics
    ///
    /// If the bundle is empty.
    pub fn finish(mut self, sign: impl FnOnce(&Digest) -> Signature, domain: &Domain) -> Vec<u8> {
        assert!(self.ops > 0, "a bundle holds a request");
        self.bytes[HEAD_BYTES - 4..HEAD_BYTES].copy_from_slice(&self.ops.to_le_bytes());
        let signature = sign(&domain.statement(context::BUNDLE, &self.bytes));
        self.bytes.extend_from_slice(&signature.0);
        self.bytes
    }
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], BadBundle> {
    let (taken, after) = rest.split_at_checked(len).ok_or(BadBundle::Truncated)?;
    *rest = after;
    Ok(taken)
}

fn take_array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], BadBundle> {
    take(rest, N).map(|bytes| bytes.try_into().expect("cut to N bytes"))
}

fn take_u32(rest: &mut &[u8]) -> Result<u32, BadBundle> {
    take_array(rest).map(u32::from_le_bytes)
}

fn take_u64(rest: &mut &[u8]) -> Result<u64, BadBundle> {
    take_array(rest).map(u64::from_le_bytes)
}

fn take_prefixed<'a>(rest: &mut &'a [u8], max: usize) -> Result<&'a [u8], BadBundle> {
    let len = take_u32(rest)? as usize;
    if len > max {
        Err(BadBundle::TooLarge)
    } else {
        take(rest, len)
    }
}

fn take_request<'a>(rest: &mut &'a [u8]) -> Result<RequestRef<'a>, BadBundle> {
    let number = take_u64(rest)?;
    let payload = take_prefixed(rest, MAX_REQUEST_BYTES)?;
    Ok(RequestRef { number, payload })
}
