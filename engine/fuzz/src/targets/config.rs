//! Configuration files: the first line says which.

use trireme_config::{
    AppKind, ClientAuth, ClientConfig, ClientEntry, Clients, Cluster, KeyFile, KeyOwner, MemberEntry, ReplicaConfig,
};
use trireme_core::Params;
use trireme_crypto::Digest;

use super::Samples;

const KINDS: [&str; 4] = ["cluster", "replica", "client", "key"];

pub(super) fn run(bytes: &[u8]) -> bool {
    let Some((kind, text)) = bytes.split_first() else {
        return false;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return false;
    };
    match KINDS[usize::from(*kind) % KINDS.len()] {
        "cluster" => stays(text, Cluster::from_toml, Cluster::to_toml, |cluster| {
            assert!(cluster.quorums().n() == cluster.members.len());
            let _ = (cluster.fingerprint(), cluster.domain(), cluster.genesis());
        }),
        "replica" => stays(text, ReplicaConfig::from_toml, ReplicaConfig::to_toml, |_| {}),
        "client" => stays(text, ClientConfig::from_toml, ClientConfig::to_toml, |_| {}),
        _ => stays(text, KeyFile::from_toml, KeyFile::to_toml, |key| {
            let _ = (key.replica().is_some(), key.clients(2).is_some());
        }),
    }
}

/// What is read and written is read again as the same.
fn stays<T, E: std::fmt::Display>(
    text: &str,
    read: fn(&str) -> Result<T, E>,
    write: fn(&T) -> String,
    look: fn(&T),
) -> bool {
    match read(text) {
        Ok(value) => {
            look(&value);
            let written = write(&value);
            let again = read(&written).map_err(|error| error.to_string()).expect("reads back");
            assert_eq!(write(&again), written, "a file is written as it was read");
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty(), "a refusal says why");
            false
        }
    }
}

fn cluster() -> Cluster {
    let member = |index: u16| {
        let seed = [index.to_le_bytes()[0] + 1; 32];
        let keys = KeyFile::new(KeyOwner::Replica, seed).replica().expect("a replica's");
        MemberEntry {
            organisation: format!("org \"{index}\""),
            region: "here".to_owned(),
            vote_key: keys.vote.public(),
            tls_key: keys.tls.public().0,
            peer_address: ([127, 0, 0, 1], 7000 + index).into(),
            client_address: ([127, 0, 0, 1], 8000 + index).into(),
        }
    };
    let keys = KeyFile::new(KeyOwner::Client, [99; 32]).clients(1).expect("a client's");
    let entry = ClientEntry {
        key: keys.clients[0].public(),
        tls_key: keys.tls.public().0,
        organisation: "load".to_owned(),
    };
    Cluster {
        name: "fuzz".to_owned(),
        salt: Digest([7; 32]),
        params: Params::new(4, 1),
        app: AppKind::Kv,
        ordering: trireme_config::OrderingKind::Trireme,
        client_auth: ClientAuth::Signed,
        clients: Clients::Known(vec![entry]),
        members: (0..4).map(member).collect(),
    }
}

pub(super) fn samples() -> Samples {
    let replica = "member = 0\ncluster_file = \"cluster.toml\"\nkey_file = \"key.toml\"\n\
                   peer_listen = \"127.0.0.1:7000\"\nclient_listen = \"127.0.0.1:8000\"\ndata_dir = \"log\"\n\
                   durability = \"sync\"\n[log]\n[peers]\nkeep_alive_ms = 1000\n[clients]\n";
    let client = "cluster_file = \"cluster.toml\"\nkey_file = \"key.toml\"\nidentities = 2\n";
    let key = |owner| KeyFile::new(owner, [3; 32]).to_toml();
    let kinds = [
        ("cluster", 0, cluster().to_toml()),
        ("replica", 1, replica.to_owned()),
        ("client", 2, client.to_owned()),
        ("replica-key", 3, key(KeyOwner::Replica)),
        ("client-key", 3, key(KeyOwner::Client)),
    ];
    let sample = |(name, kind, text): (&str, u8, String)| (name.to_owned(), [&[kind], text.as_bytes()].concat());
    kinds.into_iter().map(sample).collect()
}
