//! Snapshot files: an image with its anchor and certificate, in parts with checksums.
//!
//! ```text
//! magic | record* | trailer
//! record:  tag: u8 | id: u64 | length: u32 | checksum: 32 bytes over tag, id and bytes | bytes
//! trailer: offset of the END record: u64 | magic
//! ```
//!
//! Numbers are little-endian. The first record is HEAD (which cluster, which slot), then come PARTs by their numbers
//! (the manifest is part 0), then CERTIFICATE and END, the index. A file without trailer is unfinished: of a transfer
//! what is sound of it is used again.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use borsh::{BorshDeserialize, BorshSerialize};
use trireme_core::Slot;
use trireme_core::message::StateCertificate;
use trireme_crypto::{Digest, context, decode, encode, hash_parts};
use trireme_state::{MAX_PART_BYTES, Manifest, Part};

use super::SnapshotError;

const MAGIC: [u8; 8] = *b"TRSNAP1\n";
const RECORD_HEAD_BYTES: usize = 1 + 8 + 4 + 32;
const HEAD: u8 = 1;
const PART: u8 = 2;
const CERTIFICATE: u8 = 3;
const END: u8 = 4;
/// An index of as many parts as a manifest can name stays below this.
const MAX_RECORD_BYTES: usize = 64 << 20;

#[derive(BorshSerialize, BorshDeserialize)]
struct Head {
    cluster: Digest,
    slot: Slot,
}

/// Where a part stands, from its record's first byte.
#[derive(Clone, Copy, Debug, BorshSerialize, BorshDeserialize)]
struct Entry {
    id: u64,
    offset: u64,
}

/// Writes a snapshot.
pub(crate) struct Writer {
    path: PathBuf,
    file: File,
    at: u64,
    index: Vec<Entry>,
}

