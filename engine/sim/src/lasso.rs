//! Runs that go in circles (invariant 24).
//!
//! After healing, with something left to do, the cluster is looked at whenever it is at rest: nothing on its way, no
//! flush, no work, only timers left. What it looks like then, without clocks and counters, is its state: views and slots
//! as distances, certificates, channels, lanes, what clients wait for. If a state comes back without a commit in between,
//! and everything that could happen has happened since (every timer that was set went off, every client asked again),
//! then nothing new will ever happen: a lasso. Its period is what lies between.
//!
//! Timers double with each failed view, so a view that fails because its timer is too short is no reason to worry: only
//! states in which every timer is long enough for anything on this network count.

use std::collections::BTreeMap;
use std::fmt;

use trireme_core::{Slot, View};

use crate::event::Event;
use crate::host::Host;
use crate::network::HostId;
use crate::trace::TraceHash;
use crate::world::World;

/// Distances beyond this are all the same.
const FAR: u64 = 3;
/// A state that stands still is believed after so many visits. One that a whole rotation of leaders comes back to, each
/// with time enough, after two.
const VISITS: u32 = 4;
/// And not before this time has passed, in simulated microseconds: what waits for room tries again meanwhile.
const STANDING_US: u64 = 3_000_000;
/// Nor before so many of the longest view timer, which may have doubled often while the network was broken.
const STANDING_TIMERS: u64 = 4;

/// A state that was seen.
struct Visit {
    first_us: u64,
    last_us: u64,
    /// At the last visit.
    view: View,
    times: u32,
    /// What had gone off by then: timers of hosts, wishes of clients.
    done: Vec<u64>,
}

/// States since the last commit.
#[derive(Default)]
pub(crate) struct Lasso {
    height: Slot,
    steps: u64,
    seen: BTreeMap<u64, Visit>,
    /// Timer events of each host, and rounds of each client's patience.
    pub(crate) timers: Vec<u64>,
    pub(crate) retries: Vec<u64>,
}

impl Lasso {
    pub(crate) fn new(hosts: usize, clients: usize) -> Self {
        Self {
            timers: vec![0; hosts],
            retries: vec![0; clients],
            ..Self::default()
        }
    }
}

/// A period that was found.
pub(crate) struct Circle {
    pub(crate) since_us: u64,
    pub(crate) period_us: u64,
    pub(crate) views: u64,
}

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the same state again and again since {} ms, every {} ms and {} views: ",
            self.since_us / 1_000,
            self.period_us / 1_000,
            self.views
        )
    }
}

