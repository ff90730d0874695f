//! Bodies of batches: runs of bundles.

use alloc::vec::Vec;

use bytes::Bytes;

use super::{BadBundle, BundleRef, MAX_BODY_BYTES, MAX_BUNDLE_BYTES, take_prefixed, take_u32};

/// The body of a batch whose every bundle is well-formed, borrowed from its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body<'a> {
    bytes: &'a [u8],
    bundles: u32,
    ops: u32,
}

impl<'a> Body<'a> {
    /// Reads a whole body and every bundle in it, strictly.
    ///
    /// # Errors
    ///
    /// [`BadBundle`], of the body or of its first bad bundle.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BadBundle> {
        if bytes.len() > MAX_BODY_BYTES {
            return Err(BadBundle::TooLarge);
        }
        let mut rest = bytes;
        let bundles = take_u32(&mut rest)?;
        if bundles == 0 {
            return Err(BadBundle::Empty);
        }
        let mut ops = 0u32;
        for _ in 0..bundles {
            let bundle = BundleRef::parse(take_prefixed(&mut rest, MAX_BUNDLE_BYTES)?)?;
            ops = ops.checked_add(bundle.ops()).ok_or(BadBundle::TooManyRequests)?;
        }
        if rest.is_empty() {
            Ok(Self { bytes, bundles, ops })
        } else {
            Err(BadBundle::TrailingBytes)
        }
    }

    /// Requests in all bundles.
    pub fn ops(&self) -> u32 {
        self.ops
    }

    /// Number of bundles, at least 1.
    pub fn len(&self) -> u32 {
        self.bundles
    }

    /// Never: a body holds a bundle.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The bundles, in order.
    pub fn bundles(&self) -> Bundles<'a> {
        Bundles {
            rest: &self.bytes[4..],
            left: self.bundles,
        }
    }
}

/// The bundles of a body that was parsed.
#[derive(Clone, Debug)]
pub struct Bundles<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Iterator for Bundles<'a> {
    type Item = BundleRef<'a>;

    fn next(&mut self) -> Option<BundleRef<'a>> {
        self.left = self.left.checked_sub(1)?;
        let parsed = take_prefixed(&mut self.rest, MAX_BUNDLE_BYTES).and_then(BundleRef::parse);
        Some(parsed.expect("a body is parsed before it is read"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Bundles<'_> {}

/// Bytes that a bundle of this many bytes takes in a body.
pub const fn bundle_bytes(bundle: usize) -> usize {
    4 + bundle
}

/// Bytes of a body before its bundles.
pub const HEAD_BYTES: usize = 4;

/// The body that holds the encoded bundles, in this order. They are taken as they are: [`Body::parse`]
/// accepts the result if each is a bundle, there is at least one, and the limits hold.
///
/// # Panics
///
/// With 2^32 bundles or a bundle of 2^32 bytes; callers stay far below.
pub fn assemble<B: AsRef<[u8]>>(bundles: &[B]) -> Bytes {
    let len = |bundle: &B| bundle_bytes(bundle.as_ref().len());
    let mut bytes = Vec::with_capacity(HEAD_BYTES + bundles.iter().map(len).sum::<usize>());
    let count = u32::try_from(bundles.len()).expect("a batch is bounded");
    bytes.extend_from_slice(&count.to_le_bytes());
    for bundle in bundles {
        let bundle = bundle.as_ref();
        let len = u32::try_from(bundle.len()).expect("a bundle is bounded");
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(bundle);
    }
    Bytes::from(bytes)
}
