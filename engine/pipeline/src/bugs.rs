//! Faults of the machinery that a simulation can switch on, to show that it finds them. Without the feature `bugs`
//! there is no switch and the questions are constants.
#![cfg_attr(not(feature = "bugs"), allow(unreachable_pub, dead_code))]

/// A fault to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bug {
    /// A consumer that makes room does not wake the producer that waits for it.
    LostWake,
    /// Producers do not look whether a link has room.
    RoomNotAsked,
    /// Requests that go on do not wake the ingress stage, which would read on from their connection.
    LostResume,
    /// A link's bytes are not counted against its room.
    BytesNotCounted,
}

impl Bug {
    /// All.
    pub const ALL: [Bug; 4] = [Bug::LostWake, Bug::RoomNotAsked, Bug::LostResume, Bug::BytesNotCounted];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Bug::LostWake => "lost-wake",
            Bug::RoomNotAsked => "room-not-asked",
            Bug::LostResume => "lost-resume",
            Bug::BytesNotCounted => "bytes-not-counted",
        }
    }
}

/// Which fault is on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Switches {
    #[cfg(feature = "bugs")]
    on: Option<Bug>,
}

impl Switches {
    /// With this fault.
    #[cfg(feature = "bugs")]
    pub(crate) fn with(on: Option<Bug>) -> Self {
        Self { on }
    }

    /// Whether this fault is on.
    #[cfg(feature = "bugs")]
    pub(crate) fn has(self, bug: Bug) -> bool {
        self.on == Some(bug)
    }

    /// Whether this fault is on: never.
    #[cfg(not(feature = "bugs"))]
    pub(crate) fn has(self, _: Bug) -> bool {
        false
    }
}
