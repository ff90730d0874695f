//! The cluster of a Twins run: a lean shell around each instance's replica. Messages move in lock-step, a write is
//! durable at once, and time stands still while anything else can happen.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use trireme_core::api::{Input, Stored};
use trireme_core::bugs::Bugs;
use trireme_core::check::CheckContext;
use trireme_core::message::{Message, Shown, SignedBlock};
use trireme_core::record::{Record, VoteRecord};
use trireme_core::types::{Keys, Params};
use trireme_core::{Effect, MemberId, Now, Outbound, Replica, Tick, To, View};
use trireme_crypto::{Digest, context, hash_parts};

use super::judge::Judge;
use super::mail::{Mail, Mask};
use super::scenario::{Fate, Scenario, Span, Stage};
use crate::keys::{MemberKeys, Ring};
use crate::prng::Prng;
use crate::trace;

/// What a message step takes.
const STEP_US: u64 = 100;
/// Timers that run out within this time are part of the normal case (locks, pace, batches); later ones are looks.
const SOON_US: u64 = 10_000;
/// The view timer's floor. Far above `SOON_US`, so that a view's timer never runs out by itself.
const FLOOR_US: u64 = 200_000;
/// Who wants to be woken after this time at the earliest waits for nothing.
const IDLE_US: u64 = 1 << 50;
/// Time passes this often at most while a stage expires: to certify what waits, to suspect, to say so again.
const PATIENCE: u32 = 3;
/// Steps after which a stage ends in any case: something goes round and round.
const MAX_STEPS: u32 = 400;
const WALL_START_US: u64 = 1_794_000_000_000_000;

/// Takes the lines of a readable trace.
pub(super) type Lines = Rc<RefCell<dyn FnMut(&str)>>;

/// One replica and what a restart of it finds.
#[derive(Clone)]
struct Host {
    member: MemberId,
    /// None while it is down.
    replica: Option<Box<Replica>>,
    log: Vec<Rc<Record>>,
    /// When the replica wants to be woken, as of the end of its last turn.
    wake_us: Option<u64>,
    /// Has had an input since its last turn ended.
    busy: bool,
}

/// What all instances share.
struct Setting {
    params: Params,
    genesis: Digest,
    bugs: Bugs,
    keys: Vec<Arc<MemberKeys>>,
    context: CheckContext,
}

/// A cluster between two stages. A copy goes its own way.
#[derive(Clone)]
pub(super) struct Cluster {
    scenario: Rc<Scenario>,
    setting: Rc<Setting>,
    hosts: Vec<Host>,
    mail: Mail,
    pub(super) judge: Judge,
    now_us: u64,
    asked: u64,
    /// Instances that come up when the stage ends.
    down: Vec<usize>,
    pub(super) steps: u64,
    effects: Vec<Effect>,
    /// Where a readable trace goes.
    pub(super) lines: Option<Lines>,
}

/// Constants of the protocol, small where that brings branches near, without what Twins do not look at.
fn params(n: u16, f: u16) -> Params {
    Params {
        timer_floor_us: FLOOR_US,
        idle_lock_us: 2_000,
        // Executed logs are compared by the judge: no votes on states.
        state_interval: u64::MAX,
        state_idle_us: u64::MAX,
        checkpoint_slots: u64::MAX,
        checkpoint_bytes: u64::MAX,
        log_window: u64::MAX,
        ..Params::new(n, f)
    }
}

impl Cluster {
    /// A cluster that has not begun. `bugs` has the scenario's leaders.
    pub(super) fn new(scenario: &Scenario, bugs: &Bugs) -> Self {
        let scenario = Rc::new(scenario.clone());
        let f = trireme_core::quorum::Quorums::default_f(scenario.n);
        let params = params(scenario.n, f);
        let ring = Ring::new(&mut Prng::new(0x7477_696E), usize::from(scenario.n), 0, false, bugs);
        let genesis = hash_parts(context::CLUSTER, &[b"genesis", &ring.domain().cluster_id.0]);
        let keys: Vec<Arc<MemberKeys>> = (0..scenario.n).map(|m| Arc::new(ring.member(m))).collect();
        let first = Replica::with_bugs(params.clone(), keys[0].clone(), genesis, bugs.clone());
        let setting = Setting {
            params,
            genesis,
            bugs: bugs.clone(),
            context: first.check_context(),
            keys,
        };
        let hosts = (0..scenario.instances()).map(|instance| Host {
            member: scenario.member(instance),
            replica: None,
            log: Vec::new(),
            wake_us: None,
            busy: false,
        });
        let mut cluster = Self {
            hosts: hosts.collect(),
            mail: Mail::new(&scenario),
            judge: Judge::new(Rc::clone(&scenario)),
            setting: Rc::new(setting),
            scenario,
            now_us: 0,
            asked: 0,
            down: Vec::new(),
            steps: 0,
            effects: Vec::new(),
            lines: None,
        };
        for instance in 0..cluster.hosts.len() {
            cluster.come_up(instance);
        }
        cluster
    }

