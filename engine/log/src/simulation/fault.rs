//! What can go wrong with a disk.

/// A fault. The first ones are within what the log's owner may expect of any disk: whatever was acknowledged survives
/// them. The harmful ones may destroy it, and count as an injury when they strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The next flush fails; of what it wrote any subset of sectors is durable, and nobody will write the rest.
    FailFlush,
    /// The next write makes no progress after some of its sectors, and fails.
    ShortWrite,
    /// The next read fails, once.
    FailRead,
    /// There is no room for another segment for so many microseconds.
    NoSpace {
        /// How long.
        us: u64,
    },
    /// Harmful: a page of the next read comes from another place, once.
    MisdirectRead,
    /// Harmful: the next write lands in another place.
    MisdirectWrite,
    /// Harmful: the next flush is reported done; its sectors are lost with the power.
    LoseFlush,
    /// Harmful: a bit of something acknowledged flips.
    Rot,
    /// Harmful: a sector of something acknowledged cannot be read any more.
    Latent,
}

impl Fault {
    /// Whether it may destroy what was acknowledged.
    pub fn harmful(self) -> bool {
        !matches!(
            self,
            Self::FailFlush | Self::ShortWrite | Self::FailRead | Self::NoSpace { .. }
        )
    }

    /// What the counters call it once it has struck.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FailFlush => "disk: flush failed",
            Self::ShortWrite => "disk: short write",
            Self::FailRead => "disk: read failed",
            Self::NoSpace { .. } => "disk: full",
            Self::MisdirectRead => "disk: misdirected read",
            Self::MisdirectWrite => "disk: misdirected write",
            Self::LoseFlush => "disk: acknowledged flush lost",
            Self::Rot => "disk: bit rot",
            Self::Latent => "disk: latent sector error",
        }
    }
}

/// How a crash treats what was not flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process ends, the machine goes on: caches survive.
    Kill,
    /// Power loss: nothing of it was written.
    PowerNone,
    /// Power loss: all of it happened to be written.
    PowerAll,
    /// Power loss: of each write a prefix of its sectors.
    PowerPrefix,
    /// Power loss: any sectors.
    PowerSubset,
}

impl Crash {
    /// All of them.
    pub const ALL: [Crash; 5] = [
        Crash::Kill,
        Crash::PowerNone,
        Crash::PowerAll,
        Crash::PowerPrefix,
        Crash::PowerSubset,
    ];
}
