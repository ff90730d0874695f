//! `--wan`: where the replicas and the clients of a run are, and what that costs at least.

use anyhow::{Result, ensure};
use serde::Serialize;
use trireme_client::floor::{self, Distances};
use trireme_core::quorum::Quorums;
use trireme_transport::wan::{Network, Place};

use crate::local::options::LocalArgs;
use crate::wan;

/// The network of a run, if it has one: each replica in its region, clients in all regions of replicas, or in those
/// that were given.
pub(crate) fn plan(args: &LocalArgs) -> Result<Option<Network>> {
    let Some(name) = &args.wan else {
        ensure!(
            args.regions.is_empty() && args.client_regions.is_empty(),
            "--regions and --client-regions need --wan"
        );
        return Ok(None);
    };
    let matrix = wan::matrix(name)?;
    let count = usize::from(args.replicas);
    let replicas: Vec<String> = match args.regions.len() {
        // The first regions of the matrix, in turn.
        0 => matrix.regions().iter().cycle().take(count).cloned().collect(),
        given => {
            ensure!(
                given == count,
                "--regions names {given} regions for {count} replicas: give one for each"
            );
            args.regions.clone()
        }
    };
    let mut clients = args.client_regions.clone();
    if clients.is_empty() {
        clients.clone_from(&replicas);
        clients.sort_by_key(|region| replicas.iter().position(|own| own == region));
        clients.dedup();
    }
    Ok(Some(Network::new(name, matrix, &replicas, &clients, args.load.seed)?))
}

/// The physical floor in microseconds, over the clients of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Floor {
    /// Median over the clients.
    pub(crate) p50: u64,
    /// The leader that it holds for.
    pub(crate) leader: u16,
    /// By the clients' region.
    pub(crate) by_region: std::collections::BTreeMap<String, u64>,
}

struct Distance<'a> {
    network: &'a Network,
    client: Place,
}

impl Distances for Distance<'_> {
    fn between(&self, from: u16, to: u16) -> u64 {
        self.network.one_way_us(Place::Replica(from), Place::Replica(to))
    }
    fn there(&self, replica: u16) -> u64 {
        self.network.one_way_us(self.client, Place::Replica(replica))
    }
    fn back(&self, replica: u16) -> u64 {
        self.network.one_way_us(Place::Replica(replica), self.client)
    }
}

/// The floor of a network for so many clients, in its regions in turn, with this leader.
pub(crate) fn floor(network: &Network, quorums: &Quorums, clients: u32, leader: u16) -> Floor {
    let of = |region: usize| {
        let client = Place::Clients(region);
        floor::floor_us(quorums, &Distance { network, client }, leader)
    };
    let each = network.clients().iter().cycle().take(clients as usize);
    let mut all: Vec<u64> = each.map(|region| of(*region)).collect();
    all.sort_unstable();
    let named = |region: &usize| (network.region_name(Place::Clients(*region)).to_owned(), of(*region));
    Floor {
        p50: all.get(all.len().div_ceil(2).saturating_sub(1)).copied().unwrap_or(0),
        leader,
        by_region: network.clients().iter().map(named).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_transport::wan::Matrix;

    #[test]
    fn the_textbook_case_has_three_steps_of_25_ms() {
        let names = ["a", "b", "c"].map(str::to_owned);
        let matrix = Matrix::shipped("three-regions").unwrap();
        // The fourth replica shares a region with the first.
        let replicas: Vec<String> = names.iter().chain(&names[..1]).cloned().collect();
        let network = Network::new("three-regions", matrix, &replicas, &names, 1).unwrap();
        let floor = floor(&network, &Quorums::new(4, 1).unwrap(), 9, 0);
        // In the leader's region: batch and block to all (25 ms), all votes (25 ms); two replies from beside it.
        assert_eq!(floor.by_region["a"], 250 + 25_000 + 25_000 + 250);
        // Elsewhere the request and one of the two replies have a way of 25 ms each besides.
        assert!((75_000..=100_500).contains(&floor.by_region["b"]), "{floor:?}");
        assert_eq!(floor.p50, floor.by_region["b"]);
        assert_eq!(floor.by_region["b"], floor.by_region["c"]);
    }
}
