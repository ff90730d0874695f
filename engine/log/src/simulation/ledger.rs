//! What the disk itself knows of the groups that passed through it, to judge the log by (LOG_FORMAT.md, Reading). It
//! decodes nothing with the log's code: a check that is wrong must not vouch for itself.

use std::collections::BTreeMap;

use crate::medium::Source;

/// Bytes of a group's header.
pub(crate) const HEADER_BYTES: usize = 112;

/// A group as it was written.
pub(crate) struct Written {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) header: [u8; HEADER_BYTES],
    first_sequence: u64,
    records: u64,
    /// All groups up to this number had been reported durable when it was written.
    claim: u64,
    /// The log was told that it is durable.
    landed: bool,
    /// Its end is told by its flush.
    synced: bool,
}

impl Written {
    /// Its last record; the one before it if it has none.
    fn last_sequence(&self) -> u64 {
        self.first_sequence + self.records - 1
    }
}

/// Groups by their number.
#[derive(Default)]
pub(crate) struct Ledger {
    groups: BTreeMap<u64, Written>,
    /// Every group up to here has landed.
    prefix: u64,
}

impl Ledger {
    /// A group is being written.
    pub(crate) fn written(&mut self, number: u64, segment: u64, source: &Source, synced: bool) {
        let bytes = &source.buffer[..source.bytes];
        let field = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let records = u32::from_le_bytes(bytes[20..24].try_into().expect("four bytes"));
        let written = Written {
            segment,
            offset: source.offset,
            bytes: source.bytes as u64,
            header: bytes[..HEADER_BYTES].try_into().expect("a group has a header"),
            first_sequence: field(48),
            records: u64::from(records),
            claim: self.prefix,
            landed: false,
            synced,
        };
        self.groups.insert(number, written);
    }

    /// The log hears that a group is durable.
    pub(crate) fn told(&mut self, number: u64) {
        if let Some(group) = self.groups.get_mut(&number).filter(|group| group.synced) {
            group.landed = true;
        }
        while self.groups.get(&(self.prefix + 1)).is_some_and(|group| group.landed) {
            self.prefix += 1;
        }
    }

    /// The first group that had been reported durable and that recovery, which ended after `recovered` records, left
    /// out. (A group that landed before one with a lower number was never reported.)
    pub(crate) fn lost(&self, recovered: u64) -> Option<u64> {
        let gone = |group: &Written| group.records > 0 && group.last_sequence() > recovered;
        let mut acknowledged = self.groups.range(..=self.prefix);
        acknowledged.find(|(_, group)| gone(group)).map(|(number, _)| *number)
    }

    /// Groups other than `lost` that claim it.
    pub(crate) fn witnesses(&self, lost: u64) -> impl Iterator<Item = &Written> {
        let claims = move |(number, group): &(&u64, &Written)| **number != lost && group.claim >= lost;
        self.groups.iter().filter(claims).map(|(_, group)| group)
    }

    /// A log was opened whose records end with `recovered`, and all of them are durable. It begins behind group `before`.
    pub(crate) fn opened(&mut self, recovered: u64, before: u64) {
        self.groups.retain(|_, group| group.last_sequence() <= recovered);
        self.prefix = before;
        for (number, group) in &mut self.groups {
            group.landed = true;
            self.prefix = *number;
        }
    }

    /// Groups below this number have been released.
    pub(crate) fn forget_before(&mut self, number: u64) {
        self.groups = self.groups.split_off(&number);
    }

    /// Whether what stands there was acknowledged, and a later acknowledged group says so: its damage can be told from a
    /// torn tail.
    pub(crate) fn proven(&self, segment: u64, offset: u64) -> bool {
        let holds =
            |group: &Written| group.segment == segment && (group.offset..group.offset + group.bytes).contains(&offset);
        let found = self.groups.iter().find(|(_, group)| holds(group));
        found.is_some_and(|(number, _)| {
            let later = self
                .groups
                .iter()
                .filter(|(later, _)| (number + 1..=self.prefix).contains(*later));
            later.into_iter().any(|(_, group)| group.claim >= *number)
        })
    }

    /// Groups that have been reported durable, in order.
    pub(crate) fn acknowledged(&self) -> Vec<u64> {
        self.groups.range(..=self.prefix).map(|(number, _)| *number).collect()
    }

    /// The group that holds a record.
    #[cfg(test)]
    pub(crate) fn holding(&self, sequence: u64) -> Option<&Written> {
        let holds = |group: &&Written| (group.first_sequence..=group.last_sequence()).contains(&sequence);
        self.groups.values().find(holds)
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Written> {
        self.groups.get(&number)
    }

    /// Forgets the groups behind `number` and returns them.
    pub(crate) fn forget_after(&mut self, number: u64) -> Vec<Written> {
        self.prefix = self.prefix.min(number);
        self.groups.split_off(&(number + 1)).into_values().collect()
    }
}
