//! The tasks of a client listener: handshakes, hellos, reading.

use crate::hello::{FrameReader, Hello, ReadEnd, close};
use crate::inbound::Line;
use crate::listener::{ClientEvent, ClientLink, Shared};
use crate::outbound::write_stream;
use crate::{CloseReason, ClosedBy, Disconnect, quic};
use quinn::{Connecting, Connection, SendStream};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Lets clients in.
pub(crate) async fn accept_loop(shared: Arc<Shared>) {
    while let Some(incoming) = shared.endpoint.accept().await {
        let addr = incoming.remote_address();
        let Some((connecting, permit)) = shared.door.admit(incoming, &shared.counts) else {
            continue;
        };
        let shared = shared.clone();
        tokio::spawn(async move {
            let made = connect(&shared, connecting).await;
            drop(permit);
            match made {
                Ok((link, reader, send)) => serve(shared, link, reader, send).await,
                Err(reason) => {
                    shared.counts.closed(reason);
                    tracing::debug!(%addr, %reason, "client not taken in");
                }
            }
        });
    }
}

type Made = (Arc<ClientLink>, FrameReader, SendStream);

async fn connect(shared: &Shared, connecting: Connecting) -> Result<Made, Disconnect> {
    let limit = Duration::from_millis(shared.config.handshake_timeout_ms);
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
    match tokio::time::timeout_at(deadline, greet(shared, &connection)).await {
        Ok(Ok(made)) => Ok(made),
        Ok(Err(end)) => Err(end.conclude(&connection)),
        Err(_) => {
            close(&connection, CloseReason::HandshakeTimeout);
            Err(late)
        }
    }
}

/// Reads the client's hello and takes it in. Our own goes out with the first replies, once the quotas are settled: a
/// client that gives us no credit to write it must not hold up anything here.
async fn greet(shared: &Shared, connection: &Connection) -> Result<Made, ReadEnd> {
    let key = quic::proven_key(connection).ok_or(ReadEnd::Bad(CloseReason::UnknownKey))?;
    let (send, recv) = connection.accept_bi().await.map_err(|_| ReadEnd::Lost)?;
    let limit = shared.config.max_client_frame_bytes;
    let mut reader = FrameReader::new(recv, limit);
    let own = Hello::of_client_link(&shared.config);
    let hello = reader.hello(&own, limit).await?;
    let link = shared.admit(key, connection, &hello)?;
    Ok((link, reader, send))
}

/// One task reads a client's frames, one writes the replies.
async fn serve(shared: Arc<Shared>, link: Arc<ClientLink>, mut reader: FrameReader, send: SendStream) {
    let (conn, key) = (link.conn, link.key);
    shared.events.push_notice(ClientEvent::Connected { conn, key });
    let hello = Hello::of_client_link(&shared.config).encode();
    tokio::spawn(write_stream(link.outbound.clone(), send, hello));
    let end = read_frames(&shared, &link, &mut reader).await;
    if let ReadEnd::Bad(reason) = end {
        return shared.close(&link, reason);
    }
    link.connection.closed().await;
    shared.end(&link);
}

async fn read_frames(shared: &Shared, link: &ClientLink, reader: &mut FrameReader) -> ReadEnd {
    let conn = link.conn;
    loop {
        if !reader.frames.is_empty() {
            let bytes: usize = reader.frames.iter().map(|frame| frame.len()).sum();
            let count = reader.frames.len() as u64;
            let events = reader.frames.drain(..).map(|bytes| {
                let length = bytes.len();
                (length, ClientEvent::Frame { conn, bytes })
            });
            if !shared.events.push_frames(Line::First, &link.gate, &link.alive, events) {
                return ReadEnd::Lost;
            }
            shared.counts.frames_received.fetch_add(count, Relaxed);
            shared.counts.bytes_received.fetch_add(bytes as u64, Relaxed);
        }
        // While the gate is shut, the end of the connection must still be seen.
        let open = poll_fn(|cx| link.gate.poll_open(cx));
        tokio::select! {
            biased;
            () = open => {}
            _ = link.connection.closed() => return ReadEnd::Lost,
        }
        if let Err(end) = reader.read().await {
            return end;
        }
    }
}
