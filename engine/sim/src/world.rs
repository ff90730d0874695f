//! The run of one seed: one thread, one heap of events ordered by (time, sequence).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use trireme_core::api::Input;
use trireme_core::{MemberId, Slot, View};
use trireme_crypto::{context, hash_parts};

use crate::build::{build_hosts, build_rogues};
use crate::byzantine::Habit;
use crate::client::Client;
use crate::disk::atlas::STILL_PROMISED;
use crate::event::{Entry, Event};
use crate::host::{Host, Sides};
use crate::keys::Ring;
use crate::lasso::Lasso;
use crate::network::{HostId, Network};
use crate::oracle::{Oracle, Scene, Shown, Sizes, judge_budgets};
use crate::plan::{Options, Plan, Role};
use crate::prng::Prng;
use crate::quarantine::Forget;
use crate::rogues::Rogues;
use crate::trace::{self, TraceHash};

/// How long a cluster with nothing to do is watched, in simulated microseconds.
const IDLE_WATCH_US: u64 = 4_000_000;
/// How long a cluster that need not recover is watched after healing.
const BEYOND_WATCH_US: u64 = 3_000_000;
/// After which nothing may change any more.
const SETTLE_US: u64 = 1_500_000;

/// Separates the stream of what checkpoints need from the run's own.
const CHECKPOINTS: u64 = 0x434B_5054;
/// Budgets are looked at with every so many events.
const HELD_EVERY: u64 = 16;

/// Where the lines of a readable trace go.
pub(crate) type Lines<'a> = Option<&'a mut dyn FnMut(&str)>;

/// A whole simulated cluster, its clients, and its judges.
pub(crate) struct World<'a> {
    pub(crate) plan: Plan,
    pub(crate) prng: Prng,
    /// For what checkpoints need.
    pub(crate) checkpoint_prng: Prng,
    pub(crate) time: u64,
    pub(crate) hosts: Vec<Host>,
    pub(crate) network: Network,
    pub(crate) oracle: Oracle,
    pub(crate) ring: Arc<Ring>,
    pub(crate) clients: Vec<Client>,
    pub(crate) rogues: Rogues,
    pub(crate) submitted: u64,
    pub(crate) sides: Sides,
    pub(crate) healed_at: Option<u64>,
    pub(crate) hash: TraceHash,
    lines: Lines<'a>,
    heap: BinaryHeap<Reverse<Entry>>,
    sequence: u64,
    pub(crate) events: u64,
    done_at: Option<(u64, Vec<View>)>,
    pub(crate) lasso: Lasso,
    /// Events on the heap after which the cluster may look different.
    pub(crate) news: u64,
    circling: bool,
    looks_for_lassos: bool,
}

impl<'a> World<'a> {
    /// Builds the cluster of a plan.
    pub(crate) fn new(mut prng: Prng, plan: Plan, options: &Options, lines: Lines<'a>) -> Self {
        let n = plan.roles.len();
        let mut ring = Ring::new(&mut prng, n, plan.load.clients, plan.real_signatures, &options.bugs);
        let rogues = build_rogues(&plan, &mut ring, &mut prng.clone().fork());
        let genesis = hash_parts(context::CLUSTER, &[b"genesis", &ring.domain().cluster_id.0]);
        let sizes = Sizes::new(n, usize::from(plan.params.f));
        let correct = plan.roles.iter().map(|role| matches!(role, Role::Correct)).collect();
        let hosts = build_hosts(&mut prng, &plan, &ring, genesis, options);
        let window = u64::from(plan.params.session_window);
        let enough = usize::from(plan.params.f) + 1;
        let lasso = Lasso::new(hosts.len(), plan.load.clients);
        let mut world = Self {
            checkpoint_prng: prng.aside(CHECKPOINTS),
            network: Network::new(&mut prng, hosts.len(), plan.latency_us, plan.weather.clone()),
            oracle: Oracle::new(ring.domain(), genesis, sizes, correct, &plan.params),
            clients: (0..plan.load.clients)
                .map(|i| Client::new(i, &ring, enough, window))
                .collect(),
            rogues: Rogues::new(rogues),
            ring,
            hosts,
            plan,
            prng,
            time: 0,
            submitted: 0,
            sides: Sides::default(),
            healed_at: None,
            hash: TraceHash::default(),
            lines,
            heap: BinaryHeap::new(),
            sequence: 0,
            events: 0,
            done_at: None,
            lasso,
            news: 0,
            circling: false,
            looks_for_lassos: options.lassos,
        };
        world.oracle.verdict.only = options.beyond.then_some(STILL_PROMISED);
        world.schedule_all();
        world
    }

