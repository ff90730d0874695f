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
use crate::chaos::damage;
use crate::chaos::fault::{Choice, Dice, Fault, Kind};
use crate::chaos::links::Links;
use crate::chaos::timeline::Done;
use crate::local::kill::{Gap, caught_up};
use crate::local::replicas::Replicas;
use crate::local::session::Cluster;
use crate::probe::Probe;
use crate::say::say;
use crate::status::Status;

/// How long a replica may take to answer: one to which something is done does not.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long a replica may stay in quarantine.
const QUARANTINE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);

/// What the lanes share.
pub(super) struct Stage {
    pub(super) args: ChaosArgs,
    pub(super) replicas: Rc<RefCell<Replicas>>,
    pub(super) links: RefCell<Links>,
    /// Directories of the replicas' logs.
    pub(super) logs: Vec<PathBuf>,
    /// Replicas to which something is done, or that have not caught up since.
    pub(super) taken: RefCell<BTreeSet<u16>>,
    /// Whether the load runs.
    pub(super) loaded: Rc<Cell<bool>>,
    /// Begin of the load, warm-up included: times of the report count from here.
    pub(super) begin: Instant,
    /// No fault lasts beyond.
    pub(super) until: Instant,
    pub(super) done: RefCell<Vec<Done>>,
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
            if Instant::now() >= stage.until || !stage.loaded.get() {
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
        let statuses: Vec<Status> = answers
            .into_iter()
            .filter_map(|answer| answer.and_then(Status::read).ok())
            .collect();
        let newest = statuses.iter().max_by_key(|status| status.view)?;
        Some(Before {
            leader: newest.leader,
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
        self.begin(fault)?;
        let mut gap = Gap::new(before.committed, survivors);
        gap.watch(&mut self.everybody, begin + fault.length, &stage.loaded)
            .await;
        sleep_until(begin + fault.length).await;
        self.end(fault)?;
        let end = Instant::now();
        let target = gap.committed;
        // What the fault leaves behind may show only after its end.
        let watched = gap.watch(&mut self.everybody, end + Duration::from_millis(500), &stage.loaded);
        let healthy = async {
            let caught_up = caught_up(&mut self.hit, hit, target, end).await?;
            out_of_quarantine(&mut self.hit, hit, end)
                .await
                .map(|after| after.max(caught_up))
        };
        let (recovered, ()) = tokio::join!(healthy, watched);
        let Some(recovered) = recovered else {
            bail!(
                "replica {hit} did not catch up after {}: slot {target} is still missing",
                fault.kind.name()
            );
        };
        let since = |time: Instant| (time - stage.begin).as_secs_f64();
        Ok(Done {
            kind: fault.kind,
            replica: hit,
            leader: hit == before.leader,
            begin_s: since(begin),
            end_s: since(end),
            without_commits_ms: gap.longest.as_secs_f64() * 1e3,
            caught_up_s: recovered.as_secs_f64(),
        })
    }

    fn begin(&self, fault: &Fault) -> Result<()> {
        let index = usize::from(fault.replica);
        let replicas = &self.stage.replicas;
        match fault.kind {
            Kind::Kill | Kind::Damage => replicas.borrow_mut().kill(index),
            Kind::Restart => replicas.borrow_mut().stop_one(index),
            Kind::Stop => replicas.borrow().signal(index, Signal::STOP),
            Kind::Partition | Kind::OneWay | Kind::Partial | Kind::Slow => {
                self.stage.links.borrow_mut().set(self.number, &fault.links)
            }
        }
        .with_context(|| format!("{} at replica {}", fault.kind.name(), fault.replica))
    }

    fn damage(&mut self, index: usize) -> Result<()> {
        let dir = self.stage.logs.get(index).context("a replica without a log")?;
        if let Some(what) = damage::flip(dir, &mut self.dice)? {
            say!("      damaged: {what}");
        }
        Ok(())
    }

    fn end(&mut self, fault: &Fault) -> Result<()> {
        let index = usize::from(fault.replica);
        let replicas = self.stage.replicas.clone();
        match fault.kind {
            Kind::Damage => self.damage(index).and_then(|()| replicas.borrow_mut().start(index)),
            Kind::Kill | Kind::Restart => replicas.borrow_mut().start(index),
            Kind::Stop => replicas.borrow().signal(index, Signal::CONT),
            Kind::Partition | Kind::OneWay | Kind::Partial | Kind::Slow => {
                self.stage.links.borrow_mut().clear(self.number)
            }
        }
        .with_context(|| format!("the end of {} at replica {}", fault.kind.name(), fault.replica))
    }
}

/// Waits until a replica votes again (R-QUARANTINE). None if it does not come to that.
async fn out_of_quarantine(probe: &mut Probe, member: u16, since: Instant) -> Option<Duration> {
    while since.elapsed() < QUARANTINE {
        let status = probe.ask(member).await;
        if status.is_ok_and(|status| status["quarantined"].as_bool() != Some(true)) {
            return Some(since.elapsed());
        }
        sleep(POLL).await;
    }
    None
}
