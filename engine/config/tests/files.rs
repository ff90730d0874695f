//! The files as operators write them: read back, and refused with the line that is at fault.

use trireme_config::{
    AppKind, ClientAuth, ClientConfig, ClientEntry, Clients, Cluster, ConfigError, Fault, KeyFile, KeyOwner,
    MemberEntry, ReplicaConfig,
};
use trireme_core::Params;
use trireme_crypto::Digest;

fn cluster(n: u16, f: u16) -> Cluster {
    let member = |index: u16| {
        let keys = KeyFile::new(KeyOwner::Replica, [index.to_le_bytes()[0] + 1; 32])
            .replica()
            .unwrap();
        MemberEntry {
            organisation: format!("org \"{index}\""),
            region: "here".to_owned(),
            vote_key: keys.vote.public(),
            tls_key: keys.tls.public().0,
            peer_address: ([127, 0, 0, 1], 7000 + index).into(),
            client_address: ([127, 0, 0, 1], 8000 + index).into(),
        }
    };
    let keys = KeyFile::new(KeyOwner::Client, [99; 32]).clients(3).unwrap();
    let mut clients: Vec<ClientEntry> = keys
        .clients
        .iter()
        .map(|key| ClientEntry {
            key: key.public(),
            tls_key: keys.tls.public().0,
            organisation: "load".to_owned(),
        })
        .collect();
    clients.sort_by_key(|entry| entry.key);
    Cluster {
        name: "test".to_owned(),
        salt: Digest([7; 32]),
        params: Params::new(n, f),
        app: AppKind::Kv,
        ordering: trireme_config::OrderingKind::Trireme,
        client_auth: ClientAuth::Signed,
        clients: Clients::Known(clients),
        members: (0..n).map(member).collect(),
    }
}

fn line_with(text: &str, part: &str) -> usize {
    text.lines().position(|line| line.contains(part)).unwrap() + 1
}

fn refused(text: &str) -> ConfigError {
    Cluster::from_toml(text).expect_err("must be refused")
}

#[test]
fn a_cluster_is_read_back_equal() {
    for (n, f) in [(1, 0), (4, 1), (7, 2), (10, 3)] {
        let before = cluster(n, f);
        let after = Cluster::from_toml(&before.to_toml()).unwrap();
        assert_eq!(before, after);
        assert_eq!(after.quorums().n(), usize::from(n));
    }
    let open = Cluster {
        clients: Clients::Open,
        ..cluster(4, 1)
    };
    assert_eq!(open, Cluster::from_toml(&open.to_toml()).unwrap());
}

#[test]
fn the_fingerprint_covers_all_but_the_addresses() {
    let base = cluster(4, 1);
    let fingerprint = base.fingerprint();
    let mut moved = base.clone();
    moved.members[2].peer_address = ([10, 0, 0, 1], 1).into();
    moved.members[2].client_address = ([10, 0, 0, 1], 2).into();
    assert_eq!(moved.fingerprint(), fingerprint);

    let changes: [fn(&mut Cluster); 10] = [
        |c| c.name.push('x'),
        |c| c.salt = Digest([8; 32]),
        |c| c.params.window += 1,
        |c| c.params.f = 0,
        |c| c.app = AppKind::Null,
        |c| c.client_auth = ClientAuth::None,
        |c| c.clients = Clients::Open,
        |c| c.clients = Clients::Known(Vec::new()),
        |c| c.members.swap(0, 1),
        |c| c.members[0].organisation.push('x'),
    ];
    let mut seen = vec![fingerprint];
    for change in changes {
        let mut changed = base.clone();
        change(&mut changed);
        let digest = changed.fingerprint();
        assert!(!seen.contains(&digest));
        assert_ne!(changed.genesis(), base.genesis());
        seen.push(digest);
    }
}

