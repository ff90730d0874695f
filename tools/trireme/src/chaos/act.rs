//! Doing the faults: one lane of them after another for each replica that may be faulty at a time.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use tokio::time::{Instant, sleep, sleep_until};

use crate::chaos::ChaosArgs;
use crate::chaos::fault::{Choice, Dice, Fault, Kind};
use crate::chaos::links::Links;
use crate::chaos::timeline::Done;
use crate::chaos::{after, audit, damage, restore, room};
use crate::local::kill::Gap;
use crate::local::replicas::Replicas;
use crate::local::session::Cluster;
use crate::probe::Probe;
use crate::say::say;
use crate::status::Status;

/// How long a replica may take to answer: one to which something is done does not.
const PATIENCE: Duration = Duration::from_millis(500);

/// A replica's data directory, beside its `replica.toml`.
pub(super) const DATA: &str = "log";

/// What the lanes share.
pub(super) struct Stage {
    pub(super) args: ChaosArgs,
    pub(super) replicas: Rc<RefCell<Replicas>>,
    pub(super) links: RefCell<Links>,
    /// The replicas' own files, `replica.toml` of each.
    pub(super) files: Vec<PathBuf>,
    /// Ends the load when all faults that were asked for are done.
    pub(super) stop: trireme_load::Stop,
    /// Replicas to which something is done, or that have not caught up since.
    pub(super) taken: RefCell<BTreeSet<u16>>,
    /// Whether the load runs.
    pub(super) loaded: Rc<Cell<bool>>,
    /// Begin of the load, warm-up included: times of the report count from here.
    pub(super) begin: Instant,
    /// No fault lasts beyond.
    pub(super) until: Instant,
    pub(super) done: RefCell<Vec<Done>>,
    /// Logs that were taken away.
    pub(super) lost: Cell<usize>,
}

/// One lane of faults. An error ends the run.
pub(super) struct Lane {
    number: u64,
    stage: Rc<Stage>,
    dice: Dice,
    everybody: Probe,
    hit: Probe,
}

/// What the replicas say before a fault.
struct Before {
    leader: u16,
    view: u64,
    /// The longest view timer, and four times the longest round trip.
    bound: Duration,
    committed: u64,
}

impl Lane {
    pub(super) fn new(number: u64, stage: Rc<Stage>, cluster: &Cluster) -> Lane {
        let probe = || Probe::new(&cluster.made.cluster, &cluster.made.client_keys, PATIENCE);
        Lane {
            number,
            dice: Dice::new(stage.args.seed, number),
            stage,
            everybody: probe(),
            hit: probe(),
        }
    }

    /// Faults until the time is over.
    pub(super) async fn run(mut self) -> Result<()> {
        let stage = self.stage.clone();
        loop {
            sleep(self.dice.pause(stage.args.pause)).await;
            let enough = stage.args.count.is_some_and(|count| stage.done.borrow().len() >= count);
            if enough {
                stage.stop.stop();
            }
            if enough || Instant::now() >= stage.until || !stage.loaded.get() {
                return Ok(());
            }
            let Some(before) = self.look().await else { continue };
            let choice = Choice {
                kinds: &stage.args.faults,
                target: stage.args.target,
                length: stage.args.length,
                replicas: stage.args.replicas,
            };
            let taken: Vec<u16> = stage.taken.borrow().iter().copied().collect();
            let Some(mut fault) = self.dice.draw(&choice, before.leader, &taken) else {
                continue;
            };
            let left = stage.until.saturating_duration_since(Instant::now());
            if fault.length > left && stage.args.length.is_some() {
                return Ok(());
            }
            fault.length = fault.length.min(left);
            stage.taken.borrow_mut().insert(fault.replica);
            let done = self.one(&fault, &before).await;
            stage.taken.borrow_mut().remove(&fault.replica);
            stage.done.borrow_mut().push(done?);
        }
    }

    /// Who leads and what is committed; none while too few answer to tell.
    async fn look(&mut self) -> Option<Before> {
        let answers = self.everybody.ask_all().await;
        let values: Vec<serde_json::Value> = answers.into_iter().filter_map(Result::ok).collect();
        // One timeout and four round trips are the goal for a leader's death.
        let bound = |value: &serde_json::Value| {
            let peers = value["peers"].as_array().map_or(&[][..], Vec::as_slice);
            let rtt = peers.iter().filter_map(|peer| peer["rtt_us"].as_u64()).max();
            value["view_timer_us"].as_u64().unwrap_or(0) + 4 * rtt.unwrap_or(0)
        };
        let bound_us = values.iter().map(bound).max()?;
        let statuses: Vec<Status> = values
            .into_iter()
            .filter_map(|value| Status::read(value).ok())
            .collect();
        let newest = statuses.iter().max_by_key(|status| status.view)?;
        Some(Before {
            leader: newest.leader,
            view: newest.view,
            bound: Duration::from_micros(bound_us),
            committed: statuses.iter().map(|status| status.committed_slot).max()?,
        })
    }

