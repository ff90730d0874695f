//! One run: a cluster, a load, faults, and every check afterwards.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::chaos::act::{Lane, Stage};
use crate::chaos::links::Links;
use crate::chaos::report::Outcome;
use crate::chaos::timeline::Second;
use crate::chaos::{CALM, ChaosArgs};
use crate::check_history;
use crate::load::{Event, second_line};
use crate::local::loading::{self, Loaded};
use crate::local::place::Place;
use crate::local::report::Report;
use crate::local::session::{self, Cluster};
use crate::local::{LocalArgs, summary, watch};
use crate::say::say;
use crate::wan;

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
    let history = cluster.dir.join("history");
    local.load.history = Some(history.clone());
    session::start(&mut cluster, report).await?;
    let loaded = load(args, local, &mut cluster, outcome).await?;
    loaded.fill(report);
    say!("check state roots at a common slot");
    let (statuses, common) = watch::at_rest(&cluster.replicas, &mut cluster.probe).await?;
    report.evidence = Some(statuses.iter().map(|status| status.evidence).sum());
    report.alarms = Some(statuses.iter().map(|status| status.alarms).sum());
    session::note_state(report, &common)?;
    session::stop(&mut cluster)?;
    session::compare_streams(report, &cluster, &cluster.dir.join("acknowledged"))?;
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
    let stage = Rc::new(Stage {
        args: args.clone(),
        replicas: cluster.replicas.clone(),
        links: RefCell::new(Links::new(network, cluster.dir.join(wan::FILE))),
        logs: cluster
            .made
            .replica_files
            .iter()
            .map(|file| file.with_file_name("log"))
            .collect(),
        taken: RefCell::new(BTreeSet::new()),
        loaded: Rc::new(Cell::new(true)),
        begin,
        until: begin + warm_up + local.duration - CALM,
        done: RefCell::new(Vec::new()),
    });
    let files = (cluster.dir.join("acknowledged"), cluster.dir.join(wan::FILE));
    let mut loading = loading::start(local, &cluster.made, &files.0, &files.1)?;
    let mut lanes = JoinSet::new();
    for number in 0..u64::from(local.f()) {
        lanes.spawn_local(Lane::new(number, stage.clone(), cluster).run());
    }
    let mut seconds = Vec::new();
    let mut tick = interval(Duration::from_millis(200));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let loaded = loop {
        tokio::select! {
            Some(event) = loading.events.recv() => {
                if let Event::Second(second) = event {
                    say!("      {}", second_line(&second));
                    seconds.push(Second::of(&second));
                }
            }
            done = &mut loading.done => break done.context("the load generator ended without a result")?,
            Some(lane) = lanes.join_next() => lane.context("a lane of faults ended")??,
            _ = tick.tick() => cluster.replicas.borrow_mut().check()?,
        }
    };
    stage.loaded.set(false);
    while let Some(lane) = lanes.join_next().await {
        lane.context("a lane of faults ended")??;
    }
    outcome.note(&stage.done.borrow(), seconds);
    loaded
}