#[test]
fn unknown_keys_name_file_and_line() {
    let text = cluster(4, 1).to_toml();
    for (after, table) in [
        ("name = ", "root"),
        ("[protocol]", "protocol"),
        ("[[member]]", "member"),
        ("[[client]]", "client"),
    ] {
        let at = line_with(&text, after);
        let mut lines: Vec<&str> = text.lines().collect();
        lines.insert(at, "surprise = 1");
        let error = refused(&lines.join("\n")).in_file("dir/cluster.toml".as_ref());
        assert_eq!(error.line, Some(at + 1), "{table}");
        let message = error.to_string();
        assert!(
            message.starts_with(&format!("dir/cluster.toml:{}: ", at + 1)),
            "{message}"
        );
        assert!(message.contains("surprise"), "{message}");
    }
}

#[test]
fn missing_keys_are_refused() {
    let text = cluster(4, 1).to_toml();
    for key in [
        "name",
        "salt",
        "f =",
        "app",
        "client_auth",
        "clients",
        "window_slots",
        "max_sessions",
        "region",
        "tls_key",
    ] {
        let at = text.lines().position(|line| line.starts_with(key)).unwrap();
        let lines: Vec<&str> = text
            .lines()
            .enumerate()
            .filter(|(i, _)| *i != at)
            .map(|(_, line)| line)
            .collect();
        assert!(matches!(refused(&lines.join("\n")).fault, Fault::Syntax(_)), "{key}");
    }
}

#[test]
fn bad_and_repeated_keys_are_refused() {
    let good = cluster(4, 1);
    let text = good.to_toml();
    let key = good.members[1].vote_key.to_string();
    let line = line_with(&text, &key);
    for bad in [
        &key[1..],
        &format!("g{}", &key[1..]),
        &"00".repeat(32),
        &"ff".repeat(32),
    ] {
        let error = refused(&text.replace(&key, bad));
        assert!(matches!(error.fault, Fault::Key { key: "vote_key", .. }), "{error}");
        assert_eq!(error.line, Some(line));
    }
    let other = good.members[0].vote_key.to_string();
    let error = refused(&text.replace(&key, &other));
    assert_eq!(error.line, Some(line));
    assert_eq!(
        error.fault,
        Fault::Duplicate {
            key: "key",
            first_line: line_with(&text, &other)
        }
    );

    let Clients::Known(clients) = &good.clients else {
        panic!("known clients")
    };
    let (one, two) = (clients[0].key.to_string(), clients[1].key.to_string());
    assert!(matches!(
        refused(&text.replace(&two, &one)).fault,
        Fault::Duplicate { key: "client key", .. }
    ));
    // Connections are shared, so an equal tls_key of clients is no fault, a bad one is.
    let tls = Digest(clients[0].tls_key).to_string();
    assert!(matches!(
        refused(&text.replace(&tls, &"00".repeat(32))).fault,
        Fault::Key { key: "tls_key", .. }
    ));
}

#[test]
fn bad_and_repeated_addresses_are_refused() {
    let text = cluster(4, 1).to_toml();
    let line = line_with(&text, "127.0.0.1:7002");
    let error = refused(&text.replace("127.0.0.1:7002", "127.0.0.1"));
    assert_eq!(
        (error.line, matches!(error.fault, Fault::Syntax(_))),
        (Some(line), true),
        "{error}"
    );
    assert!(matches!(
        refused(&text.replace("127.0.0.1:7002", "127.0.0.1:0")).fault,
        Fault::Value { .. }
    ));
    let error = refused(&text.replace("127.0.0.1:7002", "127.0.0.1:8000"));
    assert!(
        matches!(error.fault, Fault::Duplicate { key: "address", .. }),
        "{error}"
    );
}

