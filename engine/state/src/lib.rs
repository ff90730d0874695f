//! The application trait, the executor, and the applications that ship.
//!
//! An [`Executor`] turns committed slots into replies: it walks the batches in the order of R-EXECUTE, lets the session
//! table decide what each request is (new, a copy, too old, too far ahead), gives new ones to the [`Application`], and
//! collects one [`ReplySet`](trireme_core::reply::ReplySet) for each client of the slot. When a state vote is due it
//! computes the roots.
//!
//! # What the state root covers (R-STATE)
//!
//! `state_root` = the application's root and the root of the session table. The session table belongs to the state:
//! two replicas that agree about the application but not about what was executed would part ways at the next copy of
//! a request. `receipts_root` = the Merkle root of the digests of one slot's reply sets, in the order of each client's
//! first request in the slot.
//!
//! Roots are functions of the state, not of the way to it: not of when earlier roots were asked for, and not of the
//! insertion order of keys. What an application makes part of its state is its own choice and documented there.
//!
//! # Images
//!
//! [`Executor::image`] gives the state at a checkpoint without copying it: maps are cut into shards by the leading bits
//! of their places, and whoever changes a shared shard copies that shard. The shards are parts of the tries that the
//! root covers, so each part of an image can be checked alone: an [`Outline`] against the root, a [`Part`] against the
//! digest that the outline has for it. [`transfer`] fetches an image from peers that may lie, a [`Restorer`] makes a
//! state of the parts, and [`Executor::install`] takes it over.
//!
//! Everything is deterministic and single-threaded; nothing here reads a clock, a file or a random source.
#![forbid(unsafe_code)]

mod application;
mod executor;
mod forest;
mod image;
pub mod kv;
mod null;
mod part;
mod prefix;
mod registry;
mod shards;
pub mod transfer;
mod tree;

pub use application::{Application, Content, HeadOnly, Op, Scheme};
pub use executor::{Executed, ExecutedRequest, Executor, Sink};
pub use forest::Forest;
pub use image::{BadImage, Blank, Image, Manifest, MapOutline, Outline, Restored, Restorer, narrow_part};
pub use null::Null;
pub use part::{CutItem, MAX_PART_BYTES, Map, PART_BYTES, Part};
pub use prefix::Prefix;
pub use registry::ClientRegistry;
pub use tree::{Change, Sub, map_root};
