//! The arguments of `trireme local`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use trireme_core::quorum::{MAX_MEMBERS, Quorums};
use trireme_pipeline::topology::CorePlan;

use crate::load::ShapeArgs;
use crate::local::report::{Latency, Report, SCHEMA};
use crate::local::{etcd, network};
use crate::names::{self, App, Auth, Durable, Order, Rate, System};
use crate::proc::Machine;

/// Arguments of `trireme local`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LocalArgs {
    /// What to run: this engine, or etcd (its program must be installed), under the same load and measuring
    #[arg(long, default_value = "trireme")]
    pub(crate) system: System,
    /// Number of replicas, a process each
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(crate) replicas: u16,
    /// Who orders: trireme stands replicas that lie, raft stands a minority that crashes
    #[arg(long, value_name = "NAME", default_value = "trireme")]
    pub(crate) ordering: Order,
    /// Byzantine replicas to be stood [default: the most that the number of replicas allows; 0 with raft]
    #[arg(long, value_name = "F")]
    pub(crate) f: Option<u16>,
    /// How long the load runs
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = names::duration)]
    pub(crate) duration: Duration,
    /// Client identities
    #[arg(long, value_name = "C", default_value_t = 16)]
    pub(crate) clients: u32,
    #[command(flatten)]
    pub(crate) load: ShapeArgs,
    /// Emulate a wide-area network: autobahn, ibm, three-regions, a CSV file of round-trip times, or lan: no delays
    /// until `trireme wan` makes some
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) wan: Option<String>,
    /// Region of each replica, separated by commas [default: those of the matrix in their order]
    #[arg(long, value_name = "A,B,...", value_delimiter = ',')]
    pub(crate) regions: Vec<String>,
    /// Regions of the clients, who are spread over them in turn [default: those of the replicas]
    #[arg(long, value_name = "A,B,...", value_delimiter = ',')]
    pub(crate) client_regions: Vec<String>,
    /// Application to replicate
    #[arg(long, default_value = "kv")]
    pub(crate) app: App,
    /// When a write counts as durable
    #[arg(long, default_value = "sync")]
    pub(crate) durability: Durable,
    /// Whether client signatures are checked
    #[arg(long, default_value = "signed")]
    pub(crate) client_auth: Auth,
    /// Core plan of the replicas: 1, 2, 3, 4 or 6 threads each
    #[arg(long, value_name = "PLAN", default_value = "1")]
    pub(crate) cores: String,
    /// Directory for the data: empty or not there yet [default: a fresh one on a disk]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Keep the data after the run
    #[arg(long)]
    pub(crate) keep: bool,
    /// Where to write the report
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Kill the leader (SIGKILL) at this time of the load and restart it 2 s later
    #[arg(long, value_name = "TIME", value_parser = names::duration, conflicts_with = "serve")]
    pub(crate) kill_leader_at: Option<Duration>,
    /// Print where the replicas show their pages and metrics
    #[arg(long)]
    pub(crate) dashboard: bool,
    /// Count the bytes on the loopback interface: for a network name space of its own
    #[arg(long, hide = true)]
    pub(crate) count_loopback: bool,
    /// No load: run until Ctrl-C, for clients of your own
    #[arg(long, conflicts_with_all = ["history", "sweep"])]
    pub(crate) serve: bool,
}

