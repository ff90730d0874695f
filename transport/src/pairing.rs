//! How the pairs find each other: dialling, accepting, the hello, and who replaces whom.

use crate::hello::{FrameReader, Hello, ReadEnd, close, say};
use crate::link::Link;
use crate::peers::{PeerEvent, Shared};
use crate::quic::{self, SERVER_NAME};
use crate::{CloseReason, ClosedBy, Disconnect};
use quinn::{Connecting, Connection};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Lets the lower indexes in.
pub(crate) async fn accept_loop(shared: Arc<Shared>) {
    while let Some(incoming) = shared.endpoint.accept().await {
        let addr = incoming.remote_address();
        let Some((connecting, permit)) = shared.door.admit(incoming, &shared.counts) else {
            continue;
        };
        let shared = shared.clone();
        tokio::spawn(async move {
            let limit = Duration::from_millis(shared.config.handshake_timeout_ms);
            let made = connect(&shared, connecting, None, limit).await;
            drop(permit);
            match made {
                Ok(link) => watch(&shared, &link).await,
                Err(reason) => report_refused(&shared, addr, reason),
            }
        });
    }
}

/// Keeps one peer connected, for ever.
pub(crate) async fn dial_loop(shared: Arc<Shared>, peer: u32, client: quinn::ClientConfig) {
    let config = &shared.config;
    let slot = shared.slots[peer as usize].as_ref().expect("dialled peers exist");
    let addr = slot.address.addr;
    let mut pause_ms = config.reconnect_min_ms;
    // The first tries are short: a peer that starts a moment later should not wait for the repetition of a packet
    // that was lost before it listened.
    let mut limit_ms = FIRST_DIAL_MS.min(config.handshake_timeout_ms);
    loop {
        let Some(made) = dial(&shared, peer, &client, Duration::from_millis(limit_ms)).await else {
            return;
        };
        match made {
            Ok(mut link) => {
                limit_ms = FIRST_DIAL_MS.min(config.handshake_timeout_ms);
                let since = tokio::time::Instant::now();
                let mut patience = SILENT_CHECKS;
                while silent(&shared, &link, patience).await {
                    // After an outage QUIC waits as long again before it tries whether the path is there, and a new
                    // process at the other end cannot tell that it is one before that. A handshake can at any time.
                    patience = 1;
                    match dial(&shared, peer, &client, Duration::from_millis(limit_ms)).await {
                        Some(Ok(newer)) => (link, patience) = (newer, SILENT_CHECKS),
                        Some(Err(_)) => {}
                        None => return,
                    }
                }
                // A link that held for a while starts over; one that flaps is dialled ever more slowly.
                if since.elapsed() > Duration::from_millis(config.reconnect_max_ms) {
                    pause_ms = config.reconnect_min_ms;
                }
            }
            Err(reason) => {
                limit_ms = (2 * limit_ms).min(config.handshake_timeout_ms);
                report_refused(&shared, addr, reason);
            }
        }
        tokio::time::sleep(Duration::from_millis(jitter(pause_ms))).await;
        pause_ms = (2 * pause_ms).min(config.reconnect_max_ms);
    }
}

const FIRST_DIAL_MS: u64 = 500;
/// So many looks at a link, two for each keep-alive, without anything new heard on it: it is silent.
const SILENT_CHECKS: u32 = 3;

/// One handshake with a peer. None when the endpoint stops.
async fn dial(
    shared: &Arc<Shared>,
    peer: u32,
    client: &quinn::ClientConfig,
    limit: Duration,
) -> Option<Result<Arc<Link>, Disconnect>> {
    let slot = shared.slots[peer as usize].as_ref().expect("dialled peers exist");
    let addr = slot.address.addr;
    Some(match shared.endpoint.connect_with(client.clone(), addr, SERVER_NAME) {
        Ok(connecting) => connect(shared, connecting, Some(peer), limit).await,
        Err(quinn::ConnectError::EndpointStopping) => return None,
        Err(error) => {
            tracing::warn!(%addr, %error, "cannot dial");
            Err(Disconnect {
                reason: CloseReason::Transport,
                by: ClosedBy::Local,
            })
        }
    })
}

/// Watches a link. False when it has ended; true when it stands and `patience` looks in a row found nothing new heard on
/// it, although both sides send at every keep-alive at least.
async fn silent(shared: &Arc<Shared>, link: &Arc<Link>, patience: u32) -> bool {
    let between = Duration::from_millis(shared.config.keep_alive_ms / 2);
    let heard = || link.connection.stats().udp_rx.datagrams;
    let (mut last, mut without) = (heard(), 0);
    while without < patience {
        tokio::select! {
            () = watch(shared, link) => return false,
            () = tokio::time::sleep(between) => {}
        }
        let now = heard();
        without = if now == last { without + 1 } else { 0 };
        last = now;
    }
    true
}

