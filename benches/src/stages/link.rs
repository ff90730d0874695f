//! Links between stages: within a thread, and to a thread that sleeps.

use trireme_pipeline::measure::{round_trips, same_thread};

use crate::meter::Meter;

const TRIPS: u64 = 5_000;

pub(super) fn measure(meter: &mut Meter) {
    for run in [1, 64] {
        meter.each(
            "link",
            &format!("hop within a thread, runs of {run}"),
            100_000,
            "us/item",
            || same_thread(100_000, run),
        );
    }
    let name = "hop to a sleeping thread, p50";
    if meter.wants("link", name) {
        let mut times = round_trips(TRIPS);
        times.sort_unstable();
        let half = times[times.len() / 2].as_secs_f64() * 1e6 / 2.0;
        meter.put("link", name, half, "us (wall time)");
    }
}
