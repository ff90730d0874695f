//! The loop that makes the load: one task, one thread.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use trireme_client::{ClientKeys, Completion, Fleet, Options, SubmitError};
use trireme_config::Cluster;
use trireme_transport::wan::Live;

use crate::acknowledged::{Acknowledged, Recorder};
use crate::alarm::Alarm;
use crate::arrivals::Schedule;
use crate::history::{Ended, Historian};
use crate::meter::Meter;
use crate::options::{LoadError, LoadOptions, Rate};
use crate::payload::{Asked, Payloads, took_effect};
use crate::summary::{LatencyUs, Progress, Summary};

/// Arrivals of a busy open loop are sent in steps of this length: a wake-up for each would cost more than the request.
const STEP_NS: u64 = 100_000;
/// Bundles submitted before replies get their turn.
const BUNDLES_A_TURN: usize = 64;
/// So many refusals in a row without one acknowledgement end the run: it would measure nothing else.
const REFUSALS_TO_END: u64 = 1_000;

/// Ends a run early, from any thread; it then waits for what is outstanding, and reports.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// The run ends within a tenth of a second, plus the drain.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a run gives.
#[derive(Debug)]
pub struct Report {
    /// Figures.
    pub summary: Summary,
    /// Every acknowledged request.
    pub acknowledged: Acknowledged,
}

/// Makes the load on a thread of its own runtime: for callers without one. The calling thread does it all.
///
/// # Errors
///
/// [`LoadError`].
pub fn run_blocking(
    cluster: &Cluster,
    keys: &ClientKeys,
    options: &LoadOptions,
    stop: &Stop,
    progress: impl FnMut(&Progress),
) -> Result<Report, LoadError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| LoadError::Runtime {
        operation: "making a runtime",
        source,
    })?;
    runtime.block_on(run(cluster, keys, options, stop, progress))
}

/// Makes the load. Give it a current-thread runtime of its own: what else runs there disturbs the arrivals.
///
/// # Errors
///
/// [`LoadError`]. Failed and unanswered requests are no errors; they are counted.
pub async fn run(
    cluster: &Cluster,
    keys: &ClientKeys,
    options: &LoadOptions,
    stop: &Stop,
    mut progress: impl FnMut(&Progress),
) -> Result<Report, LoadError> {
    options.check()?;
    let clients = keys.clients.get(..options.clients as usize);
    let clients = clients.ok_or(LoadError::Clients {
        wanted: options.clients,
        have: keys.clients.len(),
    })?;
    let keys = ClientKeys {
        clients: clients.to_vec(),
        tls: keys.tls.clone(),
    };
    let give_up_us = u64::try_from(options.give_up.as_micros()).unwrap_or(u64::MAX);
    let client = Options {
        route: options.route,
        give_up_us,
        // A closed loop waits for room; an open loop has to see what was refused.
        fail_when_overloaded: options.rate != Rate::Max,
        ..Options::default()
    };
    let network = options.network.as_deref().map(Live::follow).transpose()?;
    let driver = Fleet::connect(cluster, &keys, client, network.as_ref()).await?;
    let mut load = Load::new(driver, options)?;
    load.make(stop, &mut progress).await?;
    load.drain(&mut progress).await?;
    load.report()
}

/// A submitted bundle: when each of its requests was meant to be sent.
#[derive(Default)]
struct Flight {
    intended_ns: Vec<u64>,
    asked: Vec<Asked>,
    sent_ns: u64,
    remaining: usize,
}

enum Source {
    Open(Schedule),
    Closed { depth: u64 },
}

struct Load<'a> {
    options: &'a LoadOptions,
    driver: Fleet,
    source: Source,
    payloads: Payloads,
    meter: Meter,
    recorder: Recorder,
    historian: Option<Historian>,
    alarm: Alarm,
    start: Instant,
    /// When the last request may be submitted.
    end_ns: u64,
    next_client: u32,
    flights: Vec<Flight>,
    free: Vec<usize>,
    in_flight: u64,
    next_second_ns: u64,
    /// CPU time of this thread at the begin and the end of the measured time.
    cpu: (Option<Duration>, Option<Duration>),
    refusals_in_a_row: u64,
    /// Reused for each bundle.
    requests: Vec<Vec<u8>>,
    done: Vec<Completion>,
}

impl<'a> Load<'a> {
    fn new(driver: Fleet, options: &'a LoadOptions) -> Result<Self, LoadError> {
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
        Ok(Self {
            options,
            driver,
            source,
            payloads: Payloads::new(options),
            meter: Meter::new(from_ns, end_ns),
            recorder: Recorder::new(&options.recording)?,
            historian: options.history.as_ref().map(Historian::new).transpose()?,
            alarm: Alarm::new()?,
            start: Instant::now(),
            end_ns,
            next_client: 0,
            flights: Vec::new(),
            free: Vec::new(),
            in_flight: 0,
            next_second_ns: 1_000_000_000,
            cpu: (None, None),
            refusals_in_a_row: 0,
            requests: vec![Vec::new(); options.bundle as usize],
            done: Vec::new(),
        })
    }

