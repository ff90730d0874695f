//! The executed stream: a record for each request that a replica executed, for comparison with what clients saw.
//!
//! A file of records of [`RECORD_BYTES`] bytes, little endian:
//!
//! ```text
//!  0        32        40      48               80      81
//!  | client | number  | slot  | result digest  | flags |
//! ```
//!
//! Bit 0 of the flags: a copy of a request that had been executed before; it was answered from the session and did not
//! reach the application. At each start of the replica the records above the slot that it goes on from are cut off: it
//! executes them again.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// Size of a record.
pub(crate) const RECORD_BYTES: usize = 81;
const DUPLICATE: u8 = 1;

/// One executed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Record {
    pub(crate) client: [u8; 32],
    pub(crate) number: u64,
    pub(crate) slot: u64,
    pub(crate) result: [u8; 32],
    pub(crate) duplicate: bool,
}

impl Record {
    pub(crate) fn to_bytes(self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        bytes[..32].copy_from_slice(&self.client);
        bytes[32..40].copy_from_slice(&self.number.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.slot.to_le_bytes());
        bytes[48..80].copy_from_slice(&self.result);
        bytes[80] = u8::from(self.duplicate) * DUPLICATE;
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; RECORD_BYTES]) -> Option<Record> {
        let flags = bytes[80];
        let word = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes).expect("8 bytes");
        (flags & !DUPLICATE == 0).then(|| Record {
            client: bytes[..32].try_into().expect("32 bytes"),
            number: word(32),
            slot: word(40),
            result: bytes[48..80].try_into().expect("32 bytes"),
            duplicate: flags & DUPLICATE != 0,
        })
    }
}

/// Writes a stream.
pub(crate) struct StreamWriter {
    path: PathBuf,
    /// Slot of the last record.
    last: u64,
    file: BufWriter<File>,
}

impl StreamWriter {
    /// Starts an empty stream.
    #[cfg(test)]
    pub(crate) fn create(path: &Path) -> Result<StreamWriter> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(StreamWriter {
            path: path.to_path_buf(),
            last: 0,
            file: BufWriter::with_capacity(1 << 18, file),
        })
    }

    /// Goes on with the records of a stream up to `slot`, or with an empty one.
    pub(crate) fn resume(path: &Path, slot: u64) -> Result<StreamWriter> {
        let cannot = || format!("cannot write {}", path.display());
        let options = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let mut file = options.with_context(cannot)?;
        let (mut kept, mut last) = (0, 0);
        if slot > 0 {
            let records = StreamReader::open(path)?.map_while(Result::ok);
            for record in records.take_while(|record| record.slot <= slot) {
                (kept, last) = (kept + 1, record.slot);
            }
        }
        let bytes = (kept * RECORD_BYTES) as u64;
        file.set_len(bytes).with_context(cannot)?;
        file.seek(std::io::SeekFrom::Start(bytes)).with_context(cannot)?;
        Ok(StreamWriter {
            path: path.to_path_buf(),
            last,
            file: BufWriter::with_capacity(1 << 18, file),
        })
    }

    /// Slot of the last record, 0 before the first.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Adds a record. A stream that cannot be written is worthless, so the replica ends.
    pub(crate) fn push(&mut self, record: Record) -> Result<()> {
        self.last = record.slot;
        let written = self.file.write_all(&record.to_bytes());
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Hands what is buffered to the kernel.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.file
            .flush()
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Reads a stream.
pub(crate) struct StreamReader {
    path: PathBuf,
    file: BufReader<File>,
    offset: u64,
}

impl StreamReader {
    pub(crate) fn open(path: &Path) -> Result<StreamReader> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(StreamReader {
            path: path.to_path_buf(),
            file: BufReader::with_capacity(1 << 18, file),
            offset: 0,
        })
    }
}

impl Iterator for StreamReader {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Result<Record>> {
        let mut bytes = [0; RECORD_BYTES];
        let mut filled = 0;
        while filled < RECORD_BYTES {
            match self.file.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Some(Err(error).with_context(|| format!("cannot read {}", self.path.display()))),
            }
        }
        let bad = |what: &str| -> Result<Record> {
            bail!(
                "{}: {what} at offset {} (the stream is incomplete)",
                self.path.display(),
                self.offset
            )
        };
        let record = match (filled, Record::from_bytes(&bytes)) {
            (0, _) => return None,
            (RECORD_BYTES, Some(record)) => Ok(record),
            (RECORD_BYTES, None) => bad("unknown flags"),
            (part, _) => bad(&format!("a record of {part} bytes")),
        };
        self.offset += RECORD_BYTES as u64;
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u64, duplicate: bool) -> Record {
        Record {
            client: [7; 32],
            number,
            slot: number * 2,
            result: [9; 32],
            duplicate,
        }
    }

    #[test]
    fn records_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("executed");
        for run in 0..2 {
            let mut writer = StreamWriter::create(&path).unwrap();
            (0..5).for_each(|number| writer.push(record(number + run, number % 2 == 0)).unwrap());
            writer.flush().unwrap();
            let read: Vec<Record> = StreamReader::open(&path).unwrap().map(Result::unwrap).collect();
            assert_eq!(
                read,
                (0..5)
                    .map(|number| record(number + run, number % 2 == 0))
                    .collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn torn_and_unknown_records_are_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("executed");
        let mut bytes = record(1, false).to_bytes().to_vec();
        bytes.extend_from_slice(&record(2, false).to_bytes()[..80]);
        std::fs::write(&path, &bytes).unwrap();
        let read: Vec<_> = StreamReader::open(&path).unwrap().collect();
        assert!(read[0].is_ok() && read[1].as_ref().unwrap_err().to_string().contains("offset 81"));
        bytes.push(4);
        std::fs::write(&path, &bytes).unwrap();
        assert!(StreamReader::open(&path).unwrap().nth(1).unwrap().is_err());
    }
}
