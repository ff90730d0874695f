//! A map by place in shards, which copies share until one of them changes.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use trireme_crypto::Digest;

use crate::prefix::Prefix;

/// Bits of a place that choose a group, and as many a shard in it. With a million places a shard has about 60: the
/// first write into it after a copy was taken copies those, which costs about as much as a few writes.
pub(crate) const LEVEL_BITS: usize = 7;
/// Places of one shard share this many bits.
pub(crate) const SHARD_BITS: usize = 2 * LEVEL_BITS;
/// Groups, and shards of a group.
pub(crate) const FAN: usize = 1 << LEVEL_BITS;

/// Group and shard of a place.
pub(crate) fn shard_of(place: &Digest) -> (usize, usize) {
    let first = usize::from(u16::from_be_bytes([place.0[0], place.0[1]]));
    let shard = first >> (16 - SHARD_BITS);
    (shard >> LEVEL_BITS, shard & (FAN - 1))
}

type Shard<V> = Option<Arc<BTreeMap<Digest, V>>>;
type Group<V> = Option<Arc<[Shard<V>]>>;

/// The map. A clone costs a counter for each group; a write into a shared group copies its counters, one into a shared
/// shard copies that shard.
#[derive(Clone, Debug)]
pub(crate) struct Shards<V> {
    groups: Box<[Group<V>]>,
}

impl<V: Clone> Shards<V> {
    pub(crate) fn new() -> Self {
        Self {
            groups: vec![None; FAN].into(),
        }
    }

    pub(crate) fn get(&self, place: &Digest) -> Option<&V> {
        let (group, shard) = shard_of(place);
        self.groups[group].as_ref()?[shard].as_ref()?.get(place)
    }

    /// The entry to change in place. Nothing is copied for a place without one.
    pub(crate) fn get_mut(&mut self, place: &Digest) -> Option<&mut V> {
        self.get(place)?;
        self.shard(place).get_mut(place)
    }

    pub(crate) fn insert(&mut self, place: Digest, value: V) {
        self.shard(&place).insert(place, value);
    }

    pub(crate) fn remove(&mut self, place: &Digest) -> Option<V> {
        self.get(place)?;
        self.shard(place).remove(place)
    }

    fn shard(&mut self, place: &Digest) -> &mut BTreeMap<Digest, V> {
        let (group, shard) = shard_of(place);
        let group = self.groups[group].get_or_insert_with(|| vec![None; FAN].into());
        Arc::make_mut(Arc::make_mut(group)[shard].get_or_insert_default())
    }

    /// Gives what lies in a part, in the order of the places.
    pub(crate) fn each(&self, prefix: Prefix, mut each: impl FnMut(&Digest, &V) -> ControlFlow<()>) -> ControlFlow<()> {
        let (first, last) = (prefix.first(), prefix.last());
        let ((first_group, first_shard), (last_group, last_shard)) = (shard_of(&first), shard_of(&last));
        for at in first_group..=last_group {
            let Some(group) = &self.groups[at] else { continue };
            let from = if at == first_group { first_shard } else { 0 };
            let to = if at == last_group { last_shard } else { FAN - 1 };
            for (place, value) in group[from..=to]
                .iter()
                .flatten()
                .flat_map(|shard| shard.range(first..=last))
            {
                each(place, value)?;
            }
        }
        ControlFlow::Continue(())
    }
}
