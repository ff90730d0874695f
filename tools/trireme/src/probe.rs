//! Asks replicas for their status, over connections that are made when first needed and again after they were lost.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use trireme_client::status::StatusLink;
use trireme_config::{ClientKeys, Cluster};

/// Connections to the replicas of a cluster.
pub(crate) struct Probe {
    cluster: Cluster,
    keys: ClientKeys,
    links: Vec<Option<StatusLink>>,
    patience: Duration,
}

impl Probe {
    /// A probe that waits `patience` for each connection and each answer.
    pub(crate) fn new(cluster: &Cluster, keys: &ClientKeys, patience: Duration) -> Probe {
        let links = cluster.members.iter().map(|_| None).collect();
        Probe {
            cluster: cluster.clone(),
            keys: keys.clone(),
            links,
            patience,
        }
    }

    /// Status of a replica.
    pub(crate) async fn ask(&mut self, member: u16) -> Result<Value> {
        let slot = &mut self.links[usize::from(member)];
        let mut link = match slot.take() {
            Some(link) => link,
            None => StatusLink::connect(&self.cluster, &self.keys, member, self.patience).await?,
        };
        let json = link.ask(self.patience).await?;
        *slot = Some(link);
        serde_json::from_str(&json).with_context(|| format!("replica {member}: its status is not JSON"))
    }

    /// Status of all replicas, in their order.
    pub(crate) async fn ask_all(&mut self) -> Vec<Result<Value>> {
        let mut answers = Vec::with_capacity(self.links.len());
        for member in 0..self.cluster.params.n {
            answers.push(self.ask(member).await);
        }
        answers
    }
}
