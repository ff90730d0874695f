//! One run: a cluster, a load, faults, and every check afterwards.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::chaos::act::{Lane, Stage};
use crate::chaos::fault::Kind;
use crate::chaos::links::Links;
use crate::chaos::report::Outcome;
use crate::chaos::timeline::Second;
use crate::chaos::{CALM, ChaosArgs, audit, room};
use crate::check_history;
use crate::load::{Event, second_line};
use crate::local::loading::{self, Loaded};
use crate::local::place::Place;
use crate::local::report::Report;
use crate::local::session::{self, Cluster};
use crate::local::{LocalArgs, summary, watch};
use crate::probe::Probe;
use crate::say::say;
use crate::wan;

/// How long a replica may take to answer a question about its status.
const PATIENCE: Duration = Duration::from_secs(2);
/// Where disks are small: sizes of a log's segments and of the longest record, which holds a batch.
const SMALL_SEGMENT: u64 = 4 << 20;
const SMALL_RECORD: u32 = 2 << 20;

/// Does the whole job. What it finds goes into the outcome, also if it fails later.
pub(super) async fn run(args: &ChaosArgs, outcome: &mut Outcome, place: &Place) -> Result<()> {
    let mut local = args.local();
    let mut report = local.report();
    let done = steps(args, &mut local, &mut report, outcome, place).await;
    outcome.take(&report);
    if done.is_ok() {
        outcome.print();
    }
    done?;
    summary::judge(&report)?;
    ensure!(outcome.has_faults(), "no fault came to pass: the run was too short");
    Ok(())
}

async fn steps(
    args: &ChaosArgs,
    local: &mut LocalArgs,
    report: &mut Report,
    outcome: &mut Outcome,
    place: &Place,
) -> Result<()> {
    let kinds: Vec<&str> = args.faults.iter().map(|kind| kind.name()).collect();
    say!(
        "trireme chaos: {} replicas (f = {}), seed {}, faults {}",
        args.replicas,
        local.f(),
        args.seed,
        kinds.join(", ")
    );
    let mut cluster = session::make(local, report, place)?;
    narrow(args, &mut cluster)?;
    let rooms = rooms(args, &cluster)?;
    let done = in_rooms(args, local, &mut cluster, report, outcome).await;
    // Whatever happened: a mounted directory cannot be removed. The processes go first.
    cluster.replicas.borrow_mut().kill_all();
    for dir in rooms {
        if let Err(error) = room::unmount(&dir) {
            say!("      {error:#}");
        }
    }
    done
}

/// Checkpoints come often, so that there are snapshots to be damaged and restored, and logs are released; where disks are
/// small, segments are.
fn narrow(args: &ChaosArgs, cluster: &mut Cluster) -> Result<()> {
    let params = &mut cluster.made.cluster.params;
    params.checkpoint_slots = args.checkpoint_slots;
    params.log_window = 4 * args.checkpoint_slots;
    let path = cluster.dir.join("cluster.toml");
    std::fs::write(&path, cluster.made.cluster.to_toml())
        .with_context(|| format!("cannot write {}", path.display()))?;
    cluster.probe = Probe::new(&cluster.made.cluster, &cluster.made.client_keys, PATIENCE);
    Ok(())
}

/// A file system of its own for each replica, if disks are to be full. Where they are mounted.
fn rooms(args: &ChaosArgs, cluster: &Cluster) -> Result<Vec<PathBuf>> {
    let mut mounted = Vec::new();
    if !args.faults.contains(&Kind::DiskFull) {
        return Ok(mounted);
    }
    for (index, file) in cluster.made.replica_files.iter().enumerate() {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let mut config = trireme_config::ReplicaConfig::from_toml(&text)?;
        let dir = file.with_file_name(&config.data_dir);
        let kind = room::mount(&dir)?;
        if kind == "tmpfs" {
            config.durability = trireme_config::Durability::Async;
        }
        if index == 0 {
            say!(
                "      each replica's data are on a {kind} of {} MiB",
                room::ROOM_BYTES >> 20
            );
        }
        (config.log.segment_bytes, config.log.max_record_bytes) = (SMALL_SEGMENT, SMALL_RECORD);
        config.log.max_log_bytes = room::ROOM_BYTES / 2;
        std::fs::write(file, config.to_toml()).with_context(|| format!("cannot write {}", file.display()))?;
        mounted.push(dir);
    }
    Ok(mounted)
}

