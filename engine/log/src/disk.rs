//! A log directory: lock, header file, segment files, and the device that writes them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::buffer::AlignedBuffer;
use crate::bugs::Bugs;
use crate::config::{Durability, LogConfig};
use crate::device::{self, Device, Job};
use crate::error::LogError;
use crate::event::{Event, monotonic_us};
use crate::filesystem;
use crate::format::{ChecksumKey, LogHeader, PAGE_BYTES, SegmentHeader, Start};
use crate::header_file;
use crate::medium::{Done, Flush, Medium, PrepareFault, ReadSegments, Removed, Segment};
use crate::opening::Found;
use crate::prepare::Preparer;
use crate::remover::{self, Remover};
use crate::segment_file::{self, SegmentFile, path_of, sync_dir};

const LOCK_NAME: &str = "lock";
const SCRATCH_BYTES: usize = 1 << 20;
/// An open log directory.
struct Disk {
    dir: PathBuf,
    /// In order of their numbers, without gaps.
    files: Vec<Arc<SegmentFile>>,
    device: Box<dyn Device>,
    preparer: Preparer,
    remover: Remover,
    event: Arc<Event>,
    /// For reads past the page cache.
    scratch: AlignedBuffer,
    direct: bool,
    registered: bool,
    notes: Vec<String>,
    /// The lock lasts as long as this file is open.
    _lock: File,
}

/// Opens the directory, setting it up if it holds no log yet.
pub(crate) fn open(config: &LogConfig) -> Result<Found, LogError> {
    let dir = config.dir.as_path();
    fs::create_dir_all(dir).map_err(|error| LogError::io("create directory", dir, 0, &error))?;
    let lock = lock(dir)?;
    let mut notes = filesystem::check(dir, config.durability)?;
    let direct = choose_direct(config, &mut notes);
    remove_unfinished(dir)?;
    let header = match header_file::read(dir, config)? {
        Some(header) => header,
        None => set_up(config, direct)?,
    };
    remover::remove_below(dir, header.start.segment)?;
    let files = open_segments(dir, direct)?;
    let event = Arc::new(Event::new()?);
    let (device, note) = device::open(config, &event)?;
    notes.extend(note);
    let preparer = Preparer::spawn(dir.to_path_buf(), direct, Arc::clone(&event))?;
    let segments = files.iter().map(|file| file.segment).collect();
    let disk = Disk {
        dir: dir.to_path_buf(),
        files,
        device,
        preparer,
        remover: Remover::new(
            dir.to_path_buf(),
            config.fingerprint,
            header.key.clone(),
            Arc::clone(&event),
        ),
        event,
        scratch: AlignedBuffer::new(SCRATCH_BYTES),
        direct,
        registered: false,
        notes,
        _lock: lock,
    };
    Ok(Found {
        medium: Box::new(disk),
        key: header.key,
        start: header.start,
        segments,
        bugs: Bugs::default(),
    })
}

fn lock(dir: &Path) -> Result<File, LogError> {
    let path = dir.join(LOCK_NAME);
    let fail = |error: io::Error| LogError::io("lock", &path, 0, &error);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(fail)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            // Only for the message; it may be empty if the holder has just begun.
            drop(file.take(64).read_to_string(&mut holder));
            return Err(LogError::Locked {
                dir: dir.to_path_buf(),
                holder: holder.trim().to_owned(),
            });
        }
        Err(errno) => return Err(fail(errno.into())),
    }
    file.set_len(0).map_err(fail)?;
    writeln!(file, "process {}", std::process::id()).map_err(fail)?;
    Ok(file)
}

fn choose_direct(config: &LogConfig, notes: &mut Vec<String>) -> bool {
    // Without flushes the page cache is the fastest place there is.
    if config.durability == Durability::None {
        return false;
    }
    match segment_file::probe_direct(&config.dir) {
        Ok(()) => true,
        Err(why) => {
            notes.push(format!(
                "{}: direct IO is not available ({why}); writes go through the page cache",
                config.dir.display()
            ));
            false
        }
    }
}