    /// Puts an event on the heap.
    pub(crate) fn at(&mut self, time: u64, event: Event) {
        self.sequence += 1;
        self.news += u64::from(self.is_news(&event));
        let entry = Entry {
            time: time.max(self.time),
            sequence: self.sequence,
            event,
        };
        self.heap.push(Reverse(entry));
    }

    /// Other members are healthy from now on.
    pub(crate) fn recount_news(&mut self) {
        let news = self.heap.iter().filter(|entry| self.is_news(&entry.0.event)).count();
        self.news = news as u64;
    }

    fn schedule_all(&mut self) {
        self.regroup();
        for host in 0..self.hosts.len() {
            let effects = self.recover(host, &[]);
            self.perform(host, effects);
            self.after_step(host);
            let silent = self.hosts[host]
                .liar
                .as_ref()
                .is_some_and(|liar| liar.is(Habit::Silent));
            if silent {
                let at = self.prng.below(self.plan.chaos_us);
                self.at(at, Event::Silence { host });
            }
        }
        for (a, b) in self.pairs() {
            let at = self.prng.below(5_000);
            self.at(at, Event::Connect { a, b });
        }
        for (at, fault) in std::mem::take(&mut self.plan.faults) {
            self.at(at, Event::Fault(fault));
        }
        for _ in 0..self.plan.load.requests {
            let (at, client) = (self.prng.below(self.plan.chaos_us), self.prng.index(self.clients.len()));
            self.at(at, Event::Submit { client });
        }
        for (rogue, plan) in self.plan.rogues.clone().into_iter().enumerate() {
            plan.times
                .into_iter()
                .for_each(|at| self.at(at, Event::Prank { rogue }));
        }
        for client in 0..self.clients.len() {
            self.at(self.plan.load.retry_us, Event::Retry { client });
        }
        self.at(self.plan.chaos_us, Event::Heal);
    }

    /// Runs to the end; `patience_us` after healing, everything has to be done.
    pub(crate) fn run(&mut self, options: &Options) {
        while let Some(Reverse(entry)) = self.heap.pop() {
            self.time = entry.time;
            self.events += 1;
            self.news -= u64::from(self.is_news(&entry.event));
            self.handle(entry.event);
            if self.over(options) {
                break;
            }
        }
        self.finish();
    }

    fn over(&mut self, options: &Options) -> bool {
        if self.oracle.verdict.violations.len() >= options.enough_violations || self.circling {
            return true;
        }
        if options.beyond && self.healed_at.is_some_and(|at| self.time > at + BEYOND_WATCH_US) {
            return true;
        }
        let late = self.healed_at.is_some_and(|at| self.time > at + options.patience_us);
        if self.done_at.is_none() && (late || self.too_many(options)) {
            self.report_stuck(
                "22",
                if late {
                    "patience is at its end: "
                } else {
                    "too many events: "
                },
            );
            return true;
        }
        self.done_at
            .as_ref()
            .is_some_and(|(at, _)| self.time > at + IDLE_WATCH_US)
            || self.too_many(options)
    }

    /// A larger cluster has more to say.
    fn too_many(&self, options: &Options) -> bool {
        self.events > options.max_events * (self.plan.roles.len() as u64).max(4) / 4
    }

    fn report_stuck(&mut self, invariant: &'static str, why: &str) {
        let mut text = why.to_owned();
        for host in self.hosts.iter().filter(|host| host.correct) {
            if let Some(replica) = &host.replica {
                let (view, committed, executed) = (replica.view(), replica.committed(), replica.executed());
                text += &format!(
                    "{}: view {view} committed {committed} executed {executed}; ",
                    host.member
                );
            }
        }
        let waiting: Vec<String> = self
            .clients
            .iter()
            .map(|client| format!("{:?}", client.unanswered()))
            .collect();
        text += &format!("unanswered {}", waiting.join(" "));
        self.oracle.verdict.fail_cluster(self.time, invariant, text);
    }

    /// All is answered, and all correct replicas stand at the same slot.
    pub(crate) fn look(&mut self) {
        let top = self.oracle.chain.height();
        let level = |host: &Host| {
            host.replica
                .as_ref()
                .is_some_and(|r| r.executed() == top && host.machine.executed() == top && !host.memory.quarantined)
        };
        let answered = self.clients.iter().all(|client| client.waiting() == 0);
        let level = self.hosts.iter().filter(|host| host.healthy()).all(level);
        if answered && level && self.wishes_sent() {
            if let Some(member) = self.plan.storage.forgets_idle.take() {
                self.forget(usize::from(member), Forget::Wiped);
                return self.at(self.time + 20_000, Event::Look);
            }
            if self.done_at.is_none() {
                self.done_at = Some((self.time, Vec::new()));
                self.oracle
                    .verdict
                    .add("simulated ms from healing to done", self.since_healing() / 1_000);
            }
        } else {
            self.done_at = None;
            if self.looks_for_lassos
                && let Some(circle) = self.look_for_lasso()
            {
                self.circling = true;
                self.report_stuck("24", &circle.to_string());
            }
        }
        // A view change that was under way may end first.
        if let Some((_, views)) = self
            .done_at
            .as_mut()
            .filter(|(at, views)| views.is_empty() && self.time > at + SETTLE_US)
        {
            *views = self.hosts.iter().map(|host| host.view).collect();
        }
        self.at(self.time + 20_000, Event::Look);
    }

