//! One run, step by step: make, start, load, check, stop, compare.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::time::{Instant, MissedTickBehavior, interval};
use trireme_config::{ClientBudget, LogBudget, MemberEntry};
use trireme_transport::wan::Network;

use crate::check_history;
use crate::disk::{self, Disk};
use crate::init::{self, Made, Plan};
use crate::load::{Display, write_files};
use crate::local::compare::{self, Seen};
use crate::local::figures::Span;
use crate::local::kill::{self, Kill};
use crate::local::loading::{self, Loaded};
use crate::local::network;
use crate::local::options::LocalArgs;
use crate::local::place::Place;
use crate::local::ports::Ports;
use crate::local::replicas::Replicas;
use crate::local::report::{KillLeader, Report, ratio, rounded};
use crate::local::wire::Wire;
use crate::local::{Control, summary, watch};
use crate::names::Order;
use crate::probe::Probe;
use crate::say::say;
use crate::status::Status;
use crate::wan;

/// How long a replica may take to answer a question about its status.
const PATIENCE: Duration = Duration::from_secs(2);
/// Name of the file, in a replica's directory, of what it executed.
const EXECUTED: &str = "executed";

/// A cluster that is made and may run.
pub(crate) struct Cluster {
    pub(crate) network: Option<Network>,
    pub(crate) made: Made,
    pub(crate) dir: PathBuf,
    pub(crate) replicas: Rc<RefCell<Replicas>>,
    pub(crate) probe: Probe,
}

/// Does the whole job. What it finds goes into the report, also if it fails later.
pub(super) async fn run(args: &LocalArgs, report: &mut Report, place: &Place, control: &Control) -> Result<()> {
    announce(args, report);
    let mut cluster = make(args, report, place)?;
    start(&mut cluster, report).await?;
    if args.serve {
        return serve(&mut cluster, report, control).await;
    }
    let acknowledged = cluster.dir.join("acknowledged");
    let (loaded, span) = load(args, report, &mut cluster, &acknowledged).await?;
    verify(args, report, &mut cluster, &loaded, span).await?;
    stop(&mut cluster)?;
    compare_streams(report, &cluster, &acknowledged)?;
    if let Some(history) = &args.load.history {
        say!("check that the history in {} is linearizable", history.display());
        report.linearizable = Some(check_history::is_linearizable(history)?);
    }
    summary::print(report);
    summary::judge(report)
}

fn announce(args: &LocalArgs, report: &Report) {
    let Report {
        app,
        durability,
        client_auth,
        core_plan,
        ..
    } = report;
    say!(
        "trireme local: {} replicas (f = {}{}), app {app}, durability {durability}, client signatures {client_auth}, core \
         plan {core_plan}",
        args.replicas,
        args.stands(),
        match args.ordering {
            Order::Trireme => "",
            Order::Raft => " crash faults, ordering raft: no replica may lie",
        },
    );
}

/// Makes the files of the cluster of a run.
pub(crate) fn make(args: &LocalArgs, report: &mut Report, place: &Place) -> Result<Cluster> {
    let disk = disk::choose(args.data.as_deref(), args.durability.into())?;
    place.set(&disk);
    report.filesystem = Some(disk.filesystem);
    report.data_dir = Some(disk.dir.clone());
    let after = if args.keep { "kept" } else { "removed at the end" };
    say!("make  data in {} ({}, {after})", disk.dir.display(), disk.filesystem);
    report.notes.extend(disk.note());
    let ports = Ports::reserve(usize::from(args.replicas))?;
    let plan = Plan {
        dir: disk.dir.clone(),
        name: "local".to_owned(),
        f: args.f(),
        ordering: args.ordering.into(),
        app: args.app.into(),
        client_auth: args.client_auth.into(),
        open: false,
        identities: args.clients,
        addresses: ports.addresses.clone(),
        admin: ports.admin.clone(),
        durability: args.durability.into(),
        core_plan: args.cores.clone(),
        executed_stream: !args.serve,
        log: log_budget(&disk, args.replicas)?,
        clients: ClientBudget::default(),
        network: network::plan(args)?,
    };
    let made = init::make(&plan)?;
    if let Some(network) = &plan.network {
        let region = |member: &MemberEntry| member.region.clone();
        report.regions = made.cluster.members.iter().map(region).collect();
        say!(
            "      network {} between {}; change it with: trireme wan set --data {} A-B delay=200ms",
            network.name(),
            report.regions.join(", "),
            disk.dir.display()
        );
    }
    if args.dashboard {
        for (index, admin) in ports.admin.iter().enumerate() {
            say!("look  http://{admin}/ (replica {index}: page and /metrics)");
        }
    }
    let replicas = Replicas::new(&made.replica_files)?;
    let probe = Probe::new(&made.cluster, &made.client_keys, PATIENCE);
    ports.release();
    Ok(Cluster {
        network: plan.network,
        made,
        dir: disk.dir,
        replicas: Rc::new(RefCell::new(replicas)),
        probe,
    })
}