    /// One fault, from its beginning until the replica has caught up.
    async fn one(&mut self, fault: &Fault, before: &Before) -> Result<Done> {
        let stage = self.stage.clone();
        let hit = fault.replica;
        let leads = if hit == before.leader { ", the leader" } else { "" };
        say!(
            "      {} for {:.2} s at replica {hit}{leads}",
            fault.kind.name(),
            fault.length.as_secs_f64()
        );
        let survivors = {
            let taken = stage.taken.borrow();
            (0..stage.args.replicas)
                .filter(|other| !taken.contains(other))
                .collect()
        };
        let begin = Instant::now();
        let written = after::written(&self.output(hit));
        self.begin(fault)?;
        let mut gap = Gap::new(before.committed, survivors);
        gap.watch(&mut self.everybody, begin + fault.length, &stage.loaded)
            .await;
        sleep_until(begin + fault.length).await;
        let forgets = self.end(fault)?;
        let end = Instant::now();
        let target = gap.committed;
        // What the fault leaves behind may show only after its end.
        let watched = gap.watch(&mut self.everybody, end + Duration::from_millis(500), &stage.loaded);
        let (recovered, ()) = tokio::join!(after::healthy(&mut self.hit, hit, target, end), watched);
        let recovered =
            recovered.map_err(|missing| anyhow::anyhow!("replica {hit} after {}: {missing}", fault.kind.name()))?;
        let said = after::said(&self.output(hit), written)?;
        let quarantined = said.contains(after::QUARANTINED);
        if forgets && !quarantined {
            bail!("replica {hit} has lost its log and was not quarantined");
        }
        let votes = match quarantined {
            true => after::votes(&mut self.everybody, &stage, hit, end).await?,
            false => None,
        };
        let views = self.look().await.map_or(0, |now| now.view.saturating_sub(before.view));
        let since = |time: Instant| (time - stage.begin).as_secs_f64();
        Ok(Done {
            kind: fault.kind,
            replica: hit,
            leader: hit == before.leader,
            begin_s: since(begin),
            end_s: since(end),
            without_commits_ms: gap.longest.as_secs_f64() * 1e3,
            bound_ms: before.bound.as_secs_f64() * 1e3,
            views,
            caught_up_s: recovered.as_secs_f64(),
            quarantined,
            noticed: after::noticed(&said),
            votes_after_s: votes.map(|after| after.as_secs_f64()),
        })
    }

    /// What a replica writes.
    fn output(&self, replica: u16) -> PathBuf {
        self.stage.files[usize::from(replica)].with_file_name("output.txt")
    }

    fn data_dir(&self, index: usize) -> PathBuf {
        self.stage.files[index].with_file_name(DATA)
    }

    fn begin(&self, fault: &Fault) -> Result<()> {
        let index = usize::from(fault.replica);
        let replicas = &self.stage.replicas;
        match fault.kind {
            Kind::Kill | Kind::Damage | Kind::Snapshot | Kind::LogLost => replicas.borrow_mut().kill(index),
            Kind::Restart | Kind::Restore => replicas.borrow_mut().stop_one(index),
            Kind::DiskFull => room::fill(&self.data_dir(index)).map(|bytes| {
                say!("      {} MB that were free are taken", bytes / 1_000_000);
            }),
            Kind::Stop => replicas.borrow().signal(index, Signal::STOP),
            Kind::Partition | Kind::OneWay | Kind::Partial | Kind::Slow => {
                self.stage.links.borrow_mut().set(self.number, &fault.links)
            }
        }
        .with_context(|| format!("{} at replica {}", fault.kind.name(), fault.replica))
    }

    /// What is done to the files of a replica whose process is down. Whether it forgets what it signed by that.
    fn change_files(&mut self, kind: Kind, index: usize) -> Result<bool> {
        let data_dir = self.data_dir(index);
        let dir = self.stage.files[index].parent().context("a replica has a directory")?;
        // Numbers ascend over the run, so the logs are read back in their order.
        let aside = || audit::lost_log(dir, self.stage.lost.replace(self.stage.lost.get() + 1));
        let done = match kind {
            Kind::Damage => damage::flip(&data_dir, &mut self.dice)?.map(|what| (what, false)),
            Kind::Snapshot => damage::flip_snapshots(&data_dir, &mut self.dice)?.map(|what| (what, false)),
            Kind::LogLost => {
                damage::take_away(&data_dir, &aside(), false)?;
                Some(("its log is gone".to_owned(), true))
            }
            Kind::Restore => restore::from_others(&self.stage.files, index, DATA, &aside())?.map(|what| (what, true)),
            _ => None,
        };
        if let Some((what, _)) = &done {
            say!("      replica {index}: {what}");
        }
        Ok(done.is_some_and(|(_, forgets)| forgets))
    }

    /// Ends a fault. Whether the replica has forgotten what it signed.
    fn end(&mut self, fault: &Fault) -> Result<bool> {
        let index = usize::from(fault.replica);
        let replicas = self.stage.replicas.clone();
        let mut forgets = false;
        match fault.kind {
            Kind::Kill | Kind::Restart | Kind::Damage | Kind::Snapshot | Kind::LogLost | Kind::Restore => {
                forgets = self.change_files(fault.kind, index)?;
                replicas.borrow_mut().start(index)
            }
            Kind::DiskFull => room::empty(&self.data_dir(index)),
            Kind::Stop => replicas.borrow().signal(index, Signal::CONT),
            Kind::Partition | Kind::OneWay | Kind::Partial | Kind::Slow => {
                self.stage.links.borrow_mut().clear(self.number)
            }
        }
        .with_context(|| format!("the end of {} at replica {}", fault.kind.name(), fault.replica))?;
        Ok(forgets)
    }
}
