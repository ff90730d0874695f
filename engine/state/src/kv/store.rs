//! The store itself.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use trireme_crypto::{Digest, context, hash_parts};

use super::op::{Op, OpResult};
use crate::application::{self, Application};
use crate::tree::{Change, Tree};

/// Bytes that a key counts beside its own and its value's: about what index, entry and tree take.
const KEY_OVERHEAD_BYTES: u64 = 256;

/// Entries that the tree does not know yet wait in this many lists, by the first bits of their places.
const LISTS: usize = 64;
/// A list of this length goes to the tree without being asked for: the root is the same either way, and neither a root
/// nor deleted entries pile up work for long. Entries of one list are neighbours in the tree, so a short list shares as
/// many hashes as a long batch of all places, at a fraction of the pause. A write into 100,000 keys, without its value's
/// copy and hash, cost 1.7 us with lists of 256, 2.0 with 128, 2.5 with 64, and 3.6 with one list of 1,024 (on busy
/// cores).
const LIST_ENTRIES: usize = 256;

const _: () = assert!(LISTS == 1 << 6, "a list is chosen by 6 bits");

/// Bounds of the store. They decide about results, so all members have equal ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvLimits {
    /// Keys present.
    pub max_keys: u32,
    /// Bytes of keys and values present, with 256 more for each key.
    pub max_bytes: u64,
}

impl Default for KvLimits {
    fn default() -> Self {
        Self {
            max_keys: 64 << 20,
            max_bytes: 32 << 30,
        }
    }
}

/// A key's entry. Without a value it is on its way out: the tree forgets it at the next root.
#[derive(Clone, Debug)]
struct Entry {
    key: Arc<[u8]>,
    place: Digest,
    version: u64,
    value: Option<Vec<u8>>,
    /// Listed among the entries that the tree does not know in their present form.
    dirty: bool,
}

impl Entry {
    fn bytes(&self) -> u64 {
        self.value.as_ref().map_or(0, |value| entry_bytes(&self.key, value))
    }
}

/// The key-value application.
#[derive(Clone, Debug)]
pub struct Kv {
    limits: KvLimits,
    revision: u64,
    keys: u32,
    bytes: u64,
    /// Where a key's entry is. Never iterated: the order of a hash map is nobody's business.
    index: HashMap<Arc<[u8]>, u32>,
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// Entries that changed since the tree last saw them.
    dirty: [Vec<u32>; LISTS],
    tree: Tree,
    changes: Vec<Change>,
}

impl Default for Kv {
    fn default() -> Self {
        Self::new()
    }
}

impl Kv {
    /// An empty store with the default limits.
    pub fn new() -> Self {
        Self::with_limits(KvLimits::default())
    }

    /// An empty store.
    pub fn with_limits(limits: KvLimits) -> Self {
        Self {
            limits,
            revision: 0,
            keys: 0,
            bytes: 0,
            index: HashMap::new(),
            entries: Vec::new(),
            free: Vec::new(),
            dirty: std::array::from_fn(|_| Vec::new()),
            tree: Tree::new(),
            changes: Vec::new(),
        }
    }

    /// Keys present.
    pub fn len(&self) -> usize {
        self.keys as usize
    }

    /// Whether no key is.
    pub fn is_empty(&self) -> bool {
        self.keys == 0
    }

    /// Successful writes so far.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Version and value of a key.
    pub fn get(&self, key: &[u8]) -> Option<(u64, &[u8])> {
        let entry = &self.entries[*self.index.get(key)? as usize];
        entry.value.as_ref().map(|value| (entry.version, value.as_slice()))
    }

