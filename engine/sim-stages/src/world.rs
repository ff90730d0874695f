//! The cluster on one thread: who is polled when, what goes wrong, and whether it ends well.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use trireme_config::{AppKind, ClientAuth, ClientEntry, Clients, Cluster, KeyFile, KeyOwner, MemberEntry};
use trireme_crypto::Digest;
use trireme_sim::prng::{Prng, split_mix};

use crate::Options;
use crate::client::{Client, Phase, keys};
use crate::history::History;
use crate::host::{Host, Polled};
use crate::plan::{Fault, Plan};
use crate::wire::{Net, Wire};

/// After the last fault, everything that was asked for is answered within this simulated time.
const SETTLE_US: u64 = 20_000_000;
/// And a last request to each replica within this.
const WISHES_US: u64 = 10_000_000;

/// What the world does by itself.
enum Event {
    Fault(Fault),
    Start(usize),
    Heal,
    Client(usize),
}

/// See the module's text.
pub(crate) struct World {
    prng: Prng,
    plan: Plan,
    pub(crate) now_us: u64,
    events: BTreeMap<(u64, u64), Event>,
    numbers: u64,
    net: Net,
    hosts: Vec<Host>,
    clients: Vec<Client>,
    pub(crate) history: History,
    pub(crate) counters: BTreeMap<String, u64>,
    pub(crate) polls: u64,
    hash: u64,
}

impl World {
    pub(crate) fn new(seed: u64, options: &Options) -> Self {
        let mut prng = Prng::new(seed);
        let mut plan = Plan::draw(&mut prng.fork(), options);
        let n = plan.hosts.len();
        let (cluster, member_keys) = cluster(&plan);
        let wire = Wire::new(
            n,
            plan.clients.len(),
            prng.fork(),
            plan.delay_us,
            plan.spread_us,
            plan.peer_limits,
        );
        let mut hosts = Vec::new();
        for (index, (host, keys)) in plan.hosts.drain(..).zip(member_keys).enumerate() {
            hosts.push(Host::new(index, host, &cluster, keys, prng.next(), options.bug));
        }
        let enough = usize::from(plan.params.f) + 1;
        let domain = cluster.domain();
        let clients = plan.clients.iter().enumerate();
        let clients: Vec<Client> = clients
            .map(|(index, client)| Client::new(index, *client, n, enough, domain, prng.fork()))
            .collect();
        let mut world = Self {
            prng,
            now_us: 0,
            events: BTreeMap::new(),
            numbers: 0,
            net: Rc::new(RefCell::new(wire)),
            history: History::new(n),
            hosts,
            clients,
            counters: BTreeMap::new(),
            polls: 0,
            hash: seed,
            plan,
        };
        for host in 0..n {
            let time = world.prng.skewed(50_000);
            world.at(time, Event::Start(host));
        }
        for client in 0..world.clients.len() {
            world.at(1_000 * client as u64, Event::Client(client));
        }
        for (time, fault) in std::mem::take(&mut world.plan.faults) {
            world.at(time, Event::Fault(fault));
        }
        world
    }

    fn at(&mut self, time_us: u64, event: Event) {
        self.numbers += 1;
        self.events.insert((time_us, self.numbers), event);
    }

    fn count(&mut self, what: impl Into<String>) {
        *self.counters.entry(what.into()).or_default() += 1;
    }

    fn note(&mut self, word: u64) {
        self.hash = self.hash.rotate_left(23) ^ word;
        let mut state = self.hash;
        self.hash = split_mix(&mut state);
    }

