//! Waiting for the cluster: ready to work, and at rest with equal state.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use tokio::time::{Instant, sleep};

use crate::local::replicas::Replicas;
use crate::probe::Probe;
use crate::status::Status;

/// How long the replicas may take until they answer and are connected.
const READY_PATIENCE: Duration = Duration::from_secs(30);
/// How long the replicas may take, after the load, to execute what was ordered.
const REST_PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// Status of all replicas; an error if one of them does not answer.
pub(crate) async fn ask_all(probe: &mut Probe) -> Result<Vec<Status>> {
    probe
        .ask_all()
        .await
        .into_iter()
        .map(|answer| answer.and_then(Status::read))
        .collect()
}

/// Waits until every replica answers and is connected to every other one.
pub(crate) async fn ready(replicas: &RefCell<Replicas>, probe: &mut Probe) -> Result<Vec<Status>> {
    let deadline = Instant::now() + READY_PATIENCE;
    loop {
        replicas.borrow_mut().check()?;
        let missing = match ask_all(probe).await {
            Ok(statuses) => match unconnected(&statuses) {
                None => return Ok(statuses),
                Some(pair) => pair,
            },
            Err(error) => format!("{error:#}"),
        };
        ensure!(
            Instant::now() < deadline,
            "not ready within {} s: {missing}",
            READY_PATIENCE.as_secs()
        );
        sleep(POLL).await;
    }
}

/// A pair of replicas without a connection.
fn unconnected(statuses: &[Status]) -> Option<String> {
    let others = statuses.len() - 1;
    statuses.iter().enumerate().find_map(|(member, status)| {
        let connected = status.peers.iter().filter(|peer| peer.connected).count();
        (connected < others).then(|| format!("replica {member} is connected to {connected} of {others} others"))
    })
}

/// State at a slot that all replicas have executed and voted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Common {
    pub(crate) slot: u64,
    /// The root, by replica; none before the first slot.
    pub(crate) roots: Vec<String>,
}

impl Common {
    /// Whether all replicas have the same root.
    pub(crate) fn equal(&self) -> bool {
        self.roots.windows(2).all(|pair| pair[0] == pair[1])
    }
}

/// Waits until nothing is under way any more, all replicas have executed the same slot, and have computed its root.
pub(crate) async fn at_rest(replicas: &RefCell<Replicas>, probe: &mut Probe) -> Result<(Vec<Status>, Common)> {
    let deadline = Instant::now() + REST_PATIENCE;
    loop {
        replicas.borrow_mut().check()?;
        let waiting = match ask_all(probe).await {
            Ok(statuses) => match common(&statuses) {
                Ok(common) => return Ok((statuses, common)),
                Err(why) => why,
            },
            Err(error) => format!("{error:#}"),
        };
        if Instant::now() >= deadline {
            bail!(
                "the replicas do not agree within {} s after the load: {waiting}",
                REST_PATIENCE.as_secs()
            );
        }
        sleep(POLL).await;
    }
}

/// The state that all replicas have, or what is still under way.
fn common(statuses: &[Status]) -> Result<Common, String> {
    let list = |of: fn(&Status) -> u64| statuses.iter().map(of).collect::<Vec<u64>>();
    let (committed, executed) = (list(|s| s.committed_slot), list(|s| s.executed_slot));
    let slot = committed[0];
    if committed.iter().chain(&executed).any(|other| *other != slot) {
        return Err(format!("committed slots {committed:?}, executed slots {executed:?}"));
    }
    if slot == 0 {
        return Ok(Common {
            slot,
            roots: Vec::new(),
        });
    }
    let voted = statuses
        .iter()
        .map(|status| status.state.as_ref().filter(|state| state.slot == slot));
    match voted.collect::<Option<Vec<_>>>() {
        Some(states) => Ok(Common {
            slot,
            roots: states.into_iter().map(|state| state.root.clone()).collect(),
        }),
        None => Err(format!("the state root of slot {slot} is not there yet")),
    }
}
