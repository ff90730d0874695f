//! The status of a replica, put together when somebody asks.
//!
//! Whoever asks raises the board's number and wakes all threads; each run loop then hangs its stages' parts on the
//! board, once for each number. Nothing is collected while nobody asks, and the locks are never contended.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::link::LinkCounts;
use crate::signal::Threads;
use crate::topology::Stage;

/// Where the parts of the status hang.
#[derive(Debug)]
pub(crate) struct Board {
    wanted: AtomicU64,
    parts: [Mutex<Part>; Stage::COUNT],
    /// CPU time of each thread's endpoint tasks, in nanoseconds.
    transport_ns: Vec<AtomicU64>,
    links: Vec<Arc<LinkCounts>>,
    /// What does not change.
    constants: Map<String, Value>,
    clock: Clock,
    threads: Threads,
    /// Thread of the stage that asks for clients.
    asker: usize,
    /// Tells who asks from outside that a part was hung up.
    news: Notify,
}

#[derive(Debug, Default)]
struct Part {
    number: u64,
    cpu_ns: u64,
    entries: Map<String, Value>,
}

impl Board {
    pub(crate) fn new(
        threads: &Threads,
        thread_count: usize,
        asker: usize,
        links: Vec<Arc<LinkCounts>>,
        constants: Map<String, Value>,
        clock: Clock,
    ) -> Self {
        Self {
            wanted: AtomicU64::new(0),
            parts: std::array::from_fn(|_| Mutex::default()),
            transport_ns: (0..thread_count).map(|_| AtomicU64::new(0)).collect(),
            links,
            constants,
            clock,
            threads: threads.clone(),
            asker,
            news: Notify::new(),
        }
    }

    /// Asks all threads for their parts; the number of this question.
    pub(crate) fn ask(&self) -> u64 {
        let number = self.wanted.fetch_add(1, Ordering::SeqCst) + 1;
        self.threads.mark_all(self.asker);
        number
    }

    /// Asks from a thread that runs no stages, and waits for the whole. Never ends if a stage never answers: a replica
    /// that recovers has none yet.
    pub(crate) async fn status(&self) -> Value {
        let number = self.wanted.fetch_add(1, Ordering::SeqCst) + 1;
        self.threads.notify_all();
        loop {
            let news = self.news.notified();
            let mut news = std::pin::pin!(news);
            news.as_mut().enable();
            if let Some(status) = self.read(number) {
                return status;
            }
            news.await;
        }
    }

    /// The number of the newest question.
    pub(crate) fn wanted(&self) -> u64 {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Hangs up a stage's part, by the run loop of `thread`.
    pub(crate) fn hang(&self, thread: usize, stage: Stage, number: u64, cpu_ns: u64, entries: Map<String, Value>) {
        *self.parts[stage as usize].lock().expect("nobody panics with it") = Part {
            number,
            cpu_ns,
            entries,
        };
        self.threads.mark(thread, self.asker);
        self.news.notify_waiters();
    }

    /// CPU time of a thread that was not spent in stages.
    pub(crate) fn set_transport_ns(&self, thread: usize, ns: u64) {
        self.transport_ns[thread].store(ns, Ordering::Relaxed);
    }

    /// The status, if all parts answer question `number` or a later one.
    pub(crate) fn read(&self, number: u64) -> Option<Value> {
        let mut status = self.constants.clone();
        let mut cpu = Map::new();
        for stage in Stage::ALL {
            let part = self.parts[stage as usize].lock().expect("nobody panics with it");
            if part.number < number {
                return None;
            }
            cpu.insert(stage.name().to_owned(), (part.cpu_ns / 1_000).into());
            merge(&mut status, &part.entries);
        }
        let transport: u64 = self.transport_ns.iter().map(|ns| ns.load(Ordering::Relaxed)).sum();
        cpu.insert("transport".to_owned(), (transport / 1_000).into());
        cpu.insert("process".to_owned(), (self.clock.process_cpu_ns() / 1_000).into());
        status.insert("uptime_us".to_owned(), self.clock.now().tick.0.into());
        status.insert("cpu_us".to_owned(), cpu.into());
        status.insert(
            "links".to_owned(),
            self.links.iter().map(|counts| link_status(counts)).collect(),
        );
        Some(status.into())
    }
}

/// Adds entries; objects under the same key become one.
fn merge(status: &mut Map<String, Value>, entries: &Map<String, Value>) {
    for (key, value) in entries {
        match (status.get_mut(key), value) {
            (Some(Value::Object(known)), Value::Object(more)) => known.extend(more.clone()),
            _ => {
                status.insert(key.clone(), value.clone());
            }
        }
    }
}

fn link_status(counts: &LinkCounts) -> Value {
    let [held, high_water, pushed, shed] = counts.snapshot();
    json!({
        "name": counts.spec.name,
        "from": counts.spec.from.name(),
        "to": counts.spec.to.name(),
        "depth": counts.room.depth,
        "held": held,
        "high_water": high_water,
        "pushed": pushed,
        "shed": shed,
        "bytes": counts.bytes(),
        "limit_bytes": counts.room.bytes,
        "starvations": counts.starvations(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_complete_when_every_stage_has_answered_the_question() {
        let threads = Threads::new(1);
        let board = Board::new(&threads, 1, 0, Vec::new(), Map::new(), Clock::start());
        let number = board.ask();
        for stage in Stage::ALL {
            assert!(board.read(number).is_none(), "{} is missing", stage.name());
            let entries = Map::from_iter([
                (format!("key of {}", stage.name()), 1.into()),
                ("stages".to_owned(), json!({ stage.name(): 1 })),
            ]);
            board.hang(0, stage, number, 2_000, entries);
        }
        let status = board.read(number).unwrap();
        assert_eq!(status["key of order"], 1);
        assert_eq!(status["cpu_us"]["log"], 2);
        assert_eq!(
            status["stages"].as_object().unwrap().len(),
            Stage::COUNT,
            "parts of one object"
        );
        let next = board.ask();
        assert!(board.read(next).is_none(), "old parts do not answer a new question");
    }
}
