//! The store itself.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use trireme_crypto::Digest;

use super::leaf::{self, ValueHasher};
use super::op::{Op, OpResult};
use super::scan::{Finding, FoundKey, Order};
use crate::application::{self, Application, Content, Scheme};
use crate::forest::Forest;
use crate::prefix::Prefix;
use crate::shards::Shards;
use crate::tree::Change;

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

/// A key with its value.
#[derive(Clone, Debug)]
struct Entry {
    /// Key, then value: never changed, so that images may share it.
    bytes: Arc<[u8]>,
    key_len: u16,
    version: u64,
    /// Listed among the entries that the tree does not know in their present form.
    dirty: bool,
}

impl Entry {
    fn key(&self) -> &[u8] {
        &self.bytes[..usize::from(self.key_len)]
    }

    fn value(&self) -> &[u8] {
        &self.bytes[usize::from(self.key_len)..]
    }
}

/// The key-value application.
#[derive(Clone, Debug)]
pub struct Kv {
    limits: KvLimits,
    revision: u64,
    keys: u32,
    bytes: u64,
    /// By the digest of the key, so that a part of the tree is a part of this, too.
    entries: Shards<Entry>,
    order: Order,
    /// Places that changed since the tree last saw them; a place may be listed twice.
    dirty: [Vec<Digest>; LISTS],
    tree: Forest,
    changes: Vec<Change>,
    hasher: ValueHasher,
    /// Digests of the values that go to the tree.
    digests: Vec<Digest>,
    scratch: Vec<u8>,
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
            entries: Shards::new(),
            order: Order::default(),
            dirty: std::array::from_fn(|_| Vec::new()),
            tree: Forest::new(),
            changes: Vec::new(),
            hasher: ValueHasher::new(),
            digests: Vec::new(),
            scratch: Vec::new(),
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
        let entry = self.entries.get(&leaf::place(key))?;
        Some((entry.version, entry.value()))
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
            Op::Scan { start, limit } => {
                let found = self.order.from(start).map(|key| {
                    let (version, value) = self.get(key).expect("the order has the keys that are present");
                    FoundKey { key, version, value }
                });
                done(OpResult::Found(Finding::default().collect(limit, found)))
            }
        }
    }

    fn write(&mut self, key: &[u8], expected: Option<u64>, value: &[u8]) -> OpResult<'static> {
        let place = leaf::place(key);
        let present = self.entries.get(&place);
        let (version, old_bytes) = present.map_or((0, 0), |entry| (entry.version, entry_bytes(entry.bytes.len())));
        if expected.is_some_and(|expected| expected != version) {
            return OpResult::Mismatch { version };
        }
        let keys = self.keys + u32::from(present.is_none());
        let bytes = self.bytes - old_bytes + entry_bytes(key.len() + value.len());
        // A write that does not grow the store is let through, so that a full store can still be worked with.
        if keys > self.limits.max_keys || (bytes > self.limits.max_bytes && bytes > self.bytes) {
            return OpResult::Full;
        }
        (self.keys, self.bytes) = (keys, bytes);
        self.revision += 1;
        self.put(place, key, value, self.revision);
        OpResult::Written { version: self.revision }
    }

    fn put(&mut self, place: Digest, key: &[u8], value: &[u8], version: u64) {
        self.scratch.clear();
        self.scratch.extend_from_slice(key);
        self.scratch.extend_from_slice(value);
        let entry = Entry {
            bytes: self.scratch.as_slice().into(),
            key_len: u16::try_from(key.len()).expect("keys are short"),
            version,
            dirty: true,
        };
        let listed = match self.entries.get_mut(&place) {
            Some(old) => std::mem::replace(old, entry).dirty,
            None => {
                self.entries.insert(place, entry);
                self.order.insert(key);
                false
            }
        };
        if !listed {
            self.list(place);
        }
    }

    fn delete(&mut self, key: &[u8]) -> OpResult<'static> {
        let place = leaf::place(key);
        let Some(entry) = self.entries.remove(&place) else {
            return OpResult::Absent;
        };
        self.order.remove(key);
        self.revision += 1;
        self.keys -= 1;
        self.bytes -= entry_bytes(entry.bytes.len());
        if !entry.dirty {
            self.list(place);
        }
        OpResult::Deleted { version: entry.version }
    }

    fn list(&mut self, place: Digest) {
        let list = usize::from(place.0[0] >> 2);
        self.dirty[list].push(place);
        if self.dirty[list].len() >= LIST_ENTRIES {
            self.settle(list..list + 1);
        }
    }

    /// Brings the tree up to date with the entries of these lists.
    fn settle(&mut self, lists: Range<usize>) {
        self.changes.clear();
        for list in &mut self.dirty[lists] {
            list.sort_unstable();
            // A key that was deleted and put again is listed for both.
            list.dedup();
            for place in list.drain(..) {
                let value = self.entries.get_mut(&place).map(|entry| {
                    entry.dirty = false;
                    self.hasher.push(entry.version, entry.value(), &mut self.digests);
                    Digest::ZERO
                });
                self.changes.push(Change { place, value });
            }
        }
        self.hasher.finish(&mut self.digests);
        let present = self.changes.iter_mut().filter_map(|change| change.value.as_mut());
        for (value, digest) in present.zip(self.digests.drain(..)) {
            *value = digest;
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
        leaf::root(self.revision, &self.tree.root())
    }

    fn name(&self) -> &'static str {
        "kv"
    }

    fn scheme(&self) -> Scheme {
        Scheme {
            leaf: |bytes| {
                leaf::decode(bytes).map(|leaf| (leaf::place(leaf.key), leaf::value(leaf.version, leaf.value)))
            },
            root: |head, map| Some(leaf::root(leaf::read_head(head)?, map)),
        }
    }

    fn image(&mut self) -> Box<dyn Content> {
        self.settle(0..LISTS);
        Box::new(KvImage {
            revision: self.revision,
            entries: self.entries.clone(),
            tree: self.tree.clone(),
        })
    }

    fn fresh(&self) -> Box<dyn Application> {
        Box::new(Self::with_limits(self.limits))
    }

    fn restore_head(&mut self, head: &[u8]) -> bool {
        leaf::read_head(head).map(|revision| self.revision = revision).is_some()
    }

    fn restore_leaf(&mut self, bytes: &[u8]) -> bool {
        let Some(leaf) = leaf::decode(bytes) else { return false };
        let place = leaf::place(leaf.key);
        if self.entries.get(&place).is_some() || self.keys == u32::MAX {
            return false;
        }
        self.keys += 1;
        self.bytes += entry_bytes(leaf.key.len() + leaf.value.len());
        self.put(place, leaf.key, leaf.value, leaf.version);
        true
    }
}

/// The store at one moment.
struct KvImage {
    revision: u64,
    entries: Shards<Entry>,
    tree: Forest,
}

impl Content for KvImage {
    fn head(&self) -> Vec<u8> {
        self.revision.to_le_bytes().to_vec()
    }

    fn digests(&self) -> &Forest {
        &self.tree
    }

    fn leaves(&self, prefix: Prefix, each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) {
        let mut bytes = Vec::new();
        let _ = self.entries.each(prefix, |_, entry| {
            leaf::encode(entry.version, entry.key(), entry.value(), &mut bytes);
            each(&bytes)
        });
    }
}

fn entry_bytes(len: usize) -> u64 {
    u64::try_from(len).expect("a length fits") + KEY_OVERHEAD_BYTES
}
