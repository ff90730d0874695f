//! `--kill-leader-at`: kill -9 of the current leader under load, a restart 2 seconds later, and the time without
//! commits in between.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::{Instant, sleep, sleep_until};

use crate::local::replicas::Replicas;
use crate::local::watch;
use crate::probe::Probe;
use crate::status::Status;

/// From the kill to the restart.
const DOWN: Duration = Duration::from_secs(2);
/// How long commits are watched after the restart.
const WATCHED: Duration = Duration::from_secs(3);
/// How often the others are asked: the resolution of the measured time.
const POLL: Duration = Duration::from_millis(5);

/// What happened.
#[derive(Clone, Debug)]
pub(crate) struct Killed {
    pub(crate) member: u16,
    /// What it last said.
    pub(crate) last: Status,
    pub(crate) killed_at: Instant,
    pub(crate) restarted_at: Instant,
    /// The longest time in which no other replica's committed slot moved.
    pub(crate) without_commits: Duration,
}

/// Kills the leader at `at`, restarts it, and watches the others meanwhile. `loaded` tells whether the load still
/// runs: without it nothing has to commit.
pub(crate) async fn kill_leader(
    replicas: Rc<RefCell<Replicas>>,
    mut probe: Probe,
    at: Instant,
    loaded: Rc<std::cell::Cell<bool>>,
) -> Result<Killed> {
    sleep_until(at).await;
    let statuses = watch::ask_all(&mut probe)
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
    println!(
        "      replica {member}, leader of view {}, killed (SIGKILL)",
        newest.view
    );

    let others = (0..u16::try_from(statuses.len())?)
        .filter(|other| *other != member)
        .collect();
    let mut gap = Gap {
        since: killed_at,
        longest: Duration::ZERO,
        committed,
        others,
    };
    gap.watch(&mut probe, killed_at + DOWN, &loaded).await;
    sleep_until(killed_at + DOWN).await;
    replicas.borrow_mut().start(usize::from(member))?;
    let restarted_at = Instant::now();
    println!("      replica {member} started again");
    gap.watch(&mut probe, restarted_at + WATCHED, &loaded).await;
    Ok(Killed {
        member,
        last,
        killed_at,
        restarted_at,
        without_commits: gap.longest,
    })
}

/// The longest time without a commit.
struct Gap {
    since: Instant,
    longest: Duration,
    committed: u64,
    others: Vec<u16>,
}

impl Gap {
    async fn watch(&mut self, probe: &mut Probe, until: Instant, loaded: &std::cell::Cell<bool>) {
        while Instant::now() < until && loaded.get() {
            for member in &self.others {
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