async fn in_rooms(
    args: &ChaosArgs,
    local: &mut LocalArgs,
    cluster: &mut Cluster,
    report: &mut Report,
    outcome: &mut Outcome,
) -> Result<()> {
    let history = cluster.dir.join("history");
    local.load.history = Some(history.clone());
    session::start(cluster, report).await?;
    let loaded = load(args, local, cluster, outcome).await?;
    loaded.fill(report);
    say!("check state roots at a common slot");
    let (statuses, common) = watch::at_rest(&cluster.replicas, &mut cluster.probe).await?;
    report.evidence = Some(statuses.iter().map(|status| status.evidence).sum());
    report.alarms = Some(statuses.iter().map(|status| status.alarms).sum());
    session::note_state(report, &common)?;
    session::stop(cluster)?;
    session::compare_streams(report, cluster, &cluster.dir.join("acknowledged"))?;
    say!("check what the logs say of every replica's promises");
    let found = audit::check(cluster)?;
    // Counters of the replicas begin anew with each process; what they wrote does not.
    report.evidence = report.evidence.max(Some(found.evidence));
    report.alarms = report.alarms.max(Some(found.alarms));
    (outcome.conflicting_signatures, outcome.promises) = (Some(found.conflicts), Some(found.promises));
    ensure!(
        found.conflicts == 0,
        "{} pairs of promises exclude each other",
        found.conflicts
    );
    say!("check that the history is linearizable");
    report.linearizable = Some(check_history::is_linearizable(&history)?);
    Ok(())
}

/// Runs load and faults side by side.
async fn load(args: &ChaosArgs, local: &LocalArgs, cluster: &mut Cluster, outcome: &mut Outcome) -> Result<Loaded> {
    say!("load  {}", loading::describe(local)?);
    let begin = Instant::now();
    let warm_up = loading::warm_up(local);
    let network = cluster.network.clone().context("a run with faults has a network")?;
    let files = (cluster.dir.join("acknowledged"), cluster.dir.join(wan::FILE));
    let mut loading = loading::start(local, &cluster.made, &files.0, &files.1)?;
    let stage = Rc::new(Stage {
        args: args.clone(),
        replicas: cluster.replicas.clone(),
        links: RefCell::new(Links::new(network, cluster.dir.join(wan::FILE))),
        files: cluster.made.replica_files.clone(),
        stop: loading.stop.clone(),
        lost: Cell::new(0),
        taken: RefCell::new(BTreeSet::new()),
        loaded: Rc::new(Cell::new(true)),
        begin,
        until: begin + warm_up + local.duration - CALM,
        done: RefCell::new(Vec::new()),
    });
    let mut lanes = JoinSet::new();
    for number in 0..u64::from(local.f()) {
        lanes.spawn_local(Lane::new(number, stage.clone(), cluster).run());
    }
    let mut seconds = Vec::new();
    let loaded = until_loaded(&mut loading, &mut lanes, cluster, &mut seconds).await;
    stage.loaded.set(false);
    let mut ended = Ok(());
    if loaded.is_err() {
        lanes.abort_all();
    }
    while let Some(lane) = lanes.join_next().await.filter(|_| loaded.is_ok()) {
        ended = ended.and(lane.context("a lane of faults ended").and_then(|lane| lane));
    }
    // Of a run that failed, too: what was done before says how many faults it took.
    outcome.note(&stage.done.borrow(), seconds);
    ended?;
    loaded
}

/// Until the load is over, or something went wrong.
async fn until_loaded(
    loading: &mut loading::Loading,
    lanes: &mut JoinSet<Result<()>>,
    cluster: &Cluster,
    seconds: &mut Vec<Second>,
) -> Result<Loaded> {
    let mut tick = interval(Duration::from_millis(200));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Some(event) = loading.events.recv() => {
                if let Event::Second(second) = event {
                    say!("      {}", second_line(&second));
                    seconds.push(Second::of(&second));
                }
            }
            done = &mut loading.done => return done.context("the load generator ended without a result")?,
            Some(lane) = lanes.join_next() => lane.context("a lane of faults ended")??,
            _ = tick.tick() => cluster.replicas.borrow_mut().check()?,
        }
    }
}