    pub(crate) fn members(&self) -> u16 {
        self.plan.params.n
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// Runs to the end.
    pub(crate) fn run(&mut self) {
        let load_us = self.plan.load_us;
        self.run_until(Phase::Load, load_us, |world| {
            world.now_us >= load_us / 2 && world.clients.iter().all(Client::satisfied)
        });
        self.heal();
        let deadline = self.now_us + SETTLE_US;
        if self.run_until(Phase::Settle, deadline, World::is_settled) {
            self.wish();
            let deadline = self.now_us + WISHES_US;
            if !self.run_until(Phase::Wishes, deadline, World::is_settled) {
                self.unsettled("a request that one replica took is answered");
            }
        } else {
            self.unsettled("what was asked for is answered");
        }
        for host in 0..self.hosts.len() {
            self.account(host);
        }
        for (what, times) in std::mem::take(&mut self.net.borrow_mut().counts) {
            self.counters.insert(what.to_owned(), times);
        }
        self.counters
            .insert("requests executed".to_owned(), self.history.fresh());
    }

    /// Everybody has an answer, and all replicas have done the same. Where a log is full, what it has no room for is
    /// refused, and what was under way may stay so: that run is judged by what it did.
    fn is_settled(&self) -> bool {
        if self.hosts.iter().any(Host::log_full) {
            return true;
        }
        let up = self.hosts.iter().all(Host::is_up);
        up && self.clients.iter().all(|client| client.unanswered() == 0) && self.history.level()
    }

    fn unsettled(&mut self, invariant: &'static str) {
        if self.over() {
            return;
        }
        let waiting: Vec<usize> = self.clients.iter().map(Client::unanswered).collect();
        let mut text = format!(
            "requests without an answer {waiting:?}, executed {}",
            self.history.progress()
        );
        for (index, host) in self.hosts.iter_mut().enumerate() {
            text += &format!("\n    replica {index}: {}", host.describe());
            if host.alarmed() {
                text += "; it has stopped voting";
            }
            for link in host.links().iter().filter(|link| link.held > 0) {
                text += &format!("; {} hold {}", link.name, link.held);
            }
        }
        self.history.violate(invariant, self.now_us, None, text);
    }

    /// Everything that is broken is mended, for good.
    fn heal(&mut self) {
        self.events.retain(|_, event| matches!(event, Event::Client(_)));
        {
            let mut net = self.net.borrow_mut();
            net.heal();
            net.calm = true;
        }
        for host in 0..self.hosts.len() {
            self.hosts[host].starve(0, 0);
            (0..self.hosts[host].run_loops()).for_each(|index| self.hosts[host].starve(index, 0));
            if !self.hosts[host].is_up() {
                self.at(self.now_us + 1_000, Event::Start(host));
            }
        }
    }

    /// Each client asks each replica for something, once.
    fn wish(&mut self) {
        for client in 0..self.clients.len() {
            for host in 0..self.hosts.len() {
                let sent = self.clients[client].wish(&mut self.net.borrow_mut(), host);
                self.count(if sent { "wish sent" } else { "wish not sent" });
            }
        }
    }

    /// The first thing that does not hold ends the run.
    fn over(&self) -> bool {
        !self.history.violations.is_empty()
    }

    /// Goes on until the time is over or `done`; whether it was.
    fn run_until(&mut self, phase: Phase, deadline_us: u64, done: impl Fn(&Self) -> bool) -> bool {
        while self.now_us < deadline_us && !self.over() {
            if done(self) {
                return true;
            }
            self.advance(phase);
            match self.next_poll() {
                Some((host, index)) => self.poll(host, index),
                None => self.skip(deadline_us),
            }
        }
        !self.over() && done(self)
    }

    /// Lets happen what is due now.
    fn advance(&mut self, phase: Phase) {
        let arrived = self.net.borrow_mut().advance(self.now_us);
        self.note(arrived);
        for host in &mut self.hosts {
            host.advance(self.now_us);
        }
        while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= self.now_us) {
            let event = entry.remove();
            self.happen(event, phase);
        }
    }

    /// Nobody has anything to do: time passes until somebody has.
    fn skip(&mut self, deadline_us: u64) {
        let hosts = self.hosts.iter().filter_map(Host::next_us);
        let net = self.net.borrow().next_us();
        let event = self.events.first_key_value().map(|((time, _), _)| *time);
        let next = hosts.chain(net).chain(event).min().unwrap_or(deadline_us);
        self.now_us = next.clamp(self.now_us + 1, deadline_us);
    }

