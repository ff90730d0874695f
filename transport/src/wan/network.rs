//! A cluster's network: the matrix, who is where, and what was changed. One TOML file, which all its processes read.

use super::change::{Change, Settings};
use super::{Matrix, WanError};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Where a datagram comes from or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A replica, by its index.
    Replica(u16),
    /// Clients in a region of the matrix.
    Clients(usize),
}

/// A change of all links from some places to some places.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// A region (its replicas and clients), the number of a replica, `clients`, or `all`.
    pub from: String,
    /// The same.
    pub to: String,
    /// What changes.
    #[serde(rename = "set")]
    pub change: Change,
}

/// A cluster's network.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    name: String,
    seed: u64,
    matrix: Matrix,
    replicas: Vec<usize>,
    clients: Vec<usize>,
    rules: Vec<Rule>,
}

/// The same as it stands in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    matrix: String,
    seed: u64,
    replicas: Vec<String>,
    clients: Vec<String>,
    regions: Vec<String>,
    rtt_ms: Vec<Vec<f64>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    change: Vec<Rule>,
}

impl Network {
    /// A network without changes. `replicas` are the regions of the replicas by index, `clients` those with clients;
    /// losses and jitter follow from `seed`.
    ///
    /// # Errors
    ///
    /// [`WanError`]: no replica, a region that there is not.
    pub fn new(
        name: &str,
        matrix: Matrix,
        replicas: &[String],
        clients: &[String],
        seed: u64,
    ) -> Result<Network, WanError> {
        let places = |names: &[String]| {
            names
                .iter()
                .map(|name| matrix.region(name))
                .collect::<Result<Vec<_>, _>>()
        };
        let (replicas, clients) = (places(replicas)?, places(clients)?);
        if replicas.is_empty() || replicas.len() > usize::from(u16::MAX) {
            return Err(WanError::Network("a network needs 1 to 65535 replicas".to_owned()));
        }
        Ok(Network {
            name: name.to_owned(),
            seed,
            matrix,
            replicas,
            clients,
            rules: Vec::new(),
        })
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    ///
    /// [`WanError`].
    pub fn from_toml(text: &str) -> Result<Network, WanError> {
        let written: Written = toml::from_str(text).map_err(|error| WanError::Network(error.to_string()))?;
        let matrix = Matrix::new(written.regions, written.rtt_ms)?;
        let mut network = Network::new(
            &written.matrix,
            matrix,
            &written.replicas,
            &written.clients,
            written.seed,
        )?;
        for rule in written.change {
            let pair = || format!("{}-{}", rule.from, rule.to);
            if !network.is_selector(&rule.from) || !network.is_selector(&rule.to) {
                return Err(WanError::Pair { pair: pair() });
            }
            rule.change
                .check()
                .map_err(|why| WanError::Setting { text: pair(), why })?;
            network.add(rule);
        }
        Ok(network)
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`WanError`] with the file's name.
    pub fn read(path: &Path) -> Result<Network, WanError> {
        let text = std::fs::read_to_string(path).map_err(|source| WanError::Io {
            what: "cannot read",
            path: path.to_owned(),
            source,
        })?;
        Network::from_toml(&text).map_err(|error| WanError::Form {
            path: path.to_owned(),
            why: error.to_string(),
        })
    }

    /// Writes the file as a whole: who reads it meanwhile finds the old one or the new one.
    ///
    /// # Errors
    ///
    /// [`WanError::Io`].
    pub fn write(&self, path: &Path) -> Result<(), WanError> {
        let fresh = path.with_extension("toml.new");
        let failed = |source| WanError::Io {
            what: "cannot write",
            path: path.to_owned(),
            source,
        };
        std::fs::write(&fresh, self.to_toml()).map_err(failed)?;
        std::fs::rename(&fresh, path).map_err(failed)
    }

    /// The text of the file.
    pub fn to_toml(&self) -> String {
        let names = |places: &[usize]| {
            places
                .iter()
                .map(|place| self.matrix.regions()[*place].clone())
                .collect()
        };
        let written = Written {
            matrix: self.name.clone(),
            seed: self.seed,
            replicas: names(&self.replicas),
            clients: names(&self.clients),
            regions: self.matrix.regions().to_vec(),
            rtt_ms: self.matrix.rtt_ms().to_vec(),
            change: self.rules.clone(),
        };
        let body = toml::to_string(&written).expect("every network has a TOML form");
        format!("# WAN emulation of a cluster. Running processes follow it; `trireme wan` changes it.\n{body}")
    }

    /// Name of the matrix.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Losses and jitter follow from it.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The round-trip times without changes.
    pub fn matrix(&self) -> &Matrix {
        &self.matrix
    }

    /// Regions of the replicas, by index.
    pub fn replicas(&self) -> &[usize] {
        &self.replicas
    }

    /// Regions with clients.
    pub fn clients(&self) -> &[usize] {
        &self.clients
    }

    /// All changes, the later of two that name the same link being the one that counts.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Name of a place's region.
    pub fn region_name(&self, place: Place) -> &str {
        &self.matrix.regions()[self.region_of(place)]
    }

    /// Every replica and every region with clients, each once.
    pub fn places(&self) -> Vec<Place> {
        let mut regions = self.clients.clone();
        regions.sort_unstable();
        regions.dedup();
        let replicas = (0..).zip(&self.replicas).map(|(index, _)| Place::Replica(index));
        replicas.chain(regions.into_iter().map(Place::Clients)).collect()
    }

    fn region_of(&self, place: Place) -> usize {
        match place {
            Place::Replica(index) => self.replicas[usize::from(index)],
            Place::Clients(region) => region,
        }
    }

    /// One way, by the matrix and without changes; nothing from a place to itself.
    pub fn one_way_us(&self, from: Place, to: Place) -> u64 {
        if from == to {
            return 0;
        }
        self.matrix.one_way_us(self.region_of(from), self.region_of(to))
    }

    /// What the link from one place to another does now.
    pub fn settings(&self, from: Place, to: Place) -> Settings {
        let mut settings = Settings {
            delay_us: self.one_way_us(from, to),
            ..Settings::default()
        };
        for rule in &self.rules {
            if self.selects(&rule.from, from) && self.selects(&rule.to, to) {
                rule.change.apply(&mut settings);
            }
        }
        settings
    }

    /// Whether this names places.
    fn is_selector(&self, name: &str) -> bool {
        let replica = || name.parse::<usize>().is_ok_and(|index| index < self.replicas.len());
        name == "all" || name == "clients" || self.matrix.region(name).is_ok() || replica()
    }

    fn selects(&self, name: &str, place: Place) -> bool {
        match (name, place) {
            ("all", _) | ("clients", Place::Clients(_)) => true,
            (_, Place::Replica(index)) if name.parse() == Ok(index) => true,
            _ => self.region_name(place) == name,
        }
    }

    /// Splits `a-b`, where both may have a dash in their names.
    ///
    /// # Errors
    ///
    /// [`WanError::Pair`].
    pub fn pair(&self, text: &str) -> Result<(String, String), WanError> {
        let dashes = text.match_indices('-');
        let split = dashes.map(|(at, _)| (&text[..at], &text[at + 1..]));
        let mut good = split.filter(|(from, to)| self.is_selector(from) && self.is_selector(to));
        let (from, to) = good.next().ok_or_else(|| WanError::Pair { pair: text.to_owned() })?;
        Ok((from.to_owned(), to.to_owned()))
    }

    /// Changes the links of a pair: both directions, or only from the first to the second.
    ///
    /// # Errors
    ///
    /// [`WanError::Pair`].
    pub fn set(&mut self, pair: &str, one_way: bool, change: Change) -> Result<(), WanError> {
        let (from, to) = self.pair(pair)?;
        if !one_way && from != to {
            let (from, to) = (to.clone(), from.clone());
            self.add(Rule { from, to, change });
        }
        self.add(Rule { from, to, change });
        Ok(())
    }

    /// Takes a rule in, behind the others; one of the same pair is merged into it.
    fn add(&mut self, mut rule: Rule) {
        let before = self
            .rules
            .iter()
            .position(|old| (&old.from, &old.to) == (&rule.from, &rule.to));
        if let Some(at) = before {
            let mut change = self.rules.remove(at).change;
            change.merge(&rule.change);
            rule.change = change;
        }
        self.rules.push(rule);
    }

    /// Ends cuts: those of the rules of this pair (both directions), or all.
    ///
    /// # Errors
    ///
    /// [`WanError::Pair`].
    pub fn heal(&mut self, pair: Option<&str>) -> Result<(), WanError> {
        let pair = pair.map(|pair| self.pair(pair)).transpose()?;
        for rule in &mut self.rules {
            let meant = pair
                .as_ref()
                .is_none_or(|(a, b)| (&rule.from, &rule.to) == (a, b) || (&rule.from, &rule.to) == (b, a));
            if meant {
                rule.change.cut = None;
            }
        }
        self.rules.retain(|rule| !rule.change.is_empty());
        Ok(())
    }

    /// Forgets all changes: the matrix is what counts again.
    pub fn reset(&mut self) {
        self.rules.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> Network {
        let names = ["us-east1", "us-east5", "us-west1", "us-west4"].map(str::to_owned);
        Network::new("autobahn", Matrix::shipped("autobahn").unwrap(), &names, &names[..2], 7).unwrap()
    }

    const CUT: Change = Change {
        cut: Some(true),
        delay_ms: None,
        jitter_ms: None,
        loss: None,
        duplicate: None,
        reorder: None,
        bits_per_s: None,
    };

    #[test]
    fn places_have_the_delays_of_their_regions() {
        let network = network();
        let (here, there) = (Place::Replica(0), Place::Replica(2));
        assert_eq!(network.settings(here, there).delay_us, 32_000);
        assert_eq!(network.settings(Place::Clients(0), here).delay_us, 250);
        assert_eq!(network.settings(here, here).delay_us, 0);
        assert_eq!(network.places().len(), 6);
    }

    #[test]
    fn changes_reach_the_links_that_they_name_and_survive_the_file() {
        let mut network = network();
        let set = |network: &mut Network, pair: &str, words: &str, one_way| {
            network
                .set(pair, one_way, Change::parse(words.split(' ')).unwrap())
                .unwrap();
        };
        set(&mut network, "us-east1-us-west1", "delay=200ms loss=2%", false);
        set(&mut network, "0-3", "loss=5%", true);
        set(&mut network, "all-clients", "jitter=1ms", true);
        network.set("2-3", false, CUT).unwrap();
        let of = |network: &Network, from, to| network.settings(Place::Replica(from), Place::Replica(to));
        assert_eq!((of(&network, 2, 0).delay_us, of(&network, 0, 2).loss), (200_000, 0.02));
        assert_eq!((of(&network, 0, 3).loss, of(&network, 3, 0).loss), (0.05, 0.0));
        assert_eq!(network.settings(Place::Replica(1), Place::Clients(0)).jitter_us, 1_000);
        assert!(of(&network, 2, 3).cut && of(&network, 3, 2).cut && !of(&network, 2, 0).cut);
        assert_eq!(Network::from_toml(&network.to_toml()).unwrap(), network);
        network.heal(Some("3-2")).unwrap();
        assert!(!of(&network, 2, 3).cut && of(&network, 0, 3).loss > 0.0);
        set(&mut network, "0-3", "delay=1ms", true);
        assert_eq!(of(&network, 0, 3).loss, 0.05, "what is not named stays");
        network.reset();
        assert_eq!(network, self::network());
    }

    #[test]
    fn later_changes_win_and_a_network_stays_small() {
        let mut network = network();
        for round in 0..1_000 {
            network
                .set(
                    "0-1",
                    false,
                    Change {
                        loss: Some(f64::from(round) / 1e3),
                        ..Change::default()
                    },
                )
                .unwrap();
            network
                .set(
                    "all-all",
                    false,
                    Change {
                        loss: Some(0.5),
                        ..Change::default()
                    },
                )
                .unwrap();
        }
        assert_eq!(network.rules().len(), 3);
        assert_eq!(network.settings(Place::Replica(0), Place::Replica(1)).loss, 0.5);
    }

    #[test]
    fn what_names_nothing_is_refused() {
        let mut network = network();
        for pair in ["", "-", "0", "0-4", "us-east1-mars", "us-east1", "0_1", "a-b"] {
            let refused = network.set(pair, false, CUT);
            assert!(matches!(refused, Err(WanError::Pair { .. })), "{pair}");
            assert!(network.heal(Some(pair)).is_err(), "{pair}");
        }
        let text = network.to_toml();
        for broken in [
            text.replace("us-west4\", 0.5", "us-west4\", 0.4")
                .replace("seed = 7", "sed = 7"),
            text.replacen("\"us-east1\"", "\"mars\"", 1),
            text.clone() + "[[change]]\nfrom = \"0\"\nto = \"9\"\nset = { loss = 0.1 }\n",
            text.clone() + "[[change]]\nfrom = \"0\"\nto = \"1\"\nset = { loss = 1.1 }\n",
            text.clone() + "[[change]]\nfrom = \"0\"\nto = \"1\"\nset = { loose = 1.1 }\n",
        ] {
            assert!(Network::from_toml(&broken).is_err(), "{broken}");
        }
    }
}
