//! View changes as they happen, each with the reason that is known here.

use serde_json::{Value, json};
use trireme_core::View;

use crate::events::{Events, Weight};
use crate::orderer::Orderer;

/// Counts of view changes by reason.
#[derive(Debug, Default)]
pub(crate) struct Views {
    view: View,
    /// The core's suspicions, when the view was entered.
    suspicions: [u64; 3],
    counts: [u64; REASONS.len()],
}

/// Why a view was left: an own suspicion, in the order of the core's counters, or none: other members left it.
const REASONS: [&str; 4] = ["uncommitted", "turnaround", "leader_gone", "others"];
/// The last of them.
const OTHERS: usize = 3;

impl Views {
    /// A replica that starts in this view.
    pub(crate) fn new(view: View) -> Self {
        Self {
            view,
            ..Self::default()
        }
    }

    /// The view that is known here.
    pub(crate) fn current(&self) -> View {
        self.view
    }

    /// The core has entered another view.
    pub(crate) fn enter(&mut self, replica: &Orderer, wall_us: u64, events: &Events) {
        let counters = replica.counters();
        let suspicions = [
            counters.suspected_uncommitted,
            counters.suspected_turnaround,
            counters.suspected_leader_gone,
        ];
        let own = (0..OTHERS).find(|ground| suspicions[*ground] > self.suspicions[*ground]);
        let reason = own.unwrap_or(OTHERS);
        self.counts[reason] += 1;
        self.suspicions = suspicions;
        let (from, leader) = (self.view, replica.leader());
        self.view = replica.view();
        let text = format!(
            "view {from} left for {} (leader {leader}): {}",
            self.view, SENTENCES[reason]
        );
        tracing::info!(from, view = self.view, leader, reason = REASONS[reason], "view changed");
        events.add(wall_us, Weight::Warning, "view", text);
    }

    /// Counts by reason.
    pub(crate) fn status(&self) -> Value {
        let entry = |(name, count): (&str, u64)| (name.to_owned(), json!(count));
        Value::Object(REASONS.into_iter().zip(self.counts).map(entry).collect())
    }
}

const SENTENCES: [&str; 4] = [
    "work was not committed within the view's timer",
    "a certified batch was not ordered in time",
    "the leader was not reachable",
    "other members left it",
];
