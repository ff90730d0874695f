//! A replica's stages for a simulator: the product's stages, links, topology and run loops, on simulated time and with
//! the simulator's doors and disk. Nothing here starts a thread or waits; the simulator polls what was woken.

mod replica;
mod signal;
mod time;

pub use crate::bugs::Bug;
pub use crate::doors::{ClientDoor, PeerDoor};
pub use crate::endpoints::{PeerQueue, peer_queue};
pub use crate::recovery::log_config;
pub use crate::topology::{LinkSpec, Room};
pub use replica::{LinkView, Parts, SimulatedReplica, Threading};
pub use signal::DiskSignal;
pub use time::SimulatedTime;
pub(crate) use time::SimulatedTimer;

/// The links that carry something in a simulation, where no snapshots are kept.
pub fn links() -> impl Iterator<Item = &'static LinkSpec> {
    let snapshots = crate::topology::Stage::Snapshots;
    let links = crate::topology::LINKS.into_iter();
    links.filter(move |spec| spec.from != snapshots && spec.to != snapshots)
}
