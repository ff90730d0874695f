//! The signature rule (R-SIG) for many signatures at once.
//!
//! One equation stands for all of them: with coefficients `z_i` that nobody could choose,
//! `8 * sum z_i * (S_i*B - R_i - k_i*A_i) = 0`. It holds if every signature is valid; if one is not, it holds with
//! probability 2^-128 for each try, a try being a full choice of all signatures. The coefficients come out of a
//! transcript of all inputs, so that a replica needs no random numbers and every replica computes the same.
//!
//! One multiplication of many points replaces many multiplications, and terms with one key share one point. What is
//! left is mostly finding the point `R` of each signature from its encoding.

use alloc::vec::Vec;

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};

use crate::context;
use crate::digest::hasher;
use crate::keys::VerifyingKey;
use crate::rule::{Signed, Terms, verify};

/// How many signatures one equation takes at most; longer lists are cut. Bounds the memory of a call to some 5 MB,
/// and lies where longer equations gain no more.
pub const MAX_EQUATION: usize = 4096;

/// Below this many signatures checking them one by one costs no more than an equation.
const MIN_EQUATION: usize = 3;

/// Parts of a failed batch of this size or less are not cut further: with most signatures bad, as an attacker would
/// send them, the cuts would only come on top of the single checks.
const MIN_PART: usize = 8;

/// Whether all the signatures are valid. The same answer as [`verify`] for each; no signatures are valid.
pub fn verify_batch(items: &[Signed<'_>]) -> bool {
    items.chunks(MAX_EQUATION).all(|items| {
        if items.len() < MIN_EQUATION {
            return items.iter().all(|item| verify(*item));
        }
        let mut parts = Vec::with_capacity(items.len());
        for (item, z) in items.iter().zip(coefficients(items)) {
            let Some(part) = Part::of(item, z, parts.len()) else {
                return false;
            };
            parts.push(part);
        }
        sort_by_key(&mut parts);
        vanishes(&defect(&parts))
    })
}

/// The indices of the invalid signatures, ascending; empty if all are valid.
///
/// A failed equation is cut in two until the bad signatures stand alone, and there [`verify`]'s check decides. So `b`
/// bad among `n` cost about one equation more for `b = 1`, two more for `b = n / 128`, and with all bad some two times
/// what `n` single checks cost: close the channel that they came from.
pub fn invalid_in_batch(items: &[Signed<'_>]) -> Vec<usize> {
    let mut invalid = Vec::new();
    for (cut, items) in items.chunks(MAX_EQUATION).enumerate() {
        let start = invalid.len();
        search_items(items, &mut invalid);
        invalid[start..].sort_unstable();
        invalid[start..]
            .iter_mut()
            .for_each(|index| *index += cut * MAX_EQUATION);
    }
    invalid
}

/// Adds the indices of the invalid among at most [`MAX_EQUATION`] signatures, in no order.
fn search_items(items: &[Signed<'_>], invalid: &mut Vec<usize>) {
    let mut parts = Vec::with_capacity(items.len());
    for (index, (item, z)) in items.iter().zip(coefficients(items)).enumerate() {
        match Part::of(item, z, index) {
            Some(part) => parts.push(part),
            None => invalid.push(index),
        }
    }
    sort_by_key(&mut parts);
    if parts.len() <= MIN_PART {
        return search_each(&parts, invalid);
    }
    let sum = defect(&parts);
    if !vanishes(&sum) {
        search(&parts, sum, invalid);
    }
}

/// Adds the indices of the invalid among `parts`, whose defect is `sum` and does not vanish.
fn search(parts: &[Part<'_>], sum: EdwardsPoint, invalid: &mut Vec<usize>) {
    if parts.len() <= MIN_PART {
        return search_each(parts, invalid);
    }
    let (left, right) = parts.split_at(parts.len() / 2);
    // The coefficients are those of the whole: each was drawn after all signatures were fixed, so they serve every
    // part as well, and the right side's defect is what the left side's leaves of the sum.
    let left_sum = defect(left);
    let right_sum = sum - left_sum;
    for (side, side_sum) in [(left, left_sum), (right, right_sum)] {
        if !vanishes(&side_sum) {
            search(side, side_sum, invalid);
        }
    }
}

fn search_each(parts: &[Part<'_>], invalid: &mut Vec<usize>) {
    invalid.extend(
        parts
            .iter()
            .filter(|part| !part.terms.hold(part.key.minus_a()))
            .map(|part| part.index),
    );
}

/// A signature's part in an equation.
struct Part<'a> {
    index: usize,
    key: &'a VerifyingKey,
    terms: Terms,
    z: Scalar,
}

impl<'a> Part<'a> {
    fn of(item: &Signed<'a>, z: Scalar, index: usize) -> Option<Part<'a>> {
        Terms::of(item).map(|terms| Part {
            index,
            key: item.key,
            terms,
            z,
        })
    }
}

/// Brings equal keys together, so that their terms can be added up.
fn sort_by_key(parts: &mut [Part<'_>]) {
    parts.sort_unstable_by_key(|part| part.key.public());
}

/// `sum z * (R + k*A - S*B)` over `parts`, which are sorted by key.
fn defect(parts: &[Part<'_>]) -> EdwardsPoint {
    let keys = || parts.chunk_by(|a, b| a.key == b.key);
    let key_count = keys().count();
    let size = 1 + key_count + parts.len();
    let (mut scalars, mut points) = (Vec::with_capacity(size), Vec::with_capacity(size));

    scalars.push(-parts.iter().map(|part| part.z * part.terms.s).sum::<Scalar>());
    points.push(ED25519_BASEPOINT_POINT);
    for same_key in keys() {
        scalars.push(-same_key.iter().map(|part| part.z * part.terms.k).sum::<Scalar>());
        points.push(*same_key[0].key.minus_a());
    }
    for part in parts {
        scalars.push(part.z);
        points.push(part.terms.r);
    }
    EdwardsPoint::vartime_multiscalar_mul(&scalars, &points)
}

/// The defect of a whole list; nothing if some entry cannot be taken apart.
#[cfg(feature = "bugs")]
pub(crate) fn defect_of(items: &[Signed<'_>]) -> Option<EdwardsPoint> {
    let parts = items.iter().zip(coefficients(items)).enumerate();
    let mut parts: Vec<Part<'_>> = parts
        .map(|(index, (item, z))| Part::of(item, z, index))
        .collect::<Option<_>>()?;
    sort_by_key(&mut parts);
    Some(defect(&parts))
}

/// Whether a defect is zero but for components of small order.
fn vanishes(defect: &EdwardsPoint) -> bool {
    defect.mul_by_cofactor().is_identity()
}

/// One coefficient of 128 bits for each signature, from a transcript of all keys, messages and signatures.
fn coefficients(items: &[Signed<'_>]) -> impl Iterator<Item = Scalar> {
    let mut transcript = hasher(context::BATCH_EQUATION);
    // Every entry has 128 bytes, so the sequence needs no separators; the XOF draws one coefficient after another.
    for item in items {
        transcript
            .update(&item.key.public().0)
            .update(&item.message.0)
            .update(&item.signature.0);
    }
    let mut stream = transcript.finalize_xof();
    core::iter::repeat_with(move || {
        let mut bytes = [0; 16];
        stream.fill(&mut bytes);
        Scalar::from(u128::from_le_bytes(bytes))
    })
}
