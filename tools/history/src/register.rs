//! One key of the store, as far as a client can know it: what an operation finds, leaves and says.

/// A value, as a number that stands for it.
pub(crate) type Value = u32;

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Content {
    /// Nobody has looked yet.
    Unknown,
    Absent,
    /// Of what is none, nobody has been told yet.
    Present {
        value: Option<Value>,
        version: Option<u64>,
    },
}

/// A key between two operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct State {
    pub(crate) content: Content,
    /// The greatest version of it that anybody was told: the next one is greater.
    pub(crate) floor: u64,
}

/// An operation with its result. Without a result (`Maybe`) it is here only as one that took effect: one that did not
/// needs no place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Put {
        value: Value,
        version: Option<u64>,
    },
    Found {
        value: Value,
        version: Option<u64>,
    },
    NotFound,
    Deleted {
        version: Option<u64>,
    },
    Cas {
        expected: u64,
        value: Value,
        version: Option<u64>,
    },
    Mismatch {
        expected: u64,
        version: Option<u64>,
    },
    MaybePut {
        value: Value,
    },
    MaybeDeleted,
    MaybeCas {
        expected: u64,
        value: Value,
    },
}

impl State {
    pub(crate) const EMPTY: Self = Self {
        content: Content::Absent,
        floor: 0,
    };
    pub(crate) const UNKNOWN: Self = Self {
        content: Content::Unknown,
        floor: 0,
    };

    /// What the operation leaves; none if it could not have had its result here.
    pub(crate) fn after(self, action: Action) -> Option<Self> {
        match action {
            Action::Put { value, version } => self.written(value, version),
            Action::MaybePut { value } => self.written(value, None),
            Action::Found { value, version } => self.seen(Some(value), version),
            Action::NotFound => self.absent(),
            Action::Deleted { version } => Some(Self {
                content: Content::Absent,
                ..self.seen(None, version)?
            }),
            Action::MaybeDeleted => self.after(Action::Deleted { version: None }),
            Action::Cas {
                expected,
                value,
                version,
            } => self.at(expected)?.written(value, version),
            Action::MaybeCas { expected, value } => self.at(expected)?.written(value, None),
            Action::Mismatch { expected, version } => match version {
                Some(version) if version == expected => None,
                Some(version) => self.at(version),
                None => self.differs(expected).then_some(self),
            },
        }
    }

    fn written(self, value: Value, version: Option<u64>) -> Option<Self> {
        if version.is_some_and(|version| version <= self.floor) {
            return None;
        }
        let content = Content::Present {
            value: Some(value),
            version,
        };
        let floor = version.unwrap_or(self.floor);
        Some(Self { content, floor })
    }

    /// The key is there, with this value and version as far as they were told.
    fn seen(self, value: Option<Value>, version: Option<u64>) -> Option<Self> {
        let (known_value, known_version) = match self.content {
            Content::Absent => return None,
            Content::Unknown => (None, None),
            Content::Present { value, version } => (value, version),
        };
        // A version that nobody was told yet is a new one.
        let fresh = known_version.is_none();
        if contradicts(known_value, value)
            || contradicts(known_version, version)
            || fresh && version.is_some_and(|version| version <= self.floor)
        {
            return None;
        }
        Some(Self {
            content: Content::Present {
                value: known_value.or(value),
                version: known_version.or(version),
            },
            floor: self.floor.max(version.unwrap_or(0)),
        })
    }

    fn absent(self) -> Option<Self> {
        let content = Content::Absent;
        (!matches!(self.content, Content::Present { .. })).then_some(Self { content, ..self })
    }

    /// The key has this version; 0: it is absent.
    fn at(self, version: u64) -> Option<Self> {
        if version == 0 {
            self.absent()
        } else {
            self.seen(None, Some(version))
        }
    }

    fn differs(self, expected: u64) -> bool {
        match self.content {
            Content::Unknown => true,
            Content::Absent => expected != 0,
            Content::Present { version, .. } => version != Some(expected),
        }
    }