/// Each replica's share of half of the free space, up to the default.
fn log_budget(disk: &Disk, replicas: u16) -> Result<LogBudget> {
    let mut budget = LogBudget::default();
    let share = disk.free_bytes / 2 / u64::from(replicas);
    let segments = (share / budget.segment_bytes).min(budget.max_log_bytes / budget.segment_bytes);
    ensure!(
        segments >= 2,
        "{} has {} MiB free: too little for the logs of {replicas} replicas; choose another directory with --data",
        disk.dir.display(),
        disk.free_bytes >> 20
    );
    budget.max_log_bytes = segments * budget.segment_bytes;
    Ok(budget)
}

/// Starts the replicas and waits until they are ready.
pub(crate) async fn start(cluster: &mut Cluster, report: &mut Report) -> Result<()> {
    let begin = Instant::now();
    let count = cluster.made.replica_files.len();
    (0..count).try_for_each(|index| cluster.replicas.borrow_mut().start(index))?;
    for (index, member) in cluster.made.cluster.members.iter().enumerate() {
        let pid = cluster.replicas.borrow().pid(index).unwrap_or(0);
        say!(
            "start replica {index}: process {pid}, peers {}, clients {}",
            member.peer_address,
            member.client_address
        );
    }
    let statuses = watch::ready(&cluster.replicas, &mut cluster.probe).await?;
    report.log_devices = statuses.iter().map(|status| status.log.device.clone()).collect();
    for note in notes(&statuses, &cluster.dir) {
        say!("      {note}");
        report.notes.push(note);
    }
    say!(
        "ready after {:.2} s, log device {}",
        begin.elapsed().as_secs_f64(),
        report.log_devices.join(" ")
    );
    Ok(())
}

/// What the replicas have to say at their start, each thing once.
fn notes(statuses: &[Status], dir: &Path) -> Vec<String> {
    let mut by_text: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (member, status) in statuses.iter().enumerate() {
        let own = format!("{}/replica-{member}/", dir.display());
        for note in &status.notes {
            by_text
                .entry(note.replace(&own, ""))
                .or_default()
                .push(member.to_string());
        }
    }
    by_text
        .into_iter()
        .map(|(text, members)| format!("replica {}: {text}", members.join(" ")))
        .collect()
}

async fn serve(cluster: &mut Cluster, report: &mut Report, control: &Control) -> Result<()> {
    control.serving.set(true);
    let addresses: Vec<String> = cluster
        .made
        .cluster
        .members
        .iter()
        .map(|member| member.client_address.to_string())
        .collect();
    say!("serve clients at {}", addresses.join(" "));
    say!(
        "      trireme put --config {} KEY VALUE",
        cluster.made.client_file.display()
    );
    say!("      Ctrl-C ends it");
    let mut tick = interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            () = control.stop.notified() => break,
            _ = tick.tick() => cluster.replicas.borrow_mut().check()?,
        }
    }
    let (_, common) = watch::at_rest(&cluster.replicas, &mut cluster.probe).await?;
    note_state(report, &common)?;
    stop(cluster)
}

/// Runs the load, a line a second, with an eye on the replicas.
async fn load(
    args: &LocalArgs,
    report: &mut Report,
    cluster: &mut Cluster,
    acknowledged: &Path,
) -> Result<(Loaded, Span)> {
    say!("load  {}", loading::describe(args)?);
    let workload = args.load.workload()?;
    let keys = workload.fill.then_some(workload.keys);
    let display = Display::new(loading::warm_up(args) + args.duration, args.load.sweep, keys, "      ");
    let before = watch::ask_all(&mut cluster.probe).await?;
    cluster.replicas.borrow_mut().measure();
    let cpu_before = cluster.replicas.borrow().cpu_us();
    let wire = Wire::begin(args.count_loopback)?;
    let running = Rc::new(Cell::new(true));
    let measured = Instant::now() + loading::warm_up(args);
    let leader = before
        .iter()
        .max_by_key(|status| status.view)
        .map_or(0, |status| status.leader);
    let quorums = cluster.made.cluster.quorums();
    let floor = |network| network::floor(network, &quorums, args.clients, leader);
    report.floor_us = cluster.network.as_ref().map(floor);
    let mut loading = loading::start(args, &cluster.made, acknowledged, &cluster.dir.join(wan::FILE))?;
    let mut killing = args.kill_leader_at.map(|at| {
        let probe = || Probe::new(&cluster.made.cluster, &cluster.made.client_keys, PATIENCE);
        let kill = Kill {
            replicas: cluster.replicas.clone(),
            others: probe(),
            restarted: probe(),
            at: measured + at,
            loaded: running.clone(),
        };
        tokio::task::spawn_local(kill::kill_leader(kill))
    });
    let mut tick = interval(Duration::from_millis(200));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let loaded = loop {
        tokio::select! {
            Some(event) = loading.events.recv() => display.show(&event),
            done = &mut loading.done => break done.context("the load generator ended without a result")??,
            _ = tick.tick() => {
                let mut replicas = cluster.replicas.borrow_mut();
                replicas.check()?;
                replicas.measure();
            }
        }
    };
    while let Ok(event) = loading.events.try_recv() {
        display.show(&event);
    }
    display.end();
    write_files(&args.load, loaded.record())?;
    running.set(false);
    cluster.replicas.borrow_mut().measure();
    let killed = match killing.take() {
        Some(task) => Some(task.await.context("the leader was not killed")??),
        None => None,
    };
    let cpu_us = cluster.replicas.borrow().cpu_us().saturating_sub(cpu_before);
    report.cpu_us_per_op = ratio(cpu_us, loaded.acknowledged());
    report.wire_bytes_per_op = wire.per_op(loaded.acknowledged())?;
    loaded.fill(report);
    report.kill_leader = killed.as_ref().map(|killed| KillLeader {
        replica: killed.member,
        killed_at_s: rounded((killed.killed_at - measured).as_secs_f64()),
        restarted_at_s: rounded((killed.restarted_at - measured).as_secs_f64()),
        without_commits_ms: rounded(killed.without_commits.as_secs_f64() * 1e3),
        caught_up_s: killed.caught_up.map(|after| rounded(after.as_secs_f64())),
    });
    let killed = killed.map(|killed| (usize::from(killed.member), killed.last));
    Ok((
        loaded,
        Span {
            before,
            killed,
            after: Vec::new(),
        },
    ))
}