/// Names in the directory.
pub(crate) fn names(dir: &Path) -> Result<Vec<String>, LogError> {
    let fail = |error: io::Error| LogError::io("list", dir, 0, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(fail)? {
        if let Ok(name) = entry.map_err(fail)?.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}

/// Segments whose preparation was cut short never held a record.
fn remove_unfinished(dir: &Path) -> Result<(), LogError> {
    for name in names(dir)? {
        if segment_file::is_unfinished(&name) {
            let path = dir.join(name);
            fs::remove_file(&path).map_err(|error| LogError::io("remove", &path, 0, &error))?;
        }
    }
    Ok(())
}

fn open_segments(dir: &Path, direct: bool) -> Result<Vec<Arc<SegmentFile>>, LogError> {
    let mut numbers: Vec<u64> = names(dir)?
        .iter()
        .filter_map(|name| segment_file::number_of(name))
        .collect();
    numbers.sort_unstable();
    numbers
        .into_iter()
        .map(|number| SegmentFile::open(dir, number, direct).map(Arc::new))
        .collect()
}

/// Makes header and first segment. A crash on the way leaves the setup name behind, and the next start begins anew.
fn set_up(config: &LogConfig, direct: bool) -> Result<LogHeader, LogError> {
    let dir = config.dir.as_path();
    let mut secret = [0; 32];
    random(dir, &mut secret)?;
    let header = LogHeader {
        fingerprint: config.fingerprint,
        key: ChecksumKey(secret),
        start: Start::FIRST,
    };
    let (setup, path) = (dir.join(header_file::SETUP_NAME), dir.join(header_file::HEADER_NAME));
    header_file::write_new(&setup, &header)?;
    sync_dir(dir)?;
    let segment = Segment {
        number: 1,
        bytes: config.segment_bytes,
    };
    let page = SegmentHeader {
        number: 1,
        segment_bytes: config.segment_bytes,
        fingerprint: config.fingerprint,
    }
    .encode(&header.key);
    match SegmentFile::create(dir, segment, &page, direct, &mut |_| true) {
        Ok(_) => {}
        Err(PrepareFault::Failed(error)) => return Err(error),
        Err(PrepareFault::NoSpace) => {
            let reason = crate::error::FullReason::Disk;
            return Err(LogError::Full {
                reason,
                needed: config.segment_bytes,
                free: 0,
                remedy: reason.remedy(),
            });
        }
    }
    fs::rename(&setup, &path).map_err(|error| LogError::io("rename", &setup, 0, &error))?;
    sync_dir(dir)?;
    if let Some(parent) = dir
        .parent()
        .filter(|parent| parent.is_dir() && !parent.as_os_str().is_empty())
    {
        sync_dir(parent)?;
    }
    Ok(header)
}

fn random(dir: &Path, into: &mut [u8]) -> Result<(), LogError> {
    let mut filled = 0;
    while filled < into.len() {
        match getrandom(&mut into[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(LogError::io("draw a checksum key for", dir, 0, &errno.into())),
        }
    }
    Ok(())
}

impl Disk {
    fn file(&self, segment: u64) -> &Arc<SegmentFile> {
        let found = self.files.binary_search_by_key(&segment, |file| file.segment.number);
        &self.files[found.expect("the log uses only segments it was told of")]
    }
}

impl ReadSegments for Disk {
    fn read_at(&mut self, segment: u64, offset: u64, into: &mut [u8]) -> Result<(), LogError> {
        let file = Arc::clone(self.file(segment));
        let fail = |error: io::Error| LogError::io("read", &file.path, offset, &error);
        if !self.direct {
            return file.file.read_exact_at(into, offset).map_err(fail);
        }
        let mut at = 0;
        while at < into.len() {
            let from = offset + at as u64;
            let skip = (from % PAGE_BYTES as u64) as usize;
            let take = (into.len() - at).min(self.scratch.len() - skip);
            let aligned = &mut self.scratch[..(skip + take).next_multiple_of(PAGE_BYTES)];
            file.file.read_exact_at(aligned, from - skip as u64).map_err(fail)?;
            into[at..at + take].copy_from_slice(&aligned[skip..skip + take]);
            at += take;
        }
        Ok(())
    }

    fn path(&self, segment: u64) -> PathBuf {
        path_of(&self.dir, segment)
    }
}

impl Medium for Disk {
    fn rewrite(&mut self, segment: u64, offset: u64, bytes: &[u8]) -> Result<(), LogError> {
        let file = Arc::clone(self.file(segment));
        for (at, piece) in (offset..)
            .step_by(self.scratch.len())
            .zip(bytes.chunks(self.scratch.len()))
        {
            let aligned = &mut self.scratch[..piece.len()];
            aligned.copy_from_slice(piece);
            file.file
                .write_all_at(aligned, at)
                .map_err(|error| LogError::io("write", &file.path, at, &error))?;
        }
        Ok(())
    }

    fn sync_all(&mut self) -> Result<(), LogError> {
        for file in &self.files {
            file.file
                .sync_data()
                .map_err(|error| LogError::io("fdatasync", &file.path, 0, &error))?;
        }
        Ok(())
    }

    fn adopt(&mut self, pool: &mut [AlignedBuffer]) {
        match self.device.register(pool) {
            Ok(()) => self.registered = pool.iter().all(|buffer| buffer.registered().is_some()),
            Err(note) => self.notes.push(note),
        }
    }

    fn prepare(&mut self, segment: Segment, header: Vec<u8>) {
        self.preparer.order(segment, header);
    }

    fn grant(&mut self, bytes: u64) {
        self.preparer.grant(bytes);
    }

    fn prepared(&mut self) -> Option<Result<Segment, PrepareFault>> {
        let outcome = self.preparer.outcome()?;
        Some(outcome.map(|file| {
            let segment = file.segment;
            self.files.push(Arc::new(file));
            segment
        }))
    }

    fn release(&mut self, start: Start) -> Result<(), LogError> {
        self.remover.order(start)
    }

    fn released(&mut self) -> Option<Result<Removed, LogError>> {
        let (start, outcome) = self.remover.outcome()?;
        self.files.retain(|file| file.segment.number >= start.segment);
        Some(outcome)
    }

    fn segment_bytes(&self, segment: u64) -> u64 {
        let file = self.files.iter().find(|file| file.segment.number == segment);
        file.map_or(0, |file| file.segment.bytes)
    }

    fn start(&mut self, flush: Flush) -> Result<(), LogError> {
        let job = Job {
            ticket: flush.ticket,
            file: Arc::clone(self.file(flush.segment)),
            work: flush.work,
            started_us: monotonic_us(),
        };
        self.device.start(job)
    }

    fn reap(&mut self, wait: bool, done: &mut Vec<Done>) -> Result<(), LogError> {
        self.event.drain();
        self.device.reap(wait, done)
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    fn device(&self) -> &'static str {
        self.device.name()
    }

    fn registered(&self) -> bool {
        self.registered
    }

    fn direct(&self) -> bool {
        self.direct
    }

    fn now_us(&self) -> u64 {
        monotonic_us()
    }

    fn draw(&mut self) -> u64 {
        let mut bytes = [0; 8];
        // Distinct is enough; if the kernel refuses, the clock is distinct too.
        match random(&self.dir, &mut bytes) {
            Ok(()) => u64::from_le_bytes(bytes),
            Err(_) => monotonic_us(),
        }
    }
}