    /// Whether the operation fits nowhere from here on: versions have passed it.
    pub(crate) fn is_past(self, action: Action) -> bool {
        match action {
            Action::Put { version, .. } => version.is_some_and(|version| version <= self.floor),
            Action::Cas { expected, version, .. } => {
                version.is_some_and(|version| version <= self.floor) || expected != 0 && expected < self.floor
            }
            Action::Found { version, .. } | Action::Deleted { version } | Action::Mismatch { version, .. } => {
                version.is_some_and(|version| version != 0 && version < self.floor)
            }
            _ => false,
        }
    }
}

impl Action {
    /// The same operation without its result; none if it then changes nothing.
    pub(crate) fn without_result(self) -> Option<Self> {
        match self {
            Self::Put { value, .. } | Self::MaybePut { value } => Some(Self::MaybePut { value }),
            Self::Deleted { .. } | Self::MaybeDeleted => Some(Self::MaybeDeleted),
            Self::Cas { expected, value, .. } | Self::MaybeCas { expected, value } => {
                Some(Self::MaybeCas { expected, value })
            }
            Self::Found { .. } | Self::NotFound | Self::Mismatch { .. } => None,
        }
    }
}

fn contradicts<T: PartialEq>(known: Option<T>, told: Option<T>) -> bool {
    matches!((known, told), (Some(known), Some(told)) if known != told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_what_was_written_last() {
        let one = State::EMPTY
            .after(Action::Put {
                value: 1,
                version: Some(5),
            })
            .unwrap();
        assert_eq!(
            one.after(Action::Found {
                value: 1,
                version: Some(5)
            }),
            Some(one)
        );
        assert_eq!(
            one.after(Action::Found {
                value: 2,
                version: Some(5)
            }),
            None
        );
        assert_eq!(
            one.after(Action::Found {
                value: 1,
                version: Some(6)
            }),
            None
        );
        assert_eq!(one.after(Action::NotFound), None);
        assert_eq!(
            one.after(Action::Put {
                value: 2,
                version: Some(5)
            }),
            None,
            "versions ascend"
        );
        let gone = one.after(Action::Deleted { version: Some(5) }).unwrap();
        assert_eq!((gone.after(Action::NotFound), gone.floor), (Some(gone), 5));
        assert_eq!(
            gone.after(Action::Found {
                value: 1,
                version: None
            }),
            None
        );
        assert!(gone.is_past(Action::Found {
            value: 1,
            version: Some(4)
        }));
    }

    #[test]
    fn compare_and_set_looks_at_the_version() {
        let cas = |expected, version| Action::Cas {
            expected,
            value: 9,
            version,
        };
        let one = State::EMPTY.after(cas(0, Some(3))).unwrap();
        assert!(one.after(cas(3, Some(4))).is_some() && one.after(cas(0, Some(4))).is_none());
        let mismatch = |expected, version| Action::Mismatch { expected, version };
        assert_eq!(one.after(mismatch(2, Some(3))), Some(one));
        assert_eq!(one.after(mismatch(3, Some(3))), None, "it would have been no mismatch");
        assert_eq!(
            (one.after(mismatch(3, None)), one.after(mismatch(2, None))),
            (None, Some(one))
        );
        assert_eq!(State::EMPTY.after(mismatch(2, Some(0))), Some(State::EMPTY));
    }

    #[test]
    fn what_nobody_was_told_is_learnt_once() {
        let maybe = State::EMPTY.after(Action::MaybePut { value: 4 }).unwrap();
        let told = maybe
            .after(Action::Found {
                value: 4,
                version: Some(8),
            })
            .unwrap();
        assert_eq!(
            (
                told.floor,
                told.after(Action::Found {
                    value: 4,
                    version: Some(9)
                })
            ),
            (8, None)
        );
        let met = State::UNKNOWN
            .after(Action::Mismatch {
                expected: 1,
                version: Some(6),
            })
            .unwrap();
        assert!(
            met.after(Action::Found {
                value: 7,
                version: Some(6)
            })
            .is_some()
        );
        assert!(
            State::UNKNOWN
                .after(Action::NotFound)
                .unwrap()
                .after(Action::Deleted { version: None })
                .is_none()
        );
    }
}
