//! Reply frames, encoded once for all the connections that they go to.

use bytes::Bytes;
use trireme_core::reply::{FromReplica, ReplySet};

/// The frames of one reply set, with and without its entries; each encoded when it is first asked for.
#[derive(Debug, Default)]
pub(super) struct Answers {
    set: Option<ReplySet>,
    full: Option<Bytes>,
    brief: Option<Bytes>,
}

impl Answers {
    /// Goes on to the next set.
    pub(super) fn start(&mut self, set: ReplySet) {
        *self = Self {
            set: Some(set),
            full: None,
            brief: None,
        };
    }

    /// The set's frame.
    pub(super) fn frame(&mut self, full: bool) -> Bytes {
        let set = self.set.as_ref().expect("started");
        let cached = if full { &mut self.full } else { &mut self.brief };
        cached
            .get_or_insert_with(|| {
                let set = if full { set.clone() } else { set.brief() };
                FromReplica::Replies(set).to_bytes().into()
            })
            .clone()
    }
}
