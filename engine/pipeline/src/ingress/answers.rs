//! Reply frames, encoded once for all the connections that they go to.

use bytes::Bytes;
use trireme_core::reply::{FromReplica, ReplySet};

/// The frames of one reply set, with and without its entries; each encoded when it is first asked for.
#[derive(Debug)]
pub(super) struct Answers {
    whole: FromReplica,
    brief: ReplySet,
    full_frame: Option<Bytes>,
    brief_frame: Option<Bytes>,
}

impl Answers {
    /// Of this set.
    pub(super) fn new(set: ReplySet) -> Self {
        let brief = set.brief();
        Self {
            whole: FromReplica::Replies(set),
            brief,
            full_frame: None,
            brief_frame: None,
        }
    }

    /// The set's frame.
    pub(super) fn frame(&mut self, full: bool) -> Bytes {
        let Self {
            whole,
            brief,
            full_frame,
            brief_frame,
        } = self;
        if full {
            full_frame.get_or_insert_with(|| whole.to_bytes().into()).clone()
        } else {
            let encode = || FromReplica::Replies(brief.clone()).to_bytes().into();
            brief_frame.get_or_insert_with(encode).clone()
        }
    }
}
