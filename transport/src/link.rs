//! One connection of a peer: its queues, its streams, its end.

use crate::frame::Class;
use crate::hello::{FrameReader, Hello, ReadEnd, close};
use crate::inbound::{Gate, Line};
use crate::outbound::{Outbound, write_bulk, write_stream};
use crate::peers::{PeerEvent, Shared};
use crate::{CloseReason, Disconnect, Frame, SendError};
use bytes::Bytes;
use quinn::{Connection, SendStream};
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

/// The connection to a peer, from the hello to its end.
pub(crate) struct Link {
    pub(crate) peer: u32,
    pub(crate) connection: Connection,
    control: Arc<Outbound>,
    bulk: Arc<Outbound>,
    alive: AtomicBool,
    /// Why this side closed it, if it did.
    local: OnceLock<CloseReason>,
}

impl Link {
    pub(crate) fn new(shared: &Shared, peer: u32, connection: Connection, hello: &Hello) -> Self {
        let config = &shared.config;
        let control_limit = config.max_control_frame_bytes.min(hello.max_frame_bytes as usize);
        let bulk_limit = config.max_bulk_frame_bytes.min(hello.max_bulk_frame_bytes as usize);
        Self {
            peer,
            connection,
            control: Outbound::new(
                control_limit,
                config.peer_outbound_control_bytes,
                config.outbound_frames,
            ),
            bulk: Outbound::new(bulk_limit, config.peer_outbound_bulk_bytes, config.outbound_frames),
            alive: AtomicBool::new(true),
            local: OnceLock::new(),
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.alive.load(SeqCst)
    }

    pub(crate) fn queued_bytes(&self, class: Class) -> usize {
        match class {
            Class::Control => self.control.queued_bytes(),
            Class::Bulk => self.bulk.queued_bytes(),
        }
    }

    pub(crate) fn send(&self, class: Class, frame: Frame) -> Result<(), SendError> {
        match class {
            Class::Control => self.control.push(frame),
            Class::Bulk => self.bulk.push(frame),
        }
    }

    /// Starts the tasks of the connection. The control reader has read the hello already.
    pub(crate) fn start(self: &Arc<Self>, shared: &Arc<Shared>, hello: &Hello, send: SendStream, reader: FrameReader) {
        let config = &shared.config;
        let gate = Gate::new(config.peer_inbound_control_bytes);
        tokio::spawn(read_frames(shared.clone(), self.clone(), Class::Control, reader, gate));
        tokio::spawn(accept_bulk(shared.clone(), self.clone()));
        tokio::spawn(write_stream(self.control.clone(), send, Bytes::new()));
        let streams = config.bulk_streams.min(usize::from(hello.bulk_streams));
        if streams > 0 {
            tokio::spawn(write_bulk(self.bulk.clone(), self.connection.clone(), streams));
        }
    }

    /// Closes the connection and reports its end.
    pub(crate) fn close(&self, shared: &Shared, reason: CloseReason) {
        let _ = self.local.set(reason);
        close(&self.connection, reason);
        self.end(shared);
    }

    /// Reports the end of a connection that is closed, once; what was queued is dropped.
    pub(crate) fn end(&self, shared: &Shared) {
        let Some(error) = self.connection.close_reason() else {
            return;
        };
        let reason = Disconnect::from_quic(&error, self.local.get().copied());
        let peer = self.peer;
        let event = PeerEvent::Disconnected { peer, reason };
        let is_stale = |event: &PeerEvent| matches!(event, PeerEvent::Frame { peer, .. } if *peer == self.peer);
        if shared.events.push_end(&self.alive, event, is_stale) {
            tracing::debug!(peer, %error, "link ended");
            shared.counts.closed(reason);
        }
        self.control.close();
        self.bulk.close();
    }
}

/// Receives the peer's bulk streams; QUIC lets it open no more than agreed.
async fn accept_bulk(shared: Arc<Shared>, link: Arc<Link>) {
    let limit = shared.config.peer_inbound_bulk_bytes / shared.config.bulk_streams;
    while let Ok(stream) = link.connection.accept_uni().await {
        let reader = FrameReader::new(stream, shared.config.max_bulk_frame_bytes);
        let gate = Gate::new(limit.max(1));
        tokio::spawn(read_frames(shared.clone(), link.clone(), Class::Bulk, reader, gate));
    }
}

/// Hands the frames of one stream to the owner until the connection ends.
async fn read_frames(shared: Arc<Shared>, link: Arc<Link>, class: Class, mut reader: FrameReader, gate: Arc<Gate>) {
    let line = match class {
        Class::Control => Line::First,
        Class::Bulk => Line::Bulk,
    };
    let peer = link.peer;
    loop {
        if !reader.frames.is_empty() {
            let bytes: usize = reader.frames.iter().map(|frame| frame.len()).sum();
            let count = reader.frames.len() as u64;
            let events = reader.frames.drain(..).map(|bytes| {
                let length = bytes.len();
                (length, PeerEvent::Frame { peer, class, bytes })
            });
            if !shared.events.push_frames(line, &gate, &link.alive, events) {
                return;
            }
            shared.counts.frames_received.fetch_add(count, Relaxed);
            shared.counts.bytes_received.fetch_add(bytes as u64, Relaxed);
        }
        poll_fn(|cx| gate.poll_open(cx)).await;
        match reader.read().await {
            Ok(()) => {}
            // Whoever waits for the end of the connection reports it.
            Err(ReadEnd::Lost) => return,
            Err(ReadEnd::Bad(reason)) => return link.close(&shared, reason),
        }
    }
}
