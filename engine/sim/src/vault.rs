//! What one replica keeps of checkpoints: snapshots, which survive a crash, and what is on its way to become one.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use trireme_core::Slot;
use trireme_core::api::AppendId;
use trireme_core::message::{SignedBlock, StateCertificate};
use trireme_crypto::encode;
use trireme_state::transfer::Transfer;
use trireme_state::{Image, Manifest, Outline, Part, Restored};

use crate::disk::Needless;

/// Small parts, so that small states have several.
pub(crate) const PART_BYTES: usize = 300;
/// Snapshots that are kept for the replica itself.
const OWN: usize = 2;
/// With those that are still served to somebody.
const MOST: usize = 4;
/// Images that wait for their certificate.
const WAITING: usize = 16;
/// A snapshot that was asked for stays for this long, in simulated microseconds.
const SERVED_US: u64 = 2_000_000;

/// A stable checkpoint on a disk.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(crate) certificate: StateCertificate,
    pub(crate) anchor: SignedBlock,
    pub(crate) outline: Outline,
    pub(crate) image: Image,
    asked_at: u64,
}

impl Snapshot {
    pub(crate) fn new(certificate: StateCertificate, anchor: SignedBlock, image: Image) -> Self {
        Self {
            certificate,
            anchor,
            outline: image.outline(PART_BYTES),
            image,
            asked_at: 0,
        }
    }

    fn answer(&self, part: u64) -> Option<Bytes> {
        if part == Part::MANIFEST {
            let (anchor, outline) = (self.anchor.clone(), self.outline.clone());
            return Some(encode(&Manifest { anchor, outline }).into());
        }
        let part = Part::from_id(part)?;
        Some(self.image.part(part, PART_BYTES).into())
    }
}

/// An image that is being fetched.
pub(crate) struct Fetching {
    pub(crate) transfer: Transfer,
    pub(crate) kept: Vec<(u64, Bytes)>,
    /// A newer checkpoint, for when nobody serves this one.
    pub(crate) newer: Option<StateCertificate>,
    pub(crate) begun_at: u64,
    pub(crate) tick_at: Option<u64>,
}

/// An image that was fetched, on its way into the executor.
pub(crate) struct Fetched {
    pub(crate) restored: Restored,
    pub(crate) certificate: StateCertificate,
    pub(crate) anchor: SignedBlock,
}

/// What [`trireme_core::Effect::Release`] allows once an append is durable.
pub(crate) struct Allowed {
    pub(crate) after: AppendId,
    pub(crate) needless: Needless,
}

/// See the module's text.
#[derive(Default)]
pub(crate) struct Vault {
    snapshots: BTreeMap<Slot, Snapshot>,
    images: BTreeMap<Slot, Image>,
    /// Snapshots that are being written.
    writing: BTreeMap<Slot, Snapshot>,
    pub(crate) fetching: Option<Fetching>,
    pub(crate) releases: VecDeque<Allowed>,
    /// The slot that this life's chain begins at, at the latest: slots below were never committed here.
    pub(crate) base: Slot,
}

impl Vault {
    /// Power is lost: snapshots stay.
    pub(crate) fn go_down(&mut self) {
        let snapshots = std::mem::take(&mut self.snapshots);
        *self = Self {
            snapshots,
            ..Self::default()
        };
    }

    /// An image of a checkpoint was made.
    pub(crate) fn made(&mut self, image: Image) {
        if self.newest().is_none_or(|newest| newest < image.slot()) {
            self.images.insert(image.slot(), image);
        }
        while self.images.len() > WAITING {
            self.images.pop_first();
        }
    }

    /// The checkpoint is stable: its image, if there is one, is written from now on. Older ones are not needed.
    pub(crate) fn write(&mut self, certificate: StateCertificate, anchor: SignedBlock) -> bool {
        let slot = certificate.vote.slot;
        let image = self.images.remove(&slot);
        self.images = self.images.split_off(&slot);
        let written = image.map(|image| Snapshot::new(certificate, anchor, image));
        written.is_some_and(|snapshot| self.writing.insert(slot, snapshot).is_none())
    }

    /// It is durable.
    pub(crate) fn written(&mut self, slot: Slot, now: u64) -> bool {
        let Some(snapshot) = self.writing.remove(&slot) else {
            return false;
        };
        self.store(snapshot, now);
        true
    }

    pub(crate) fn store(&mut self, snapshot: Snapshot, now: u64) {
        self.snapshots.insert(snapshot.certificate.vote.slot, snapshot);
        while self.snapshots.len() > OWN {
            let asked_at = self.snapshots.values().next().map_or(0, |oldest| oldest.asked_at);
            if asked_at > 0 && now < asked_at + SERVED_US && self.snapshots.len() <= MOST {
                break;
            }
            self.snapshots.pop_first();
        }
    }

    pub(crate) fn newest(&self) -> Option<Slot> {
        self.snapshots.last_key_value().map(|(slot, _)| *slot)
    }

    /// The snapshot to start from.
    pub(crate) fn sound(&self) -> Option<&Snapshot> {
        self.snapshots.last_key_value().map(|(_, snapshot)| snapshot)
    }

    /// The newest snapshot turns out to be damaged.
    pub(crate) fn damage(&mut self) -> bool {
        self.snapshots.pop_last().is_some()
    }

    pub(crate) fn holds_from(&self, slot: Slot) -> bool {
        self.snapshots.range(slot..).next().is_some()
    }

    /// A part for somebody who asks; empty: not held.
    pub(crate) fn serve(&mut self, slot: Slot, part: u64, now: u64) -> Bytes {
        let Some(snapshot) = self.snapshots.get_mut(&slot) else {
            return Bytes::new();
        };
        snapshot.asked_at = now;
        snapshot.answer(part).unwrap_or_default()
    }
}
