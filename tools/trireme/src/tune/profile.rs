//! Profiles: what a host and its replicas are set to. `tuning/profiles` holds those that come with the program;
//! `trireme tune calibrate` writes one of this host.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

/// The profiles that come with the program.
pub(crate) const NAMES: [&str; 4] = ["small-host", "big-host", "wan", "jumbo"];

/// A profile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// For whom, in a line.
    pub(crate) about: String,
    /// Keys of `replica.toml`, with their tables.
    #[serde(default)]
    pub(crate) replica: toml::Table,
    /// Kernel parameters by name.
    #[serde(default)]
    pub(crate) sysctl: BTreeMap<String, Parameter>,
    /// Limits of the user that runs the replica.
    #[serde(default)]
    pub(crate) limits: BTreeMap<String, Limit>,
    /// What no file can set: for people.
    #[serde(default)]
    pub(crate) by_hand: Vec<String>,
    /// The figures behind the choices.
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    pub(crate) measured: toml::Table,
}

/// A kernel parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameter {
    pub(crate) value: u64,
    /// A higher value is as good.
    #[serde(default)]
    pub(crate) at_least: bool,
    pub(crate) reason: String,
}

impl Parameter {
    /// Whether a value of the kernel's will do.
    pub(crate) fn is_met(&self, live: &str) -> bool {
        match live.parse::<u64>() {
            Ok(live) if self.at_least => live >= self.value,
            Ok(live) => live == self.value,
            Err(_) => false,
        }
    }
}

/// A limit of `limits.conf`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limit {
    /// A number in the unit of `limits.conf`, or `unlimited`.
    pub(crate) value: String,
    pub(crate) reason: String,
}

/// The text of a profile that comes with the program.
pub(crate) fn text(name: &str) -> Result<&'static str> {
    Ok(match name {
        "small-host" => include_str!("../../../../tuning/profiles/small-host.toml"),
        "big-host" => include_str!("../../../../tuning/profiles/big-host.toml"),
        "wan" => include_str!("../../../../tuning/profiles/wan.toml"),
        "jumbo" => include_str!("../../../../tuning/profiles/jumbo.toml"),
        _ => bail!("there is no profile {name}: there are {}", NAMES.join(", ")),
    })
}

/// A profile that comes with the program.
pub(crate) fn named(name: &str) -> Result<Profile> {
    toml::from_str(text(name)?).with_context(|| format!("profile {name}"))
}

/// A profile by name, or of a file.
pub(crate) fn find(name: &str) -> Result<Profile> {
    if NAMES.contains(&name) {
        return named(name);
    }
    let path = Path::new(name);
    let text = fs::read_to_string(path).with_context(|| {
        format!(
            "{name} is neither a profile ({}) nor a file that can be read",
            NAMES.join(", ")
        )
    })?;
    toml::from_str(&text).with_context(|| format!("{name} is no profile"))
}

/// What suits a host with so many cores.
pub(crate) fn usual(cores: usize) -> &'static str {
    if cores >= 8 { "big-host" } else { "small-host" }
}

/// Puts the keys of `over` into `base`, table by table.
pub(crate) fn merge(base: &mut toml::Table, over: &toml::Table) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(toml::Value::Table(base)), toml::Value::Table(over)) => merge(base, over),
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_config::ReplicaConfig;

    const REPLICA: &str = "member = 0\ncluster_file = \"c\"\nkey_file = \"k\"\npeer_listen = \"127.0.0.1:1\"\n\
                           client_listen = \"127.0.0.1:2\"\ndata_dir = \"d\"\n";

    #[test]
    fn every_profile_is_read_and_its_keys_are_those_of_a_replica() {
        for name in NAMES {
            let profile = named(name).unwrap();
            assert!(!profile.about.is_empty(), "{name}");
            let mut table: toml::Table = toml::from_str(REPLICA).unwrap();
            merge(&mut table, &profile.replica);
            let config = ReplicaConfig::from_toml(&toml::to_string(&table).unwrap()).unwrap();
            trireme_pipeline::topology::CorePlan::parse(&config.core_plan).unwrap();
            assert!(
                profile.sysctl.values().all(|parameter| !parameter.reason.is_empty()),
                "{name}"
            );
        }
        assert!(find("no-such").unwrap_err().to_string().contains("big-host"));
        assert_eq!((usual(2), usual(16)), ("small-host", "big-host"));
    }

    #[test]
    fn files_of_the_directory_are_all_built_in() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tuning/profiles");
        let mut files: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| {
                entry
                    .unwrap()
                    .path()
                    .file_stem()
                    .unwrap()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        files.sort();
        let mut names = NAMES.map(str::to_owned).to_vec();
        names.sort();
        assert_eq!(files, names);
    }

    #[test]
    fn parameters_are_met_by_more_only_where_more_is_as_good() {
        let least = Parameter {
            value: 8,
            at_least: true,
            reason: String::new(),
        };
        assert!(least.is_met("9") && least.is_met("8") && !least.is_met("7") && !least.is_met("x"));
        let equal = Parameter {
            at_least: false,
            ..least
        };
        assert!(equal.is_met("8") && !equal.is_met("9"));
    }

    #[test]
    fn merging_keeps_what_is_not_named() {
        let mut base: toml::Table = toml::from_str("a = 1\n[t]\nx = 1\ny = 2\n").unwrap();
        merge(&mut base, &toml::from_str("b = 2\n[t]\nx = 5\n").unwrap());
        assert_eq!(base, toml::from_str("a = 1\nb = 2\n[t]\nx = 5\ny = 2\n").unwrap());
    }
}
