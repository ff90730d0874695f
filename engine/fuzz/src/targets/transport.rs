//! Bytes off the network, before anybody knows what they are.

use bytes::Bytes;
use trireme_transport::fuzzing;

use super::Samples;
use crate::Source;

/// The longest frame allowed here.
const LIMIT: usize = 4_096;

pub(super) fn run(bytes: &[u8]) -> bool {
    if let Some(again) = fuzzing::hello(bytes) {
        assert_eq!(again, bytes, "a hello is written as it was read");
        return true;
    }
    let mut source = Source::new(bytes);
    let piece = 1 + usize::from(source.byte());
    let stream = source.rest();
    let (whole, good) = fuzzing::frames(stream, LIMIT, usize::MAX);
    let (cut, cut_good) = fuzzing::frames(stream, LIMIT, piece);
    assert_eq!((&whole, good), (&cut, cut_good), "where the stream is cut says nothing");
    assert!(whole.iter().all(|frame| !frame.is_empty() && frame.len() <= LIMIT));
    let written = fuzzing::stream(&whole);
    assert_eq!(written, stream[..written.len()], "frames are written as they were read");
    !whole.is_empty()
}

pub(super) fn samples() -> Samples {
    let frames = [&b"a"[..], b"two", &[7; 300]].map(Bytes::copy_from_slice);
    let stream = fuzzing::stream(&frames);
    vec![
        ("hello".into(), fuzzing::sample_hello([5; 32])),
        ("frames".into(), [&[2], &stream[..]].concat()),
        (
            "longest".into(),
            [&[200], &fuzzing::stream(&[vec![1; LIMIT].into()])[..]].concat(),
        ),
    ]
}
