//! Framing and hello for fuzzing: compiled with the feature `fuzzing` only.

use bytes::{Bytes, BytesMut};

use crate::frame::{Assembler, FrameReject, HEADER_BYTES, encode};
use crate::hello::Hello;
use crate::{Frame, TransportConfig};

/// Cuts a stream into frames of at most `limit` bytes, the stream coming in pieces of `piece` bytes. The frames, and
/// whether all of the stream was acceptable.
pub fn frames(stream: &[u8], limit: usize, piece: usize) -> (Vec<Bytes>, bool) {
    let mut assembler = Assembler::new(limit);
    let mut out = Vec::new();
    for chunk in stream.chunks(piece.max(1)) {
        match assembler.push(chunk, &mut out) {
            Ok(()) => {}
            Err(FrameReject::Empty | FrameReject::Oversized) => return (out, false),
        }
    }
    (out, true)
}

/// The stream of these frames.
pub fn stream(frames: &[Bytes]) -> Vec<u8> {
    let mut frames: Vec<Frame> = frames.iter().cloned().map(Frame::from).collect();
    let mut out = Vec::new();
    encode(&mut frames, &mut BytesMut::new(), &mut out);
    out.concat()
}

/// The bytes that a hello is written as, if `frame` is one.
pub fn hello(frame: &[u8]) -> Option<Vec<u8>> {
    let hello = Hello::decode(frame).ok()?;
    Some(hello.encode()[HEADER_BYTES..].to_vec())
}

/// A hello.
pub fn sample_hello(cluster: [u8; 32]) -> Vec<u8> {
    let config = TransportConfig {
        cluster,
        ..TransportConfig::default()
    };
    Hello::of_peer(&config, 2).encode()[HEADER_BYTES..].to_vec()
}