    fn since_healing(&self) -> u64 {
        self.time - self.healed_at.unwrap_or(self.time)
    }

    fn wishes_sent(&self) -> bool {
        self.plan.load.last_wave == 0
    }

    /// Equal states at the end, and quiet in a cluster that has nothing to do.
    fn finish(&mut self) {
        self.count_disk_faults();
        if let Some((_, views)) = self.done_at.take() {
            let liars = self.hosts.iter().any(|host| !host.healthy());
            for host in 0..self.hosts.len() {
                if !self.hosts[host].healthy() {
                    continue;
                }
                let scene = self.scene(host);
                let state = self.hosts[host].final_state();
                if state.slot > 0 {
                    self.oracle.history.state_vote(scene, &mut self.oracle.verdict, &state);
                }
                let quiet = liars || views.get(host).is_none_or(|view| *view == self.hosts[host].view);
                self.oracle
                    .verdict
                    .check(quiet, scene, "idle", || "changes the view with nothing to do".into());
            }
        }
        for host in self.hosts.iter().filter(|host| host.correct) {
            let Some(replica) = &host.replica else { continue };
            let (counters, verdict) = (replica.status().counters, &mut self.oracle.verdict);
            verdict.add("fast commit", counters.fast_commits);
            verdict.add("slow commit", counters.slow_commits);
            verdict.add("view entered", counters.views_entered);
        }
        self.judge_certified();
        for host in &self.hosts {
            for (habit, times) in host.liar.iter().flat_map(|liar| liar.fired()) {
                self.oracle.verdict.add(habit.counter(), times);
            }
        }
        self.oracle.verdict.add("slot committed", self.oracle.chain.height());
    }

    /// Where and when something shows.
    pub(crate) fn scene(&self, host: HostId) -> Scene {
        Scene {
            time_us: self.time,
            member: self.hosts[host].member,
        }
    }

