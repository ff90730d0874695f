//! What a comparison holds. `tools/trireme/README.md` has it as a table.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::spread::Spread;

/// Name and version of the form. A key that is removed, or means something else, raises the number.
pub const SCHEMA: &str = "trireme.compare/1";

/// A comparison.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// [`SCHEMA`].
    pub schema: String,
    /// Of the program.
    pub version: String,
    /// Seconds since 1970.
    pub started_unix_s: u64,
    /// Whether it came to its end.
    pub complete: bool,
    /// The command that makes it again.
    pub command: String,
    /// Where it ran.
    pub machine: Machine,
    /// What was common to all runs.
    pub setting: Setting,
    /// In the order in which they took turns.
    pub systems: Vec<SystemFigures>,
    /// What Byzantine tolerance costs: pairs of this engine's orderings.
    pub prices: Vec<Price>,
    /// What has to be said about the whole.
    pub notes: Vec<String>,
}

/// A machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// That the programs could use.
    pub cores: u64,
    /// Its name.
    pub cpu: String,
    /// Its version.
    pub kernel: String,
    /// Under the data.
    pub filesystem: String,
}

/// What was common to all runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// How often each system had its turn.
    pub runs: u32,
    /// Measured time of each run, and of each rate of a sweep.
    pub duration_s: f64,
    /// Of each written value.
    pub payload_bytes: u32,
    /// Requests that were submitted together, unless a system says otherwise.
    pub bundle: u32,
    /// Different keys.
    pub keys: u32,
    /// Clients.
    pub clients: u32,
    /// Requests in flight at saturation.
    pub in_flight: u32,
    /// Operations a second of the run at low load.
    pub low_rate: f64,
    /// The service-level objective.
    pub slo: String,
    /// `lan`, or `wan` and the name of its matrix.
    pub profile: String,
    /// One-way delay between all places of the runs that count message delays.
    pub hop_ms: f64,
    /// Whether each run had a network name space of its own, and bytes on the wire could be counted.
    pub isolated: bool,
}

/// What a system does for an operation, in words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Does {
    /// Faults that it stands.
    pub faults: String,
    /// Signatures of clients.
    pub client_signatures: String,
    /// What servers sign, or check of each other.
    pub server_signatures: String,
    /// On the links.
    pub encryption: String,
    /// When a write counts.
    pub durability: String,
    /// What is done with it.
    pub execution: String,
    /// When a client believes it.
    pub replies: String,
}

/// What a run was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PointKind {
    /// Few operations a second.
    Low,
    /// As many as a closed loop gives.
    Saturation,
    /// The highest rate that holds the objective.
    Slo,
    /// In a network where every way takes equally long.
    Delays,
}

impl PointKind {
    /// All of them, in the order of a round.
    pub const ALL: [Self; 4] = [Self::Low, Self::Saturation, Self::Slo, Self::Delays];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low load",
            Self::Saturation => "saturation",
            Self::Slo => "objective",
            Self::Delays => "message delays",
        }
    }
}

/// One rate of a sweep.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepFigures {
    /// Operations a second that were asked for.
    pub rate: f64,
    /// That were acknowledged.
    pub throughput_ops_s: f64,
    /// Median latency.
    pub p50_us: f64,
    /// Its 99th percentile.
    pub p99_us: f64,
    /// Why the objective broke.
    pub broken: Option<String>,
    /// Whether the load generator was no limit.
    pub generator_ok: bool,
}

/// One run: what it was, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunFigures {
    /// From 1.
    pub round: u32,
    /// What it was for.
    pub point: PointKind,
    /// Whether it ended well, every check of it included.
    pub ok: bool,
    /// Why not.
    pub error: Option<String>,
    /// The report of the run, beside the page.
    pub file: String,
    /// Servers, and faults that they stand.
    pub replicas: u64,
    /// See `replicas`.
    pub f: u64,
    /// As the run says.
    pub durability: String,
    /// As the run says.
    pub client_auth: String,
    /// As the run says.
    pub app: String,
    /// As the run says.
    pub payload_bytes: u64,
    /// As the run says.
    pub bundle: u64,
    /// As the run says.
    pub cores: u64,
    /// Figures by name: `throughput_ops_s`, `p50_us`, `p99_us`, `cpu_us`, `client_cpu_us`, `wire_bytes`,
    /// `signatures_made`, `signatures_verified`, `flushes`, `fast_path_share`, `slo_ops_s`, `delays`, `floor_us`,
    /// `rss_mb`.
    pub figures: BTreeMap<String, f64>,
    /// Of a sweep.
    pub steps: Vec<StepFigures>,
    /// What the load generator says of itself, if it was a limit.
    pub generator_limits: Vec<String>,
}

/// A system with everything that was measured of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SystemFigures {
    /// As it was asked for.
    pub name: String,
    /// The program and its version.
    pub system: String,
    /// What orders.
    pub ordering: String,
    /// Servers, and faults that they stand.
    pub replicas: u64,
    /// See `replicas`.
    pub f: u64,
    /// What it does.
    pub does: Does,
    /// Why there is nothing to show.
    pub missing: Option<String>,
    /// All runs.
    pub runs: Vec<RunFigures>,
    /// Medians over the rounds by point and figure.
    pub points: BTreeMap<PointKind, BTreeMap<String, Spread>>,
}

impl SystemFigures {
    /// A figure at a point.
    pub fn figure(&self, point: PointKind, name: &str) -> Option<&Spread> {
        self.points.get(&point)?.get(name)
    }

    /// A figure at a point in one round.
    pub fn of_round(&self, round: u32, point: PointKind, name: &str) -> Option<f64> {
        let run = self.runs.iter().find(|run| run.round == round && run.point == point);
        run.filter(|run| run.ok)?.figures.get(name).copied()
    }
}

/// A cell of [`Price`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// At which point.
    pub point: PointKind,
    /// Of which figure.
    pub figure: String,
    /// Its quotient, of each round by itself.
    pub ratio: Spread,
}

/// The one system by the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Price {
    /// What is equal: `f`, `n`, or `use` (what each is sold as).
    pub at_the_same: String,
    /// The numerator.
    pub of: String,
    /// The denominator.
    pub over: String,
    /// What each verifies, in words.
    pub words: String,
    /// Quotients.
    pub ratios: Vec<Verdict>,
}
