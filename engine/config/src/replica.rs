//! `replica.toml`: what one replica chooses for itself.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::budgets::{ClientBudget, LogBudget, PeerBudget, SnapshotBudget, contradiction};
use crate::error::{ConfigError, Fault};
use crate::source::Source;

/// When a record counts as durable (R-DURABLE).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// When it is on stable storage: the only mode that survives a power loss.
    #[default]
    Sync,
    /// When it was handed to the kernel; flushed soon after.
    Async,
    /// At once; never flushed.
    None,
}

impl Durability {
    /// Name in files and reports.
    pub fn name(self) -> &'static str {
        match self {
            Durability::Sync => "sync",
            Durability::Async => "async",
            Durability::None => "none",
        }
    }
}

/// What writes the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// `io_uring` where the kernel permits it, otherwise `plain`.
    #[default]
    Auto,
    /// `io_uring` or an error.
    IoUring,
    /// A thread with `pwrite` and `fdatasync`.
    Plain,
}

/// How a group of records is flushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlushKind {
    /// A write with a linked `fdatasync` behind it.
    #[default]
    Linked,
    /// One write with `RWF_DSYNC`.
    Dsync,
}

/// Table `[admin]`: where a replica shows its metrics and the page for people.
///
/// The port answers anybody who reaches it, reads only, and tells no secrets and no operations; it belongs on an address
/// that operators reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// Where to listen (HTTP over TCP).
    pub listen: SocketAddr,
    /// The admin ports of all members, in their order, for the page that shows the whole cluster. Empty: it shows this
    /// replica.
    #[serde(default)]
    pub members: Vec<SocketAddr>,
}

/// Settings of one replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicaConfig {
    /// Index of this replica in the cluster file.
    pub member: u16,
    /// The cluster file.
    pub cluster_file: PathBuf,
    /// The key file, mode 0600.
    pub key_file: PathBuf,
    /// Where this replica waits for other members.
    pub peer_listen: SocketAddr,
    /// Where this replica waits for clients.
    pub client_listen: SocketAddr,
    /// Directory of the log and the snapshots.
    pub data_dir: PathBuf,
    /// When a record counts as durable.
    #[serde(default)]
    pub durability: Durability,
    /// What writes the log.
    #[serde(default)]
    pub device: DeviceKind,
    /// How the log is flushed.
    #[serde(default)]
    pub flush: FlushKind,
    /// Name of a core plan: "1", "2", "3", "4" or "6".
    #[serde(default = "one_core")]
    pub core_plan: String,
    /// Where to write a record of every executed request, for comparison with what clients saw. Off if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executed_stream: Option<PathBuf>,
    /// The emulated network between the replicas of this machine, for experiments. Off if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wan: Option<PathBuf>,
    /// Metrics and the page for people. Off if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<AdminConfig>,
    /// Limits of the log.
    #[serde(default)]
    pub log: LogBudget,
    /// Rates of snapshots.
    #[serde(default)]
    pub snapshots: SnapshotBudget,
    /// Limits of the connections to other members.
    #[serde(default)]
    pub peers: PeerBudget,
    /// Limits of the connections of clients.
    #[serde(default)]
    pub clients: ClientBudget,
}

fn one_core() -> String {
    "1".to_owned()
}

impl ReplicaConfig {
    /// Reads the text of a `replica.toml`. Paths stay as they are written: see [`ReplicaConfig::relative_to`].
    ///
    /// # Errors
    ///
    /// [`ConfigError`]: unknown or missing keys with their line, limits that contradict each other.
    pub fn from_toml(text: &str) -> Result<ReplicaConfig, ConfigError> {
        let config: ReplicaConfig = Source(text).parse()?;
        if let Some((key, why)) = contradiction(&config.log, &config.peers, &config.clients) {
            return Err(ConfigError::new(
                line_of(text, key),
                Fault::Value {
                    key,
                    why: why.to_owned(),
                },
            ));
        }
        Ok(config)
    }

    /// The text of this replica's file.
    pub fn to_toml(&self) -> String {
        let body = toml::to_string(self).expect("every value of a replica's settings has a TOML form");
        format!("# Settings of one replica of a Trireme cluster. Paths are relative to this file.\n{body}")
    }

    /// The same settings with its paths taken from `base`, the directory of the file.
    #[must_use]
    pub fn relative_to(mut self, base: &Path) -> ReplicaConfig {
        self.cluster_file = base.join(&self.cluster_file);
        self.key_file = base.join(&self.key_file);
        self.data_dir = base.join(&self.data_dir);
        self.executed_stream = self.executed_stream.map(|path| base.join(path));
        self.wan = self.wan.map(|path| base.join(path));
        self
    }
}

/// Line of a key written as `table.key`, if it stands in the text.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let (table, name) = key.split_once('.')?;
    let header = format!("[{table}]");
    let lines = text
        .lines()
        .enumerate()
        .skip_while(|(_, line)| line.trim() != header)
        .skip(1);
    lines
        .take_while(|(_, line)| !line.trim_start().starts_with('['))
        .find(|(_, line)| line.split('=').next().is_some_and(|left| left.trim() == name))
        .map(|(index, _)| index + 1)
}