impl Writer {
    /// A new file in place of what may be there.
    pub(crate) fn create(path: &Path, cluster: Digest, slot: Slot) -> Result<Self, SnapshotError> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path);
        let mut writer = Self {
            path: path.to_path_buf(),
            file: file.map_err(SnapshotError::io(path))?,
            at: 0,
            index: Vec::new(),
        };
        writer.write(&MAGIC)?;
        writer.record(HEAD, 0, &encode(&Head { cluster, slot }))?;
        Ok(writer)
    }

    /// Goes on with an unfinished file of this cluster and slot, behind its last part that `take` accepts. `None`:
    /// there is no such file.
    pub(crate) fn resume(
        path: &Path,
        cluster: Digest,
        slot: Slot,
        mut take: impl FnMut(u64, &[u8]) -> bool,
    ) -> Result<Option<Self>, SnapshotError> {
        let Ok(file) = OpenOptions::new().read(true).write(true).open(path) else {
            return Ok(None);
        };
        let mut reader = BufReader::with_capacity(1 << 20, &file);
        let mut magic = [0; 8];
        if reader.read_exact(&mut magic).is_err() || magic != MAGIC {
            return Ok(None);
        }
        let head = read_record(&mut reader).filter(|record| record.tag == HEAD);
        let head = head.and_then(|record| {
            decode::<Head>(&record.bytes)
                .ok()
                .map(|head| (head, record.bytes.len()))
        });
        let Some((_, len)) = head.filter(|(head, _)| head.cluster == cluster && head.slot == slot) else {
            return Ok(None);
        };
        let (mut at, mut index) = ((MAGIC.len() + RECORD_HEAD_BYTES + len) as u64, Vec::new());
        while let Some(record) = read_record(&mut reader) {
            if record.tag != PART || !take(record.id, &record.bytes) {
                break;
            }
            index.push(Entry {
                id: record.id,
                offset: at,
            });
            at += (RECORD_HEAD_BYTES + record.bytes.len()) as u64;
        }
        drop(reader);
        file.set_len(at).map_err(SnapshotError::io(path))?;
        let path = path.to_path_buf();
        Ok(Some(Self { path, file, at, index }))
    }

    /// Adds a part.
    pub(crate) fn part(&mut self, id: u64, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.index.push(Entry { id, offset: self.at });
        self.record(PART, id, bytes)
    }

    /// Waits until what was written is on stable storage, so that little is left for later.
    pub(crate) fn flush(&mut self) -> Result<(), SnapshotError> {
        self.file.sync_data().map_err(SnapshotError::io(&self.path))
    }

    /// Bytes written.
    pub(crate) fn bytes(&self) -> u64 {
        self.at
    }

    /// Finishes the file, makes it durable, and gives it its name.
    pub(crate) fn seal(mut self, certificate: &StateCertificate, name: &Path) -> Result<(), SnapshotError> {
        self.record(CERTIFICATE, 0, &encode(certificate))?;
        let (end, index) = (self.at, encode(&self.index));
        self.record(END, 0, &index)?;
        self.write(&end.to_le_bytes())?;
        self.write(&MAGIC)?;
        self.file.sync_all().map_err(SnapshotError::io(&self.path))?;
        std::fs::rename(&self.path, name).map_err(SnapshotError::io(name))?;
        sync_dir(name)
    }

    fn record(&mut self, tag: u8, id: u64, bytes: &[u8]) -> Result<(), SnapshotError> {
        let len = u32::try_from(bytes.len()).expect("records are bounded");
        let mut head = [0; RECORD_HEAD_BYTES];
        head[0] = tag;
        head[1..9].copy_from_slice(&id.to_le_bytes());
        head[9..13].copy_from_slice(&len.to_le_bytes());
        head[13..].copy_from_slice(&checksum(tag, id, bytes).0);
        self.write(&head)?;
        self.write(bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let at = self.at;
        self.file
            .write_all_at(bytes, at)
            .map_err(SnapshotError::io(&self.path))?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}

/// Makes the names in a file's directory durable.
pub(crate) fn sync_dir(file: &Path) -> Result<(), SnapshotError> {
    let dir = file.parent().unwrap_or(Path::new("."));
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(SnapshotError::io(dir))
}

fn checksum(tag: u8, id: u64, bytes: &[u8]) -> Digest {
    hash_parts(context::STATE, &[b"snapshot", &[tag], &id.to_le_bytes(), bytes])
}

struct Record {
    tag: u8,
    id: u64,
    bytes: Vec<u8>,
}

/// The next record; `None` at the end, and where the file is damaged.
fn read_record(file: &mut impl Read) -> Option<Record> {
    let mut head = [0; RECORD_HEAD_BYTES];
    file.read_exact(&mut head).ok()?;
    let (tag, id, len, sum) = split_head(&head);
    let mut bytes = vec![0; Some(len).filter(|len| *len <= MAX_RECORD_BYTES)?];
    file.read_exact(&mut bytes).ok()?;
    (checksum(tag, id, &bytes) == sum).then_some(Record { tag, id, bytes })
}

fn split_head(head: &[u8; RECORD_HEAD_BYTES]) -> (u8, u64, usize, Digest) {
    let id = u64::from_le_bytes(head[1..9].try_into().expect("8 bytes"));
    let len = u32::from_le_bytes(head[9..13].try_into().expect("4 bytes"));
    let sum = Digest(head[13..].try_into().expect("32 bytes"));
    (head[0], id, len as usize, sum)
}

/// A finished snapshot, open to be read.
pub(crate) struct Snapshot {
    path: PathBuf,
    file: File,
    parts: BTreeMap<u64, u64>,
    pub(crate) slot: Slot,
    pub(crate) certificate: StateCertificate,
    pub(crate) manifest: Manifest,
    pub(crate) bytes: u64,
}

impl Snapshot {
    /// Opens a snapshot of a cluster and reads what stands around its parts.
    pub(crate) fn open(path: &Path, cluster: Digest) -> Result<Self, SnapshotError> {
        let io = SnapshotError::io(path);
        let damaged = |what| SnapshotError::Damaged {
            path: path.to_path_buf(),
            what,
        };
        let file = File::open(path).map_err(&io)?;
        let bytes = file.metadata().map_err(&io)?.len();
        let mut magic = [0; 8];
        file.read_exact_at(&mut magic, 0).map_err(&io)?;
        if magic != MAGIC {
            return Err(damaged("it is no snapshot of this version"));
        }
        let mut trailer = [0; 16];
        let trailer_at = bytes.checked_sub(16).ok_or(damaged("it is too short"))?;
        file.read_exact_at(&mut trailer, trailer_at).map_err(&io)?;
        if trailer[8..] != MAGIC {
            return Err(damaged("it has no end"));
        }
        let end = u64::from_le_bytes(trailer[..8].try_into().expect("8 bytes"));
        let read = |offset, tag| read_at(&file, offset).filter(|record| record.tag == tag);
        let head = read(MAGIC.len() as u64, HEAD).and_then(|record| decode::<Head>(&record.bytes).ok());
        let head = head.ok_or(damaged("its head is damaged"))?;
        if head.cluster != cluster {
            return Err(SnapshotError::Foreign {
                path: path.to_path_buf(),
            });
        }
        let index = read(end, END).and_then(|record| decode::<Vec<Entry>>(&record.bytes).ok());
        let index = index.ok_or(damaged("its index is damaged"))?;
        let last = index.last().ok_or(damaged("it has no parts"))?;
        let last_len = read_at(&file, last.offset).map(|record| record.bytes.len());
        let behind = last_len.map(|len| last.offset + (RECORD_HEAD_BYTES + len) as u64);
        let certificate = behind.and_then(|at| read(at, CERTIFICATE));
        let certificate = certificate.and_then(|record| decode::<StateCertificate>(&record.bytes).ok());
        let certificate = certificate.ok_or(damaged("its certificate is damaged"))?;
        let parts: BTreeMap<u64, u64> = index.into_iter().map(|entry| (entry.id, entry.offset)).collect();
        let manifest = parts.get(&Part::MANIFEST).and_then(|at| read(*at, PART));
        let manifest = manifest.and_then(|record| decode::<Manifest>(&record.bytes).ok());
        let manifest = manifest.ok_or(damaged("its manifest is damaged"))?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            parts,
            slot: head.slot,
            certificate,
            manifest,
            bytes,
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Numbers of its parts.
    pub(crate) fn parts(&self) -> impl Iterator<Item = u64> {
        self.parts.keys().copied()
    }

    /// Whether it has this very part.
    pub(crate) fn has(&self, id: u64) -> bool {
        self.parts.contains_key(&id)
    }

    /// A part as it was written.
    pub(crate) fn part(&self, id: u64) -> Result<Vec<u8>, SnapshotError> {
        let record = self.parts.get(&id).and_then(|at| read_at(&self.file, *at));
        let sound =
            record.filter(|record| record.tag == PART && record.id == id && record.bytes.len() <= MAX_PART_BYTES);
        sound.map(|record| record.bytes).ok_or(SnapshotError::Damaged {
            path: self.path.clone(),
            what: "a part is damaged",
        })
    }
}

fn read_at(file: &File, offset: u64) -> Option<Record> {
    let mut head = [0; RECORD_HEAD_BYTES];
    file.read_exact_at(&mut head, offset).ok()?;
    let (tag, id, len, sum) = split_head(&head);
    let mut bytes = vec![0; Some(len).filter(|len| *len <= MAX_RECORD_BYTES)?];
    file.read_exact_at(&mut bytes, offset + RECORD_HEAD_BYTES as u64).ok()?;
    (checksum(tag, id, &bytes) == sum).then_some(Record { tag, id, bytes })
}
