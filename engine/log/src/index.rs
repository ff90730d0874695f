//! Where keyed records stand. In memory only; recovery fills it again.

use std::collections::HashMap;

use crate::RecordKey;
use crate::format::Address;

/// Place and length (header included) of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) address: Address,
    pub(crate) bytes: u32,
}

/// A bounded map from key to the latest record with that key.
pub(crate) struct Index {
    map: HashMap<RecordKey, Location>,
    limit: usize,
}

impl Index {
    pub(crate) fn new(limit: usize) -> Index {
        Index {
            map: HashMap::new(),
            limit,
        }
    }

    /// Whether a record with this key may be added.
    pub(crate) fn has_room(&self, key: &RecordKey) -> bool {
        self.map.len() < self.limit || self.map.contains_key(key)
    }

    pub(crate) fn insert(&mut self, key: RecordKey, location: Location) {
        self.map.insert(key, location);
    }

    pub(crate) fn get(&self, key: &RecordKey) -> Option<Location> {
        self.map.get(key).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }
}
