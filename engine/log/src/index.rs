//! Where keyed records stand. In memory only; recovery fills it again.

use std::collections::{BTreeMap, HashMap};

use crate::RecordKey;
use crate::format::{Address, RecordHeader};

/// Place and length (header included) of a record, and what its owner said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) address: Address,
    pub(crate) bytes: u32,
    pub(crate) kind: u8,
    pub(crate) mark: u64,
}

impl Location {
    /// Of a record that was read.
    pub(crate) fn of(header: &RecordHeader) -> Location {
        Location {
            address: header.address,
            bytes: u32::try_from(header.total_bytes()).expect("a record is shorter than a segment"),
            kind: header.kind,
            mark: header.mark,
        }
    }
}

/// A bounded map from key to the latest record with that key.
pub(crate) struct Index {
    map: HashMap<RecordKey, Location>,
    /// The keys of each segment's records. A key is listed where it stood before, too, until that segment goes.
    segments: BTreeMap<u64, Vec<RecordKey>>,
    limit: usize,
}

impl Index {
    pub(crate) fn new(limit: usize) -> Index {
        Index {
            map: HashMap::new(),
            segments: BTreeMap::new(),
            limit,
        }
    }

    /// Whether a record with this key may be added.
    pub(crate) fn has_room(&self, key: &RecordKey) -> bool {
        self.map.len() < self.limit || self.map.contains_key(key)
    }

    pub(crate) fn insert(&mut self, key: RecordKey, location: Location) {
        let segment = location.address.segment;
        let before = self.map.insert(key, location);
        if before.is_none_or(|before| before.address.segment != segment) {
            self.segments.entry(segment).or_default().push(key);
        }
    }

    pub(crate) fn get(&self, key: &RecordKey) -> Option<Location> {
        self.map.get(key).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// The keys whose latest record stands in a segment.
    pub(crate) fn in_segment(&self, segment: u64) -> impl Iterator<Item = (RecordKey, Location)> + '_ {
        let keys = self.segments.get(&segment).into_iter().flatten();
        let located = keys.filter_map(|key| self.map.get(key).map(|location| (*key, *location)));
        located.filter(move |(_, location)| location.address.segment == segment)
    }

    /// Segments below this one have been released, and the records in them with them.
    pub(crate) fn forget_below(&mut self, segment: u64) {
        let kept = self.segments.split_off(&segment);
        for key in std::mem::replace(&mut self.segments, kept).into_values().flatten() {
            if self.map.get(&key).is_some_and(|at| at.address.segment < segment) {
                self.map.remove(&key);
            }
        }
        // A map does not shrink by itself.
        if self.map.capacity() > 4 * self.map.len() + 1024 {
            self.map.shrink_to(2 * self.map.len());
        }
    }

    /// In the oldest segment that holds any record of which `of` makes a number: the least of them.
    pub(crate) fn oldest(&self, of: impl Fn(u8, u64) -> Option<u64>) -> Option<u64> {
        self.segments.keys().find_map(|segment| {
            let numbers = self.in_segment(*segment);
            numbers
                .filter_map(|(_, location)| of(location.kind, location.mark))
                .min()
        })
    }
}
