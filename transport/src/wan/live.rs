//! A network file as a running process follows it.

use super::{Network, Place, WanError};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Timespec;
use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use std::fmt;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};
use std::sync::{Arc, Mutex, Weak};

/// How often the watching thread looks whether it is still wanted.
const LOOK_UP_S: i64 = 1;

/// A network that follows its file: a change of the file is in force some microseconds later. A file that cannot be
/// read leaves what was in force, with a warning in the log.
pub struct Live {
    path: Option<PathBuf>,
    network: Mutex<Arc<Network>>,
    /// Rises with each change, so that nobody takes the lock for a datagram.
    version: AtomicU64,
}

impl Live {
    /// A network that only [`Live::replace`] changes.
    pub fn fixed(network: Network) -> Arc<Live> {
        Arc::new(Live {
            path: None,
            network: Mutex::new(Arc::new(network)),
            version: AtomicU64::new(1),
        })
    }

    /// Reads a file and follows it for as long as the value lives.
    ///
    /// # Errors
    ///
    /// [`WanError`]: the file cannot be read, is no network, or cannot be watched.
    pub fn follow(path: &Path) -> Result<Arc<Live>, WanError> {
        let failed = |source: std::io::Error| WanError::Io {
            what: "cannot watch",
            path: path.to_owned(),
            source,
        };
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        // Before it is read, so that no change falls between.
        let watch = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(|errno| failed(errno.into()))?;
        add_watch(&watch, directory, WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE)
            .map_err(|errno| failed(errno.into()))?;
        let live = Arc::new(Live {
            path: Some(path.to_owned()),
            network: Mutex::new(Arc::new(Network::read(path)?)),
            version: AtomicU64::new(1),
        });
        let follower = Arc::downgrade(&live);
        std::thread::Builder::new()
            .name("wan-file".to_owned())
            .spawn(move || watch_file(&watch, &follower))
            .map_err(failed)?;
        Ok(live)
    }

    /// The network of now.
    pub fn network(&self) -> Arc<Network> {
        self.network.lock().expect("no panic while it is held").clone()
    }

    /// Puts another network in force.
    pub fn replace(&self, network: Network) {
        *self.network.lock().expect("no panic while it is held") = Arc::new(network);
        self.version.fetch_add(1, Release);
    }

    pub(super) fn version(&self) -> u64 {
        self.version.load(Acquire)
    }

    fn read_again(&self) {
        let Some(path) = &self.path else { return };
        match Network::read(path) {
            Ok(network) if network.replicas().len() != self.network().replicas().len() => {
                tracing::warn!(path = %path.display(), "another cluster's network: not taken");
            }
            Ok(network) => self.replace(network),
            Err(error) => tracing::warn!(%error, "the network stays as it was"),
        }
    }
}

fn watch_file(watch: &OwnedFd, live: &Weak<Live>) {
    let mut buffer = [MaybeUninit::uninit(); 4_096];
    let limit = Timespec {
        tv_sec: LOOK_UP_S,
        tv_nsec: 0,
    };
    loop {
        let came = poll(&mut [PollFd::new(watch, PollFlags::IN)], Some(&limit));
        let Some(live) = live.upgrade() else { return };
        if came != Ok(1) {
            continue;
        }
        // Other files of the directory may change as well: reading once too often does no harm.
        let mut reader = Reader::new(watch, &mut buffer);
        while reader.next().is_ok() {}
        live.read_again();
    }
}

/// A network as seen from one place: what an endpoint there needs to know.
#[derive(Clone)]
pub struct Spot {
    pub(super) live: Arc<Live>,
    pub(super) place: Place,
    /// The replicas' addresses, by index, as this endpoint reaches them.
    pub(super) addresses: Arc<[SocketAddr]>,
}

impl Spot {
    /// The endpoint at `place` reaches the replicas at `addresses`, by index. Datagrams from and to other addresses
    /// pass untouched.
    ///
    /// # Errors
    ///
    /// [`WanError::Network`]: not as many addresses as the network has replicas; a place that it does not have.
    pub fn new(live: Arc<Live>, place: Place, addresses: Vec<SocketAddr>) -> Result<Spot, WanError> {
        let network = live.network();
        if addresses.len() != network.replicas().len() {
            return Err(WanError::Network(format!(
                "the network has {} replicas, the cluster {}",
                network.replicas().len(),
                addresses.len()
            )));
        }
        let known = match place {
            Place::Replica(index) => usize::from(index) < network.replicas().len(),
            Place::Clients(region) => region < network.matrix().regions().len(),
        };
        if !known {
            return Err(WanError::Network("a place that the network does not have".to_owned()));
        }
        Ok(Spot {
            live,
            place,
            addresses: addresses.into(),
        })
    }
}

impl fmt::Debug for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Spot").field(&self.place).finish()
    }
}

/// The same place in the same network.
impl PartialEq for Spot {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.live, &other.live) && self.place == other.place && self.addresses == other.addresses
    }
}

impl Eq for Spot {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wan::{Change, Matrix};
    use std::time::Duration;

    #[test]
    fn a_file_is_followed_and_a_broken_one_is_not() {
        let dir = std::env::temp_dir().join(format!("trireme-wan-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("wan.toml");
        let names = ["a", "b", "c"].map(str::to_owned);
        let mut network = Network::new("three", Matrix::shipped("three-regions").unwrap(), &names, &[], 1).unwrap();
        assert!(matches!(Live::follow(&path), Err(WanError::Io { .. })));
        network.write(&path).unwrap();
        let live = Live::follow(&path).unwrap();
        assert_eq!(*live.network(), network);
        std::fs::write(&path, "nonsense").unwrap();
        network.set("a-b", false, Change::parse(["loss=1%"]).unwrap()).unwrap();
        network.write(&path).unwrap();
        while *live.network() != network {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
