//! The loop that makes the load: one task, one thread.

use std::collections::VecDeque;
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use trireme_client::Completion;

use crate::acknowledged::Recorder;
use crate::alarm::Alarm;
use crate::arrivals::Schedule;
use crate::generator::Watch;
use crate::history::Historian;
use crate::meter::{Meter, Moment};
use crate::options::{LoadError, LoadOptions, Rate};
use crate::payload::{Asked, Payloads};
use crate::record::{Record, Setting};
use crate::run::{Report, Start, Stop};
use crate::summary::{LatencyUs, Second, Summary};
use crate::target::Target;

/// Seconds shorter than this at the end of the measured time are left to the drain's first.
const SHORTEST_SECOND_NS: u64 = 100_000_000;

/// A submitted bundle: when each of its requests was meant to be sent.
#[derive(Default)]
pub(crate) struct Flight {
    pub(crate) intended_ns: Vec<u64>,
    pub(crate) asked: Vec<Asked>,
    pub(crate) sent_ns: u64,
    pub(crate) remaining: usize,
}

/// The second request of an operation that is waiting to be sent.
pub(crate) struct FollowUp {
    pub(crate) key: u64,
    /// Of the operation.
    pub(crate) intended_ns: u64,
}

pub(crate) enum Source {
    Open(Schedule),
    Closed { depth: u64 },
}

pub(crate) struct Load<'a> {
    pub(crate) options: &'a LoadOptions,
    pub(crate) driver: Target,
    pub(crate) source: Source,
    pub(crate) payloads: Payloads,
    pub(crate) meter: Meter,
    pub(crate) watch: Watch,
    pub(crate) recorder: Recorder,
    pub(crate) historian: Option<Historian>,
    alarm: Alarm,
    start: Instant,
    /// The same by the wall clock.
    started: SystemTime,
    /// Before the load: writing the keys.
    pub(crate) filling: bool,
    /// Keys whose filling failed and is tried again.
    pub(crate) refill: Vec<u64>,
    /// When the last request may be submitted.
    end_ns: u64,
    pub(crate) next_client: u32,
    pub(crate) flights: Vec<Flight>,
    pub(crate) free: Vec<usize>,
    pub(crate) follow_ups: VecDeque<FollowUp>,
    pub(crate) in_flight: u64,
    next_second_ns: u64,
    pub(crate) refusals_in_a_row: u64,
    /// Reused for each bundle.
    pub(crate) requests: Vec<Vec<u8>>,
    done: Vec<Completion>,
    seconds: Vec<Second>,
}

impl<'a> Load<'a> {
    pub(crate) fn new(driver: Target, options: &'a LoadOptions) -> Result<Self, LoadError> {
        let from_ns = nanos(options.warm_up);
        let end_ns = from_ns.saturating_add(nanos(options.duration));
        let source = match options.rate {
            Rate::Max => Source::Closed {
                depth: u64::from(options.depth()),
            },
            Rate::PerSecond(rate) => Source::Open(Schedule::new(
                options.arrivals,
                rate,
                options.bundle,
                end_ns,
                options.seed,
            )),
        };
        // Seconds are counted so that one of them begins with the measured time.
        let first_second_ns = from_ns % 1_000_000_000;
        Ok(Self {
            options,
            driver,
            source,
            payloads: Payloads::new(options),
            meter: Meter::new(from_ns, end_ns, &options.workload.mix),
            watch: Watch::new(),
            recorder: Recorder::new(&options.recording)?,
            historian: options.history.as_ref().map(Historian::new).transpose()?,
            alarm: Alarm::new()?,
            start: Instant::now(),
            started: SystemTime::now(),
            filling: false,
            refill: Vec::new(),
            end_ns,
            next_client: 0,
            flights: Vec::new(),
            free: Vec::new(),
            follow_ups: VecDeque::new(),
            in_flight: 0,
            next_second_ns: if first_second_ns == 0 {
                1_000_000_000
            } else {
                first_second_ns
            },
            refusals_in_a_row: 0,
            requests: vec![Vec::new(); options.bundle.max(crate::filling::BUNDLE) as usize],
            done: Vec::new(),
            seconds: Vec::new(),
        })
    }

    pub(crate) fn now_ns(&self) -> u64 {
        nanos(self.start.elapsed())
    }

    /// Starts the clock: at once, or when all parts of the load are ready.
    pub(crate) async fn begin(&mut self, start: Option<Start>) -> Result<(), LoadError> {
        if let Some(Start { ready, at }) = start {
            ready();
            let mut at = pin!(at);
            let wanted = poll_fn(|cx| {
                while self.driver.poll(cx).is_ready() {
                    self.driver.take_completions(&mut self.done);
                    self.done.clear();
                }
                at.as_mut().poll(cx)
            });
            let wanted = wanted.await.map_err(|_| LoadError::NoStart)?;
            let pause = wanted.duration_since(SystemTime::now()).unwrap_or_default();
            let begin = Instant::now() + pause;
            self.alarm.set(pause);
            poll_fn(|cx| {
                while self.driver.poll(cx).is_ready() {
                    self.driver.take_completions(&mut self.done);
                    self.done.clear();
                }
                self.alarm.poll(cx)
            })
            .await;
            (self.start, self.started) = (begin, wanted);
        } else {
            (self.start, self.started) = (Instant::now(), SystemTime::now());
        }
        Ok(())
    }

