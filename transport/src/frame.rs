//! Frames: a length and that many bytes (see `WIRE.md`).

use crate::CloseReason;
use bytes::{BufMut, Bytes, BytesMut};

/// Which of a peer's two paths a frame takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Votes, blocks, acks: one high-priority stream, in order.
    Control = 0,
    /// Batches, state: low-priority streams; order is kept on the way out, but frames may overtake one another on
    /// the way (a lost packet delays only the frames of its stream).
    Bulk = 1,
}

/// What is sent as one frame: `head` and `body` one after the other, so that a big shared body needs no copy to get
/// its header. Either may be empty, both together may not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// First part.
    pub head: Bytes,
    /// Second part.
    pub body: Bytes,
}

impl Frame {
    /// Length of the frame in bytes, both parts together.
    pub fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// Whether there is nothing in it (such a frame is not sent).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Bytes> for Frame {
    fn from(body: Bytes) -> Self {
        Self {
            head: Bytes::new(),
            body,
        }
    }
}

impl From<Vec<u8>> for Frame {
    fn from(body: Vec<u8>) -> Self {
        Bytes::from(body).into()
    }
}

impl From<(Bytes, Bytes)> for Frame {
    fn from((head, body): (Bytes, Bytes)) -> Self {
        Self { head, body }
    }
}

/// Bytes of a frame's header: its length, little endian.
pub(crate) const HEADER_BYTES: usize = 4;

/// Bytes in front of a frame's payload that are not a frame. Bad input from outside: the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameReject {
    /// A frame of length 0.
    Empty,
    /// A frame longer than allowed.
    Oversized,
}

impl FrameReject {
    pub(crate) fn close_reason(self) -> CloseReason {
        match self {
            FrameReject::Empty => CloseReason::Malformed,
            FrameReject::Oversized => CloseReason::Oversized,
        }
    }
}

/// Cuts a stream of bytes into frames. Every frame is copied once into an allocation of its own: a slice of the
/// received datagram would keep up to 64 KiB alive for a frame of a few bytes.
#[derive(Debug)]
pub(crate) struct Assembler {
    limit: usize,
    header: [u8; HEADER_BYTES],
    header_filled: usize,
    /// Length of the frame under assembly; 0 while its header is incomplete.
    wanted: usize,
    body: BytesMut,
}

/// What is reserved before any of a long frame arrived: a length that is announced and not sent costs no more.
const FIRST_RESERVE_BYTES: usize = 64 << 10;

impl Assembler {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            header: [0; HEADER_BYTES],
            header_filled: 0,
            wanted: 0,
            body: BytesMut::new(),
        }
    }

    /// From now on frames up to this length are allowed.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Takes received bytes and appends the frames that they complete to `out`.
    pub(crate) fn push(&mut self, mut chunk: &[u8], out: &mut Vec<Bytes>) -> Result<(), FrameReject> {
        while !chunk.is_empty() {
            if self.wanted == 0 {
                chunk = self.fill_header(chunk)?;
            } else if self.body.is_empty() && chunk.len() >= self.wanted {
                out.push(Bytes::copy_from_slice(&chunk[..self.wanted]));
                chunk = &chunk[self.wanted..];
                self.wanted = 0;
            } else {
                chunk = self.fill_body(chunk, out);
            }
        }
        Ok(())
    }

    fn fill_header<'a>(&mut self, chunk: &'a [u8]) -> Result<&'a [u8], FrameReject> {
        let count = chunk.len().min(HEADER_BYTES - self.header_filled);
        self.header[self.header_filled..self.header_filled + count].copy_from_slice(&chunk[..count]);
        self.header_filled += count;
        if self.header_filled == HEADER_BYTES {
            let wanted = u32::from_le_bytes(self.header) as usize;
            if wanted == 0 {
                return Err(FrameReject::Empty);
            }
            if wanted > self.limit {
                return Err(FrameReject::Oversized);
            }
            self.header_filled = 0;
            self.wanted = wanted;
        }
        Ok(&chunk[count..])
    }

    fn fill_body<'a>(&mut self, chunk: &'a [u8], out: &mut Vec<Bytes>) -> &'a [u8] {
        let missing = self.wanted - self.body.len();
        let count = chunk.len().min(missing);
        if self.body.capacity() - self.body.len() < count {
            let first = self.body.is_empty();
            self.body.reserve(if first {
                missing.min(FIRST_RESERVE_BYTES).max(count)
            } else {
                missing
            });
        }
        self.body.extend_from_slice(&chunk[..count]);
        if count == missing {
            out.push(std::mem::take(&mut self.body).freeze());
            self.wanted = 0;
        }
        &chunk[count..]
    }
}