/// Waits until all replicas have executed the same, and compares their state.
async fn verify(
    args: &LocalArgs,
    report: &mut Report,
    cluster: &mut Cluster,
    loaded: &Loaded,
    mut span: Span,
) -> Result<()> {
    say!("check state roots at a common slot");
    let (statuses, common) = watch::at_rest(&cluster.replicas, &mut cluster.probe).await?;
    span.after = statuses;
    span.fill(report, loaded.acknowledged());
    if let (Some(floor), Some(network), true) = (&report.floor_us, &cluster.network, report.views > Some(1)) {
        // Which replicas led, and how long, is not known: it stays a floor with the best of them.
        let quorums = cluster.made.cluster.quorums();
        let all = quorums
            .members()
            .map(|leader| network::floor(network, &quorums, args.clients, leader));
        report.floor_us = all.chain([floor.clone()]).min_by_key(|floor| floor.p50);
        report
            .notes
            .push("the leader changed: the physical floor is that of the best leader".to_owned());
    }
    cluster.replicas.borrow_mut().measure();
    let bytes = cluster.replicas.borrow().peak_rss_bytes();
    report.rss_mb_max = ratio(bytes / 1_000, 1_000);
    if args.durability != crate::names::Durable::Sync {
        report.notes.push(format!(
            "durability {}: acknowledged writes may not survive a power loss",
            report.durability
        ));
    }
    note_state(report, &common)
}

/// Puts the state that all have in common into the report; an error if they do not.
pub(crate) fn note_state(report: &mut Report, common: &watch::Common) -> Result<()> {
    report.state_slot = Some(common.slot);
    report.state_roots_equal = Some(common.equal());
    ensure!(
        common.equal(),
        "the replicas have different states at slot {}: {}",
        common.slot,
        common.roots.join(" ")
    );
    if let Some(root) = common.roots.first() {
        say!(
            "      slot {}: {} equal roots {}",
            common.slot,
            common.roots.len(),
            root.get(..16).unwrap_or(root)
        );
        report.state_root = Some(root.clone());
    }
    Ok(())
}

/// Stops the replicas in order.
pub(crate) fn stop(cluster: &mut Cluster) -> Result<()> {
    say!("stop  all replicas");
    cluster.replicas.borrow_mut().stop()
}

/// Puts into the report what the comparison of all executions with all acknowledgements found.
pub(crate) fn compare_streams(report: &mut Report, cluster: &Cluster, acknowledged: &Path) -> Result<()> {
    say!("check what each replica executed against what clients saw acknowledged");
    let streams: Vec<PathBuf> = cluster
        .made
        .replica_files
        .iter()
        .map(|file| file.with_file_name(EXECUTED))
        .collect();
    let clients: Vec<_> = cluster
        .made
        .client_keys
        .clients
        .iter()
        .map(|key| key.public().0)
        .collect();
    let found = compare::compare(
        &streams,
        &Seen {
            path: acknowledged,
            clients: &clients,
        },
    )?;
    report.executed = Some(found.executed);
    report.suppressed = Some(found.suppressed);
    report.lost = Some(found.lost);
    report.duplicated = Some(found.duplicated);
    report.different = Some(found.different);
    report.diverged = Some(found.diverged);
    report.unseen = Some(found.unseen);
    Ok(())
}
