//! `trireme local --system etcd`: the same load, the same measuring, the same report, on servers of etcd.
//!
//! etcd runs as its package has it, with its own defaults: it flushes its log before it answers, it does not encrypt
//! and checks no signatures. Each server has a directory of its own on the disk of the run.

mod delays;
mod servers;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::time::{Instant, MissedTickBehavior, interval};
use trireme_client::Route;
use trireme_load::Recording;

use crate::check_history;
use crate::disk;
use crate::load::{Display, Whom, print_generator, print_knee, write_files};
use crate::local::loading::{self, Loaded};
use crate::local::network;
use crate::local::options::LocalArgs;
use crate::local::place::Place;
use crate::local::replicas::Replicas;
use crate::local::report::{Report, ratio};
use crate::local::wire::Wire;
use crate::names::{App, Durable};
use crate::say::say;
use delays::Delays;
use servers::{Addresses, Plan};

/// Refuses what etcd cannot do.
pub(super) fn check(args: &LocalArgs) -> Result<()> {
    ensure!(
        (1..=9).contains(&args.replicas),
        "--system etcd: 1 to 9 servers (--replicas)"
    );
    ensure!(args.app == App::Kv, "--system etcd: it is a key-value store (--app kv)");
    ensure!(
        args.durability == Durable::Sync,
        "--system etcd: it always flushes (--durability sync)"
    );
    ensure!(
        args.kill_leader_at.is_none() && !args.serve && !args.dashboard && args.f.is_none(),
        "--system etcd knows neither --f nor --kill-leader-at, --serve or --dashboard"
    );
    Ok(())
}

/// Crashes that so many servers stand.
fn f(servers: u16) -> u16 {
    servers.saturating_sub(1) / 2
}

struct Cluster {
    dir: PathBuf,
    addresses: Addresses,
    processes: Replicas,
    /// Where the clients connect to, in turn.
    doors: Vec<SocketAddr>,
    /// In front of the servers, with an emulated network.
    delays: Option<Delays>,
}

/// Does the whole job. What it finds goes into the report, also if it fails later.
pub(super) async fn run(args: &LocalArgs, report: &mut Report, place: &Place) -> Result<()> {
    let (program, version) = servers::installed()?;
    describe(args, report, &version);
    let mut cluster = make(args, report, place, &program)?;
    start(&mut cluster, report).await?;
    let loaded = load(args, report, &mut cluster).await?;
    say!("check that all servers hold the same");
    let state = servers::at_rest(&mut cluster.processes, &cluster.addresses.clients).await?;
    say!(
        "      revision {}: {} equal hashes {:08x}",
        state.revision,
        args.replicas,
        state.hash
    );
    report.state_roots_equal = Some(true);
    report.state_slot = u64::try_from(state.revision).ok();
    report.state_root = Some(format!("{:08x}", state.hash));
    report.rss_mb_max = ratio(cluster.processes.peak_rss_bytes() / 1_000, 1_000);
    say!("stop  all servers");
    cluster.processes.stop()?;
    if let Some(history) = &args.load.history {
        say!("check that the history in {} is linearizable", history.display());
        report.linearizable = Some(check_history::is_linearizable(history)?);
    }
    print(report, &loaded);
    judge(report)
}

fn describe(args: &LocalArgs, report: &mut Report, version: &str) {
    report.system = format!("etcd {version}");
    report.ordering = "raft";
    report.f = f(args.replicas);
    report.p = 0;
    report.client_auth = "none";
    report.core_plan = "etcd's own".to_owned();
    report.notes.push(
        "etcd: crash faults only; requests are neither signed nor encrypted; a bundle is one transaction of its puts"
            .to_owned(),
    );
    say!(
        "trireme local: etcd {version}, {} servers (f = {} crashes), flushed, not encrypted, nothing signed",
        args.replicas,
        report.f
    );
}

fn make(args: &LocalArgs, report: &mut Report, place: &Place, program: &std::path::Path) -> Result<Cluster> {
    let disk = disk::choose(args.data.as_deref(), args.durability.into())?;
    place.set(&disk);
    report.filesystem = Some(disk.filesystem);
    report.data_dir = Some(disk.dir.clone());
    let after = if args.keep { "kept" } else { "removed at the end" };
    say!("make  data in {} ({}, {after})", disk.dir.display(), disk.filesystem);
    report.notes.extend(disk.note());
    let mut addresses = Addresses::reserve(usize::from(args.replicas))?;
    let network = network::plan(args)?;
    let delays = network
        .map(|network| Delays::start(network, &addresses.peers, &addresses.clients))
        .transpose()?;
    if let Some(delays) = &delays {
        report.regions = delays.regions();
        report.notes.push(
            "network emulated by a proxy in front of each server: every byte of TCP is late by the one-way \
                   delay; bandwidth, loss and slow start are not emulated"
                .to_owned(),
        );
        say!("      network {} between {}", delays.name(), report.regions.join(", "));
    }
    let plan = Plan {
        dir: &disk.dir,
        addresses: &addresses,
        advertised: delays.as_ref().map_or(&addresses.peers, |delays| &delays.peers),
        longest_rtt: delays.as_ref().map_or(Duration::ZERO, Delays::longest_rtt),
    };
    let processes = servers::processes(program, &plan);
    let doors = delays
        .as_ref()
        .map_or_else(|| addresses.clients.clone(), |delays| delays.clients.clone());
    addresses.release();
    Ok(Cluster {
        dir: disk.dir,
        addresses,
        processes,
        doors,
        delays,
    })
}