impl World<'_> {
    /// Looks at a cluster that has something left to do.
    pub(crate) fn look_for_lasso(&mut self) -> Option<Circle> {
        let height = self.oracle.chain.height();
        if self.lasso.height != height {
            (self.lasso.height, self.lasso.seen) = (height, BTreeMap::new());
        }
        // A state is looked at once: something has to happen before the next visit.
        let steps: u64 = self.lasso.timers.iter().chain(&self.lasso.retries).sum();
        if steps == self.lasso.steps || self.news > 0 || !self.has_patience() {
            return None;
        }
        self.lasso.steps = steps;
        let top = self.healthy_hosts().map(|host| self.hosts[host].view).max()?;
        let (state, done) = (self.rest_state(top), self.done_so_far());
        let armed: Vec<bool> = self.armed();
        let time_us = self.time;
        let timers = self
            .healthy_hosts()
            .filter_map(|host| self.hosts[host].replica.as_ref());
        let longest = timers.map(|replica| replica.status().view_timer_us).max().unwrap_or(0);
        let standing_us = STANDING_US.max(longest.saturating_mul(STANDING_TIMERS));
        let visit = self.lasso.seen.entry(state).or_insert_with(|| Visit {
            first_us: time_us,
            last_us: time_us,
            view: top,
            times: 0,
            done: Vec::new(),
        });
        let all_went_on = visit.done.is_empty()
            || armed
                .iter()
                .zip(done.iter().zip(&visit.done))
                .all(|(armed, (now, then))| !armed || now > then);
        if !all_went_on {
            return None;
        }
        let (period_us, views) = (time_us - visit.last_us, top - visit.view);
        (visit.times, visit.last_us, visit.view, visit.done) = (visit.times + 1, time_us, top, done);
        let stands = visit.times >= VISITS && time_us >= visit.first_us + standing_us;
        (views > 0 || stands).then_some(Circle {
            since_us: visit.first_us,
            period_us,
            views,
        })
    }

    /// Whether an event is news to a healthy replica: after it the cluster may look different. Timers and clients that
    /// ask again are judged apart; what faulty and lost members say changes nothing, or
    /// it shows at the others.
    pub(crate) fn is_news(&self, event: &Event) -> bool {
        let correct = |host: HostId| self.hosts.get(host).is_some_and(Host::healthy);
        match event {
            Event::Deliver(frame) => correct(frame.from) && correct(frame.to),
            Event::Connect { a, b } | Event::Expire { a, b, .. } => correct(*a) && correct(*b),
            Event::Down { host, peer, .. } => correct(*host) && correct(*peer),
            Event::Flushed { host, .. }
            | Event::Idle { host, .. }
            | Event::Verified { host, .. }
            | Event::Worked { host, .. }
            | Event::Snapshot { host, .. }
            | Event::Transfer { host, .. }
            | Event::Serve { host, .. }
            | Event::Restart { host }
            | Event::Bundle { host, again: false, .. } => correct(*host),
            Event::Unblock { .. } | Event::Fault(_) | Event::Heal | Event::Submit { .. } | Event::LastWish { .. } => {
                true
            }
            _ => false,
        }
    }

    fn healthy_hosts(&self) -> impl Iterator<Item = HostId> + '_ {
        (0..self.hosts.len()).filter(|host| self.hosts[*host].healthy())
    }

    /// Every correct replica gives its leader time enough for anything: eight times what a message, a flush, a check
    /// and an execution may take.
    fn has_patience(&self) -> bool {
        let weather = &self.network.weather;
        let disk = &self.plan.disk;
        let slowest = 2 * self.plan.latency_us
            + weather.jitter_us
            + disk.flush_us
            + disk.spread_us
            + disk.linger_us
            + self.plan.execution_us
            + self.plan.verification_us
            + self.plan.turn_us;
        let patient = |host: HostId| {
            let replica = self.hosts[host].replica.as_ref();
            replica.is_some_and(|replica| {
                replica.status().view_timer_us >= 8 * slowest || self.hosts[host].timer_at.is_none()
            })
        };
        self.healthy_hosts().all(patient)
    }

    /// What the cluster looks like.
    fn rest_state(&self, top: View) -> u64 {
        let mut hash = TraceHash::default();
        // Whose turn it is.
        hash.add(top % self.plan.roles.len() as u64);
        let height = self.oracle.chain.height();
        let far = |distance: u64| distance.min(FAR);
        for host in self.healthy_hosts() {
            let host = &self.hosts[host];
            let Some(replica) = &host.replica else { continue };
            let status = replica.status();
            let (qc_view, qc_slot) = status.high_qc;
            let words = [
                top - status.view,
                height - status.committed.min(height),
                height - status.executed.min(height),
                far(top.abs_diff(qc_view)),
                qc_slot.saturating_sub(height),
                status.in_flight_slots,
                u64::from(status.halted),
            ];
            words.into_iter().for_each(|word| hash.add(word));
            // Timeouts of this view or a later one, and acceptances that no certificate has passed.
            let left = host.facts.timeouts.last_key_value().map_or(0, |(left, _)| 1 + *left);
            hash.add(u64::from(left > status.view));
            let open = host.facts.accepted.values().filter(|at| **at > status.high_qc).count();
            hash.add(far(open as u64));
            for (lane, channel) in status.lanes.iter().zip(&host.channels) {
                let certified = lane.certified.map_or(0, |at| 1 + at.saturating_sub(lane.committed));
                hash.add(far(lane.stored.saturating_sub(lane.committed)));
                hash.add(far(certified));
                hash.add(u64::from(channel.is_some()));
            }
        }
        for client in &self.clients {
            client.unanswered().into_iter().for_each(|number| hash.add(number));
            hash.add(u64::MAX);
        }
        hash.value()
    }

    fn done_so_far(&self) -> Vec<u64> {
        let timers = self.lasso.timers.iter();
        timers.chain(&self.lasso.retries).copied().collect()
    }

    /// Which of those count: timers that are set at correct replicas, clients that wait.
    fn armed(&self) -> Vec<bool> {
        let timers = self.hosts.iter().map(|host| host.healthy() && host.timer_at.is_some());
        timers
            .chain(self.clients.iter().map(|client| client.waiting() > 0))
            .collect()
    }
}