    /// Whether something did not hold.
    pub(super) fn failed(&self) -> bool {
        !self.judge.violations.is_empty()
    }

    /// The highest view that any instance is in.
    pub(super) fn view(&self) -> View {
        let replicas = self.hosts.iter().filter_map(|host| host.replica.as_ref());
        replicas.map(|replica| replica.view()).max().unwrap_or(0)
    }

    /// Runs a stage of the script.
    pub(super) fn stage(&mut self, stage: &Stage) {
        self.line(|| format!("{:?} {:?}", stage.groups, stage.span));
        for instance in std::mem::take(&mut self.down) {
            self.come_up(instance);
        }
        let before: Vec<Mask> = (0..self.hosts.len()).map(|i| self.mail.group(i)).collect();
        let restarted = stage
            .fate
            .map(|(instance, fate)| self.suffer(usize::from(instance), fate));
        self.regroup(&stage.groups);
        self.reconnect(&before, restarted);
        if stage.busy || self.asked == 0 {
            self.ask_groups(true);
        }
        match stage.span {
            Span::Step => {
                self.turns();
                self.step();
            }
            Span::Expire => {
                self.settle();
                self.expire();
            }
        }
    }

    /// The network heals and the twins are silent: everything new at a correct replica commits at all of them.
    pub(super) fn heal(&mut self) {
        self.line(|| "the network heals, the twins are silent".into());
        let before: Vec<Mask> = vec![0; self.hosts.len()];
        for instance in std::mem::take(&mut self.down) {
            self.come_up(instance);
        }
        for instance in 0..self.hosts.len() {
            if !self.judge.judges(instance) {
                self.go_down(instance);
            }
        }
        self.mail.no_blocks = false;
        self.regroup(&vec![0; self.hosts.len()]);
        self.reconnect(&before, None);
        self.settle();
        let correct: Vec<usize> = (0..self.hosts.len()).filter(|i| self.judge.judges(*i)).collect();
        let floor = self.judge.height();
        self.ask(correct[0]);
        // Each view of a silent leader takes its time.
        for more in 0..8 * u32::from(self.scenario.n) {
            self.settle();
            let top = self.judge.height();
            let level = correct.iter().all(|i| self.judge.executed_by(*i) == top);
            if self.failed() || (top > floor && level && self.is_answered(correct[0])) {
                return;
            }
            self.pass_time(more);
            self.mail.regroup(self.groups(), View::MAX);
        }
        let stand: Vec<String> = correct.iter().map(|i| self.stand(*i)).collect();
        self.judge
            .fail("22", None, format!("stands still: {}", stand.join("; ")));
    }

    /// Whether all that an instance's own lane holds is committed there.
    fn is_answered(&self, instance: usize) -> bool {
        let host = &self.hosts[instance];
        host.replica.as_ref().is_some_and(|replica| {
            let lane = &replica.status().lanes[usize::from(host.member)];
            lane.stored > 0 && lane.committed >= lane.stored
        })
    }

    fn stand(&self, instance: usize) -> String {
        let host = &self.hosts[instance];
        host.replica.as_ref().map_or_else(String::new, |replica| {
            let (view, committed, executed) = (replica.view(), replica.committed(), replica.executed());
            format!("{}: view {view} committed {committed} executed {executed}", host.member)
        })
    }

    fn line(&self, text: impl FnOnce() -> String) {
        if let Some(lines) = &self.lines {
            (lines.borrow_mut())(&format!("{:>12} {}", self.now_us, text()));
        }
    }

