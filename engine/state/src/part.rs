//! Parts of an image: how they are named, written, and checked against the digest that stands for them.

use std::ops::ControlFlow;

use borsh::{BorshDeserialize, BorshSerialize};
use trireme_crypto::{decode, encode};

use crate::application::{Content, Scheme};
use crate::prefix::Prefix;
use crate::tree::{Change, Sub, Tree};

/// Bytes of leaves in a part: larger parts of a trie are cut in halves. Small enough to be read, sent and checked
/// between other work, large enough that a manifest names a state of 50 GB.
pub const PART_BYTES: usize = 1 << 20;
/// The longest encoding of a part or a manifest; a single leaf may be longer than [`PART_BYTES`].
pub const MAX_PART_BYTES: usize = 4 << 20;

/// Which of the two maps of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Map {
    /// The application's.
    App,
    /// The session table.
    Sessions,
}

/// A part of an image: a part of one of its tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The map.
    pub map: Map,
    /// The places.
    pub prefix: Prefix,
}

const SESSIONS_BIT: u64 = 1 << 63;

impl Part {
    /// Number of the manifest, which is no part of a trie.
    pub const MANIFEST: u64 = 0;

    /// The part with this number.
    pub fn from_id(id: u64) -> Option<Self> {
        let map = if id & SESSIONS_BIT == 0 {
            Map::App
        } else {
            Map::Sessions
        };
        let prefix = Prefix::from_index(id & !SESSIONS_BIT)?;
        Some(Self { map, prefix })
    }

    /// Its number: the prefix's, with the top bit set for sessions.
    pub fn id(self) -> u64 {
        let map = if self.map == Map::App { 0 } else { SESSIONS_BIT };
        self.prefix.index() | map
    }
}

/// How a trie is cut into parts: its inner places in the order "whole, left, right", down to the parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum CutItem {
    /// A part, from outside.
    Part(Sub),
    /// Two halves, which follow.
    Split,
}

/// Cuts a part of a trie so that what is in it fits [`PART_BYTES`], or another limit for tests.
pub(crate) fn cut(content: &dyn Content, prefix: Prefix, part_bytes: usize, items: &mut Vec<CutItem>) {
    let sub = content.digests().part(prefix);
    match prefix.halves() {
        Some(halves) if matches!(sub, Sub::Inner(_)) && !fits(content, prefix, part_bytes) => {
            items.push(CutItem::Split);
            for half in halves {
                cut(content, half, part_bytes, items);
            }
        }
        _ => items.push(CutItem::Part(sub)),
    }
}