    /// Submits until the end of the measured time.
    pub(crate) async fn make(&mut self, stop: &Stop, each: &mut impl FnMut(Second)) -> Result<(), LoadError> {
        loop {
            let now = self.now_ns();
            self.on_clock(now, each);
            if stop.is_set() {
                self.end_ns = now.min(self.end_ns);
                self.meter.cut(now);
            }
            if now >= self.end_ns {
                break;
            }
            self.take_completions()?;
            let wake_at = match self.source {
                Source::Closed { .. } => self.keep_depth()?,
                Source::Open(_) => self.send_due()?,
            };
            self.wait(wake_at.min(self.end_ns)).await;
        }
        self.watch.end();
        let now = self.now_ns();
        if now + 1_000_000_000 > self.next_second_ns + SHORTEST_SECOND_NS {
            self.end_second(now, each);
        }
        Ok(())
    }

    /// Waits for what is outstanding, and ends the rest.
    pub(crate) async fn drain(&mut self, each: &mut impl FnMut(Second)) -> Result<(), LoadError> {
        // The open loop's last arrivals were due: they are sent late, not left out.
        let deadline = self.now_ns().saturating_add(nanos(self.options.drain));
        loop {
            let now = self.now_ns();
            self.on_clock(now, each);
            self.take_completions()?;
            let more = match self.source {
                Source::Open(_) => self.send_due()?,
                Source::Closed { .. } => self.send_follow_ups()?.unwrap_or(u64::MAX),
            };
            let nothing_due = self.backlog() == 0 && self.follow_ups.is_empty();
            if now >= deadline || (self.in_flight == 0 && nothing_due) {
                break;
            }
            self.wait(more.min(deadline)).await;
        }
        let unsent = self.backlog() + self.follow_ups.len() as u64;
        self.meter.fail_unsent(unsent);
        self.driver.close();
        self.take_completions()?;
        if self.meter.has_news() {
            self.end_second(self.now_ns(), each);
        }
        Ok(())
    }

    /// Until there are completions, or a time comes.
    pub(crate) async fn wait(&mut self, wake_at_ns: u64) {
        // A stop must be noticed even when nothing happens.
        let second = if self.filling { u64::MAX } else { self.next_second_ns };
        let at = wake_at_ns.min(second).min(self.now_ns() + 100_000_000);
        self.alarm.set(Duration::from_nanos(at.saturating_sub(self.now_ns())));
        let rang = poll_fn(|cx| {
            let driver = self.driver.poll(cx);
            let alarm = self.alarm.poll(cx);
            if driver.is_ready() || alarm.is_ready() {
                Poll::Ready(alarm.is_ready())
            } else {
                Poll::Pending
            }
        })
        .await;
        let now = self.now_ns();
        if rang && self.meter.in_measured_time(at) && !self.filling {
            self.watch.woke(at, now);
        }
    }

    fn on_clock(&mut self, now: u64, each: &mut impl FnMut(Second)) {
        if now >= nanos(self.options.warm_up) {
            self.watch.begin();
        }
        if now >= self.next_second_ns {
            self.end_second(now, each);
        }
    }

    fn end_second(&mut self, now_ns: u64, each: &mut impl FnMut(Second)) {
        let moment = Moment {
            now_ns,
            in_flight: self.in_flight,
            backlog: self.backlog(),
            connected: self.driver.connected(),
        };
        let second = self.meter.end_second(&moment);
        self.seconds.push(second.clone());
        each(second);
        while self.next_second_ns <= now_ns {
            self.next_second_ns += 1_000_000_000;
        }
    }

    fn backlog(&self) -> u64 {
        match &self.source {
            Source::Open(schedule) => schedule.unsent(self.now_ns().min(self.end_ns)) as u64,
            Source::Closed { .. } => 0,
        }
    }

    pub(crate) fn take_completions(&mut self) -> Result<(), LoadError> {
        let mut done = std::mem::take(&mut self.done);
        self.driver.take_completions(&mut done);
        let now = self.now_ns();
        for completion in done.drain(..) {
            self.on_completion(now, completion)?;
        }
        self.done = done;
        Ok(())
    }

    pub(crate) fn report(mut self) -> Result<Report, LoadError> {
        if let Some(historian) = self.historian.take() {
            historian.finish()?;
        }
        let summary = self.summary();
        let check = self.watch.check(summary.measured_s, &summary.latency_us);
        let started = self.started + self.options.warm_up;
        let record = Record::new(
            Setting::of(self.options),
            started,
            summary,
            self.meter,
            self.seconds,
            check,
        );
        Ok(Report {
            record,
            acknowledged: self.recorder.finish()?,
        })
    }

    fn summary(&mut self) -> Summary {
        let counters = self.driver.counters();
        let (longest_gap_ms, longest_gap_at_s) = self.meter.longest_gap();
        let meter = &self.meter;
        let seconds = meter.measured_s();
        let rate = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let cpu_us = self.watch.cpu_us();
        Summary {
            clients: self.options.clients,
            in_flight: (self.options.rate == Rate::Max).then(|| self.options.depth()),
            measured_s: seconds,
            offered_ops_s: rate(meter.offered),
            throughput_ops_s: rate(meter.timely),
            throughput_mb_s: rate(meter.timely_bytes) / 1e6,
            latency_us: LatencyUs::of(&meter.measured),
            submitted: meter.submitted,
            acknowledged: meter.acknowledged,
            failed: meter.failed,
            unknown: meter.unknown,
            failures: meter.failures.clone(),
            without_effect: meter.without_effect,
            not_found: meter.not_found,
            conflicts: meter.conflicts,
            longest_gap_ms,
            longest_gap_at_s,
            client_cpu_us_per_op: cpu_us / meter.timely.max(1) as f64,
            client_cpu_share: if seconds > 0.0 { cpu_us / 1e6 / seconds } else { 0.0 },
            retries: counters.retries,
            refusals: counters.refusals,
            wrong_replies: counters.wrong_replies,
        }
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