    fn suffer(&mut self, instance: usize, fate: Fate) -> usize {
        self.go_down(instance);
        match fate {
            Fate::Down => self.down.push(instance),
            Fate::Restart => self.come_up(instance),
            Fate::Amnesia => {
                self.hosts[instance].log.clear();
                self.come_up(instance);
            }
        }
        instance
    }

    fn go_down(&mut self, instance: usize) {
        self.mail.set_up(instance, false);
        self.hosts[instance].replica = None;
        self.hosts[instance].wake_us = None;
    }

    /// Starts an instance from its log.
    fn come_up(&mut self, instance: usize) {
        let host = &mut self.hosts[instance];
        let keys: Arc<dyn Keys> = self.setting.keys[usize::from(host.member)].clone();
        let (params, bugs) = (self.setting.params.clone(), self.setting.bugs.clone());
        let mut replica = Replica::with_bugs(params, keys, self.setting.genesis, bugs);
        let mut effects = std::mem::take(&mut self.effects);
        for record in &host.log {
            replica.replay(Record::clone(record), &mut effects);
        }
        self.judge.restarted(instance);
        for effect in effects.drain(..) {
            if let (Effect::Execute(execution), true) = (effect, self.judge.judges(instance)) {
                let digest = |slot| replica.committed_digest(slot);
                self.judge.committed(instance, replica.committed(), digest);
                self.judge.executed(instance, &execution);
            }
        }
        replica.start(now(self.now_us, instance), &mut effects);
        host.replica = Some(Box::new(replica));
        host.busy = true;
        self.mail.set_up(instance, true);
        let inputs = self.perform(instance, &mut effects, Mask::MAX);
        self.effects = effects;
        self.feed(instance, inputs, Mask::MAX);
    }

    fn groups(&self) -> Vec<Mask> {
        (0..self.hosts.len()).map(|i| self.mail.group(i)).collect()
    }

    fn regroup(&mut self, groups: &[u8]) {
        let mask = |group: u8| -> Mask {
            let inside = groups.iter().enumerate().filter(|(_, g)| **g == group);
            inside.map(|(i, _)| 1 << i).sum()
        };
        let horizon = self.view();
        self.mail.regroup(groups.iter().map(|g| mask(*g)).collect(), horizon);
    }

    /// Instances that did not hear each other before open a channel.
    fn reconnect(&mut self, before: &[Mask], restarted: Option<usize>) {
        for (a, heard) in before.iter().enumerate() {
            for b in 0..self.hosts.len() {
                let strangers = self.hosts[a].member != self.hosts[b].member;
                let new = heard & (1 << b) == 0 || restarted == Some(a) || restarted == Some(b);
                if strangers && new && self.mail.hears(a, b) {
                    let member = self.hosts[b].member;
                    let inputs = [Input::Disconnected(member), Input::Connected(member)].into();
                    self.feed(a, inputs, 1 << b);
                }
            }
        }
    }

    /// Something new is asked for in each group, of a correct instance if there is one; unless `busy` only in groups
    /// that have nothing to do.
    fn ask_groups(&mut self, busy: bool) {
        let mut seen: Mask = 0;
        let mut order: Vec<usize> = (0..self.hosts.len()).collect();
        order.sort_by_key(|i| !self.judge.judges(*i));
        for instance in order {
            if seen & (1 << instance) == 0 && self.hosts[instance].replica.is_some() {
                let group = self.mail.group(instance);
                seen |= group;
                let mut hosts = self.hosts.iter().enumerate().filter(|(i, _)| group & (1 << i) != 0);
                // A replica without work sets no timer, or one at the end of time.
                if busy || hosts.all(|(_, host)| host.wake_us.is_none_or(|at| at > self.now_us + IDLE_US)) {
                    self.ask(instance);
                }
            }
        }
    }

    fn ask(&mut self, instance: usize) {
        self.asked += 1;
        let mark = [self.asked.to_le_bytes(), (instance as u64).to_le_bytes()].concat();
        let bundle = Input::Bundle {
            bytes: Bytes::from(mark),
            ops: 1,
        };
        self.feed(instance, [bundle].into(), Mask::MAX);
    }

    /// Runs until nothing is under way and no timer of the normal case is set.
    fn settle(&mut self) {
        for _ in 0..MAX_STEPS {
            self.turns();
            if self.mail.is_quiet() {
                let due = self.hosts.iter().filter_map(|host| host.wake_us).min();
                match due {
                    Some(at) if at <= self.now_us + SOON_US => self.now_us = self.now_us.max(at),
                    _ => return,
                }
                self.wake();
            } else {
                self.step();
            }
            if self.failed() {
                return;
            }
        }
    }

