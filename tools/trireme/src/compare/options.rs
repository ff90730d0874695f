//! The arguments of `trireme compare`, and the runs that follow from them.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use trireme_load::{LoadOptions, Slo};
use trireme_report::comparison::{PointKind, Setting};

use crate::compare::system::Spec;
use crate::names;
use crate::wan;

/// Of every run.
const CLIENTS: u32 = 16;
const KEYS: u32 = 100_000;
/// In flight over long distances: rate times latency.
const WAN_IN_FLIGHT: u32 = 8_192;
/// One way between any two places where message delays are counted, and the rate there.
const HOP_MS: f64 = 50.0;
pub(super) const DELAYS_RATE: u32 = 50;
/// What a run takes besides its load, in seconds: making, starting, checking, stopping.
const AROUND_S: f64 = 4.0;

/// Arguments of `trireme compare`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CompareArgs {
    /// Systems, separated by commas: trireme, raft (in this engine), etcd; settings behind colons: n, f, auth=signed|none,
    /// app, durability, bundle, cores (trireme:n=7:auth=none) [default: trireme,raft,raft:n=4,etcd; --quick leaves
    /// raft:n=4 out]
    #[arg(long, value_name = "A,B:n=7,...", value_delimiter = ',')]
    systems: Vec<String>,
    /// Rounds: in each, every system has its turn with every kind of run [default: 3; --quick: 1]
    #[arg(long, value_name = "COUNT")]
    runs: Option<u32>,
    /// Measured time of each run, and of each rate of a sweep [default: 10s; --quick: 3s]
    #[arg(long, value_name = "TIME", value_parser = names::duration)]
    duration: Option<Duration>,
    /// Bytes of each written value
    #[arg(long, value_name = "BYTES", default_value_t = 512)]
    payload: u32,
    /// Requests submitted together: under one client signature, or in one transaction of etcd; not at low load
    #[arg(long, value_name = "K", default_value_t = 1)]
    bundle: u32,
    /// Requests in flight at saturation [default: 512, or 32 bundles; wan: 8192]
    #[arg(long, value_name = "K")]
    in_flight: Option<u32>,
    /// Operations a second of the runs at low load
    #[arg(long, value_name = "R", default_value_t = 1000)]
    low_rate: u32,
    /// Service-level objective [default: p99=50ms; wan: p99=1s]
    #[arg(long, value_name = "BOUNDS")]
    slo: Option<Slo>,
    /// Where the servers and the clients are
    #[arg(long, default_value = "lan")]
    profile: Profile,
    /// The matrix of --profile wan: autobahn, ibm, three-regions, or a CSV file
    #[arg(long, value_name = "NAME|FILE", default_value = "autobahn")]
    wan: String,
    /// One round of short runs: about two minutes for three systems, of which nobody should quote a figure
    #[arg(long)]
    quick: bool,
    /// Directory for the page, the JSON, and the report of every run
    #[arg(long, value_name = "DIR", default_value = "comparison")]
    pub(super) out: PathBuf,
    /// Where to write the JSON [default: compare.json in --out]
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
}

/// Distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Profile {
    /// All on the loopback
    Lan,
    /// Regions of a matrix, emulated: in the engine's own sockets, by a TCP proxy in front of etcd's servers
    Wan,
}

/// What is to be run.
pub(super) struct Plan {
    pub(super) systems: Vec<Spec>,
    pub(super) setting: Setting,
    pub(super) duration: Duration,
    pub(super) sweep_steps: u32,
    pub(super) sweep_precision: f64,
    /// Matrix and regions of the clients.
    pub(super) wan: Option<(String, Vec<String>)>,
    /// The command that makes it again.
    pub(super) command: String,
}

/// One run to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) round: u32,
    pub(super) point: PointKind,
    /// Of the system.
    pub(super) place: usize,
}

impl CompareArgs {
    /// What follows from the arguments; refuses what cannot be run.
    pub(super) fn plan(&self) -> Result<Plan> {
        let usual = if self.quick {
            "trireme,raft,etcd"
        } else {
            "trireme,raft,raft:n=4,etcd"
        };
        let names: Vec<&str> = if self.systems.is_empty() {
            usual.split(',').collect()
        } else {
            self.systems.iter().map(String::as_str).collect()
        };
        let systems = names
            .iter()
            .map(|name| name.parse::<Spec>().map_err(anyhow::Error::msg))
            .collect::<Result<Vec<_>>>()?;
        let repeated = (1..names.len()).find(|place| names[..*place].contains(&names[*place]));
        ensure!(repeated.is_none(), "--systems: each once");
        let runs = self.runs.unwrap_or(if self.quick { 1 } else { 3 });
        ensure!((1..=100).contains(&runs), "--runs: 1 to 100");
        let duration = self
            .duration
            .unwrap_or(Duration::from_secs(if self.quick { 3 } else { 10 }));
        ensure!(
            duration >= Duration::from_millis(500),
            "--duration must be at least 500ms"
        );
        ensure!(
            self.bundle >= 1 && self.low_rate >= 1,
            "--bundle and --low-rate must be positive"
        );
        let far = self.profile == Profile::Wan;
        let wan = far.then(|| self.client_regions(&systems)).transpose()?;
        let slo = self
            .slo
            .clone()
            .map_or_else(|| if far { "p99=1s" } else { "p99=50ms" }.parse(), Ok);
        let slo: Slo = slo.context("the usual objective")?;
        let in_flight = self.in_flight.unwrap_or_else(|| {
            let near = LoadOptions::default_in_flight(self.bundle);
            if far { near.max(WAN_IN_FLIGHT) } else { near }
        });
        ensure!(in_flight >= self.bundle, "--in-flight: at least a bundle");
        let setting = Setting {
            runs,
            duration_s: duration.as_secs_f64(),
            payload_bytes: self.payload,
            bundle: self.bundle,
            keys: KEYS,
            clients: CLIENTS,
            in_flight,
            low_rate: f64::from(self.low_rate),
            slo: slo.to_string(),
            profile: wan.as_ref().map_or("lan".to_owned(), |(name, _)| format!("wan {name}")),
            hop_ms: HOP_MS,
            isolated: false,
        };
        Ok(Plan {
            command: self.command(&names, &setting),
            systems,
            setting,
            duration,
            sweep_steps: if self.quick { 4 } else { 7 },
            sweep_precision: if self.quick { 0.2 } else { 0.08 },
            wan,
        })
    }

