//! Images of the whole state: made at a checkpoint, checked against its certificate, made into a state again.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use borsh::{BorshDeserialize, BorshSerialize};
use trireme_core::Slot;
use trireme_core::bugs::Bugs;
use trireme_core::message::{SignedBlock, StateVote};
use trireme_core::sessions::{SessionLimits, SessionTable};
use trireme_core::types::ClientId;
use trireme_crypto::{Digest, context, hash_parts};

use crate::application::{Application, Content, Scheme};
use crate::forest::Forest;
use crate::part::{CutItem, Map, Part, changes, cut, encode_cut, encode_part, fold, narrow, read_leaves, within};
use crate::prefix::Prefix;
use crate::tree::{Sub, map_root};

/// The root that a [`StateVote`] carries.
pub(crate) fn state_root(app: &Digest, sessions: &Digest, block: &Digest) -> Digest {
    hash_parts(context::STATE, &[b"state   ", &app.0, &sessions.0, &block.0])
}

/// Where a session stands in the session tree.
pub(crate) fn session_place(client: &ClientId) -> Digest {
    hash_parts(context::STATE, &[b"client  ", &client.0])
}

/// How session tables are read: no head, and each client's session at its place.
pub(crate) static SESSIONS: Scheme = Scheme {
    leaf: |bytes| SessionTable::encoded_digest(bytes).map(|(client, digest)| (session_place(&client), digest)),
    root: |head, map| head.is_empty().then_some(*map),
};

/// The whole state after a slot. A clone is cheap, and none of it changes any more.
#[derive(Clone)]
pub struct Image {
    vote: StateVote,
    block: Digest,
    app: Arc<dyn Content>,
    sessions: Arc<dyn Content>,
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image")
            .field("vote", &self.vote)
            .finish_non_exhaustive()
    }
}

impl Image {
    pub(crate) fn new(vote: StateVote, block: Digest, app: Box<dyn Content>, sessions: SessionImage) -> Self {
        Self {
            vote,
            block,
            app: app.into(),
            sessions: Arc::new(sessions),
        }
    }

    /// The slot whose state it is.
    pub fn slot(&self) -> Slot {
        self.vote.slot
    }

    /// What its maker says about that state.
    pub fn vote(&self) -> &StateVote {
        &self.vote
    }

    /// What there is, with digests, cut into parts of at most `part_bytes` where single leaves allow
    /// ([`PART_BYTES`](crate::PART_BYTES)). Takes time in proportion to the state's size.
    pub fn outline(&self, part_bytes: usize) -> Outline {
        let map = |content: &dyn Content| {
            let mut items = Vec::new();
            cut(content, Prefix::WHOLE, part_bytes, &mut items);
            MapOutline {
                count: content.digests().count(),
                cut: items,
            }
        };
        Outline {
            block: self.block,
            head: self.app.head(),
            app: map(&*self.app),
            sessions: map(&*self.sessions),
        }
    }

    /// A part as it is sent and stored: its leaves, or its halves if it does not fit `part_bytes`.
    pub fn part(&self, part: Part, part_bytes: usize) -> Vec<u8> {
        let content = match part.map {
            Map::App => &self.app,
            Map::Sessions => &self.sessions,
        };
        encode_part(&**content, part.prefix, part_bytes)
    }
}

/// What an image consists of.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Outline {
    /// Digest of the block of the image's slot.
    pub block: Digest,
    /// The application's head.
    pub head: Vec<u8>,
    /// The application's map.
    pub app: MapOutline,
    /// The session table.
    pub sessions: MapOutline,
}

/// A map of an image.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct MapOutline {
    /// Places in it.
    pub count: u64,
    /// Its parts with their digests.
    pub cut: Vec<CutItem>,
}

impl Outline {
    /// The parts, if they add up to `root`, in the order of the maps and places.
    pub fn check(&self, scheme: &Scheme, root: &Digest) -> Option<Vec<(Part, Sub)>> {
        let (app_top, app) = fold(&self.app.cut, Prefix::WHOLE)?;
        let (session_top, sessions) = fold(&self.sessions.cut, Prefix::WHOLE)?;
        let app_root = (scheme.root)(&self.head, &map_root(self.app.count, app_top))?;
        let session_root = (SESSIONS.root)(&[], &map_root(self.sessions.count, session_top))?;
        if state_root(&app_root, &session_root, &self.block) != *root {
            return None;
        }
        let name = |map| move |(prefix, sub)| (Part { map, prefix }, sub);
        let app = app.into_iter().map(name(Map::App));
        Some(app.chain(sessions.into_iter().map(name(Map::Sessions))).collect())
    }

    /// Answers for a part that consists of several: with their digests. `None`: it does not.
    pub fn split(&self, part: Part) -> Option<Vec<u8>> {
        let map = match part.map {
            Map::App => &self.app,
            Map::Sessions => &self.sessions,
        };
        let items = within(&map.cut, Prefix::WHOLE, part.prefix)?;
        (items.first() == Some(&CutItem::Split)).then(|| encode_cut(items))
    }
}

/// Out of a part as it is stored, what lies in a smaller part. `None`: it has no leaves.
pub fn narrow_part(scheme: &Scheme, part: Part, stored: &[u8]) -> Option<Vec<u8>> {
    narrow(scheme_of(scheme, part.map), part.prefix, stored)
}

pub(crate) fn scheme_of(app: &Scheme, map: Map) -> &Scheme {
    match map {
        Map::App => app,
        Map::Sessions => &SESSIONS,
    }
}

