//! Segment files: opening, and making one ready for writing before it gets its name.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FallocateFlags, OFlags, StatxFlags};

use crate::buffer::AlignedBuffer;
use crate::error::LogError;
use crate::format::PAGE_BYTES;
use crate::medium::{PrepareFault, Segment};

/// Zeroes written at once while preparing: long enough to be cheap, short enough that a flush queued behind one waits
/// little.
pub(crate) const CHUNK_BYTES: u64 = 1 << 20;

/// An open segment file.
pub(crate) struct SegmentFile {
    pub(crate) segment: Segment,
    pub(crate) path: PathBuf,
    pub(crate) file: File,
}

/// The name of a segment's file. Numbers are padded so that names sort.
pub(crate) fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("segment-{number:010}.log"))
}

fn unfinished(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("segment-{number:010}.new"))
}

/// The number in a segment file's name.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let number = name.strip_prefix("segment-")?.strip_suffix(".log")?;
    number.parse().ok().filter(|_| number.len() == 10)
}

/// Whether a name is that of a file whose preparation did not end.
pub(crate) fn is_unfinished(name: &str) -> bool {
    name.starts_with("segment-") && name.ends_with(".new")
}

fn options(direct: bool) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    if direct {
        options.custom_flags(OFlags::DIRECT.bits().cast_signed());
    }
    options
}

/// Whether files in `dir` can be written past the page cache with our alignment; if not, why. Tries it with a file.
pub(crate) fn probe_direct(dir: &Path) -> Result<(), String> {
    let path = dir.join("segment-probe.new");
    let result = probe(&path);
    let removed = fs::remove_file(&path);
    result?;
    removed.map_err(|error| error.to_string())
}

fn probe(path: &Path) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    let file = options(true).create(true).truncate(true).open(path).map_err(text)?;
    if let Ok(stat) = rustix::fs::statx(&file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN)
        && stat.stx_mask & StatxFlags::DIOALIGN.bits() != 0
    {
        let align = stat.stx_dio_offset_align.max(stat.stx_dio_mem_align) as usize;
        if align == 0 || !PAGE_BYTES.is_multiple_of(align) {
            return Err(format!("it needs an alignment of {align} bytes"));
        }
    }
    let page = AlignedBuffer::new(PAGE_BYTES);
    match file.write_all_at(&page, 0) {
        // A full disk says nothing about the way to write.
        Err(error) if is_full(&error) => Ok(()),
        other => other.map_err(text),
    }
}

impl SegmentFile {
    pub(crate) fn open(dir: &Path, number: u64, direct: bool) -> Result<SegmentFile, LogError> {
        let path = path_of(dir, number);
        let fail = |error: io::Error| LogError::io("open", &path, 0, &error);
        let file = options(direct).open(&path).map_err(fail)?;
        let bytes = file.metadata().map_err(fail)?.len();
        Ok(SegmentFile {
            segment: Segment { number, bytes },
            path,
            file,
        })
    }

    /// Makes a segment: allocated, zeroed, its header written, all of it durable, then named. `may_write` is asked
    /// before each chunk with the bytes written so far; it blocks until the chunk is due, and `false` gives up.
    pub(crate) fn create(
        dir: &Path,
        segment: Segment,
        header: &[u8],
        direct: bool,
        may_write: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Option<SegmentFile>, PrepareFault> {
        let unfinished = unfinished(dir, segment.number);
        let made = fill(&unfinished, segment, header, direct, may_write);
        let file = match made {
            Ok(Some(file)) => file,
            Ok(None) => {
                drop(fs::remove_file(&unfinished));
                return Ok(None);
            }
            Err(fault) => {
                drop(fs::remove_file(&unfinished));
                return Err(fault);
            }
        };
        let path = path_of(dir, segment.number);
        fs::rename(&unfinished, &path).map_err(|error| fault("rename", &unfinished, 0, &error))?;
        sync_dir(dir).map_err(PrepareFault::Failed)?;
        Ok(Some(SegmentFile { segment, path, file }))
    }
}

fn fill(
    path: &Path,
    segment: Segment,
    header: &[u8],
    direct: bool,
    may_write: &mut dyn FnMut(u64) -> bool,
) -> Result<Option<File>, PrepareFault> {
    let file = options(direct)
        .create(true)
        .truncate(true)
        .open(path)
        .map_err(|error| fault("create", path, 0, &error))?;
    // Room for the whole file, or an early refusal. Filesystems without it allocate by the writes below.
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, segment.bytes) {
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
        Err(errno) => return Err(fault("fallocate", path, 0, &errno.into())),
    }
    let mut chunk = AlignedBuffer::new(CHUNK_BYTES.min(segment.bytes) as usize);
    chunk[..header.len()].copy_from_slice(header);
    let mut offset = 0;
    while offset < segment.bytes {
        if !may_write(offset) {
            return Ok(None);
        }
        let take = (segment.bytes - offset).min(chunk.len() as u64);
        file.write_all_at(&chunk[..take as usize], offset)
            .map_err(|error| fault("write", path, offset, &error))?;
        chunk[..header.len()].fill(0);
        offset += take;
    }
    file.sync_all().map_err(|error| fault("fsync", path, 0, &error))?;
    Ok(Some(file))
}

fn fault(operation: &'static str, path: &Path, offset: u64, error: &io::Error) -> PrepareFault {
    if is_full(error) {
        return PrepareFault::NoSpace;
    }
    PrepareFault::Failed(LogError::io(operation, path, offset, error))
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Makes names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), LogError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| LogError::io("fsync of directory", dir, 0, &error))
}
