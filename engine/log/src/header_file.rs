//! The header file of a log directory: two pages with the same content, changed in place one after the other.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::config::LogConfig;
use crate::disk::names;
use crate::error::LogError;
use crate::format::{FORMAT_VERSION, HeaderFault, LogHeader, PAGE_BYTES};
use crate::segment_file;

pub(crate) const HEADER_NAME: &str = "log.header";
/// The header while the directory is being set up: as long as it has this name, no record was ever accepted.
pub(crate) const SETUP_NAME: &str = "log.header.new";
const HEADER_REMEDY: &str = "nothing was changed; without its header the log cannot be read: let this replica rejoin \
                             through quarantine with an empty directory (R-QUARANTINE)";

/// The header, or `None` for a directory in which no log was ever completely set up. Of two copies that differ, a change
/// was cut short between them: the one that begins later counts, and is written to both.
pub(crate) fn read(dir: &Path, config: &LogConfig) -> Result<Option<LogHeader>, LogError> {
    let path = dir.join(HEADER_NAME);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let has_segments = names(dir)?.iter().any(|name| segment_file::number_of(name).is_some());
            if has_segments && !dir.join(SETUP_NAME).exists() {
                return Err(damaged_header(path, "the header file is missing beside segment files"));
            }
            return Ok(None);
        }
        Err(_) => read_pages(&path)?,
    };
    let mut version = None;
    let mut newest: Option<LogHeader> = None;
    for copy in bytes.chunks(PAGE_BYTES) {
        match LogHeader::decode(copy) {
            Ok(header) if header.fingerprint != config.fingerprint => {
                return Err(LogError::WrongFingerprint {
                    file: path,
                    expected: hex(&config.fingerprint),
                    found: hex(&header.fingerprint),
                });
            }
            Ok(header) => {
                if newest
                    .as_ref()
                    .is_none_or(|kept| kept.start.segment < header.start.segment)
                {
                    newest = Some(header);
                }
            }
            Err(HeaderFault::Version(found)) => version = Some(found),
            Err(HeaderFault::Unreadable) => {}
        }
    }
    match (newest, version) {
        (Some(header), _) => {
            if bytes != [header.encode(), header.encode()].concat() {
                change(dir, &header)?;
            }
            Ok(Some(header))
        }
        (None, Some(found)) => Err(LogError::WrongVersion {
            file: path,
            found,
            expected: FORMAT_VERSION,
        }),
        (None, None) => Err(damaged_header(path, "neither copy of the header is sound")),
    }
}

/// Both pages, a page that cannot be read as zeroes.
fn read_pages(path: &Path) -> Result<Vec<u8>, LogError> {
    let file = File::open(path).map_err(|error| LogError::io("open", path, 0, &error))?;
    let mut bytes = vec![0; 2 * PAGE_BYTES];
    let mut failure = None;
    for (index, page) in bytes.chunks_mut(PAGE_BYTES).enumerate() {
        let offset = (index * PAGE_BYTES) as u64;
        if let Err(error) = file.read_exact_at(page, offset) {
            page.fill(0);
            match failure {
                None => failure = Some(()),
                Some(()) => return Err(LogError::io("read", path, offset, &error)),
            }
        }
    }
    Ok(bytes)
}

fn damaged_header(file: PathBuf, what: &str) -> LogError {
    LogError::Damaged {
        file,
        offset: 0,
        what: what.to_owned(),
        remedy: HEADER_REMEDY,
    }
}

/// Makes the file of a directory that is being set up.
pub(crate) fn write_new(path: &Path, header: &LogHeader) -> Result<(), LogError> {
    let fail = |error: io::Error| LogError::io("write", path, 0, &error);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(fail)?;
    let page = header.encode();
    file.write_all(&page).map_err(fail)?;
    file.write_all(&page).map_err(fail)?;
    file.sync_all().map_err(fail)
}

/// Changes a log's header in place, which takes no room on a full disk: the second copy is touched when the first is
/// durable, so that one of them is whole at any time.
pub(crate) fn change(dir: &Path, header: &LogHeader) -> Result<(), LogError> {
    let path = dir.join(HEADER_NAME);
    let fail = |operation, offset| {
        let path = path.clone();
        move |error: io::Error| LogError::io(operation, &path, offset, &error)
    };
    let file = OpenOptions::new().write(true).open(&path).map_err(fail("open", 0))?;
    let page = header.encode();
    // The copy that is not whole, if one is not, comes first.
    let first_is_sound = {
        let mut held = vec![0; PAGE_BYTES];
        let read = File::open(&path).and_then(|file| file.read_exact_at(&mut held, 0));
        read.is_ok() && LogHeader::decode(&held).is_ok()
    };
    let second = PAGE_BYTES as u64;
    for offset in if first_is_sound { [second, 0] } else { [0, second] } {
        file.write_all_at(&page, offset).map_err(fail("write", offset))?;
        file.sync_all().map_err(fail("fsync", offset))?;
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
