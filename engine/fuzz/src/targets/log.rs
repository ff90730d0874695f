//! The log's bytes, and recovery from them.
//!
//! What recovery owes: it never panics; what it gives back was appended, in order; whatever is missing before its end was
//! released or lies in a gap that tells how much of it is irreplaceable; and where it stops early no sound group behind the
//! break says that the missing one was durable (LOG_FORMAT.md). Both the images and the judgement are made here; what reads them is the log's own code.

use std::collections::BTreeSet;

use trireme_log::fuzzing::{self, Back, End, Found, Image, Placed, is_replaceable};

use super::Samples;
use crate::Source;

const PAGES: usize = 6;
const FILES: usize = 3;
const SECTOR: usize = 512;

/// The first byte says whether the checksum is made to hold.
pub(super) fn headers(bytes: &[u8]) -> bool {
    let Some((first, rest)) = bytes.split_first() else {
        return false;
    };
    let mut rest = rest.to_vec();
    if first % 2 == 1 {
        fuzzing::reseal(&mut rest);
    }
    fuzzing::headers(&rest)
}

pub(super) fn header_samples() -> Samples {
    let sample = |(name, bytes): (&str, Vec<u8>)| (name.to_owned(), [&[1], &bytes[..]].concat());
    fuzzing::sample_headers().into_iter().map(sample).collect()
}

/// Writes groups as the input says; returns what was appended.
fn write(image: &mut Image, source: &mut Source<'_>) -> Vec<Found> {
    let mut appended = Vec::new();
    for number in 0..source.below(12) as u64 {
        // Up to three flushes are in flight: what a header claims lags behind by as many.
        let durable = number.saturating_sub(source.below(4) as u64);
        let sizes: Vec<usize> = (0..=source.below(4))
            .map(|_| source.below(256) * source.below(24))
            .collect();
        let next = appended.len() as u64 + 1;
        let payloads: Vec<Vec<u8>> = (next..)
            .zip(&sizes)
            .map(|(sequence, size)| vec![sequence as u8; *size])
            .collect();
        let records: Vec<(u8, &[u8])> = payloads
            .iter()
            .map(|payload| (payload.len() as u8, &payload[..]))
            .collect();
        if !image.append(durable, &records) {
            break;
        }
        let back = (next..)
            .zip(&payloads)
            .map(|(at, payload)| (at, payload.len() as u8, payload.clone()));
        appended.extend(back);
    }
    appended
}

/// Damages the files, in ways that leave no sum to hold that did not: the key is the log's own.
fn damage(image: &mut Image, source: &mut Source<'_>) {
    for _ in 0..source.below(6) {
        let file = source.below(FILES);
        let length = image.segments[file].len();
        let at = usize::from(source.word()) * 7 % length;
        let sector = at / SECTOR * SECTOR;
        match source.below(6) {
            0 | 1 => image.segments[file][at] ^= source.byte() | 1,
            2 => image.segments[file][sector..sector + SECTOR].fill(0),
            // Everything behind is gone.
            3 => image.segments[file][sector..].fill(0),
            // A write went elsewhere.
            4 => {
                let (other, from) = (source.below(FILES), source.below(PAGES * 8) * SECTOR);
                let moved = image.segments[other][from..from + SECTOR].to_vec();
                image.segments[file][sector..sector + SECTOR].copy_from_slice(&moved);
            }
            _ => {
                let (other, from) = (source.below(FILES), source.below(PAGES) * 8 * SECTOR);
                let page = at / (8 * SECTOR) * (8 * SECTOR);
                let moved = image.segments[other][from..from + 8 * SECTOR].to_vec();
                image.segments[file][page..page + 8 * SECTOR].copy_from_slice(&moved);
            }
        }
    }
}

/// Whether a group's bytes are all as they were written.
fn intact(image: &Image, before: &[Vec<u8>], group: &Placed) -> bool {
    let range = group.offset..group.offset + group.bytes;
    image.segments[group.segment][range.clone()] == before[group.segment][range]
}

pub(super) fn recovery(bytes: &[u8]) -> bool {
    let mut source = Source::new(bytes);
    let mut image = Image::new(PAGES, FILES);
    let appended = write(&mut image, &mut source);
    let first = if source.below(3) == 0 {
        image.release(source.below(FILES)).unwrap_or(1)
    } else {
        1
    };
    let whole = Back {
        records: appended[first as usize - 1..].to_vec(),
        gaps: Vec::new(),
        end: End::Whole,
    };
    assert_eq!(image.recover(), whole, "a sound log comes back whole");
    let before = image.segments.clone();
    damage(&mut image, &mut source);
    let back = image.recover();
    judge(&appended, first, &back);
    let last = end_of(first, &back);
    if back.end != End::Refused && last < appended.len() as u64 {
        let lost = image
            .groups()
            .iter()
            .find(|group| group.first_sequence + group.records > last + 1);
        let lost = lost.expect("some group has the next record").number;
        let witness = image
            .groups()
            .iter()
            .find(|g| g.durable >= lost && g.first_sequence >= first && intact(&image, &before, g));
        let witness = witness.map(|group| group.number);
        assert_eq!(witness, None, "group {lost} was durable, and recovery ends before it");
    }
    if image.segments == before {
        assert_eq!(back, whole, "nothing was damaged");
    }
    true
}

/// The last record that is there or was.
fn end_of(first: u64, back: &Back) -> u64 {
    let found = back.records.last().map_or(first - 1, |record| record.0);
    back.gaps.iter().map(|gap| gap.until - 1).fold(found, u64::max)
}

/// What comes back was appended, and every gap tells the truth.
fn judge(appended: &[Found], first: u64, back: &Back) {
    let mut before = first - 1;
    for record in &back.records {
        assert!(record.0 > before, "in order");
        before = record.0;
        assert_eq!(record, &appended[before as usize - 1], "as appended");
    }
    let found: BTreeSet<u64> = back.records.iter().map(|record| record.0).collect();
    let end = if back.end == End::Refused {
        before
    } else {
        end_of(first, back)
    };
    let missing: Vec<u64> = (first..=end).filter(|at| !found.contains(at)).collect();
    let mut told = 0;
    for gap in &back.gaps {
        let here: Vec<u64> = missing
            .iter()
            .copied()
            .filter(|at| (gap.from..gap.until).contains(at))
            .collect();
        told += here.len();
        if back.end == End::Refused {
            continue;
        }
        assert_eq!(gap.lost, here.len() as u64, "{gap}");
        let votes = here
            .iter()
            .filter(|at| !is_replaceable(appended[**at as usize - 1].1))
            .count() as u64;
        assert!(
            gap.irreplaceable.is_none_or(|count| count == votes),
            "{votes}, but {gap}"
        );
    }
    assert_eq!(told, missing.len(), "what is missing lies in a gap");
}

pub(super) fn recovery_samples() -> Samples {
    let groups = [4, 1, 0, 9, 5, 1, 1, 100, 20, 30, 3, 0, 2, 2, 8, 1, 1, 4, 4, 1];
    let with = |tail: &[u8]| [&groups[..], tail].concat();
    vec![
        ("sound".into(), with(&[0])),
        ("flipped".into(), with(&[1, 0, 90, 3, 0, 255])),
        ("torn".into(), with(&[1, 0, 90, 8, 3])),
        ("moved".into(), with(&[1, 0, 200, 4, 5, 0, 1])),
        (
            "two-files".into(),
            vec![
                7, 0, 3, 200, 23, 200, 23, 200, 23, 200, 23, 1, 3, 250, 23, 200, 23, 3, 0,
            ],
        ),
    ]
}
