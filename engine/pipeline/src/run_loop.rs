//! The run loop of one thread: polls its stages until none has anything to do, then sleeps until a link, an endpoint,
//! the log or a timer wakes it. There are no polling intervals: an idle replica uses no CPU.

use std::sync::Arc;
use std::task::{Context, Poll};

use trireme_core::{Now, Tick};

use crate::board::Board;
use crate::clock::Clock;
use crate::error::ReplicaError;
use crate::gate::Gate;
use crate::signal::Threads;
use crate::stage::{Turn, Work};
use crate::topology::Stage;

/// How much a run loop does before it lets others run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Items that a stage takes in one poll.
    pub(crate) budget: usize,
    /// After this long the endpoints' tasks get their turn, whatever the stages have left to do.
    pub(crate) slice_ns: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            budget: 256,
            slice_ns: 500_000,
        }
    }
}

/// What a run loop shares with the other threads.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) threads: Threads,
    pub(crate) board: Arc<Board>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) clock: Clock,
}

/// See the module's text.
pub(crate) struct RunLoop {
    shared: Shared,
    thread: usize,
    pub(crate) pace: Pace,
    stages: Vec<Place>,
    /// The endpoints' tasks had their turn since a stage last found something to do.
    yielded: bool,
    /// Number of the status question that was answered last.
    answered: u64,
    /// CPU time spent in this loop, in nanoseconds.
    loop_ns: u64,
    /// Passes in which a stage found something to do.
    pub(crate) busy_passes: u64,
}

/// A stage and its share of the thread.
struct Place {
    work: Box<dyn Work>,
    stage: Stage,
    /// Wall time of its polls since the loop was last entered.
    wall_ns: u64,
    /// CPU time, shared out by wall time.
    cpu_ns: u64,
}

impl RunLoop {
    pub(crate) fn new(shared: Shared, thread: usize, stages: Vec<Box<dyn Work>>) -> Self {
        let place = |work: Box<dyn Work>| Place {
            stage: work.stage(),
            work,
            wall_ns: 0,
            cpu_ns: 0,
        };
        let stages = stages.into_iter().map(place).collect();
        Self {
            shared,
            thread,
            pace: Pace::default(),
            stages,
            yielded: false,
            answered: 0,
            loop_ns: 0,
            busy_passes: 0,
        }
    }

    /// Runs until the replica is to stop.
    pub(crate) async fn run(&mut self) -> Result<(), ReplicaError> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// Winds the stages up: the log first, then what closes connections.
    pub(crate) async fn finish(mut self) -> Result<(), ReplicaError> {
        self.stages.sort_by_key(|place| place.stage != Stage::Log);
        for place in self.stages {
            place.work.finish().await?;
            self.shared.threads.flush(self.thread);
        }
        Ok(())
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReplicaError>> {
        let entered = self.shared.clock.thread_cpu_ns();
        self.shared.threads.signal(self.thread).disarm();
        let result = self.work(cx);
        self.account(entered);
        self.shared.threads.flush(self.thread);
        result
    }

    /// What its stages say of themselves.
    #[cfg(feature = "simulation")]
    pub(crate) fn status(&mut self) -> serde_json::Map<String, serde_json::Value> {
        self.stages.iter_mut().flat_map(|place| place.work.status()).collect()
    }

    fn work(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReplicaError>> {
        let until = self.shared.clock.nanos() + self.pace.slice_ns;
        loop {
            if self.shared.gate.stopping() {
                return Poll::Ready(Ok(()));
            }
            if self.pass(cx, false)? {
                self.yielded = false;
                if self.shared.clock.nanos() < until {
                    continue;
                }
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !self.yielded {
                // What has arrived at the sockets belongs to this run of inputs, too.
                self.yielded = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.shared.threads.signal(self.thread).arm(cx.waker());
            if !self.pass(cx, true)? && !self.shared.gate.stopping() {
                self.yielded = false;
                return Poll::Pending;
            }
            self.shared.threads.signal(self.thread).disarm();
            self.yielded = false;
        }
    }

    /// Polls each stage once; whether any had something to do.
    fn pass(&mut self, cx: &mut Context<'_>, quiet: bool) -> Result<bool, ReplicaError> {
        let Shared {
            threads, board, clock, ..
        } = &self.shared;
        let mut progress = false;
        let mut began = clock.nanos();
        let wall_us = clock.wall_us();
        for place in &mut self.stages {
            let now = Now {
                tick: Tick(began / 1_000),
                wall_us,
            };
            let mut turn = Turn {
                now,
                budget: self.pace.budget,
                quiet,
                cx,
            };
            // Looking in vain costs less than the clock that would tell by how much: the next one to work bears it.
            if place.work.poll(&mut turn)? {
                progress = true;
                threads.flush(self.thread);
                let ended = clock.nanos();
                place.wall_ns += ended - began;
                began = ended;
            }
        }
        let wanted = board.wanted();
        if wanted != self.answered {
            self.answered = wanted;
            board.set_transport_ns(self.thread, clock.thread_cpu_ns().saturating_sub(self.loop_ns));
            for place in &mut self.stages {
                board.hang(self.thread, place.stage, wanted, place.cpu_ns, place.work.status());
            }
            threads.flush(self.thread);
            progress = true;
        }
        self.busy_passes += u64::from(progress);
        Ok(progress)
    }

    /// Shares out the CPU time since the loop was entered. Wall time alone would count what other processes took.
    fn account(&mut self, entered: u64) {
        let cpu = self.shared.clock.thread_cpu_ns().saturating_sub(entered);
        self.loop_ns += cpu;
        let wall: u64 = self.stages.iter().map(|place| place.wall_ns).sum();
        for place in &mut self.stages {
            place.cpu_ns += (u128::from(cpu) * u128::from(place.wall_ns) / u128::from(wall.max(1))) as u64;
            place.wall_ns = 0;
        }
    }
}