    fn happen(&mut self, event: Event, phase: Phase) {
        match event {
            Event::Client(client) => self.client(client, phase),
            Event::Start(host) => self.start(host),
            Event::Heal => self.net.borrow_mut().heal(),
            Event::Fault(fault) => self.fault(fault),
        }
    }

    fn client(&mut self, index: usize, phase: Phase) {
        let client = &mut self.clients[index];
        let windows: Vec<u32> = self.hosts.iter().map(|h| h.plan.clients.receive_window_bytes).collect();
        let budget = |h: &Host| (h.plan.clients.reply_queue_bytes, h.plan.clients.reply_queue_frames);
        let budgets: Vec<(u64, u32)> = self.hosts.iter().map(budget).collect();
        let forged = client.forged.len();
        let news = {
            let mut net = self.net.borrow_mut();
            let news = client.read(&mut net, phase);
            client.turn(&mut net, phase, &windows, &budgets);
            news
        };
        if client.forged.len() > forged {
            client
                .forged
                .iter()
                .for_each(|number| self.history.forbid(client.id, *number));
        }
        let interval = client.plan.interval_us;
        let pause = if phase == Phase::Load {
            interval
        } else {
            interval.max(2_000)
        };
        for accepted in &news.accepted {
            self.history.accepted(self.now_us, accepted);
        }
        self.note(news.accepted.len() as u64);
        for reason in news.refused {
            self.count(format!("refused: {}", reason.name()));
        }
        if news.statuses > 0 {
            self.count("status answered");
        }
        for text in news.wrong {
            self.history
                .violate("replicas say what is true", self.now_us, None, text);
        }
        self.at(self.now_us + pause, Event::Client(index));
    }

    fn start(&mut self, host: usize) {
        if self.hosts[host].is_up() {
            return;
        }
        self.history.restarted(host);
        if let Err(error) = self.hosts[host].start(&self.net, self.now_us) {
            self.fail(host, "a replica starts", error);
            return;
        }
        self.net.borrow_mut().start(host);
        self.observe(host);
        self.count("replica started");
    }

    fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Kill { host, down_us, crash } => {
                if self.hosts[host].is_up() {
                    self.down(host);
                    self.hosts[host].kill(crash);
                    self.count(format!("killed: {crash:?}"));
                    self.at(self.now_us + down_us, Event::Start(host));
                }
            }
            Fault::Stop { host, down_us } => {
                if self.hosts[host].is_up() {
                    self.hosts[host].stop();
                    self.at(self.now_us + 5_000 + down_us, Event::Start(host));
                }
            }
            Fault::Break { a, b } => self.net.borrow_mut().break_path(a, b),
            Fault::Partition { side, us } => {
                self.net.borrow_mut().partition(side);
                self.at(self.now_us + us, Event::Heal);
            }
            Fault::Starve { host, index, us } => {
                self.count("run loop starved");
                let until = self.now_us + us;
                self.hosts[host].starve(index, until);
            }
        }
    }

    /// A replica goes away: what its links saw is noted first.
    fn down(&mut self, host: usize) {
        self.account(host);
        self.net.borrow_mut().kill(host);
    }

    /// Whose turn it is: any of those who were woken, or sometimes somebody who was not.
    fn next_poll(&mut self) -> Option<(usize, usize)> {
        let loops = |host: usize, of: &Host| (0..of.run_loops()).map(move |index| (host, index));
        let all = || self.hosts.iter().enumerate().flat_map(|(host, of)| loops(host, of));
        let now_us = self.now_us;
        let runnable: Vec<_> = all()
            .filter(|(host, index)| self.hosts[*host].is_runnable(*index, now_us))
            .collect();
        if runnable.is_empty() {
            return None;
        }
        if self.prng.percent(self.plan.spurious_percent) {
            let asleep: Vec<_> = all()
                .filter(|(host, index)| self.hosts[*host].sleeps_soundly(*index, now_us))
                .collect();
            if !asleep.is_empty() {
                return Some(self.prng.pick(&asleep));
            }
        }
        Some(self.prng.pick(&runnable))
    }

    fn poll(&mut self, host: usize, index: usize) {
        let uncalled = self.hosts[host].sleeps_soundly(index, self.now_us);
        let budget = self.prng.pick(self.plan.budgets);
        self.polls += 1;
        let polled = catch_unwind(AssertUnwindSafe(|| self.hosts[host].poll(index, budget)));
        self.note(host as u64 | (index as u64) << 8 | self.now_us << 16);
        match polled {
            Ok(Polled::Ran { worked }) => {
                self.note(u64::from(worked));
                if uncalled {
                    self.count("polled uncalled");
                    if worked {
                        let text = format!("run loop {index} slept and had something to do");
                        self.history
                            .violate("no wake-up is lost", self.now_us, Some(host), text);
                    }
                }
            }
            Ok(Polled::Stopped) => {
                self.down(host);
                match self.hosts[host].finish() {
                    Ok(()) => self.count("stopped in order"),
                    Err(error) => self.fail(host, "a replica stops in order", error),
                }
            }
            Ok(Polled::Failed(error)) => self.fail(host, "a replica goes on", error),
            Err(panic) => {
                let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
                self.fail(host, "no stage panics", text.unwrap_or_default());
            }
        }
        self.observe(host);
        let rest_us = 1 + self.prng.skewed(self.plan.poll_us);
        self.hosts[host].rest(index, self.now_us + rest_us);
    }

    fn observe(&mut self, host: usize) {
        let items = self.hosts[host].tap.drain();
        if !items.is_empty() {
            self.note(items.len() as u64);
            self.history.executed(self.now_us, host, items);
        }
    }

    fn fail(&mut self, host: usize, invariant: &'static str, text: String) {
        self.history.violate(invariant, self.now_us, Some(host), text);
    }

    /// What the links of a replica saw.
    fn account(&mut self, host: usize) {
        for link in self.hosts[host].links() {
            if link.starvations > 0 {
                self.count(format!("full: {}", link.name));
            }
            if link.shed > 0 {
                self.count(format!("shed: {}", link.name));
            }
            if link.high_water > link.room.depth || link.overruns > 0 {
                let text = format!(
                    "{} held {} of {:?}, {} items pushed beyond its bytes",
                    link.name, link.high_water, link.room, link.overruns
                );
                self.history
                    .violate("links keep their bounds", self.now_us, Some(host), text);
            }
        }
    }
}

/// The genesis of a run, and its members' keys.
fn cluster(plan: &Plan) -> (Cluster, Vec<trireme_config::ReplicaKeys>) {
    let nowhere = std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
    let seed = |index: usize| [u8::try_from(index).expect("few members") + 1; 32];
    let key = |index| KeyFile::new(KeyOwner::Replica, seed(index)).replica();
    let member_keys: Vec<_> = (0..plan.hosts.len())
        .map(|index| key(index).expect("a replica's key file"))
        .collect();
    let members = member_keys.iter().enumerate().map(|(index, keys)| MemberEntry {
        organisation: format!("org-{index}"),
        region: "here".to_owned(),
        vote_key: keys.vote.public(),
        tls_key: keys.tls.public().0,
        peer_address: nowhere,
        client_address: nowhere,
    });
    let mut clients: Vec<ClientEntry> = (0..plan.clients.len())
        .map(|index| {
            let (secret, tls_key) = keys(index);
            ClientEntry {
                key: secret.public(),
                tls_key,
                organisation: "clients".to_owned(),
            }
        })
        .collect();
    clients.sort_by_key(|client| client.key);
    let cluster = Cluster {
        name: "stages".to_owned(),
        salt: Digest([5; 32]),
        params: plan.params.clone(),
        app: AppKind::Kv,
        ordering: trireme_config::OrderingKind::Trireme,
        client_auth: ClientAuth::Signed,
        clients: Clients::Known(clients),
        members: members.collect(),
    };
    (cluster, member_keys)
}
