//! Whom a load is made on. Everything in front of this boundary is the same for all systems: arrivals, keys, values,
//! clocks, histograms, the self-check. Behind it a system takes requests of the key-value store and gives completions.

mod calls;
mod etcd;
mod grpc;
mod messages;

use std::net::SocketAddr;
use std::task::{Context, Poll};

use trireme_client::{ClientKeys, Completion, Counters, Fleet, Options, SubmitError};
use trireme_config::Cluster;
use trireme_transport::wan::Live;

use crate::options::{LoadError, LoadOptions, Rate};

pub use etcd::{EtcdServer, EtcdState, etcd_hash, etcd_state};

/// The system that a load is made on.
#[derive(Clone, Copy)]
pub enum Aim<'a> {
    /// A cluster of this engine.
    Trireme {
        /// Its members.
        cluster: &'a Cluster,
        /// The clients.
        keys: &'a ClientKeys,
    },
    /// etcd, through its v3 API without encryption and authentication. Client `i` has one connection, to the address at
    /// `i` modulo their number: a server that is named twice gets twice as many clients.
    Etcd(&'a [SocketAddr]),
}

/// A connected system.
pub(crate) enum Target {
    Trireme(Fleet),
    Etcd(etcd::Etcd),
}

impl Target {
    /// Connects the clients of a load.
    pub(crate) async fn connect(aim: Aim<'_>, options: &LoadOptions) -> Result<Self, LoadError> {
        match aim {
            Aim::Trireme { cluster, keys } => Ok(Self::Trireme(fleet(cluster, keys, options).await?)),
            Aim::Etcd(addresses) => Ok(Self::Etcd(etcd::Etcd::connect(addresses, options).await?)),
        }
    }

    pub(crate) fn identities(&self) -> u32 {
        match self {
            Self::Trireme(fleet) => fleet.identities(),
            Self::Etcd(etcd) => etcd.identities(),
        }
    }

    /// How many requests a client may submit now.
    pub(crate) fn room(&self, identity: u32) -> usize {
        match self {
            Self::Trireme(fleet) => fleet.room(identity),
            Self::Etcd(etcd) => etcd.room(identity),
        }
    }

    /// Replicas that the clients are connected to; of etcd connections that are open.
    pub(crate) fn connected(&self) -> usize {
        match self {
            Self::Trireme(fleet) => fleet.connected().count(),
            Self::Etcd(etcd) => etcd.connected(),
        }
    }

    pub(crate) fn counters(&self) -> Counters {
        match self {
            Self::Trireme(fleet) => fleet.counters(),
            Self::Etcd(_) => Counters::default(),
        }
    }

    /// Submits requests of the key-value store together: under one signature, or in one transaction.
    pub(crate) fn submit(&mut self, identity: u32, requests: &[Vec<u8>], tag: u64) -> Result<(), SubmitError> {
        match self {
            Self::Trireme(fleet) => fleet.submit(identity, requests, tag).map(drop),
            Self::Etcd(etcd) => etcd.submit(identity, requests, tag),
        }
    }

    /// Moves what has come to the end of `done`.
    pub(crate) fn take_completions(&mut self, done: &mut Vec<Completion>) {
        match self {
            Self::Trireme(fleet) => done.extend(fleet.completions()),
            Self::Etcd(etcd) => etcd.take_completions(done),
        }
    }

    /// Ready when there are completions to take.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Trireme(fleet) => fleet.poll(cx),
            Self::Etcd(etcd) => etcd.poll(cx),
        }
    }

    /// Ends what is outstanding, with completions.
    pub(crate) fn close(&mut self) {
        match self {
            Self::Trireme(fleet) => fleet.close(),
            Self::Etcd(etcd) => etcd.close(),
        }
    }
}

async fn fleet(cluster: &Cluster, keys: &ClientKeys, options: &LoadOptions) -> Result<Fleet, LoadError> {
    let from = options.first_client as usize;
    let clients = keys.clients.get(from..from + options.clients as usize);
    let clients = clients.ok_or(LoadError::Clients {
        wanted: options.first_client.saturating_add(options.clients),
        have: keys.clients.len(),
    })?;
    let keys = ClientKeys {
        clients: clients.to_vec(),
        tls: keys.tls.clone(),
    };
    let give_up_us = u64::try_from(options.give_up.as_micros()).unwrap_or(u64::MAX);
    let client = Options {
        route: options.route,
        give_up_us,
        // A closed loop waits for room; an open loop has to see what was refused.
        fail_when_overloaded: options.rate != Rate::Max,
        ..Options::default()
    };
    let network = options.network.as_deref().map(Live::follow).transpose()?;
    Ok(Fleet::connect(cluster, &keys, client, network.as_ref()).await?)
}
