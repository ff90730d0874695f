//! The way of a replica's own operations through verification, batching, dissemination, ordering and execution: where
//! their time goes. Kept beside the core, from what goes in and comes out; counted in operations, recorded once for each
//! bundle or batch.

use std::collections::VecDeque;

use serde_json::{Map, Value};
use trireme_core::api::{Effect, Execution};
use trireme_core::message::Batch;
use trireme_core::record::{Record, VoteRecord};
use trireme_core::{Height, MemberId, Slot, Tick};

use crate::histogram::Histogram;

/// When a bundle passed the first stages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passed {
    /// It was read from its connection.
    pub(crate) read: Tick,
    /// The verify stage took it.
    pub(crate) verifying: Tick,
}

/// A bundle that the core has taken.
#[derive(Clone, Copy, Debug)]
struct Taken {
    read: Tick,
    at: Tick,
    ops: u32,
}

/// A batch of the own lane that is not ordered.
#[derive(Debug)]
struct Cut {
    height: Height,
    at: Tick,
    bundles: Vec<Taken>,
    /// When a block that names it was accepted here, or its certificate was there.
    spread: Option<Tick>,
}

/// A slot with own operations, in execution.
#[derive(Debug)]
struct Executing {
    slot: Slot,
    since: Tick,
    bundles: Vec<Taken>,
}

/// See the module's text. What it holds is bounded by the core's intake, the own lane's window and the slots in
/// execution.
#[derive(Debug)]
pub(crate) struct Passage {
    me: MemberId,
    taken: VecDeque<Taken>,
    cuts: VecDeque<Cut>,
    executing: VecDeque<Executing>,
    verify: Histogram,
    batching: Histogram,
    dissemination: Histogram,
    ordering: Histogram,
    execution: Histogram,
    total: Histogram,
}

impl Passage {
    pub(crate) fn new(me: MemberId) -> Self {
        Self {
            me,
            taken: VecDeque::new(),
            cuts: VecDeque::new(),
            executing: VecDeque::new(),
            verify: Histogram::times(),
            batching: Histogram::times(),
            dissemination: Histogram::times(),
            ordering: Histogram::times(),
            execution: Histogram::times(),
            total: Histogram::times(),
        }
    }

    /// The core takes a bundle.
    pub(crate) fn take(&mut self, passed: Passed, ops: u32, now: Tick) {
        self.verify.record(now.since(passed.verifying), ops.into());
        self.taken.push_back(Taken {
            read: passed.read,
            at: now,
            ops,
        });
    }

    /// An effect of the core.
    pub(crate) fn note(&mut self, effect: &Effect, now: Tick) {
        match effect {
            Effect::Append { records, .. } => {
                for record in records {
                    match record {
                        Record::Batch(batch) => self.cut(batch, now),
                        Record::Vote(VoteRecord::Accept(block)) => {
                            let entry = block.block.cut.get(usize::from(self.me));
                            self.spread(entry.map_or(0, |entry| entry.height), now);
                        }
                        Record::Vote(_) | Record::Ordering(_) => {}
                    }
                }
            }
            Effect::Execute(execution) => self.order(execution, now),
            _ => {}
        }
    }

    /// A batch of the own lane holds the oldest bundles.
    fn cut(&mut self, batch: &Batch, now: Tick) {
        let header = &batch.head.header;
        if header.lane != self.me || self.cuts.back().is_some_and(|last| last.height >= header.height) {
            return;
        }
        let (mut bundles, mut ops) = (Vec::new(), 0);
        while ops < header.ops {
            let Some(next) = self.taken.pop_front() else { break };
            ops += next.ops;
            self.batching.record(now.since(next.at), next.ops.into());
            bundles.push(next);
        }
        self.cuts.push_back(Cut {
            height: header.height,
            at: now,
            bundles,
            spread: None,
        });
    }

    /// Own batches up to this height are certified, or named by a block that was accepted here.
    pub(crate) fn spread(&mut self, height: Height, now: Tick) {
        for cut in &mut self.cuts {
            if cut.height > height {
                break;
            }
            cut.spread(&mut self.dissemination, now);
        }
    }

    /// A slot goes to execution. An own batch that was ordered by others before its block was accepted here needed no
    /// time of its own for ordering.
    fn order(&mut self, execution: &Execution, now: Tick) {
        let mut bundles = Vec::new();
        for batch in execution.batches.iter().filter(|batch| batch.lane == self.me) {
            while self.cuts.front().is_some_and(|cut| cut.height <= batch.height) {
                let mut cut = self.cuts.pop_front().expect("just seen");
                let spread = cut.spread(&mut self.dissemination, now);
                for bundle in &cut.bundles {
                    self.ordering.record(now.since(spread), bundle.ops.into());
                }
                bundles.extend(cut.bundles);
            }
        }
        if !bundles.is_empty() {
            self.executing.push_back(Executing {
                slot: execution.slot,
                since: now,
                bundles,
            });
        }
    }

    /// A slot is executed.
    pub(crate) fn executed(&mut self, slot: Slot, now: Tick) {
        while self.executing.front().is_some_and(|front| front.slot <= slot) {
            let front = self.executing.pop_front().expect("just seen");
            for bundle in front.bundles {
                self.execution.record(now.since(front.since), bundle.ops.into());
                self.total.record(now.since(bundle.read), bundle.ops.into());
            }
        }
    }

    /// Whether own batches are on their way to the others.
    pub(crate) fn is_spreading(&self) -> bool {
        self.cuts.iter().any(|cut| cut.spread.is_none())
    }

    /// Its part of `stages`.
    pub(crate) fn status(&self) -> Map<String, Value> {
        let stages = [
            ("verify", &self.verify),
            ("batching", &self.batching),
            ("dissemination", &self.dissemination),
            ("ordering", &self.ordering),
            ("execution", &self.execution),
            ("total", &self.total),
        ];
        let entry = |(name, histogram): (&str, &Histogram)| (name.to_owned(), histogram.status());
        stages.into_iter().map(entry).collect()
    }
}

impl Cut {
    /// Records the time that it took to be spread, once; when that was.
    fn spread(&mut self, dissemination: &mut Histogram, now: Tick) -> Tick {
        *self.spread.get_or_insert_with(|| {
            for bundle in &self.bundles {
                dissemination.record(now.since(self.at), bundle.ops.into());
            }
            now
        })
    }
}

#[cfg(test)]
mod tests;
