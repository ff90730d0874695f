//! Hashing: statements that are signed, and bodies.

use trireme_crypto::{context, hash};

use crate::load::DOMAIN;
use crate::meter::Meter;

pub(super) fn measure(meter: &mut Meter) {
    meter.each("hash", "statement of 64 bytes", 1, "us", || {
        DOMAIN.statement(context::VOTE, &[3; 64])
    });
    for (name, bytes) in [
        ("512 B", 512),
        ("4 KiB", 4 << 10),
        ("64 KiB", 64 << 10),
        ("512 KiB", 512 << 10),
    ] {
        let body = vec![5; bytes];
        meter.each("hash", &format!("body of {name}"), bytes, "us/byte", || {
            hash(context::BATCH_BODY, &body)
        });
    }
}
