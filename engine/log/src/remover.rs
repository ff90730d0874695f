//! The thread that releases segments: it makes durable where the log begins now, and removes the files before that.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread::{self, JoinHandle};

use crate::disk::names;
use crate::error::LogError;
use crate::event::Event;
use crate::format::{ChecksumKey, LogHeader, Start};
use crate::header_file;
use crate::medium::Removed;
use crate::segment_file::{number_of, sync_dir};

/// A release under way.
struct Order {
    start: Start,
    outcome: Receiver<Result<Removed, LogError>>,
    thread: Option<JoinHandle<()>>,
}

/// The owner's end. The thread lives as long as a release: they are minutes apart.
pub(crate) struct Remover {
    dir: PathBuf,
    fingerprint: [u8; 32],
    key: ChecksumKey,
    event: Arc<Event>,
    order: Option<Order>,
}

impl Remover {
    pub(crate) fn new(dir: PathBuf, fingerprint: [u8; 32], key: ChecksumKey, event: Arc<Event>) -> Remover {
        Remover {
            dir,
            fingerprint,
            key,
            event,
            order: None,
        }
    }

    /// Starts a release; the one before has been collected.
    pub(crate) fn order(&mut self, start: Start) -> Result<(), LogError> {
        assert!(self.order.is_none(), "one release at a time");
        let header = LogHeader {
            fingerprint: self.fingerprint,
            key: self.key.clone(),
            start,
        };
        let (tell, outcome) = channel();
        let (dir, event) = (self.dir.clone(), Arc::clone(&self.event));
        let thread = thread::Builder::new()
            .name("log-release".to_owned())
            .spawn(move || {
                let result = header_file::change(&dir, &header).and_then(|()| remove_below(&dir, start.segment));
                drop(tell.send(result));
                event.signal();
            })
            .map_err(|error| LogError::io("start a thread for", &self.dir, 0, &error))?;
        self.order = Some(Order {
            start,
            outcome,
            thread: Some(thread),
        });
        Ok(())
    }

    /// The end of the release, once.
    pub(crate) fn outcome(&mut self) -> Option<(Start, Result<Removed, LogError>)> {
        let order = self.order.as_ref()?;
        let result = match order.outcome.try_recv() {
            Ok(result) => result,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => {
                let error = std::io::Error::other("the releasing thread has ended");
                Err(LogError::io("release segments in", &self.dir, 0, &error))
            }
        };
        let start = order.start;
        self.order = None;
        Some((start, result))
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic there ends a release process at once; in tests it has been printed.
            drop(thread.join());
        }
    }
}

/// Removes the segments below this one: the header says that they are no longer part of the log.
pub(crate) fn remove_below(dir: &Path, segment: u64) -> Result<Removed, LogError> {
    let mut removed = Removed::default();
    for name in names(dir)? {
        if number_of(&name).is_some_and(|number| number < segment) {
            let path = dir.join(name);
            let fail = |error: std::io::Error| LogError::io("remove", &path, 0, &error);
            removed.bytes += fs::metadata(&path).map_err(fail)?.len();
            removed.segments += 1;
            fs::remove_file(&path).map_err(fail)?;
        }
    }
    if removed.segments > 0 {
        sync_dir(dir)?;
    }
    Ok(removed)
}