    /// Clients are in the same regions whatever the number of servers: those of the largest system.
    fn client_regions(&self, systems: &[Spec]) -> Result<(String, Vec<String>)> {
        let most = systems.iter().map(|spec| usize::from(spec.replicas)).max().unwrap_or(1);
        let matrix = wan::matrix(&self.wan)?;
        Ok((self.wan.clone(), matrix.regions().iter().take(most).cloned().collect()))
    }

    fn command(&self, names: &[&str], setting: &Setting) -> String {
        let far = self.profile == Profile::Wan;
        let mut out = format!(
            "trireme compare --systems {} --runs {} --duration {}ms --payload {} --bundle {} --in-flight {} --low-rate {} --slo {}",
            names.join(","),
            setting.runs,
            setting.duration_s * 1e3,
            setting.payload_bytes,
            setting.bundle,
            setting.in_flight,
            self.low_rate,
            setting.slo
        );
        if far {
            out.push_str(&format!(" --profile wan --wan {}", self.wan));
        }
        if self.quick {
            out.push_str(" --quick");
        }
        out
    }
}

impl Plan {
    /// All runs: in every round each kind of run goes once around the systems. Message delays are counted in the first
    /// round only: they are no matter of chance.
    pub(super) fn turns(&self) -> impl Iterator<Item = Turn> + use<'_> {
        let places = self.systems.len();
        (1..=self.setting.runs).flat_map(move |round| {
            let points = PointKind::ALL.into_iter();
            let wanted = points.filter(move |point| *point != PointKind::Delays || round == 1);
            wanted.flat_map(move |point| (0..places).map(move |place| Turn { round, point, place }))
        })
    }

    /// About how long it takes.
    pub(super) fn seconds(&self) -> f64 {
        let one = self.setting.duration_s + (self.setting.duration_s / 5.0).min(1.0);
        let of = |turn: Turn| match turn.point {
            PointKind::Low | PointKind::Saturation | PointKind::Delays => one + AROUND_S,
            PointKind::Slo => one * f64::from(self.sweep_steps) + AROUND_S,
        };
        self.turns().map(of).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: CompareArgs,
    }

    fn plan(line: &str) -> Result<Plan> {
        let words = std::iter::once("compare").chain(line.split_whitespace());
        Line::try_parse_from(words)?.args.plan()
    }

    #[test]
    fn systems_take_turns() {
        let plan = plan("--systems trireme,etcd --runs 2 --duration 1s").unwrap();
        let turns: Vec<_> = plan.turns().collect();
        assert_eq!(turns.len(), 2 * 3 * 2 + 2);
        let order: Vec<_> = turns[..4].iter().map(|turn| (turn.point, turn.place)).collect();
        use PointKind::{Low, Saturation};
        assert_eq!(order, [(Low, 0), (Low, 1), (Saturation, 0), (Saturation, 1)]);
        assert!(
            turns
                .iter()
                .all(|turn| turn.point != PointKind::Delays || turn.round == 1)
        );
        assert_eq!((plan.setting.in_flight, plan.setting.profile.as_str()), (512, "lan"));
    }

    #[test]
    fn a_quick_comparison_takes_about_two_minutes() {
        let quick = plan("--quick").unwrap();
        assert_eq!((quick.systems.len(), quick.setting.runs), (3, 1));
        assert!((60.0..180.0).contains(&quick.seconds()), "{}", quick.seconds());
        assert!(plan("").unwrap().systems.len() == 4);
    }

    #[test]
    fn the_command_makes_the_same_again() {
        for line in [
            "",
            "--quick --bundle 64",
            "--profile wan --wan three-regions --systems trireme,etcd:n=5",
        ] {
            let first = plan(line).unwrap();
            let words = first.command.strip_prefix("trireme compare ").unwrap();
            let again = plan(words).unwrap();
            assert_eq!((&again.setting, &again.systems), (&first.setting, &first.systems));
            assert_eq!((again.command.as_str(), again.wan), (first.command.as_str(), first.wan));
        }
    }

    #[test]
    fn what_cannot_be_run_is_refused() {
        for line in [
            "--systems zab",
            "--systems etcd,etcd",
            "--runs 0",
            "--duration 1ms",
            "--bundle 0",
            "--bundle 64 --in-flight 3",
            "--profile wan --wan mars",
        ] {
            assert!(plan(line).is_err(), "{line}");
        }
    }
}
