//! The signature rule without its factor 8, as libraries have it: only the simulator's bug bank uses it.

use alloc::vec::Vec;

use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::traits::IsIdentity;

use crate::batch::defect_of;
use crate::rule::{Signed, Terms};

/// Positions of the invalid signatures when `S*B = R + k*A` is asked for without the factor 8: two or more are first
/// tried by one equation, as dalek's `verify_batch` does, and one by one if that fails. A component of small order in an
/// `R` is always refused alone, and accepted in some company.
pub fn invalid_without_cofactor(items: &[Signed<'_>]) -> Vec<usize> {
    if items.len() > 1 && defect_of(items).is_some_and(|defect| defect.is_identity()) {
        return Vec::new();
    }
    let valid = |item: &Signed<'_>| {
        Terms::of(item).is_some_and(|terms| {
            let r = EdwardsPoint::vartime_double_scalar_mul_basepoint(&terms.k, item.key.minus_a(), &terms.s);
            (r - terms.r).is_identity()
        })
    };
    (0..items.len()).filter(|index| !valid(&items[*index])).collect()
}