/// Bodies up to this length are copied next to their neighbours: a write of many small pieces costs QUIC a search
/// through all of them for each packet.
const COPY_BYTES: usize = 4 << 10;

/// Turns frames into the bytes of a stream, small ones side by side in one buffer, big ones without a copy.
pub(crate) fn encode(frames: &mut Vec<Frame>, scratch: &mut BytesMut, out: &mut Vec<Bytes>) {
    for frame in frames.drain(..) {
        let length = u32::try_from(frame.len()).expect("send checked the length");
        scratch.reserve(HEADER_BYTES + frame.head.len().min(COPY_BYTES));
        scratch.put_u32_le(length);
        for part in [frame.head, frame.body] {
            if part.len() <= COPY_BYTES {
                scratch.extend_from_slice(&part);
            } else {
                flush(scratch, out);
                out.push(part);
            }
        }
    }
    flush(scratch, out);
}

fn flush(scratch: &mut BytesMut, out: &mut Vec<Bytes>) {
    if !scratch.is_empty() {
        out.push(scratch.split().freeze());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(frames: &[Frame]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&mut frames.to_vec(), &mut BytesMut::new(), &mut out);
        assert!(out.iter().all(|piece| !piece.is_empty()));
        out.concat()
    }

    #[test]
    fn frames_survive_any_cut_of_the_stream() {
        let frames: Vec<Frame> = [1usize, 3, 4_096, 4_097, 70_000, 2, 200_000]
            .iter()
            .enumerate()
            .map(|(seed, &len)| Frame::from(vec![seed as u8; len]))
            .chain([Frame::from((Bytes::from(vec![8; 5_000]), Bytes::from(vec![9; 6_000])))])
            .collect();
        let stream = wire(&frames);
        for cut in [1, 2, 3, 5, 1_200, 65_536, stream.len()] {
            let mut assembler = Assembler::new(200_000);
            let mut got = Vec::new();
            for chunk in stream.chunks(cut) {
                assembler.push(chunk, &mut got).unwrap();
            }
            assert_eq!(got.len(), frames.len());
            for (got, sent) in got.iter().zip(&frames) {
                assert_eq!(got, &[&sent.head[..], &sent.body[..]].concat());
            }
        }
    }

    #[test]
    fn empty_and_oversized_frames_are_rejected() {
        let mut out = Vec::new();
        let empty = Assembler::new(10).push(&[0, 0, 0, 0], &mut out);
        assert_eq!(empty, Err(FrameReject::Empty));
        let long = Assembler::new(10).push(&[11, 0, 0, 0], &mut out);
        assert_eq!(long, Err(FrameReject::Oversized));
        let mut exact = Assembler::new(10);
        exact.push(&wire(&[vec![1; 10].into()]), &mut out).unwrap();
        assert_eq!(out.len(), 1);
    }

    #[test]
    fn an_announced_length_reserves_little() {
        let mut assembler = Assembler::new(1 << 30);
        let mut out = Vec::new();
        assembler.push(&(1u32 << 30).to_le_bytes(), &mut out).unwrap();
        assembler.push(&[1; 10], &mut out).unwrap();
        assert!(assembler.body.capacity() <= 2 * FIRST_RESERVE_BYTES);
    }
}