    /// Proposals are held back until view timers run out, in every group that can leave its view or not.
    fn expire(&mut self) {
        self.mail.no_blocks = true;
        self.ask_groups(false);
        let horizon = self.view();
        for _ in 0..PATIENCE {
            if self.failed() || self.have_left(horizon) {
                break;
            }
            self.pass_time(0);
            self.settle();
        }
        self.mail.no_blocks = false;
    }

    /// Whether every instance whose group can leave a view has left this one.
    fn have_left(&self, view: View) -> bool {
        let enough = usize::from(self.setting.params.n - self.setting.params.f);
        let members = |group: Mask| {
            (0..self.scenario.n)
                .filter(|m| group & self.mail.of_member(*m) != 0)
                .count()
        };
        let hosts = self.hosts.iter().enumerate();
        hosts
            .filter_map(|(i, host)| host.replica.as_ref().map(|replica| (i, replica)))
            .all(|(i, replica)| replica.view() > view || members(self.mail.group(i)) < enough)
    }

    /// So much time passes that every timer of the view runs out; `more` times the double of it, because a replica
    /// that saw votes come late (a stage later) gives the next leader a multiple of that.
    fn pass_time(&mut self, more: u32) {
        let doublings = u32::try_from(self.view().min(16)).expect("small") + 4;
        self.now_us += FLOOR_US << (doublings + more.min(16));
        self.wake();
        self.turns();
    }

    /// Wakes whoever wanted to be woken by now when its last turn ended.
    fn wake(&mut self) {
        for instance in 0..self.hosts.len() {
            if self.hosts[instance].wake_us.is_some_and(|at| at <= self.now_us) {
                self.feed(instance, [Input::Timeout].into(), Mask::MAX);
            }
        }
    }

    /// One message step: all that is under way arrives, then everybody has a turn.
    fn step(&mut self) {
        self.now_us += STEP_US;
        self.steps += 1;
        self.judge.time_us = self.now_us;
        let frames = self.mail.take();
        for instance in 0..self.hosts.len() {
            for frame in frames.iter().filter(|frame| frame.to & (1 << instance) != 0) {
                match &*frame.checked {
                    Ok(checked) => self.feed(instance, [Input::Message(checked.clone())].into(), Mask::MAX),
                    Err(reason) if self.judge.judges(instance) => {
                        let member = self.hosts[frame.from].member;
                        self.judge.refused(instance, member, *reason);
                    }
                    Err(_) => {}
                }
            }
        }
        self.wake();
        self.turns();
    }

    /// Ends the turn of whoever had one: batches are cut, blocks proposed.
    fn turns(&mut self) {
        for instance in 0..self.hosts.len() {
            if std::mem::take(&mut self.hosts[instance].busy) {
                self.feed(instance, [Input::Idle].into(), Mask::MAX);
                let host = &mut self.hosts[instance];
                host.busy = false;
                host.wake_us = host
                    .replica
                    .as_ref()
                    .and_then(|replica| replica.next_timeout())
                    .map(|at| at.0);
            }
        }
    }

    /// Gives inputs to an instance, and what follows from them at once. `only` limits who hears what it says.
    fn feed(&mut self, instance: usize, mut inputs: VecDeque<Input>, only: Mask) {
        let mut effects = std::mem::take(&mut self.effects);
        while let Some(input) = inputs.pop_front() {
            let Some(replica) = &mut self.hosts[instance].replica else {
                break;
            };
            let text = self.lines.is_some().then(|| trace::input(&input));
            replica.step(now(self.now_us, instance), input, &mut effects);
            if let (Some(text), Some(lines)) = (text, &self.lines) {
                let (time, name) = (self.now_us, self.scenario.name(instance));
                let line = format!("{time:>12} {name:2} <- {text} -> {}", trace::effects(&effects));
                (lines.borrow_mut())(&line);
            }
            let follow = self.perform(instance, &mut effects, only);
            inputs.extend(follow);
        }
        self.effects = effects;
        let host = &mut self.hosts[instance];
        if let Some(replica) = &host.replica {
            host.busy = true;
            if self.judge.judges(instance) {
                let digest = |slot| replica.committed_digest(slot);
                self.judge.committed(instance, replica.committed(), digest);
            }
        }
    }

