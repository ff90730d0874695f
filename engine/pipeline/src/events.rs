//! What happened lately that a person wants to see: view changes, members lost and found, evidence, alarms, a full log.
//! Rare by nature; the newest are kept for the status.

use std::collections::VecDeque;
use std::sync::Mutex;

use serde_json::{Value, json};

/// As many are kept.
const KEPT: usize = 64;

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// In the course of things.
    Info,
    /// Something does not work that others make up for.
    Warning,
    /// Somebody has to look.
    Error,
}

/// Something that happened.
#[derive(Clone, Debug)]
struct Event {
    /// Ascending, from 1, without gaps.
    number: u64,
    wall_us: u64,
    weight: Weight,
    kind: &'static str,
    text: String,
}

/// The newest events.
#[derive(Debug, Default)]
pub(crate) struct Events {
    kept: Mutex<(u64, VecDeque<Event>)>,
}

impl Events {
    /// Adds one; the oldest makes room.
    pub(crate) fn add(&self, wall_us: u64, weight: Weight, kind: &'static str, text: String) {
        let mut kept = self.kept.lock().expect("nobody panics with it");
        let (last, list) = &mut *kept;
        *last += 1;
        if list.len() == KEPT {
            list.pop_front();
        }
        list.push_back(Event {
            number: *last,
            wall_us,
            weight,
            kind,
            text,
        });
    }

    /// All that are kept, oldest first.
    pub(crate) fn status(&self) -> Value {
        let kept = self.kept.lock().expect("nobody panics with it");
        let entry = |event: &Event| {
            json!({
                "number": event.number,
                "wall_us": event.wall_us,
                "weight": match event.weight {
                    Weight::Info => "info",
                    Weight::Warning => "warning",
                    Weight::Error => "error",
                },
                "kind": event.kind,
                "text": event.text,
            })
        };
        kept.1.iter().map(entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_numbered() {
        let events = Events::default();
        for index in 0..KEPT as u64 + 3 {
            events.add(index, Weight::Info, "view", format!("{index}"));
        }
        let status = events.status();
        let list = status.as_array().unwrap();
        assert_eq!(list.len(), KEPT);
        assert_eq!((&list[0]["number"], &list[0]["text"]), (&4.into(), &"3".into()));
        assert_eq!(list[KEPT - 1]["number"], KEPT as u64 + 3);
    }
}