    fn now_ns(&self) -> u64 {
        nanos(self.start.elapsed())
    }

    /// Submits until the end of the measured time.
    async fn make(&mut self, stop: &Stop, progress: &mut impl FnMut(&Progress)) -> Result<(), LoadError> {
        self.start = Instant::now();
        loop {
            let now = self.now_ns();
            self.on_clock(now, progress);
            if stop.is_set() {
                self.end_ns = now.min(self.end_ns);
                self.meter.cut(now);
            }
            if now >= self.end_ns {
                break;
            }
            self.take_completions()?;
            let wake_at = match self.source {
                Source::Closed { .. } => self.fill()?,
                Source::Open(_) => self.send_due()?,
            };
            self.wait(wake_at.min(self.end_ns)).await;
        }
        self.cpu.1 = Some(thread_cpu());
        Ok(())
    }

    /// Waits for what is outstanding, and ends the rest.
    async fn drain(&mut self, progress: &mut impl FnMut(&Progress)) -> Result<(), LoadError> {
        // The open loop's last arrivals were due: they are sent late, not left out.
        let deadline = self.now_ns().saturating_add(nanos(self.options.drain));
        loop {
            let now = self.now_ns();
            self.on_clock(now, progress);
            self.take_completions()?;
            let more = match self.source {
                Source::Open(_) => self.send_due()?,
                Source::Closed { .. } => u64::MAX,
            };
            let nothing_due = self.backlog() == 0;
            if now >= deadline || (self.in_flight == 0 && nothing_due) {
                break;
            }
            self.wait(more.min(deadline)).await;
        }
        let unsent = self.backlog();
        self.meter.fail_unsent(unsent);
        self.driver.close();
        self.take_completions()
    }