    /// Does what a step asks for; returns what is to be told back.
    fn perform(&mut self, instance: usize, effects: &mut Vec<Effect>, only: Mask) -> VecDeque<Input> {
        let mut inputs = VecDeque::new();
        let correct = self.judge.judges(instance);
        for effect in effects.drain(..) {
            match effect {
                Effect::Append {
                    id, records, release, ..
                } => {
                    self.hosts[instance].log.extend(records.into_iter().map(Rc::new));
                    for outbound in release {
                        self.post(instance, outbound, only);
                    }
                    inputs.push_back(Input::Appended(id));
                }
                Effect::Send(outbound) => self.post(instance, outbound, only),
                Effect::Verify { job, .. } => inputs.push_back(Input::Verified { job, good: true }),
                Effect::Execute(execution) => {
                    let slot = execution.slot;
                    if correct {
                        let replica = self.hosts[instance].replica.as_ref().expect("it stepped");
                        let digest = |slot| replica.committed_digest(slot);
                        self.judge.committed(instance, replica.committed(), digest);
                        self.judge.executed(instance, &execution);
                    }
                    inputs.push_back(Input::Executed { slot, state: None });
                }
                Effect::StateRoot { .. } | Effect::Stable { .. } | Effect::Release { .. } | Effect::Transfer { .. } => {
                }
                Effect::Serve { to, kind, digests } => self.serve(instance, to, kind, &digests, only),
                Effect::Disconnect { member, reason } if correct => self.judge.refused(instance, member, reason),
                Effect::Evidence(evidence) if correct => self.judge.evidence(instance, &evidence),
                Effect::Alarm(alarm) if correct => self.judge.alarm(instance, &alarm),
                Effect::Disconnect { .. } | Effect::Evidence(_) | Effect::Alarm(_) => {}
                Effect::Quarantined(_) | Effect::Readmitted(_) => {}
            }
        }
        inputs
    }

    fn post(&mut self, instance: usize, outbound: Outbound, only: Mask) {
        let host = &self.hosts[instance];
        let view = host.replica.as_ref().map_or(0, |replica| replica.view());
        let to = match outbound.to {
            To::All => Mask::MAX,
            To::One(member) => self.mail.of_member(member) & only,
        };
        let from = (instance, host.member, view);
        let mut message = outbound.message;
        if let Message::Shown(shown) = &mut message
            && self.mail.of_member(shown.member).count_ones() > 1
        {
            // A twin is not stopped by what the other one said.
            **shown = Shown::nothing(shown.member);
        }
        self.mail.post(&self.setting.context, from, to, message);
    }

    /// Answers from the log.
    fn serve(&mut self, instance: usize, to: MemberId, kind: Stored, digests: &[Digest], only: Mask) {
        let domain = self.setting.context.keys.domain();
        let log = &self.hosts[instance].log;
        let batch = |digest: &Digest| {
            log.iter().find_map(|record| match &**record {
                Record::Batch(batch) if batch.head.header.digest(&domain) == *digest => Some(batch.clone()),
                _ => None,
            })
        };
        let block = |digest: &Digest| {
            log.iter().find_map(|record| match &**record {
                Record::Vote(VoteRecord::Accept(block) | VoteRecord::Block(block)) => {
                    (block.block.digest(&domain) == *digest).then(|| SignedBlock::clone(block))
                }
                _ => None,
            })
        };
        let mut answers: Vec<Message> = match kind {
            Stored::Batches => digests.iter().map_while(batch).map(Message::Batch).collect(),
            Stored::Blocks => {
                let blocks: Vec<SignedBlock> = digests.iter().map_while(block).collect();
                let digest = digests[0];
                let answer = (!blocks.is_empty()).then_some(Message::Blocks { digest, blocks });
                answer.into_iter().collect()
            }
        };
        if answers.is_empty() {
            answers.push(Message::NotHeld { digest: digests[0] });
        }
        for message in answers {
            let to = To::One(to);
            self.post(instance, Outbound { to, message }, only);
        }
    }
}

/// The time at an instance. Wall clocks differ, so that the instances of a twin never say the same by chance.
fn now(time_us: u64, instance: usize) -> Now {
    Now {
        tick: Tick(time_us),
        wall_us: WALL_START_US + time_us + instance as u64,
    }
}