    /// Executes a decoded operation and gives its result to `done`.
    pub fn run<T>(&mut self, op: &Op<'_>, done: impl FnOnce(OpResult<'_>) -> T) -> T {
        match *op {
            Op::Get { key } => done(match self.get(key) {
                Some((version, value)) => OpResult::Value { version, value },
                None => OpResult::Absent,
            }),
            Op::Put { key, value } => done(self.write(key, None, value)),
            Op::CompareAndSet { key, expected, value } => done(self.write(key, Some(expected), value)),
            Op::Delete { key } => done(self.delete(key)),
        }
    }

    fn write(&mut self, key: &[u8], expected: Option<u64>, value: &[u8]) -> OpResult<'static> {
        let found = self.index.get(key).copied();
        let entry = found.map(|index| &self.entries[index as usize]);
        let present = entry.filter(|entry| entry.value.is_some());
        let (version, old_bytes) = present.map_or((0, 0), |entry| (entry.version, entry.bytes()));
        if expected.is_some_and(|expected| expected != version) {
            return OpResult::Mismatch { version };
        }
        let keys = self.keys + u32::from(present.is_none());
        let bytes = self.bytes - old_bytes + entry_bytes(key, value);
        // A write that does not grow the store is let through, so that a full store can still be worked with.
        if keys > self.limits.max_keys || (bytes > self.limits.max_bytes && bytes > self.bytes) {
            return OpResult::Full;
        }
        (self.keys, self.bytes) = (keys, bytes);
        let index = found.unwrap_or_else(|| self.new_entry(key));
        self.revision += 1;
        let entry = &mut self.entries[index as usize];
        entry.version = self.revision;
        let room = entry.value.get_or_insert_default();
        room.clear();
        room.extend_from_slice(value);
        self.mark(index);
        OpResult::Written { version: self.revision }
    }

    fn delete(&mut self, key: &[u8]) -> OpResult<'static> {
        let Some(index) = self.index.get(key).copied() else {
            return OpResult::Absent;
        };
        let entry = &mut self.entries[index as usize];
        let bytes = entry.bytes();
        if entry.value.take().is_none() {
            return OpResult::Absent;
        }
        let version = entry.version;
        self.revision += 1;
        self.keys -= 1;
        self.bytes -= bytes;
        self.mark(index);
        OpResult::Deleted { version }
    }

    /// An entry, still without a value, for a key that has none.
    fn new_entry(&mut self, key: &[u8]) -> u32 {
        let place = hash_parts(context::STATE, &[b"kv key  ", key]);
        let key: Arc<[u8]> = key.into();
        let entry = Entry {
            key: key.clone(),
            place,
            version: 0,
            value: None,
            dirty: false,
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.entries[index as usize] = entry;
                index
            }
            None => {
                self.entries.push(entry);
                u32::try_from(self.entries.len() - 1).expect("the limits keep keys below 2^32")
            }
        };
        self.index.insert(key, index);
        index
    }

    fn mark(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        if entry.dirty {
            return;
        }
        entry.dirty = true;
        let list = usize::from(entry.place.0[0] >> 2);
        self.dirty[list].push(index);
        if self.dirty[list].len() >= LIST_ENTRIES {
            self.settle(list..list + 1);
        }
    }

    /// Brings the tree up to date with the entries of these lists.
    fn settle(&mut self, lists: Range<usize>) {
        self.changes.clear();
        for index in self.dirty[lists].iter_mut().flat_map(|list| list.drain(..)) {
            let entry = &mut self.entries[index as usize];
            entry.dirty = false;
            let version = entry.version.to_le_bytes();
            let value = entry.value.as_ref();
            let value = value.map(|value| hash_parts(context::STATE, &[b"kv value", &version, value]));
            self.changes.push(Change {
                place: entry.place,
                value,
            });
            if value.is_none() {
                self.index.remove(&entry.key);
                self.free.push(index);
            }
        }
        self.tree.apply(&mut self.changes);
    }
}

impl Application for Kv {
    fn execute(&mut self, op: &application::Op<'_>, result: &mut Vec<u8>) {
        match Op::decode(op.payload) {
            Ok(op) => self.run(&op, |done| done.encode_into(result)),
            Err(reason) => OpResult::Malformed(reason).encode_into(result),
        }
    }

    fn root(&mut self) -> Digest {
        self.settle(0..LISTS);
        assert_eq!(self.tree.len(), self.len(), "the tree holds the keys that are present");
        hash_parts(
            context::STATE,
            &[b"kv root ", &self.revision.to_le_bytes(), &self.tree.root().0],
        )
    }

    fn name(&self) -> &'static str {
        "kv"
    }
}

fn entry_bytes(key: &[u8], value: &[u8]) -> u64 {
    u64::try_from(key.len() + value.len()).expect("a length fits") + KEY_OVERHEAD_BYTES
}
