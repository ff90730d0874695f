//! The core alone: its share of a slot, in a cluster without signatures, sockets and disks.

use crate::cluster::{Load, Model, run};
use crate::meter::Meter;

/// The smallest cluster.
pub(super) fn some(meter: &mut Meter) {
    sizes(meter, &[(4, 8_000)]);
}

pub(super) fn measure(meter: &mut Meter) {
    sizes(meter, &[(4, 8_000), (16, 8_000), (31, 4_000), (100, 1_000)]);
}

fn sizes(meter: &mut Meter, sizes: &[(u16, u64)]) {
    for (n, requests) in sizes.iter().copied() {
        let name = format!("step, n = {n}, a batch in each lane");
        if !meter.wants("core", &name) {
            continue;
        }
        let load = Load {
            bundle: 4,
            payload_bytes: 64,
            in_flight: 2,
            requests,
            signed: false,
        };
        let outcome = run(n, &load, &Model::FREE);
        meter.put("core", &name, outcome.core_us_per_slot, "us/slot of one replica");
        let each = outcome.core_us_per_slot / f64::from(n);
        meter.put(
            "core",
            &format!("step, n = {n}, for each member"),
            each,
            "us/slot of one replica",
        );
    }
}
