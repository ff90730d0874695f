//! The first frame in each direction: who speaks, for which cluster, within which limits.

use crate::frame::{Assembler, HEADER_BYTES};
use crate::{CloseReason, Disconnect, TransportConfig, congestion};
use bytes::{BufMut, Bytes, BytesMut};
use quinn::{ReadError, RecvStream, SendStream};
use std::task::{Context, Poll, ready};

const MAGIC: [u8; 4] = *b"TRHI";
const VERSION: u16 = 1;
const HELLO_BYTES: usize = 52;

/// The index of a client: none.
pub(crate) const NO_INDEX: u32 = u32::MAX;

/// What each side states before anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) cluster: [u8; 32],
    /// The speaker's index in the cluster, [`NO_INDEX`] for a client.
    pub(crate) index: u32,
    /// Bulk streams that the speaker accepts.
    pub(crate) bulk_streams: u16,
    /// The longest control frame (or frame of a client) that the speaker accepts.
    pub(crate) max_frame_bytes: u32,
    /// The longest bulk frame that the speaker accepts.
    pub(crate) max_bulk_frame_bytes: u32,
}

impl Hello {
    pub(crate) fn of_peer(config: &TransportConfig, index: u32) -> Self {
        Self {
            cluster: config.cluster,
            index,
            bulk_streams: config.bulk_streams as u16,
            max_frame_bytes: limit(config.max_control_frame_bytes),
            max_bulk_frame_bytes: limit(config.max_bulk_frame_bytes),
        }
    }

    pub(crate) fn of_client_link(config: &TransportConfig) -> Self {
        Self {
            cluster: config.cluster,
            index: NO_INDEX,
            bulk_streams: 0,
            max_frame_bytes: limit(config.max_client_frame_bytes),
            max_bulk_frame_bytes: 0,
        }
    }

    /// The whole frame, with its header.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(HEADER_BYTES + HELLO_BYTES);
        out.put_u32_le(HELLO_BYTES as u32);
        out.put_slice(&MAGIC);
        out.put_u16_le(VERSION);
        out.put_u16_le(self.bulk_streams);
        out.put_slice(&self.cluster);
        out.put_u32_le(self.index);
        out.put_u32_le(self.max_frame_bytes);
        out.put_u32_le(self.max_bulk_frame_bytes);
        out.freeze()
    }

    pub(crate) fn decode(frame: &[u8]) -> Result<Self, CloseReason> {
        let frame: &[u8; HELLO_BYTES] = frame.try_into().map_err(|_| CloseReason::Malformed)?;
        if frame[..4] != MAGIC {
            return Err(CloseReason::Malformed);
        }
        if u16_at(frame, 4) != VERSION {
            return Err(CloseReason::WrongCluster);
        }
        let mut cluster = [0; 32];
        cluster.copy_from_slice(&frame[8..40]);
        Ok(Self {
            cluster,
            index: u32_at(frame, 40),
            bulk_streams: u16_at(frame, 6),
            max_frame_bytes: u32_at(frame, 44),
            max_bulk_frame_bytes: u32_at(frame, 48),
        })
    }
}

fn limit(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn u16_at(bytes: &[u8; HELLO_BYTES], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8; HELLO_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Says hello.
pub(crate) async fn say(send: &mut SendStream, own: &Hello) -> Result<(), ReadEnd> {
    send.write_chunk(own.encode()).await.map_err(|_| ReadEnd::Lost)
}

/// Why reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadEnd {
    /// The connection is gone; it knows why.
    Lost,
    /// The other side sent what it must not: the connection is to be closed for this reason.
    Bad(CloseReason),
}

impl ReadEnd {
    /// Closes the connection if it is not gone already, and says how it ended.
    pub(crate) fn conclude(self, connection: &quinn::Connection) -> Disconnect {
        if let ReadEnd::Bad(reason) = self
            && connection.close_reason().is_none()
        {
            close(connection, reason);
            let by = crate::ClosedBy::Local;
            return Disconnect { reason, by };
        }
        match connection.close_reason() {
            Some(error) => Disconnect::from_quic(&error, None),
            None => ReadEnd::Bad(CloseReason::Unexpected).conclude(connection),
        }
    }
}

/// Closes with the reason's code, so that the other side hears of it even if the congestion window is used up.
pub(crate) fn close(connection: &quinn::Connection, reason: CloseReason) {
    congestion::lift(connection);
    connection.close(quinn::VarInt::from_u32(reason.code()), reason.name().as_bytes());
}

/// Received pieces that are taken from QUIC at once.
const CHUNKS: usize = 16;

/// Reads the frames of one stream.
pub(crate) struct FrameReader {
    stream: RecvStream,
    assembler: Assembler,
    chunks: [Bytes; CHUNKS],
    /// Complete frames, in order.
    pub(crate) frames: Vec<Bytes>,
}

impl FrameReader {
    pub(crate) fn new(stream: RecvStream, frame_limit: usize) -> Self {
        Self {
            stream,
            assembler: Assembler::new(frame_limit),
            chunks: Default::default(),
            frames: Vec::new(),
        }
    }

    /// The other's hello, if it is of the same cluster; then frames up to `frame_limit` bytes.
    pub(crate) async fn hello(&mut self, own: &Hello, frame_limit: usize) -> Result<Hello, ReadEnd> {
        while self.frames.is_empty() {
            self.read().await?;
        }
        let hello = Hello::decode(&self.frames.remove(0)).map_err(ReadEnd::Bad)?;
        if hello.cluster != own.cluster {
            return Err(ReadEnd::Bad(CloseReason::WrongCluster));
        }
        self.assembler.set_limit(frame_limit);
        Ok(hello)
    }

    /// Waits for bytes and appends the frames that they complete, perhaps none.
    pub(crate) async fn read(&mut self) -> Result<(), ReadEnd> {
        std::future::poll_fn(|cx| self.poll_read(cx)).await
    }

    /// See [`FrameReader::read`].
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReadEnd>> {
        // The future keeps nothing between polls, so a new one for each poll is the same.
        let read = {
            let read = std::pin::pin!(self.stream.read_chunks(&mut self.chunks));
            ready!(read.poll(cx))
        };
        let count = match read {
            Ok(Some(count)) => count,
            // Streams live as long as their connection: neither side finishes one.
            Ok(None) | Err(ReadError::Reset(_)) => {
                return Poll::Ready(Err(ReadEnd::Bad(CloseReason::Unexpected)));
            }
            Err(_) => return Poll::Ready(Err(ReadEnd::Lost)),
        };
        for chunk in &mut self.chunks[..count] {
            let chunk = std::mem::take(chunk);
            if let Err(reject) = self.assembler.push(&chunk, &mut self.frames) {
                return Poll::Ready(Err(ReadEnd::Bad(reject.close_reason())));
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_reads_back_and_anything_else_is_refused() {
        let hello = Hello {
            cluster: [5; 32],
            index: 3,
            bulk_streams: 4,
            max_frame_bytes: 1 << 20,
            max_bulk_frame_bytes: 1 << 24,
        };
        let wire = hello.encode();
        assert_eq!(wire.len(), HEADER_BYTES + HELLO_BYTES);
        let frame = &wire[HEADER_BYTES..];
        assert_eq!(Hello::decode(frame), Ok(hello));
        assert_eq!(Hello::decode(&frame[1..]), Err(CloseReason::Malformed));
        let mut other = frame.to_vec();
        other[4] = 2;
        assert_eq!(Hello::decode(&other), Err(CloseReason::WrongCluster));
        other[0] = 0;
        assert_eq!(Hello::decode(&other), Err(CloseReason::Malformed));
    }
}
