//! `--kill-leader-at`: kill -9 of the current leader under load, a restart 2 seconds later, and the time without
//! commits in between.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::{Instant, sleep, sleep_until};

use crate::local::replicas::Replicas;
use crate::local::watch;
use crate::probe::Probe;
use crate::say::say;
use crate::status::Status;

/// From the kill to the restart.
const DOWN: Duration = Duration::from_secs(2);
/// How long commits are watched after the restart.
const WATCHED: Duration = Duration::from_secs(3);
/// How long the restarted replica may take to catch up.
const CATCH_UP: Duration = Duration::from_secs(60);
/// Pause between two questions; with the time of an answer the resolution of what is measured.
const POLL: Duration = Duration::from_millis(5);

/// What is needed for it.
pub(super) struct Kill {
    pub(super) replicas: Rc<RefCell<Replicas>>,
    pub(super) others: Probe,
    pub(super) restarted: Probe,
    /// When.
    pub(super) at: Instant,
    /// Whether the load still runs: without it nothing has to commit.
    pub(super) loaded: Rc<Cell<bool>>,
}

/// What happened.
#[derive(Clone, Debug)]
pub(super) struct Killed {
    pub(super) member: u16,
    /// What it last said.
    pub(super) last: Status,
    pub(super) killed_at: Instant,
    pub(super) restarted_at: Instant,
    /// The longest time in which no other replica's committed slot moved.
    pub(super) without_commits: Duration,
    /// From the restart until it had executed what the others had committed by then; none if it did not come to that.
    pub(super) caught_up: Option<Duration>,
}

/// Kills the leader, restarts it, and watches the others meanwhile.
pub(super) async fn kill_leader(kill: Kill) -> Result<Killed> {
    let Kill {
        replicas,
        mut others,
        mut restarted,
        at,
        loaded,
    } = kill;
    sleep_until(at).await;
    let statuses = watch::ask_all(&mut others)
        .await
        .context("before the leader is killed")?;
    let newest = statuses
        .iter()
        .max_by_key(|status| status.view)
        .context("a cluster without replicas")?;
    let member = newest.leader;
    let last = statuses
        .get(usize::from(member))
        .context("a leader that is no member")?
        .clone();
    let committed = statuses.iter().map(|status| status.committed_slot).max().unwrap_or(0);
    replicas.borrow_mut().kill(usize::from(member))?;
    let killed_at = Instant::now();
    say!(
        "      replica {member}, leader of view {}, killed (SIGKILL)",
        newest.view
    );

    let count = u16::try_from(statuses.len()).context("more replicas than indices")?;
    let survivors = (0..count).filter(|other| *other != member).collect();
    let mut gap = Gap::new(committed, survivors);
    gap.watch(&mut others, killed_at + DOWN, &loaded).await;
    sleep_until(killed_at + DOWN).await;
    replicas.borrow_mut().start(usize::from(member))?;
    let restarted_at = Instant::now();
    say!("      replica {member} started again");
    let target = gap.committed;
    let watched = gap.watch(&mut others, restarted_at + WATCHED, &loaded);
    let (caught_up, ()) = tokio::join!(caught_up(&mut restarted, member, target, restarted_at), watched);
    Ok(Killed {
        member,
        last,
        killed_at,
        restarted_at,
        without_commits: gap.longest,
        caught_up,
    })
}

/// Waits until a replica has executed a slot.
pub(crate) async fn caught_up(probe: &mut Probe, member: u16, target: u64, since: Instant) -> Option<Duration> {
    while since.elapsed() < CATCH_UP {
        // It does not answer while it recovers from its log.
        let executed = probe
            .ask(member)
            .await
            .and_then(Status::read)
            .map(|status| status.executed_slot);
        if executed.is_ok_and(|slot| slot >= target) {
            return Some(since.elapsed());
        }
        sleep(POLL).await;
    }
    None
}

/// The longest time without a commit at the replicas that nothing was done to.
pub(crate) struct Gap {
    since: Instant,
    pub(crate) longest: Duration,
    pub(crate) committed: u64,
    survivors: Vec<u16>,
}

impl Gap {
    /// From now on, when so many slots are committed.
    pub(crate) fn new(committed: u64, survivors: Vec<u16>) -> Gap {
        Gap {
            since: Instant::now(),
            longest: Duration::ZERO,
            committed,
            survivors,
        }
    }

    /// Looks until then, as long as there is a load.
    pub(crate) async fn watch(&mut self, probe: &mut Probe, until: Instant, loaded: &Cell<bool>) {
        while Instant::now() < until && loaded.get() {
            for member in &self.survivors {
                // One that does not answer says nothing; the others do.
                let Ok(status) = probe.ask(*member).await.and_then(Status::read) else {
                    continue;
                };
                if status.committed_slot > self.committed {
                    self.committed = status.committed_slot;
                    self.longest = self.longest.max(self.since.elapsed());
                    self.since = Instant::now();
                    break;
                }
            }
            sleep(POLL).await;
        }
        // What is still open counts, too: a cluster that never commits again must not look good.
        if loaded.get() {
            self.longest = self.longest.max(self.since.elapsed());
        }
    }
}