#[test]
fn counts_and_constants_have_to_fit() {
    let error = refused(&cluster(4, 1).to_toml().replace("f = 1 ", "f = 2 "));
    assert!(
        matches!(error.fault, Fault::Members { members: 4, f: 2, .. }),
        "{error}"
    );
    let text = cluster(4, 1).to_toml();
    for (from, to, key) in [
        ("window_slots = 64", "window_slots = 1", "window_slots"),
        ("first_blocks = 2", "first_blocks = 64", "first_blocks"),
        ("max_sessions = 65536", "max_sessions = 0", "max_sessions"),
        (
            "lane_window_bytes = 67108864",
            "lane_window_bytes = 1000",
            "lane_window_bytes",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        let error = refused(&text.replace(from, to));
        assert!(
            matches!(&error.fault, Fault::Value { key: k, .. } if *k == key),
            "{error}"
        );
    }
    let listed = text.replace("clients = \"known\"", "clients = \"open\"");
    assert!(matches!(refused(&listed).fault, Fault::Value { key: "client", .. }));
}

const REPLICA: &str = r#"
member = 2
cluster_file = "../cluster.toml"
key_file = "replica.key"
peer_listen = "127.0.0.1:7000"
client_listen = "[::1]:8000"
data_dir = "log"
"#;

#[test]
fn a_replica_needs_little_and_is_read_back_equal() {
    let config = ReplicaConfig::from_toml(REPLICA).unwrap();
    assert_eq!((config.durability.name(), config.core_plan.as_str()), ("sync", "1"));
    assert_eq!(ReplicaConfig::from_toml(&config.to_toml()).unwrap(), config);
    let mut full = config.clone();
    full.executed_stream = Some("executed".into());
    full.log.max_log_bytes *= 2;
    assert_eq!(ReplicaConfig::from_toml(&full.to_toml()).unwrap(), full);
    let placed = full.relative_to("/srv/replica-2".as_ref());
    assert_eq!(placed.data_dir, std::path::Path::new("/srv/replica-2/log"));
    assert_eq!(
        placed.executed_stream.as_deref(),
        Some("/srv/replica-2/executed".as_ref())
    );
}

#[test]
fn a_replica_s_limits_are_checked() {
    let error = ReplicaConfig::from_toml(&format!("{REPLICA}[log]\nmax_log_byte = 5\n")).unwrap_err();
    assert_eq!(error.line, Some(9), "{error}");
    let error = ReplicaConfig::from_toml(&format!("{REPLICA}[peers]\n[log]\nmax_log_bytes = 5\n")).unwrap_err();
    assert_eq!(error.line, Some(10), "{error}");
    assert!(matches!(
        error.fault,
        Fault::Value {
            key: "log.max_log_bytes",
            ..
        }
    ));
    for bad in ["durability = \"usually\"", "device = \"tape\"", "member = -1"] {
        let text = REPLICA.replace("member = 2", bad);
        assert!(ReplicaConfig::from_toml(&text).is_err(), "{bad}");
    }
    assert!(ReplicaConfig::from_toml(&format!("{REPLICA}[peers]\nkeep_alive_ms = 4000\n")).is_err());
}

#[test]
fn key_files_hold_their_secret_and_do_not_tell_it() {
    let file = KeyFile::new(KeyOwner::Replica, [5; 32]);
    let back = KeyFile::from_toml(&file.to_toml()).unwrap();
    let (before, after) = (file.replica().unwrap(), back.replica().unwrap());
    assert_eq!(before.vote.public(), after.vote.public());
    assert_ne!(before.vote.public(), before.tls.public());
    assert!(back.clients(1).is_none(), "a replica's key is no client's");

    let keys = KeyFile::new(KeyOwner::Client, [5; 32]).clients(4).unwrap();
    let mut public: Vec<_> = keys.clients.iter().map(|key| key.public()).collect();
    public.extend([keys.tls.public(), before.vote.public()]);
    public.sort();
    public.dedup();
    assert_eq!(public.len(), 6);

    let seed = "05".repeat(31);
    let error = KeyFile::from_toml(&format!("owner = \"client\"\nseed = \"{seed}\"\n"))
        .err()
        .unwrap();
    assert_eq!(error.line, Some(2));
    assert!(!error.to_string().contains("0505"));
}

#[test]
fn a_client_is_read_back_equal() {
    let config = ClientConfig {
        cluster_file: "cluster.toml".into(),
        key_file: "client.key".into(),
        identities: 64,
    };
    assert_eq!(ClientConfig::from_toml(&config.to_toml()).unwrap(), config);
    for bad in [0, 65_537] {
        let text = ClientConfig {
            identities: bad,
            ..config.clone()
        }
        .to_toml();
        assert!(matches!(
            ClientConfig::from_toml(&text).unwrap_err().fault,
            Fault::Value { .. }
        ));
    }
}
