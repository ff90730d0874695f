//! The text form of `cluster.toml`, read and written.

use std::fmt::Write as _;
use std::net::SocketAddr;

use serde::Deserialize;
use toml::Spanned;
use trireme_core::Params;
use trireme_core::quorum::{MAX_MEMBERS, Quorums};
use trireme_crypto::Digest;

use crate::cluster::{AppKind, ClientAuth, ClientEntry, Clients, Cluster, MAX_CLIENTS, MemberEntry, OrderingKind};
use crate::error::{ConfigError, Fault};
use crate::source::{Distinct, Source, quoted};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    salt: Spanned<String>,
    f: Spanned<u16>,
    app: AppKind,
    #[serde(default)]
    ordering: OrderingKind,
    client_auth: ClientAuth,
    clients: ClientMode,
    protocol: Spanned<Protocol>,
    member: Vec<Member>,
    #[serde(default)]
    client: Vec<Client>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ClientMode {
    Known,
    Open,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Member {
    organisation: String,
    region: String,
    vote_key: Spanned<String>,
    tls_key: Spanned<String>,
    peer_address: Spanned<SocketAddr>,
    client_address: Spanned<SocketAddr>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Client {
    organisation: String,
    key: Spanned<String>,
    tls_key: Spanned<String>,
}

/// Every protocol constant has to stand in the file: a default that changes with the version of the program would
/// give two members of one cluster different ones. Files are older than those below the line, which may be missing:
/// their defaults never change.
macro_rules! protocol {
    (
        needed: { $($key:ident: $type:ty => $field:ident, $least:expr, $doc:literal;)* }
        optional: { $($late:ident: $late_type:ty => $late_field:ident, $late_least:expr, $late_doc:literal, $default:expr;)* }
    ) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Protocol {
            $($key: $type,)*
            $($late: Option<$late_type>,)*
        }

        impl Protocol {
            fn params(&self, n: u16, f: u16) -> Params {
                let mut params = Params { $($late_field: 0,)* n, f, $($field: self.$key,)* };
                $(
                    let default: fn(&Params) -> $late_type = $default;
                    params.$late_field = self.$late.unwrap_or_else(|| default(&params));
                )*
                params
            }

            /// The first constant below its least value, with that value.
            fn too_small(&self) -> Option<(&'static str, u64)> {
                $(if u64::from(self.$key) < $least { return Some((stringify!($key), $least)); })*
                $(if self.$late.is_some_and(|own| own < $late_least) {
                    return Some((stringify!($late), $late_least));
                })*
                None
            }
        }

        fn write_protocol(out: &mut String, params: &Params) {
            $(writeln!(out, concat!(stringify!($key), " = {:<12} # ", $doc), params.$field).expect(IN_MEMORY);)*
            $(
                writeln!(out, concat!(stringify!($late), " = {:<12} # ", $late_doc), params.$late_field).expect(IN_MEMORY);
            )*
        }
    };
}

protocol! {
    needed: {
        window_slots: u64 => window, 2, "slots in flight above the committed one";
        first_blocks: u64 => w0, 1, "blocks of a view before its first certificate";
        lane_window_heights: u64 => lane_window_heights, 1, "batches of one lane above the committed cut";
        lane_window_bytes: u64 => lane_window_bytes, 1, "and their bytes";
        max_batch_bytes: u32 => max_batch_bytes, 1024, "a batch is cut at this size";
        max_drift_us: u64 => max_drift_us, 1, "how far a block's timestamp may lie ahead of a member's clock";
        state_interval_slots: u64 => state_interval, 1, "members vote on the state root every so many slots";
        state_idle_us: u64 => state_idle_us, 1, "and when execution has been idle for so long";
        timer_floor_us: u64 => timer_floor_us, 1000, "least duration of a view without progress";
        timer_factor: u64 => timer_factor, 1, "the view timer is so many measured round trips";
        timer_decay_commits: u64 => timer_decay_commits, 1, "commits after which a lengthened timer is halved";
        idle_lock_us: u64 => idle_lock_us, 1, "how long the last block's second vote waits for another to ride on";
        session_window_requests: u32 => session_window, 1, "requests above a client's low mark whose replies are kept";
        max_sessions: u32 => max_sessions, 1, "clients whose sessions are kept";
    }
    optional: {
        checkpoint_slots: u64 => checkpoint_slots, 1, "the state is kept as a whole every so many slots", |_| 16_384;
        checkpoint_bytes: u64 => checkpoint_bytes, 1, "or after so many bytes of requests", |_| 256 << 20;
        log_window_slots: u64 => log_window, 2, "slots above the newest state that a quorum keeps",
            |params| params.checkpoint_slots.saturating_mul(4);
    }
}

const IN_MEMORY: &str = "writing to a String does not fail";

pub(crate) fn read(text: &str) -> Result<Cluster, ConfigError> {
    let source = Source(text);
    let file: File = source.parse()?;
    let params = read_params(source, &file)?;
    let members = read_members(source, &file.member)?;
    let clients = read_clients(source, &file)?;
    let salt: Digest = file.salt.get_ref().parse().map_err(|e: trireme_crypto::HexError| {
        source.error(
            &file.salt,
            Fault::Key {
                key: "salt",
                why: e.to_string(),
            },
        )
    })?;
    Ok(Cluster {
        name: file.name,
        salt,
        params,
        app: file.app,
        ordering: file.ordering,
        client_auth: file.client_auth,
        clients,
        members,
    })
}

fn read_params(source: Source<'_>, file: &File) -> Result<Params, ConfigError> {
    let (members, f) = (file.member.len(), *file.f.get_ref());
    let n = u16::try_from(members).unwrap_or(u16::MAX);
    if Quorums::new(n, f).is_err() {
        return Err(source.error(
            &file.f,
            Fault::Members {
                members,
                f,
                limit: MAX_MEMBERS,
            },
        ));
    }
    if file.ordering == OrderingKind::Raft && f > 0 {
        let why = "must be 0 with ordering = \"raft\": its members crash and do not lie".to_owned();
        return Err(source.error(&file.f, Fault::Value { key: "f", why }));
    }
    let protocol = file.protocol.get_ref();
    let refuse = |key, why| Err(source.error(&file.protocol, Fault::Value { key, why }));
    if let Some((key, least)) = protocol.too_small() {
        return refuse(key, format!("must be at least {least}"));
    }
    if protocol.first_blocks >= protocol.window_slots {
        return refuse("first_blocks", "must be less than window_slots".to_owned());
    }
    if protocol.lane_window_bytes < u64::from(protocol.max_batch_bytes) {
        return refuse("lane_window_bytes", "must hold a batch of max_batch_bytes".to_owned());
    }
    let params = protocol.params(n, f);
    if params.log_window < params.checkpoint_slots.saturating_mul(2) {
        return refuse("log_window_slots", "must be at least twice checkpoint_slots".to_owned());
    }
    Ok(params)
}

fn read_members(source: Source<'_>, entries: &[Member]) -> Result<Vec<MemberEntry>, ConfigError> {
    let mut keys = Distinct::new("key");
    let mut addresses = Distinct::new("address");
    let mut members = Vec::with_capacity(entries.len());
    for entry in entries {
        let vote_key = source.public_key("vote_key", &entry.vote_key)?;
        let tls_key = source.public_key("tls_key", &entry.tls_key)?;
        // One namespace for both: a vote key that also answered handshakes would sign what is not a vote.
        keys.add(source, &entry.vote_key, vote_key)?;
        keys.add(source, &entry.tls_key, tls_key)?;
        for address in [&entry.peer_address, &entry.client_address] {
            if address.get_ref().port() == 0 {
                let why = "a member's address needs a port".to_owned();
                return Err(source.error(address, Fault::Value { key: "address", why }));
            }
            addresses.add(source, address, *address.get_ref())?;
        }
        members.push(MemberEntry {
            organisation: entry.organisation.clone(),
            region: entry.region.clone(),
            vote_key,
            tls_key: tls_key.0,
            peer_address: *entry.peer_address.get_ref(),
            client_address: *entry.client_address.get_ref(),
        });
    }
    Ok(members)
}

fn read_clients(source: Source<'_>, file: &File) -> Result<Clients, ConfigError> {
    let refuse = |at: &Spanned<String>, why: String| Err(source.error(at, Fault::Value { key: "client", why }));
    if file.clients == ClientMode::Open {
        return match file.client.first() {
            None => Ok(Clients::Open),
            Some(entry) => refuse(
                &entry.key,
                "clients = \"open\" lets anybody in, so none may be listed".to_owned(),
            ),
        };
    }
    if file.client.len() > MAX_CLIENTS {
        return refuse(
            &file.client[MAX_CLIENTS].key,
            format!("at most {MAX_CLIENTS} clients may be listed"),
        );
    }
    let mut keys = Distinct::new("client key");
    let mut tls_keys = std::collections::BTreeSet::new();
    let mut entries = Vec::with_capacity(file.client.len());
    for entry in &file.client {
        let key = source.public_key("key", &entry.key)?;
        keys.add(source, &entry.key, key)?;
        // Clients of one process share its key, so a list of thousands holds few different ones to check.
        if !tls_keys.contains(entry.tls_key.get_ref()) {
            source.public_key("tls_key", &entry.tls_key)?;
            tls_keys.insert(entry.tls_key.get_ref().clone());
        }
        let tls_key: trireme_crypto::PublicKey = entry.tls_key.get_ref().parse().expect("checked above");
        entries.push(ClientEntry {
            key,
            tls_key: tls_key.0,
            organisation: entry.organisation.clone(),
        });
    }
    entries.sort_by_key(|entry| entry.key);
    Ok(Clients::Known(entries))
}

pub(crate) fn write(cluster: &Cluster) -> String {
    let mut out = String::new();
    let mode = match cluster.clients {
        Clients::Open => "open",
        Clients::Known(_) => "known",
    };
    // Files of the default ordering are those of versions that knew no other.
    let ordering = match cluster.ordering {
        OrderingKind::Trireme => String::new(),
        OrderingKind::Raft => format!(
            "ordering = \"raft\" # crash faults only: {} of the members may be down, none may lie\n",
            cluster.members.len().saturating_sub(1) / 2
        ),
    };
    write!(
        out,
        "# Genesis of a Trireme cluster: equal on every member. All but the addresses make up its identity.\n\
         name = {}\n\
         salt = \"{}\"\n\
         f = {:<4} # Byzantine members that are stood; n >= 3f + 1\n\
         app = \"{}\"\n\
         {ordering}\
         client_auth = \"{}\"\n\
         clients = \"{mode}\"\n\n\
         [protocol]\n",
        quoted(&cluster.name),
        cluster.salt,
        cluster.params.f,
        cluster.app.name(),
        cluster.client_auth.name(),
    )
    .expect(IN_MEMORY);
    write_protocol(&mut out, &cluster.params);
    for member in &cluster.members {
        write_member(&mut out, member);
    }
    if let Clients::Known(entries) = &cluster.clients {
        for entry in entries {
            let tls_key = Digest(entry.tls_key);
            let organisation = quoted(&entry.organisation);
            write!(
                out,
                "\n[[client]]\norganisation = {organisation}\nkey = \"{}\"\ntls_key = \"{tls_key}\"\n",
                entry.key
            )
            .expect(IN_MEMORY);
        }
    }
    out
}

fn write_member(out: &mut String, member: &MemberEntry) {
    write!(
        out,
        "\n[[member]]\norganisation = {}\nregion = {}\nvote_key = \"{}\"\ntls_key = \"{}\"\npeer_address = \"{}\"\n\
         client_address = \"{}\"\n",
        quoted(&member.organisation),
        quoted(&member.region),
        member.vote_key,
        Digest(member.tls_key),
        member.peer_address,
        member.client_address
    )
    .expect(IN_MEMORY);
}
