//! What can happen, and the order in which it does.

use std::rc::Rc;

use bytes::Bytes;
use trireme_core::api::{JobId, Stored};
use trireme_core::reply::ReplySet;
use trireme_core::{MemberId, Slot};
use trireme_crypto::Digest;

use crate::byzantine::Said;
use crate::network::{Frame, HostId, LinkId};
use crate::plan::Fault;

/// Something that happens at a time.
pub(crate) enum Event {
    Deliver(Frame),
    /// An append may be durable, or has waited long enough for company.
    Flushed {
        host: HostId,
        life: u32,
    },
    Timer {
        host: HostId,
        life: u32,
        at: u64,
    },
    Idle {
        host: HostId,
        life: u32,
    },
    Verified {
        host: HostId,
        life: u32,
        job: JobId,
        good: bool,
    },
    /// The execution stage is done with its first piece of work.
    Worked {
        host: HostId,
        life: u32,
    },
    Serve {
        host: HostId,
        life: u32,
        to: MemberId,
        kind: Stored,
        digests: Vec<Digest>,
    },
    /// A snapshot of a stable checkpoint is durable.
    Snapshot {
        host: HostId,
        life: u32,
        slot: Slot,
    },
    /// The clock of the fetching of an image.
    Transfer {
        host: HostId,
        life: u32,
    },
    /// Two hosts try to connect.
    Connect {
        a: HostId,
        b: HostId,
    },
    /// A host notices that a connection is gone.
    Down {
        host: HostId,
        peer: HostId,
        link: LinkId,
    },
    /// A blocked connection times out.
    Expire {
        a: HostId,
        b: HostId,
        link: LinkId,
    },
    Unblock {
        from: HostId,
        to: HostId,
    },
    Fault(Fault),
    Restart {
        host: HostId,
    },
    /// A faulty member falls silent.
    Silence {
        host: HostId,
    },
    Heal,
    Submit {
        client: usize,
    },
    /// A request that is sent to one correct replica, once.
    LastWish {
        client: usize,
    },
    Retry {
        client: usize,
    },
    Bundle {
        client: usize,
        host: HostId,
        bytes: Bytes,
        again: bool,
    },
    Reply {
        client: usize,
        from: MemberId,
        set: Rc<ReplySet>,
    },
    /// A faulty member says something that it kept back.
    Late {
        host: HostId,
        life: u32,
        peer: HostId,
        said: Box<Said>,
    },
    /// A faulty client does something.
    Prank {
        rogue: usize,
    },
    /// A bundle of a faulty client reaches a replica's ingress.
    RogueBundle {
        host: HostId,
        bytes: Bytes,
    },
    /// Looks whether all is done.
    Look,
}

/// An event on the heap, ordered by (time, sequence).
pub(crate) struct Entry {
    pub(crate) time: u64,
    pub(crate) sequence: u64,
    pub(crate) event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.time, self.sequence).cmp(&(other.time, other.sequence))
    }
}

impl Event {
    /// The host that has to be up for the event, and the life that it belongs to.
    pub(crate) fn owner(&self) -> Option<(HostId, Option<u32>)> {
        match self {
            Self::Deliver(frame) => Some((frame.to, None)),
            Self::Flushed { host, life }
            | Self::Timer { host, life, .. }
            | Self::Idle { host, life }
            | Self::Verified { host, life, .. }
            | Self::Worked { host, life }
            | Self::Snapshot { host, life, .. }
            | Self::Transfer { host, life }
            | Self::Late { host, life, .. }
            | Self::Serve { host, life, .. } => Some((*host, Some(*life))),
            Self::Down { host, .. } | Self::RogueBundle { host, .. } => Some((*host, None)),
            Self::Bundle { host, again: false, .. } => Some((*host, None)),
            _ => None,
        }
    }
}