async fn start(cluster: &mut Cluster, report: &mut Report) -> Result<()> {
    let begin = Instant::now();
    let count = cluster.addresses.peers.len();
    for index in 0..count {
        cluster.processes.start(index)?;
        let pid = cluster.processes.pid(index).context("it was started")?;
        if let Some(delays) = &cluster.delays {
            delays.know(index, pid);
        }
        say!(
            "start server {index}: process {pid}, peers {}, clients {}",
            cluster.addresses.peers[index],
            cluster.addresses.clients[index]
        );
    }
    let states = servers::ready(&mut cluster.processes, &cluster.addresses.clients).await?;
    let leader = states.iter().position(|server| server.member == server.leader);
    let leader = leader.context("the leader is none of the servers")?;
    report.log_devices = vec!["etcd's own log".to_owned(); count];
    say!(
        "ready after {:.2} s, server {leader} leads, data under {}",
        begin.elapsed().as_secs_f64(),
        cluster.dir.display()
    );
    Ok(())
}

async fn load(args: &LocalArgs, report: &mut Report, cluster: &mut Cluster) -> Result<Loaded> {
    say!("load  {}", loading::describe(args)?);
    let workload = args.load.workload()?;
    ensure!(
        !workload.mix.has(trireme_load::Operation::Scan),
        "scans are not made of etcd: choose another --workload"
    );
    let keys = workload.fill.then_some(workload.keys);
    let display = Display::new(loading::warm_up(args) + args.duration, args.load.sweep, keys, "      ");
    let mut options = args
        .load
        .options(args.clients, args.app.into(), args.duration, loading::warm_up(args))?;
    options.recording = Recording::None;
    options.route = Route::Spread;
    if let Some(history) = &mut options.history {
        history.fresh = true;
    }
    cluster.processes.measure();
    let cpu_before = cluster.processes.cpu_us();
    let wire = Wire::begin(args.count_loopback)?;
    let mut loading = loading::start_job(args, Whom::Etcd(cluster.doors.clone()), options)?;
    let mut tick = interval(Duration::from_millis(200));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let loaded = loop {
        tokio::select! {
            Some(event) = loading.events.recv() => display.show(&event),
            done = &mut loading.done => break done.context("the load generator ended without a result")??,
            _ = tick.tick() => {
                cluster.processes.check()?;
                cluster.processes.measure();
            }
        }
    };
    while let Ok(event) = loading.events.try_recv() {
        display.show(&event);
    }
    display.end();
    cluster.processes.measure();
    write_files(&args.load, loaded.record())?;
    let cpu_us = cluster.processes.cpu_us().saturating_sub(cpu_before);
    report.cpu_us_per_op = ratio(cpu_us, loaded.acknowledged());
    report.wire_bytes_per_op = wire.per_op(loaded.acknowledged())?;
    report.signatures_made_per_op = Some(0.0);
    report.signatures_verified_per_op = Some(0.0);
    loaded.fill(report);
    Ok(loaded)
}

fn print(report: &Report, loaded: &Loaded) {
    let ms = |us: Option<f64>| us.map_or("-".to_owned(), |us| format!("{:.2}", us / 1e3));
    let figure = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
    let record = loaded.record();
    let latency = &report.latency_us;
    say!("");
    record.sweep.iter().for_each(print_knee);
    say!(
        "throughput      {} ops/s, {} MB/s",
        figure(report.throughput_ops_s),
        figure(report.throughput_mb_s)
    );
    say!(
        "latency (ms)    p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
        ms(latency.p50),
        ms(latency.p90),
        ms(latency.p99),
        ms(latency.p99_9),
        ms(latency.max)
    );
    let summary = &record.summary;
    say!(
        "requests        {} acknowledged, {} failed, {} unknown",
        summary.acknowledged,
        summary.failed,
        summary.unknown
    );
    for (reason, count) in &summary.failures {
        say!("  {reason:<14}{count}");
    }
    say!(
        "per operation   {} us CPU of all servers, {} us of the clients; nothing signed",
        figure(report.cpu_us_per_op),
        figure(report.client_cpu_us_per_op)
    );
    say!(
        "memory          {} MB at most for one server",
        figure(report.rss_mb_max)
    );
    print_generator(record);
    for note in &report.notes {
        say!("note            {note}");
    }
    say!("");
}

fn judge(report: &Report) -> Result<()> {
    let without = report.without_effect.unwrap_or(0);
    ensure!(without == 0, "the run is not clean: {without} requests without effect");
    ensure!(report.linearizable != Some(false), "the history is not linearizable");
    ensure!(
        report.acknowledged.is_some_and(|count| count > 0),
        "no request was acknowledged"
    );
    Ok(())
}
