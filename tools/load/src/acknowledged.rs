//! The record of acknowledged requests: what clients saw, to be compared with what replicas executed.
//!
//! A row has 52 bytes, little-endian, in memory as in a file:
//!
//! ```text
//! [client u32][number u64][slot u64][digest of the result 32]
//! ```

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use trireme_crypto::{Digest, context, hash};

use crate::options::{LoadError, Recording};

/// Bytes of a row.
pub const ROW_BYTES: usize = 4 + 8 + 8 + 32;

/// One acknowledged request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AcknowledgedRow {
    /// Index of the client in the keys.
    pub client: u32,
    /// Number of the request.
    pub number: u64,
    /// Slot of the accepted reply. For a request that was sent more than once it may be a copy's slot, above the one
    /// that executed it.
    pub slot: u64,
    /// Digest of the result, as in the executed streams of the replicas (context `RESULT`).
    pub result: Digest,
}

impl AcknowledgedRow {
    /// The row's bytes.
    pub fn to_bytes(&self) -> [u8; ROW_BYTES] {
        let mut bytes = [0; ROW_BYTES];
        bytes[..4].copy_from_slice(&self.client.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.number.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.slot.to_le_bytes());
        bytes[20..].copy_from_slice(&self.result.0);
        bytes
    }

    /// Reads a row.
    pub fn from_bytes(bytes: &[u8; ROW_BYTES]) -> Self {
        let (client, rest) = bytes.split_at(4);
        let word = |place: usize| u64::from_le_bytes(rest[place..place + 8].try_into().expect("8 bytes"));
        Self {
            client: u32::from_le_bytes(client.try_into().expect("4 bytes")),
            number: word(0),
            slot: word(8),
            result: Digest(rest[16..].try_into().expect("32 bytes")),
        }
    }
}

/// The finished record.
#[derive(Debug)]
pub enum Acknowledged {
    /// Nothing was recorded.
    None,
    /// Rows one after the other.
    Memory(Vec<u8>),
    /// Rows one after the other.
    File(PathBuf),
}

impl Acknowledged {
    /// The rows in the order of their acceptance. A file is read whole.
    ///
    /// # Errors
    ///
    /// [`LoadError::Record`].
    pub fn rows(&self) -> Result<Vec<AcknowledgedRow>, LoadError> {
        let read = |bytes: &[u8]| bytes.as_chunks().0.iter().map(AcknowledgedRow::from_bytes).collect();
        match self {
            Self::None => Ok(Vec::new()),
            Self::Memory(bytes) => Ok(read(bytes)),
            Self::File(path) => match std::fs::read(path) {
                Ok(bytes) => Ok(read(&bytes)),
                Err(source) => Err(LoadError::Record {
                    operation: "read",
                    path: path.clone(),
                    source,
                }),
            },
        }
    }
}

/// Writes the record.
pub(crate) enum Recorder {
    None,
    Memory(Vec<u8>),
    File(PathBuf, BufWriter<File>),
}

impl Recorder {
    pub(crate) fn new(recording: &Recording) -> Result<Self, LoadError> {
        Ok(match recording {
            Recording::None => Self::None,
            Recording::Memory => Self::Memory(Vec::new()),
            Recording::File(path) => {
                let file = File::create(path).map_err(|source| failed("create", path, source))?;
                Self::File(path.clone(), BufWriter::with_capacity(1 << 20, file))
            }
        })
    }

    pub(crate) fn record(&mut self, client: u32, number: u64, slot: u64, result: &[u8]) -> Result<(), LoadError> {
        if matches!(self, Self::None) {
            return Ok(());
        }
        let result = hash(context::RESULT, result);
        let row = AcknowledgedRow {
            client,
            number,
            slot,
            result,
        }
        .to_bytes();
        match self {
            Self::None => {}
            Self::Memory(bytes) => bytes.extend_from_slice(&row),
            Self::File(path, file) => file.write_all(&row).map_err(|source| failed("write", path, source))?,
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<Acknowledged, LoadError> {
        Ok(match self {
            Self::None => Acknowledged::None,
            Self::Memory(bytes) => Acknowledged::Memory(bytes),
            Self::File(path, mut file) => {
                file.flush().map_err(|source| failed("write", &path, source))?;
                Acknowledged::File(path)
            }
        })
    }
}

fn failed(operation: &'static str, path: &std::path::Path, source: std::io::Error) -> LoadError {
    LoadError::Record {
        operation,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_from_memory_and_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = Recording::File(dir.path().join("acknowledged"));
        for recording in [Recording::Memory, file] {
            let mut recorder = Recorder::new(&recording).unwrap();
            recorder.record(3, u64::MAX, 77, b"result").unwrap();
            recorder.record(4, 1, 78, b"").unwrap();
            let rows = recorder.finish().unwrap().rows().unwrap();
            let result = hash(context::RESULT, b"result");
            assert_eq!(
                rows[0],
                AcknowledgedRow {
                    client: 3,
                    number: u64::MAX,
                    slot: 77,
                    result
                }
            );
            assert_eq!((rows.len(), rows[1].number), (2, 1));
        }
        let nowhere = Recording::File(dir.path().join("no/such/directory"));
        assert!(matches!(
            Recorder::new(&nowhere),
            Err(LoadError::Record {
                operation: "create",
                ..
            })
        ));
    }
}