fn fits(content: &dyn Content, prefix: Prefix, part_bytes: usize) -> bool {
    let mut bytes = 0;
    content.leaves(prefix, &mut |leaf| {
        bytes += 4 + leaf.len();
        if bytes > part_bytes {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    bytes <= part_bytes
}

/// The digest that a cut adds up to, and its parts that are not empty, in order. `None`: it is no cut. A split place
/// has two leaves or more, so no part can be claimed to lie deeper than it does.
pub(crate) fn fold(items: &[CutItem], prefix: Prefix) -> Option<(Sub, Vec<(Prefix, Sub)>)> {
    let (mut rest, mut parts) = (items, Vec::new());
    let top = fold_next(&mut rest, prefix, &mut parts)?;
    rest.is_empty().then_some((top, parts))
}

fn fold_next(rest: &mut &[CutItem], prefix: Prefix, parts: &mut Vec<(Prefix, Sub)>) -> Option<Sub> {
    let (item, after) = rest.split_first()?;
    *rest = after;
    match item {
        CutItem::Part(Sub::Empty) => Some(Sub::Empty),
        CutItem::Part(sub) => {
            parts.push((prefix, *sub));
            Some(*sub)
        }
        CutItem::Split => {
            let [left, right] = prefix.halves()?;
            let left = fold_next(rest, left, parts)?;
            let right = fold_next(rest, right, parts)?;
            Some(Sub::join(left, right)).filter(|sub| matches!(sub, Sub::Inner(_)))
        }
    }
}

/// The items of a cut that lie within a part.
pub(crate) fn within(items: &[CutItem], whole: Prefix, prefix: Prefix) -> Option<&[CutItem]> {
    let (mut rest, mut at) = (items, whole);
    for depth in whole.depth() + 1..=prefix.depth() {
        let (CutItem::Split, after) = rest.split_first()? else {
            return None;
        };
        let step = Prefix::from_index(prefix.index() >> (prefix.depth() - depth))?;
        let [left, right] = at.halves()?;
        rest = if step == left { after } else { &after[cut_len(after)?..] };
        at = if step == left { left } else { right };
    }
    rest.get(..cut_len(rest)?)
}

/// Items of the first cut in a list.
fn cut_len(items: &[CutItem]) -> Option<usize> {
    let (mut open, mut len) = (1, 0);
    while open > 0 {
        match items.get(len)? {
            CutItem::Split => open += 1,
            CutItem::Part(_) => open -= 1,
        }
        len += 1;
    }
    Some(len)
}

const LEAVES: u8 = 0;
const SPLIT: u8 = 1;

/// The encoding of a part: its leaves, or a cut if they do not fit.
pub(crate) fn encode_part(content: &dyn Content, prefix: Prefix, part_bytes: usize) -> Vec<u8> {
    let mut items = Vec::new();
    cut(content, prefix, part_bytes, &mut items);
    if items.first() == Some(&CutItem::Split) {
        return encode_cut(&items);
    }
    let mut bytes = vec![LEAVES];
    content.leaves(prefix, &mut |leaf| {
        push_leaf(leaf, &mut bytes);
        ControlFlow::Continue(())
    });
    bytes
}

fn push_leaf(leaf: &[u8], bytes: &mut Vec<u8>) {
    let len = u32::try_from(leaf.len()).expect("leaves are bounded");
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(leaf);
}

/// The encoding of a part that is answered with a cut.
pub(crate) fn encode_cut(items: &[CutItem]) -> Vec<u8> {
    let mut bytes = vec![SPLIT];
    bytes.extend_from_slice(&encode(items));
    bytes
}

/// The leaves of an encoded part; `None` if it is not well-formed, or a cut.
pub(crate) fn read_leaves(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let (&LEAVES, mut rest) = bytes.split_first()? else {
        return None;
    };
    let mut leaves = Vec::new();
    while !rest.is_empty() {
        let (len, after) = rest.split_first_chunk()?;
        let (leaf, after) = after.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
        leaves.push(leaf);
        rest = after;
    }
    Some(leaves)
}

/// What a part that was checked says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It has leaves.
    Leaves,
    /// It consists of these parts.
    Parts(Vec<(Prefix, Sub)>),
}

/// Checks an encoded part against the digest that stands for it.
pub(crate) fn check_part(scheme: &Scheme, prefix: Prefix, expected: Sub, bytes: &[u8]) -> Option<Found> {
    if bytes.first() == Some(&SPLIT) {
        let items: Vec<CutItem> = decode(&bytes[1..]).ok()?;
        let (top, parts) = fold(&items, prefix)?;
        let split = items.first() == Some(&CutItem::Split);
        return (split && top.digest() == expected.digest()).then_some(Found::Parts(parts));
    }
    let changes = changes(scheme, &read_leaves(bytes)?)?;
    if !changes.is_sorted_by(|a, b| a.place < b.place) {
        return None;
    }
    let mut tree = Tree::below(prefix.depth());
    tree.apply(&changes);
    (tree.top().digest() == expected.digest()).then_some(Found::Leaves)
}

/// What leaves put into the trie.
pub(crate) fn changes(scheme: &Scheme, leaves: &[&[u8]]) -> Option<Vec<Change>> {
    let change = |leaf: &&[u8]| {
        let (place, value) = (scheme.leaf)(leaf)?;
        Some(Change {
            place,
            value: Some(value),
        })
    };
    leaves.iter().map(change).collect()
}

/// The leaves of an encoded part that lie in a part of it.
pub(crate) fn narrow(scheme: &Scheme, prefix: Prefix, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut narrowed = vec![LEAVES];
    for leaf in read_leaves(bytes)? {
        if prefix.holds(&(scheme.leaf)(leaf)?.0) {
            push_leaf(leaf, &mut narrowed);
        }
    }
    Some(narrowed)
}