    /// Until there are completions, or a time comes.
    async fn wait(&mut self, wake_at_ns: u64) {
        // A stop must be noticed even when nothing happens.
        let at = wake_at_ns.min(self.next_second_ns).min(self.now_ns() + 100_000_000);
        self.alarm.set(Duration::from_nanos(at.saturating_sub(self.now_ns())));
        poll_fn(|cx| {
            let driver = self.driver.poll(cx);
            let alarm = self.alarm.poll(cx);
            if driver.is_ready() || alarm.is_ready() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    fn on_clock(&mut self, now: u64, progress: &mut impl FnMut(&Progress)) {
        if self.cpu.0.is_none() && now >= nanos(self.options.warm_up) {
            self.cpu.0 = Some(thread_cpu());
        }
        if now >= self.next_second_ns {
            let connected = self.driver.connected().count();
            let backlog = self.backlog();
            progress(&self.meter.end_second(now, self.in_flight, backlog, connected));
            while self.next_second_ns <= now {
                self.next_second_ns += 1_000_000_000;
            }
        }
    }

    fn backlog(&self) -> u64 {
        match &self.source {
            Source::Open(schedule) => schedule.unsent(self.now_ns().min(self.end_ns)) as u64,
            Source::Closed { .. } => 0,
        }
    }

    /// Closed loop: keeps the depth. Gives when to come again if nothing completes.
    fn fill(&mut self) -> Result<u64, LoadError> {
        let Source::Closed { depth } = self.source else {
            return Ok(u64::MAX);
        };
        let bundle = u64::from(self.options.bundle);
        for _ in 0..BUNDLES_A_TURN {
            if self.in_flight + bundle > depth {
                return Ok(u64::MAX);
            }
            let now = self.now_ns();
            let flight = self.take_flight();
            self.flights[flight]
                .intended_ns
                .resize(self.options.bundle as usize, now);
            if !self.submit(flight)? {
                return Ok(u64::MAX);
            }
        }
        Ok(self.now_ns())
    }

    /// Open loop: sends what is due. Gives when the next is.
    fn send_due(&mut self) -> Result<u64, LoadError> {
        for _ in 0..BUNDLES_A_TURN {
            let now = self.now_ns();
            let flight = self.take_flight();
            let Source::Open(schedule) = &mut self.source else {
                return Ok(u64::MAX);
            };
            schedule.plan(now);
            let dropped = schedule.take_dropped();
            dropped.iter().for_each(|&intended| self.meter.offer(intended));
            self.meter.fail_unsent(dropped.len() as u64);
            if !schedule.take_due(now, &mut self.flights[flight].intended_ns) {
                let due = schedule.next_due().unwrap_or(u64::MAX);
                self.free.push(flight);
                return Ok(due.max(now + STEP_NS));
            }
            if !self.submit(flight)? {
                return Ok(u64::MAX);
            }
        }
        Ok(self.now_ns())
    }

    fn take_flight(&mut self) -> usize {
        let flight = self.free.pop().unwrap_or_else(|| {
            self.flights.push(Flight::default());
            self.flights.len() - 1
        });
        self.flights[flight].intended_ns.clear();
        flight
    }

    /// Submits a bundle for the next client with room. False: there is no room; nothing was submitted.
    fn submit(&mut self, flight: usize) -> Result<bool, LoadError> {
        let count = self.flights[flight].intended_ns.len();
        let clients = self.driver.identities();
        let turn = (0..clients).map(|step| (self.next_client + step) % clients);
        let Some(client) = turn.into_iter().find(|&client| self.driver.room(client) >= count) else {
            self.put_back(flight);
            return Ok(false);
        };
        let entry = &mut self.flights[flight];
        let requests = self.requests[..count].iter_mut();
        entry.asked.clear();
        entry.asked.extend(requests.map(|request| self.payloads.next(request)));
        let sent_ns = self.now_ns();
        self.flights[flight].sent_ns = sent_ns;
        match self.driver.submit(client, &self.requests[..count], flight as u64) {
            Ok(_) => {}
            Err(SubmitError::Busy(_)) => {
                self.put_back(flight);
                return Ok(false);
            }
            Err(error) => return Err(LoadError::Refused(error)),
        }
        self.next_client = (client + 1) % clients;
        let entry = &mut self.flights[flight];
        entry.remaining = count;
        entry
            .intended_ns
            .iter()
            .for_each(|&intended| self.meter.offer(intended));
        self.meter.submitted += count as u64;
        self.in_flight += count as u64;
        Ok(true)
    }

    fn put_back(&mut self, flight: usize) {
        if let Source::Open(schedule) = &mut self.source {
            schedule.put_back(&self.flights[flight].intended_ns);
        }
        self.free.push(flight);
    }

    fn take_completions(&mut self) -> Result<(), LoadError> {
        let mut done = std::mem::take(&mut self.done);
        done.extend(self.driver.completions());
        let now = self.now_ns();
        for completion in done.drain(..) {
            self.on_completion(now, completion)?;
        }
        self.done = done;
        Ok(())
    }

    fn on_completion(&mut self, now: u64, completion: Completion) -> Result<(), LoadError> {
        let flight = usize::try_from(completion.tag).expect("tags are places");
        let entry = &mut self.flights[flight];
        let intended = entry.intended_ns[completion.position as usize];
        let asked = &entry.asked[completion.position as usize];
        if let Some(historian) = &mut self.historian {
            historian.record(&Ended {
                client: completion.identity,
                asked,
                sent_ns: entry.sent_ns,
                now_ns: now,
                result: completion.result.as_ref().map(|accepted| &accepted.result[..]),
            })?;
        }
        if let Ok(accepted) = &completion.result {
            self.payloads.heard(asked.key, &accepted.result);
        }
        entry.remaining -= 1;
        if entry.remaining == 0 {
            self.free.push(flight);
        }
        self.in_flight -= 1;
        match completion.result {
            Ok(accepted) => {
                self.refusals_in_a_row = 0;
                let effect = took_effect(self.options.app, self.options.mix, &accepted.result);
                self.meter.acknowledge(intended, now, effect);
                self.recorder
                    .record(completion.identity, completion.number, accepted.slot, &accepted.result)
            }
            Err(error) => {
                self.meter.fail(&error);
                if matches!(
                    error,
                    SubmitError::Refused(_) | SubmitError::NumberTaken | SubmitError::ResultGone
                ) {
                    self.refusals_in_a_row += 1;
                }
                if self.refusals_in_a_row >= REFUSALS_TO_END {
                    Err(LoadError::Refused(error))
                } else {
                    Ok(())
                }
            }
        }
    }

    fn report(mut self) -> Result<Report, LoadError> {
        if let Some(historian) = self.historian.take() {
            historian.finish()?;
        }
        let counters = self.driver.counters();
        let (longest_gap_ms, longest_gap_at_s) = self.meter.longest_gap();
        let seconds = self.meter.measured_s();
        let rate = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let cpu_us = match self.cpu {
            (Some(from), Some(to)) => to.saturating_sub(from).as_secs_f64() * 1e6,
            _ => 0.0,
        };
        let meter = self.meter;
        let summary = Summary {
            clients: self.options.clients,
            in_flight: (self.options.rate == Rate::Max).then(|| self.options.depth()),
            measured_s: seconds,
            offered_ops_s: rate(meter.offered),
            throughput_ops_s: rate(meter.timely),
            throughput_mb_s: rate(meter.timely) * self.options.payload_bytes as f64 / 1e6,
            latency_us: LatencyUs::of(&meter.measured),
            submitted: meter.submitted,
            acknowledged: meter.acknowledged,
            failed: meter.failed,
            unknown: meter.unknown,
            failures: meter.failures,
            without_effect: meter.without_effect,
            longest_gap_ms,
            longest_gap_at_s,
            client_cpu_us_per_op: cpu_us / meter.timely.max(1) as f64,
            client_cpu_share: if seconds > 0.0 { cpu_us / 1e6 / seconds } else { 0.0 },
            retries: counters.retries,
            refusals: counters.refusals,
            wrong_replies: counters.wrong_replies,
            histogram: meter.measured,
        };
        Ok(Report {
            summary,
            acknowledged: self.recorder.finish()?,
        })
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// CPU time of this thread so far.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}