impl LocalArgs {
    /// What no arguments at all mean.
    pub(crate) fn defaults() -> LocalArgs {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: LocalArgs,
        }
        <Line as clap::Parser>::parse_from(["local"]).args
    }

    /// The f of the cluster.
    pub(crate) fn f(&self) -> u16 {
        self.f.unwrap_or(names::default_f(self.ordering, self.replicas))
    }

    /// How many replicas may be down at once.
    pub(crate) fn stands(&self) -> u16 {
        match self.ordering {
            Order::Trireme => self.f(),
            Order::Raft => self.replicas.saturating_sub(1) / 2,
        }
    }

    /// Refuses what cannot be run, before anything is made.
    pub(crate) fn check(&self) -> Result<()> {
        if self.system == System::Etcd {
            etcd::check(self)?;
        }
        ensure!(
            Quorums::new(self.replicas, self.f()).is_ok(),
            "{} replicas cannot stand f = {}: n >= 3f + 1 and n <= {MAX_MEMBERS} must hold",
            self.replicas,
            self.f()
        );
        ensure!(
            self.ordering == Order::Trireme || self.f() == 0,
            "--ordering raft stands no Byzantine replica: leave --f away"
        );
        ensure!(
            self.duration >= Duration::from_millis(100),
            "--duration must be at least 100ms"
        );
        ensure!(self.clients > 0, "--clients must be positive");
        self.load.check(self.clients)?;
        let plain = self.load.workload()?;
        ensure!(
            self.app == App::Kv || self.load.history.is_none() && plain.only_writes() && !plain.fill,
            "--history and --workload need --app kv"
        );
        if let Some(at) = self.kill_leader_at {
            ensure!(at < self.duration, "--kill-leader-at must lie within --duration");
            ensure!(
                !self.load.sweep,
                "--kill-leader-at needs one run, --sweep makes several"
            );
            ensure!(
                !plain.fill,
                "--kill-leader-at does not know when the keys are written: add --no-fill"
            );
            ensure!(
                self.stands() > 0,
                "--kill-leader-at needs more replicas: without the leader nothing could commit"
            );
        }
        CorePlan::parse(&self.cores)?;
        network::plan(self)?;
        Ok(())
    }

    /// A report with what is known before the run.
    pub(crate) fn report(&self) -> Report {
        let p = match self.ordering {
            Order::Trireme => Quorums::new(self.replicas, self.f()).map_or(0, |quorums| quorums.p()),
            Order::Raft => 0,
        };
        let workload = self.load.workload().unwrap_or_default();
        let (in_flight, offered_rate) = match self.load.rate {
            Rate::Max if self.load.sweep => (None, None),
            Rate::Max => (Some(self.load.in_flight()), None),
            Rate::PerSecond(rate) => (None, Some(rate)),
        };
        Report {
            schema: SCHEMA,
            ok: false,
            error: None,
            version: env!("CARGO_PKG_VERSION"),
            machine: Machine::read(),
            system: "trireme".to_owned(),
            replicas: self.replicas,
            f: self.stands(),
            p,
            ordering: trireme_config::OrderingKind::from(self.ordering).name(),
            app: trireme_config::AppKind::from(self.app).name(),
            durability: trireme_config::Durability::from(self.durability).name(),
            client_auth: trireme_config::ClientAuth::from(self.client_auth).name(),
            core_plan: self.cores.clone(),
            log_devices: Vec::new(),
            filesystem: None,
            data_dir: None,
            data_kept: false,
            clients: self.clients,
            in_flight,
            bundle: self.load.bundle,
            payload_bytes: workload.value.largest(),
            keys: workload.keys,
            workload: workload.name,
            seed: self.load.seed,
            duration_s: self.duration.as_secs_f64(),
            offered_rate,
            wan: self.wan.clone(),
            regions: Vec::new(),
            floor_us: None,
            measured_s: None,
            throughput_ops_s: None,
            throughput_mb_s: None,
            latency_us: Latency::default(),
            submitted: None,
            acknowledged: None,
            failed: None,
            unknown: None,
            failures: std::collections::BTreeMap::new(),
            without_effect: None,
            wrong_replies: None,
            retries: None,
            longest_gap_ms: None,
            executed: None,
            suppressed: None,
            lost: None,
            duplicated: None,
            different: None,
            diverged: None,
            unseen: None,
            fast_path_share: None,
            views: None,
            slots_committed: None,
            batches: None,
            bytes_per_batch: None,
            signatures_made_per_op: None,
            signatures_verified_per_op: None,
            signatures: std::collections::BTreeMap::new(),
            member_signatures: std::collections::BTreeMap::new(),
            stages_us: std::collections::BTreeMap::new(),
            fsyncs: None,
            cpu_us_per_op: None,
            cpu_us_per_op_by_stage: std::collections::BTreeMap::new(),
            client_cpu_us_per_op: None,
            wire_bytes_per_op: None,
            rss_mb_max: None,
            state_roots_equal: None,
            state_slot: None,
            state_root: None,
            evidence: None,
            alarms: None,
            kill_leader: None,
            linearizable: None,
            load: None,
            notes: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: LocalArgs,
    }

    fn parse(line: &str) -> LocalArgs {
        Line::try_parse_from(std::iter::once("local").chain(line.split_whitespace()))
            .unwrap()
            .args
    }

    #[test]
    fn the_defaults_are_those_of_the_main_job() {
        let args = parse("");
        args.check().unwrap();
        let report = args.report();
        assert_eq!(
            (args.replicas, args.f(), report.payload_bytes, report.keys),
            (4, 1, 512, 100_000)
        );
        assert_eq!(
            (args.duration, args.load.rate, args.load.bundle),
            (Duration::from_secs(10), Rate::Max, 1)
        );
        assert_eq!(args.report().p, 0);
        assert_eq!(
            (parse("").load.in_flight(), parse("--bundle 64").load.in_flight()),
            (512, 32 * 64)
        );
    }

    #[test]
    fn every_flag_is_read() {
        let args = parse(
            "--replicas 7 --f 1 --duration 500ms --rate 1000 --clients 3 --in-flight 12 --payload 64 --bundle 4 --app null \
             --durability none --client-auth none --cores 2 --data /x --keep --seed 9 --json y --kill-leader-at 100ms",
        );
        args.check().unwrap();
        assert_eq!((args.report().p, args.report().offered_rate), (1, Some(1000.0)));
        assert!(parse("--serve").serve);
        parse("--system etcd --replicas 3 --bundle 64 --rate 1000")
            .check()
            .unwrap();
        let ycsb = parse("--workload ycsb-b --keys 5000 --processes 2 --arrivals sine --key-distribution hotspot");
        ycsb.check().unwrap();
        let report = ycsb.report();
        assert_eq!(
            (report.workload.as_str(), report.keys, report.payload_bytes),
            ("ycsb-b", 5_000, 1_000)
        );
    }

    #[test]
    fn what_cannot_be_run_is_refused() {
        for line in [
            "--replicas 3 --f 1",
            "--system etcd --app null",
            "--system etcd --durability none",
            "--system etcd --replicas 0",
            "--system etcd --kill-leader-at 1s",
            "--replicas 0",
            "--duration 1ms",
            "--clients 0",
            "--bundle 0",
            "--keys 0",
            "--in-flight 3 --bundle 4",
            "--kill-leader-at 10s",
            "--replicas 1 --kill-leader-at 1s",
            "--cores 5",
            "--wan mars",
            "--wan autobahn --regions us-east1",
            "--wan autobahn --regions us-east1,us-east5,us-west1,mars",
            "--wan autobahn --client-regions mars",
            "--regions us-east1",
            "--processes 4 --clients 3",
            "--workload ycsb-a --app null",
            "--workload no-such-file",
            "--workload ycsb-a --kill-leader-at 1s",
            "--payload 100000",
        ] {
            assert!(parse(line).check().is_err(), "{line}");
        }
    }
}
