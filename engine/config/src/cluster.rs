//! `cluster.toml`: what all members share. Its fingerprint is the cluster's identity.

use std::net::SocketAddr;

use borsh::BorshSerialize;
use serde::{Deserialize, Serialize};
use trireme_core::Params;
use trireme_core::quorum::Quorums;
use trireme_crypto::{Digest, Domain, PublicKey, context, hash_of};

use crate::error::ConfigError;
use crate::genesis;

/// The most clients that a cluster file may name.
pub const MAX_CLIENTS: usize = 65_536;

/// The application that the cluster replicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize)]
#[serde(rename_all = "snake_case")]
pub enum AppKind {
    /// Versioned keys: put, get, delete, compare-and-set.
    Kv,
    /// Counts and hashes the requests: replication alone.
    Null,
}

impl AppKind {
    /// Name in files and reports.
    pub fn name(self) -> &'static str {
        match self {
            AppKind::Kv => "kv",
            AppKind::Null => "null",
        }
    }
}

/// Whether the signatures of bundles are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// Every bundle's signature is checked by its first replica and by the witnesses.
    Signed,
    /// Signatures of bundles are not checked: for measurements only, any member could invent requests.
    None,
}

impl ClientAuth {
    /// Name in files and reports.
    pub fn name(self) -> &'static str {
        match self {
            ClientAuth::Signed => "signed",
            ClientAuth::None => "none",
        }
    }
}

/// Who says in which order requests are executed (PROTOCOL.md section 9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderingKind {
    /// Up to f members may lie.
    #[default]
    Trireme,
    /// Members crash and do not lie: a minority may be down, and f is 0.
    Raft,
}

impl OrderingKind {
    /// Name in files and reports.
    pub fn name(self) -> &'static str {
        match self {
            OrderingKind::Trireme => "trireme",
            OrderingKind::Raft => "raft",
        }
    }
}

/// Who may send requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clients {
    /// Anybody: for experiments only.
    Open,
    /// Those listed, sorted by key.
    Known(Vec<ClientEntry>),
}

/// A client that the cluster knows.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize)]
pub struct ClientEntry {
    /// Key that its bundles are signed with; its identity.
    pub key: PublicKey,
    /// Key of the connections that it may use; several clients may share one.
    pub tls_key: [u8; 32],
    /// Whose client it is.
    pub organisation: String,
}

/// A member of the cluster; its index is its place in [`Cluster::members`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberEntry {
    /// Who runs it.
    pub organisation: String,
    /// Where it stands.
    pub region: String,
    /// Key of its votes.
    pub vote_key: PublicKey,
    /// Key of its connections.
    pub tls_key: [u8; 32],
    /// Where the other members reach it.
    pub peer_address: SocketAddr,
    /// Where clients reach it.
    pub client_address: SocketAddr,
}

/// The genesis of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// A name for people.
    pub name: String,
    /// Makes two clusters of one name and equal members different.
    pub salt: Digest,
    /// Protocol constants; `params.n` is the number of members.
    pub params: Params,
    /// What is replicated.
    pub app: AppKind,
    /// Who orders.
    pub ordering: OrderingKind,
    /// Whether bundle signatures are checked.
    pub client_auth: ClientAuth,
    /// Who may send requests.
    pub clients: Clients,
    /// In the order of their indices.
    pub members: Vec<MemberEntry>,
}

/// What the fingerprint covers: everything but the addresses, which may change.
#[derive(BorshSerialize)]
struct Identity<'a> {
    name: &'a str,
    salt: Digest,
    params: &'a Params,
    app: AppKind,
    client_auth: ClientAuth,
    clients: Option<&'a [ClientEntry]>,
    members: Vec<(&'a str, &'a str, PublicKey, [u8; 32])>,
}

impl Cluster {
    /// Reads the text of a `cluster.toml`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with the line: unknown or missing keys, bad or repeated keys and addresses, n and f that do not
    /// fit, protocol constants that contradict each other.
    pub fn from_toml(text: &str) -> Result<Cluster, ConfigError> {
        genesis::read(text)
    }

    /// The text of this cluster's file; [`Cluster::from_toml`] reads it back to an equal value.
    pub fn to_toml(&self) -> String {
        genesis::write(self)
    }

    /// The cluster's identity: a digest over all but the addresses.
    pub fn fingerprint(&self) -> Digest {
        let clients = match &self.clients {
            Clients::Open => None,
            Clients::Known(entries) => Some(entries.as_slice()),
        };
        let members = self
            .members
            .iter()
            .map(|m| (&*m.organisation, &*m.region, m.vote_key, m.tls_key))
            .collect();
        let identity = Identity {
            name: &self.name,
            salt: self.salt,
            params: &self.params,
            app: self.app,
            client_auth: self.client_auth,
            clients,
            members,
        };
        match self.ordering {
            OrderingKind::Trireme => hash_of(context::CLUSTER, &identity),
            OrderingKind::Raft => hash_of(context::CLUSTER, &(identity, "raft")),
        }
    }

    /// The domain of the statements of epoch 0 (R-STATEMENT).
    pub fn domain(&self) -> Domain {
        Domain {
            cluster_id: self.fingerprint(),
            epoch: 0,
        }
    }

    /// The digest that stands for the block of slot 0.
    pub fn genesis(&self) -> Digest {
        self.domain().statement(context::EPOCH, b"genesis")
    }

    /// Quorum sizes. A value made by [`Cluster::from_toml`] always has them.
    pub fn quorums(&self) -> Quorums {
        Quorums::new(self.params.n, self.params.f).expect("n and f were checked when the cluster was read")
    }
}