/// Part 0 of an image as peers send it: the outline with the block that the root covers.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Manifest {
    /// The block of the image's slot.
    pub anchor: SignedBlock,
    /// What there is.
    pub outline: Outline,
}

/// The session table at one moment.
pub(crate) struct SessionImage {
    pub(crate) table: SessionTable,
    pub(crate) tree: Forest,
    /// Clients by place; made when first wanted, by whoever wants it.
    by_place: OnceLock<Vec<(Digest, ClientId)>>,
}

impl SessionImage {
    pub(crate) fn new(table: SessionTable, tree: Forest) -> Self {
        let by_place = OnceLock::new();
        Self { table, tree, by_place }
    }
}

impl Content for SessionImage {
    fn head(&self) -> Vec<u8> {
        Vec::new()
    }

    fn digests(&self) -> &Forest {
        &self.tree
    }

    fn leaves(&self, prefix: Prefix, each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) {
        let by_place = self.by_place.get_or_init(|| {
            let clients = self.table.clients();
            let mut by_place: Vec<_> = clients.map(|client| (session_place(client), *client)).collect();
            by_place.sort_unstable();
            by_place
        });
        let from = by_place.partition_point(|(place, _)| *place < prefix.first());
        let mut bytes = Vec::new();
        for (_, client) in by_place[from..].iter().take_while(|(place, _)| prefix.holds(place)) {
            bytes.clear();
            self.table.encode(client, &mut bytes);
            if each(&bytes).is_break() {
                break;
            }
        }
    }
}

/// What states are made of images with: an empty application and limits, equal at all members.
pub struct Blank {
    pub(crate) app: Box<dyn Application>,
    pub(crate) limits: SessionLimits,
    pub(crate) bugs: Bugs,
}

impl Blank {
    /// How images of its application are read.
    pub fn scheme(&self) -> Scheme {
        self.app.scheme()
    }
}

/// An image that does not give the state it claims to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadImage {
    /// The application does not know such a head.
    Head,
    /// A part is not well-formed, or holds what the state holds already.
    Part(u64),
    /// All parts together have another root.
    Root,
}

impl fmt::Display for BadImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => write!(f, "the application's head is malformed"),
            Self::Part(id) => write!(f, "part {id:#x} is malformed"),
            Self::Root => write!(f, "the parts have another root than the certificate"),
        }
    }
}

impl std::error::Error for BadImage {}

/// Fills a state with the parts of an image. It trusts none of them: the state's root decides.
pub struct Restorer {
    app: Box<dyn Application>,
    sessions: SessionTable,
    session_tree: Forest,
    vote: StateVote,
    block: Digest,
}

impl Restorer {
    /// Starts with an empty state.
    ///
    /// # Errors
    ///
    /// [`BadImage::Head`].
    pub fn new(blank: &Blank, vote: StateVote, outline: &Outline) -> Result<Self, BadImage> {
        let mut app = blank.app.fresh();
        if !app.restore_head(&outline.head) {
            return Err(BadImage::Head);
        }
        Ok(Self {
            app,
            sessions: SessionTable::with_bugs(blank.limits, blank.bugs.clone()),
            session_tree: Forest::new(),
            vote,
            block: outline.block,
        })
    }

    /// Adds a part. One that is answered with its halves adds nothing.
    ///
    /// # Errors
    ///
    /// [`BadImage::Part`].
    pub fn part(&mut self, part: Part, bytes: &[u8]) -> Result<(), BadImage> {
        let bad = BadImage::Part(part.id());
        let leaves = match read_leaves(bytes) {
            Some(leaves) => leaves,
            None if bytes.first() == Some(&1) => return Ok(()),
            None => return Err(bad),
        };
        match part.map {
            Map::App => leaves.iter().all(|leaf| self.app.restore_leaf(leaf)).then_some(()),
            Map::Sessions => self.restore_sessions(&leaves),
        }
        .ok_or(bad)
    }

    fn restore_sessions(&mut self, leaves: &[&[u8]]) -> Option<()> {
        let mut changes = changes(&SESSIONS, leaves)?;
        for leaf in leaves {
            self.sessions.restore(leaf)?;
        }
        self.sessions.drain_touched(|_, _| {});
        self.session_tree.apply(&mut changes);
        Some(())
    }

    /// The state, if it is the one voted for.
    ///
    /// # Errors
    ///
    /// [`BadImage::Root`].
    pub fn finish(mut self) -> Result<Restored, BadImage> {
        let root = state_root(&self.app.root(), &self.session_tree.root(), &self.block);
        if root != self.vote.state_root {
            return Err(BadImage::Root);
        }
        let Self {
            app,
            sessions,
            session_tree,
            vote,
            block,
        } = self;
        Ok(Restored {
            app,
            sessions,
            session_tree,
            vote,
            block,
        })
    }
}

/// A state made of an image, for [`Executor::install`](crate::Executor::install).
pub struct Restored {
    pub(crate) app: Box<dyn Application>,
    pub(crate) sessions: SessionTable,
    pub(crate) session_tree: Forest,
    pub(crate) vote: StateVote,
    pub(crate) block: Digest,
}

impl Restored {
    /// The slot whose state it is.
    pub fn slot(&self) -> Slot {
        self.vote.slot
    }

    /// What was said about it.
    pub fn vote(&self) -> &StateVote {
        &self.vote
    }
}
