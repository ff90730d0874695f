//! Cost and latency against the number of members, from 4 to 31.

use serde::Serialize;

pub use crate::cluster::Model;
use crate::cluster::{Load, Outcome, run};
use crate::meter::Meter;

/// Members of the curve.
pub const MEMBERS: [u16; 6] = [4, 7, 10, 16, 22, 31];

/// One point: a loaded cluster, and one with a bundle at a time.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    /// Members.
    pub n: u16,
    /// Every lane has bundles waiting.
    pub loaded: Outcome,
    /// One bundle at a time.
    pub idle: Outcome,
}

/// The curve.
#[derive(Clone, Debug, Serialize)]
pub struct Curve {
    /// What was modelled, and with which costs.
    pub model: Model,
    /// The loaded cluster's load.
    pub load: Load,
    /// By members.
    pub points: Vec<Point>,
    /// The first number of members at which signatures of members cost more than everything else that a loaded cluster
    /// does for a request; none up to the last.
    pub signatures_lead_loaded: Option<u16>,
    /// The same with a bundle at a time.
    pub signatures_lead_idle: Option<u16>,
}

/// The model with what stages cost alone on this machine. What was not measured stays at the reference machine's figure.
pub fn model(meter: &Meter) -> Model {
    let or = |stage: &str, name: &str, reference: f64| meter.value(stage, name).unwrap_or(reference);
    Model {
        frame_us: or("transport", "engine, control frames of 200 B", 4.0),
        byte_us: or("transport", "engine, bulk frames of 256 KiB", 1_400.0) / 1e6,
        flush_cpu_us: or("log", "append + flush, group of 4 KiB: CPU", 55.0),
        flush_us: or("log", "append + flush, group of 4 KiB: p50", 110.0),
        execute_us: or("execute", "null", 0.3) + or("execute", "null, roots", 0.0),
        network_us: 50.0,
    }
}

/// Measures the curve. `requests` of each loaded run; `show` hears of each point.
pub fn measure(model: &Model, bundle: u32, requests: u64, mut show: impl FnMut(&Point)) -> Curve {
    let load = Load {
        bundle,
        payload_bytes: 512,
        in_flight: 4,
        requests,
        signed: true,
    };
    let mut points = Vec::new();
    for n in MEMBERS {
        let idle = Load {
            in_flight: 0,
            requests: u64::from(bundle) * 24,
            ..load
        };
        let point = Point {
            n,
            loaded: run(n, &load, model),
            idle: run(n, &idle, model),
        };
        show(&point);
        points.push(point);
    }
    let lead = |of: fn(&Point) -> &Outcome| {
        let leads = |point: &&Point| {
            let costs = &of(point).costs_us;
            let members = costs.signing + costs.checking;
            members > costs.sum() - members
        };
        points.iter().find(leads).map(|point| point.n)
    };
    Curve {
        signatures_lead_loaded: lead(|point| &point.loaded),
        signatures_lead_idle: lead(|point| &point.idle),
        model: *model,
        load,
        points,
    }
}