/// Half to whole of the pause, so that replicas that lost each other at once do not return at once. The hasher's keys
/// are random for each call.
fn jitter(pause_ms: u64) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(pause_ms);
    pause_ms - random % (pause_ms / 2 + 1)
}

/// Finishes a handshake, exchanges hellos and installs the link. `expected` is the dialled peer.
async fn connect(
    shared: &Arc<Shared>,
    connecting: Connecting,
    expected: Option<u32>,
    limit: Duration,
) -> Result<Arc<Link>, Disconnect> {
    let deadline = tokio::time::Instant::now() + limit;
    let late = Disconnect {
        reason: CloseReason::HandshakeTimeout,
        by: ClosedBy::Local,
    };
    let connection = match tokio::time::timeout_at(deadline, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return Err(Disconnect::from_quic(&error, None)),
        Err(_) => return Err(late),
    };
    match tokio::time::timeout_at(deadline, greet(shared, &connection, expected)).await {
        Ok(Ok(link)) => Ok(link),
        Ok(Err(end)) => Err(end.conclude(&connection)),
        Err(_) => {
            close(&connection, CloseReason::HandshakeTimeout);
            Err(late)
        }
    }
}

async fn greet(shared: &Arc<Shared>, connection: &Connection, expected: Option<u32>) -> Result<Arc<Link>, ReadEnd> {
    let key = quic::proven_key(connection);
    let peer = key.and_then(|key| shared.index_of.get(&key).copied());
    let peer = peer.ok_or(ReadEnd::Bad(CloseReason::UnknownKey))?;
    // Of a pair, only the lower index dials; and a dialled peer has the key that was dialled.
    if expected.is_some_and(|expected| expected != peer) || (expected.is_none() && peer > shared.me) {
        return Err(ReadEnd::Bad(CloseReason::Unexpected));
    }
    let mut send = connection.open_uni().await.map_err(|_| ReadEnd::Lost)?;
    send.set_priority(1).map_err(|_| ReadEnd::Lost)?;
    let own = Hello::of_peer(&shared.config, shared.me);
    say(&mut send, &own).await?;
    let recv = connection.accept_uni().await.map_err(|_| ReadEnd::Lost)?;
    let limit = shared.config.max_control_frame_bytes;
    let mut reader = FrameReader::new(recv, limit);
    let hello = reader.hello(&own, limit).await?;
    if hello.index != peer {
        return Err(ReadEnd::Bad(CloseReason::Unexpected));
    }
    if !shared.events.has_room() {
        return Err(ReadEnd::Bad(CloseReason::Overloaded));
    }
    let link = Arc::new(Link::new(shared, peer, connection.clone(), &hello));
    install(shared, &link);
    link.start(shared, &hello, send, reader);
    Ok(link)
}

/// Puts the link in its place; an older one of the same peer ends first.
fn install(shared: &Arc<Shared>, link: &Arc<Link>) {
    let slot = shared.slots[link.peer as usize].as_ref();
    let slot = slot.expect("the index belongs to a key of the list");
    let mut place = slot.link.lock().expect("no panic while it is held");
    if let Some(old) = place.replace(link.clone()) {
        old.close(shared, CloseReason::Duplicate);
    }
    let peer = link.peer;
    shared.events.push_notice(PeerEvent::Connected { peer });
}

/// Waits for the end of a link and reports it.
async fn watch(shared: &Arc<Shared>, link: &Arc<Link>) {
    link.connection.closed().await;
    link.end(shared);
    let slot = shared.slots[link.peer as usize].as_ref();
    let slot = slot.expect("the index belongs to a key of the list");
    let mut place = slot.link.lock().expect("no panic while it is held");
    if place.as_ref().is_some_and(|now| Arc::ptr_eq(now, link)) {
        *place = None;
    }
}

fn report_refused(shared: &Shared, addr: SocketAddr, reason: Disconnect) {
    shared.counts.closed(reason);
    tracing::debug!(%addr, %reason, "connection not made");
    // A peer that is merely away is no news.
    let away = matches!(reason.reason, CloseReason::HandshakeTimeout | CloseReason::TimedOut);
    if !away && shared.events.has_room() {
        shared.events.push_notice(PeerEvent::Refused { addr, reason });
    }
}
