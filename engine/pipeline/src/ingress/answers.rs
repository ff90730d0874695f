//! Reply frames for all the connections that they go to.

use bytes::Bytes;
use trireme_core::reply::ReplyFrame;

/// The frames of one reply set, with and without its entries; the brief one is made when it is first asked for.
#[derive(Debug)]
pub(super) struct Answers {
    whole: ReplyFrame,
    brief: Option<Bytes>,
}

impl Answers {
    /// Of this set.
    pub(super) fn new(whole: ReplyFrame) -> Self {
        Self { whole, brief: None }
    }

    /// The set's frame.
    pub(super) fn frame(&mut self, full: bool) -> Bytes {
        let Self { whole, brief } = self;
        if full {
            whole.whole()
        } else {
            brief.get_or_insert_with(|| whole.brief()).clone()
        }
    }
}
