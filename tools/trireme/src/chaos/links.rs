//! The network under several faults at once: what each of them changed, and the file that the replicas follow.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use trireme_transport::wan::Network;

use crate::chaos::fault::LinkChange;

/// The network of the run, and what is done to it now.
pub(super) struct Links {
    path: PathBuf,
    /// Without any fault.
    plain: Network,
    /// By the lane that does it.
    changes: BTreeMap<u64, Vec<LinkChange>>,
}

impl Links {
    pub(super) fn new(plain: Network, path: PathBuf) -> Links {
        Links {
            path,
            plain,
            changes: BTreeMap::new(),
        }
    }

    /// What a lane changes from now on.
    pub(super) fn set(&mut self, lane: u64, changes: &[LinkChange]) -> Result<()> {
        self.changes.insert(lane, changes.to_vec());
        self.write()
    }

    /// A lane changes nothing any more.
    pub(super) fn clear(&mut self, lane: u64) -> Result<()> {
        self.changes.remove(&lane);
        self.write()
    }

    fn write(&self) -> Result<()> {
        Ok(self.now()?.write(&self.path)?)
    }

    /// All changes over the plain network: the end of one fault must not end what another does to the same link.
    fn now(&self) -> Result<Network> {
        let mut network = self.plain.clone();
        for (pair, one_way, change) in self.changes.values().flatten() {
            network.set(pair, *one_way, *change)?;
        }
        Ok(network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_transport::wan::{Change, Matrix, Place};

    #[test]
    fn the_end_of_one_fault_does_not_end_another() {
        let names = ["a", "b", "c"].map(str::to_owned);
        let plain = Network::new("x", Matrix::shipped("three-regions").unwrap(), &names, &[], 1).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut links = Links::new(plain.clone(), dir.path().join("wan.toml"));
        let cut = Change {
            cut: Some(true),
            ..Change::default()
        };
        links.set(0, &[("0-all".to_owned(), false, cut)]).unwrap();
        links.set(1, &[("1-all".to_owned(), false, cut)]).unwrap();
        links.clear(0).unwrap();
        let now = Network::read(&dir.path().join("wan.toml")).unwrap();
        let is_cut = |from, to| now.settings(Place::Replica(from), Place::Replica(to)).cut;
        assert!(is_cut(0, 1) && is_cut(1, 2) && !is_cut(0, 2));
        links.clear(1).unwrap();
        assert_eq!(Network::read(&dir.path().join("wan.toml")).unwrap(), plain);
    }
}
