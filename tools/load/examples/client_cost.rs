//! What the client's side of the load costs, against a stand-in that answers at once from another thread:
//! `cargo run --release -p trireme-load --example client_cost [seconds]`.

#[path = "../../../engine/client/tests/support/mod.rs"]
#[allow(dead_code, reason = "not all of it is needed here")]
mod support;

use std::time::Duration;

use support::{Doors, keys};
use trireme_config::{AppKind, ClientAuth};
use trireme_load::{Aim, LoadOptions, Rate, Stop, run_blocking};

fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(3);
    println!("auth    bundle  depth    rate/s       ops/s  client us/op  client cores   p50 us   p99 us");
    for (auth, bundle, in_flight, rate) in [
        (ClientAuth::Signed, 1, 1, Rate::Max),
        (ClientAuth::Signed, 1, 512, Rate::Max),
        (ClientAuth::None, 1, 512, Rate::Max),
        (ClientAuth::Signed, 64, 4_096, Rate::Max),
        (ClientAuth::Signed, 1, 512, Rate::PerSecond(1_000.0)),
        (ClientAuth::Signed, 1, 512, Rate::PerSecond(12_000.0)),
    ] {
        let doors = Doors::open(AppKind::Null, auth);
        let keys = keys(16);
        let aim = Aim::Trireme {
            cluster: &doors.cluster,
            keys: &keys,
        };
        let options = LoadOptions {
            duration: Duration::from_secs(seconds),
            app: AppKind::Null,
            bundle,
            in_flight: Some(in_flight),
            rate,
            ..LoadOptions::default()
        };
        let report = run_blocking(aim, &options, &Stop::default(), None, |_| {}).expect("the doors answer");
        let s = &report.record.summary;
        let rate = match rate {
            Rate::Max => "max".to_owned(),
            Rate::PerSecond(rate) => format!("{rate}"),
        };
        println!(
            "{:<8}{bundle:<8}{in_flight:<9}{rate:<9}{:>9.0}{:>14.2}{:>14.2}{:>9.0}{:>9.0}",
            auth.name(),
            s.throughput_ops_s,
            s.client_cpu_us_per_op,
            s.client_cpu_share,
            s.latency_us.p50,
            s.latency_us.p99
        );
    }
}