    /// Writes a line of the trace.
    pub(crate) fn line(&mut self, text: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            let (seconds, micros) = (self.time / 1_000_000, self.time % 1_000_000);
            lines(&format!("{seconds:>4}.{micros:06} {}", text()));
        }
    }

    /// One step of a host's replica with all that follows.
    pub(crate) fn step(&mut self, host: HostId, input: Input) {
        let text = self.lines.is_some().then(|| trace::input(&input));
        let idle = matches!(input, Input::Idle);
        let effects = self.hosts[host].step(self.time, input);
        if let Some(text) = text.filter(|_| !idle || !effects.is_empty()) {
            let name = self.name(host);
            self.line(|| format!("{name} <- {text} -> {}", trace::effects(&effects)));
        }
        self.hash.add(self.time);
        self.hash.add(host as u64);
        effects.iter().for_each(|effect| self.hash.effect(effect));
        self.perform(host, effects);
        self.after_step(host);
        if !idle && !self.hosts[host].idle_due {
            self.hosts[host].idle_due = true;
            let (at, life) = (self.time + self.prng.below(self.plan.turn_us), self.hosts[host].life);
            self.at(at, Event::Idle { host, life });
        }
    }

    /// A host's name in a trace.
    pub(crate) fn name(&self, host: HostId) -> String {
        let twin = if host >= self.plan.roles.len() { "'" } else { "" };
        let mark = if self.hosts[host].correct { "R" } else { "B" };
        format!("{mark}{}{twin}", self.hosts[host].member)
    }

    /// What a step may have changed: the view, the committed slot, the next timer.
    pub(crate) fn after_step(&mut self, host: HostId) {
        let scene = self.scene(host);
        let Some(replica) = &self.hosts[host].replica else {
            return;
        };
        let (view, before) = (replica.view(), self.hosts[host].view);
        if self.hosts[host].judged() {
            self.oracle.verdict.check(view >= before, scene, "7", || {
                format!("view goes back from {before} to {view}")
            });
            // Below the block that its chain begins at it committed nothing: an image says what that did.
            let from = (self.hosts[host].committed + 1).max(self.hosts[host].vault.base);
            for slot in from..=replica.committed() {
                let digest = replica.committed_digest(slot).expect("a committed slot has a digest");
                self.oracle.committed(scene, slot, digest);
            }
        }
        let committed = replica.committed();
        let doublings = replica.timer_doublings();
        self.look_at_timer(host, committed, view, doublings);
        let Some(replica) = &self.hosts[host].replica else {
            return;
        };
        if self.hosts[host].judged() && self.events.is_multiple_of(HELD_EVERY) {
            let (held, settled) = (replica.held(), replica.executed() == committed);
            let params = &self.plan.params;
            judge_budgets(scene, &mut self.oracle.verdict, params, &held, settled);
        }
        if view != before {
            self.hosts[host].entered_at = self.time;
        }
        self.hosts[host].committed = committed;
        self.hosts[host].view = view;
        self.arm(host);
    }

    /// R-TIMER, judged by what the replica committed since the last step.
    fn look_at_timer(&mut self, host: HostId, committed: Slot, view: View, doublings: (u32, u32)) {
        let (scene, members) = (self.scene(host), self.plan.roles.len() as u64);
        let replica = self.hosts[host].replica.as_ref().filter(|_| self.hosts[host].correct);
        let Some(replica) = replica else { return };
        let state = &self.hosts[host];
        let before = state.committed.max(state.recovered);
        let (slots, installed) = (before + 1..=committed, state.vault.base > before);
        let leader = |slot: Slot| {
            let block = self.oracle.chain.get(&replica.committed_digest(slot)?)?;
            MemberId::try_from(block.view % members).ok()
        };
        let leaders: Vec<MemberId> = slots.filter_map(leader).collect();
        let now_us = self.hosts[host].clock.now(self.time).tick.0;
        let (watch, verdict) = (&mut self.hosts[host].timer, &mut self.oracle.verdict);
        let shown = Shown {
            now_us,
            view,
            doublings,
            installed,
        };
        watch.look(scene, verdict, shown, &leaders);
    }

    /// Sees to it that a timer event comes when the replica wants to be woken.
    fn arm(&mut self, host: HostId) {
        let Some(at) = self.hosts[host].wake_at(self.time + 1) else {
            return;
        };
        if self.hosts[host].timer_at.is_none_or(|due| at < due) {
            self.hosts[host].timer_at = Some(at);
            let life = self.hosts[host].life;
            self.at(at, Event::Timer { host, life, at });
        }
    }

    fn handle(&mut self, event: Event) {
        if let Some((host, life)) = event.owner() {
            let state = &self.hosts[host];
            if life.is_some_and(|life| life != state.life) || state.replica.is_none() || state.gone {
                return;
            }
            if state.frozen_until > self.time {
                let until = state.frozen_until;
                return self.at(until, event);
            }
        }
        match event {
            Event::Deliver(frame) => self.deliver(frame),
            Event::Flushed { host, .. } => self.flushed(host),
            Event::Timer { host, at, .. } => {
                if self.hosts[host].timer_at == Some(at) {
                    self.hosts[host].timer_at = None;
                    match self.hosts[host].wake_at(0) {
                        Some(due) if due <= self.time => {
                            self.lasso.timers[host] += 1;
                            self.step(host, Input::Timeout);
                        }
                        _ => self.arm(host),
                    }
                }
            }
            Event::Idle { host, .. } => {
                self.hosts[host].idle_due = false;
                self.step(host, Input::Idle);
            }
            Event::Verified { host, job, good, .. } => self.step(host, Input::Verified { job, good }),
            Event::Worked { host, .. } => self.worked(host),
            Event::Snapshot { host, slot, .. } => self.snapshotted(host, slot),
            Event::Transfer { host, .. } => self.transfer_tick(host),
            Event::Serve {
                host,
                to,
                kind,
                digests,
                ..
            } => self.serve(host, to, kind, &digests),
            Event::Connect { a, b } => self.connect(a, b),
            Event::Down { host, peer, link } => self.down(host, peer, link),
            Event::Expire { a, b, link } => self.expire(a, b, link),
            Event::Unblock { from, to } => self.unblock(from, to),
            Event::Fault(fault) => self.strike(fault),
            Event::Restart { host } => self.restart(host),
            Event::Silence { host } => self.silence(host),
            Event::Heal => self.heal(),
            Event::Submit { client } => self.submit(client),
            Event::LastWish { client } => self.last_wish(client),
            Event::Retry { client } => self.retry(client),
            Event::Bundle {
                client,
                host,
                bytes,
                again,
            } => self.intake(client, host, bytes, again),
            Event::Reply { client, from, set } => self.reply(client, from, &set),
            Event::Late { host, peer, said, .. } => self.say(host, peer, *said),
            Event::Prank { rogue } => self.prank(rogue),
            Event::RogueBundle { host, bytes } => self.intake_rogue(host, bytes),
            Event::Look => self.look(),
        }
    }
}
