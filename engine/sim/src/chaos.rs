//! Faults, and the end of faults.

use trireme_core::MemberId;
use trireme_core::api::Input;

use crate::build::calm;
use crate::byzantine::Habit;
use crate::event::Event;
use crate::network::{HostId, LinkId};
use crate::plan::{Fault, Loss};
use crate::world::World;

impl World<'_> {
    /// Pairs of hosts that may be connected: different members, and of twins the one on the other's side.
    pub(crate) fn pairs(&self) -> Vec<(HostId, HostId)> {
        let hosts = self.hosts.len();
        let pairs = (0..hosts).flat_map(|a| (a + 1..hosts).map(move |b| (a, b)));
        pairs.filter(|(a, b)| self.may_connect(*a, *b)).collect()
    }

    fn may_connect(&self, a: HostId, b: HostId) -> bool {
        self.hosts[a].member != self.hosts[b].member && self.on_side(a, b) && self.on_side(b, a)
    }

    /// Whether `host` is the instance of its member that `other` talks to.
    fn on_side(&self, host: HostId, other: HostId) -> bool {
        let member = self.hosts[host].member;
        let has_twin = self.hosts.iter().filter(|h| h.member == member).count() > 1;
        !has_twin || self.sides.second(member, other) == (host >= self.plan.roles.len())
    }

    /// Twins draw anew who talks to which of them.
    pub(crate) fn regroup(&mut self) {
        let doubled: Vec<MemberId> = self.hosts[self.plan.roles.len()..]
            .iter()
            .map(|host| host.member)
            .collect();
        for member in doubled {
            for other in 0..self.hosts.len() {
                // Twins of two members stay with the twin of the same number: two coherent false worlds.
                let other_is_second = other >= self.plan.roles.len();
                let second = other_is_second || self.prng.percent(50);
                self.sides.set(member, other, second);
            }
        }
    }

    /// Two hosts try to connect.
    pub(crate) fn connect(&mut self, a: HostId, b: HostId) {
        let down = |host: &crate::host::Host| host.replica.is_none() || host.gone;
        if !self.may_connect(a, b) || down(&self.hosts[a]) || down(&self.hosts[b]) {
            return;
        }
        let busy = self.hosts[a].frozen_until.max(self.hosts[b].frozen_until);
        if busy > self.time || !self.network.reachable(a, b) {
            let at = busy.max(self.time + 20_000 + self.prng.below(100_000));
            return self.at(at, Event::Connect { a, b });
        }
        if self.network.link(a, b).is_some() {
            return;
        }
        let link = self.network.connect(a, b);
        self.open(a, b, link);
        self.open(b, a, link);
    }

    fn open(&mut self, host: HostId, peer: HostId, link: LinkId) {
        let member = self.hosts[peer].member;
        if let Some(old) = self.channel_to(host, member) {
            self.hosts[host].channels[old] = None;
            self.step(host, Input::Disconnected(member));
        }
        self.hosts[host].channels[peer] = Some(link);
        let us = 2 * self.network.latency_us(host, peer);
        self.step(host, Input::Rtt { member, us });
        self.step(host, Input::Connected(member));
    }

    /// A connection ends; both sides notice, each in its time, and try again.
    pub(crate) fn break_link(&mut self, a: HostId, b: HostId) {
        let Some(link) = self.network.disconnect(a, b) else {
            return;
        };
        self.oracle.verdict.count("connection broken");
        let mut last = self.time;
        for (host, peer) in [(a, b), (b, a)] {
            let at = self.time + self.prng.skewed(50_000);
            last = last.max(at);
            self.at(at, Event::Down { host, peer, link });
        }
        let at = last + 1 + self.prng.skewed(200_000);
        self.at(at, Event::Connect { a, b });
    }

    /// A host notices.
    pub(crate) fn down(&mut self, host: HostId, peer: HostId, link: LinkId) {
        if self.hosts[host].channels[peer] == Some(link) {
            self.hosts[host].channels[peer] = None;
            let member = self.hosts[peer].member;
            self.step(host, Input::Disconnected(member));
        }
    }

    /// A connection that has been blocked for long is given up.
    pub(crate) fn expire(&mut self, a: HostId, b: HostId, link: LinkId) {
        if self.network.link(a, b) == Some(link) && !self.network.reachable(a, b) {
            self.break_link(a, b);
        }
    }

    /// One direction works again.
    pub(crate) fn unblock(&mut self, from: HostId, to: HostId) {
        for (at, frame) in self.network.block(from, to, false, self.time) {
            self.at(at, Event::Deliver(frame));
        }
    }

    /// Something bad happens.
    pub(crate) fn strike(&mut self, fault: Fault) {
        if self.healed_at.is_some() {
            return;
        }
        self.line(|| format!("-- {fault:?}"));
        match fault {
            Fault::Crash { member, down_us } => {
                for host in self.instances(member) {
                    self.crash(host, down_us, false);
                }
            }
            Fault::Blackout { down_us } => {
                for host in 0..self.hosts.len() {
                    let down_us = down_us + self.prng.below(10_000);
                    self.crash(host, down_us, false);
                }
            }
            Fault::Freeze { member, us } => {
                for host in self.instances(member) {
                    self.hosts[host].frozen_until = self.time + us;
                }
            }
            Fault::Partition { side, one_way, us } => self.partition(side, one_way, us),
            Fault::Break { a, b } => {
                for host in self.instances(a) {
                    if let Some(peer) = self.channel_to(host, b) {
                        self.break_link(host, peer);
                    }
                }
            }
            Fault::Regroup => self.change_sides(),
            Fault::Disk { member, fault } => {
                for host in self.instances(member) {
                    self.strike_disk(host, fault);
                }
            }
        }
    }

    fn instances(&self, member: MemberId) -> Vec<HostId> {
        (0..self.hosts.len())
            .filter(|host| self.hosts[*host].member == member)
            .collect()
    }

    fn partition(&mut self, side: u128, one_way: bool, us: u64) {
        let until = self.time + us;
        for a in 0..self.hosts.len() {
            for b in 0..self.hosts.len() {
                let inside = |host: HostId| side >> self.hosts[host].member & 1 == 1;
                if a == b || !inside(a) || inside(b) {
                    continue;
                }
                self.network.block(a, b, true, self.time);
                self.at(until, Event::Unblock { from: a, to: b });
                if !one_way {
                    self.network.block(b, a, true, self.time);
                    self.at(until, Event::Unblock { from: b, to: a });
                }
                if let Some(link) = self.network.link(a, b) {
                    let at = self.time + 50_000 + self.prng.below(1_000_000);
                    self.at(at, Event::Expire { a, b, link });
                }
            }
        }
    }

    fn change_sides(&mut self) {
        let before = self.pairs();
        self.regroup();
        let after = self.pairs();
        for (a, b) in before.iter().filter(|pair| !after.contains(pair)) {
            self.break_link(*a, *b);
        }
        for (a, b) in after.into_iter().filter(|pair| !before.contains(pair)) {
            let at = self.time + self.prng.skewed(100_000);
            self.at(at, Event::Connect { a, b });
        }
    }

    /// A host goes down; if it was only `killed`, its machine goes on.
    pub(crate) fn crash(&mut self, host: HostId, down_us: u64, killed: bool) {
        if self.hosts[host].replica.is_none() || self.hosts[host].gone {
            return;
        }
        self.oracle.verdict.count("crash");
        for peer in 0..self.hosts.len() {
            if peer != host && self.network.link(host, peer).is_some() {
                let link = self.network.disconnect(host, peer).expect("just seen");
                let at = self.time + 1 + self.prng.skewed(300_000);
                self.at(
                    at,
                    Event::Down {
                        host: peer,
                        peer: host,
                        link,
                    },
                );
            }
        }
        let kept = self.hosts[host].disk.crash(&mut self.prng, killed);
        if kept > 0 {
            self.oracle.verdict.count("unacknowledged records survive a crash");
        }
        if self.hosts[host]
            .liar
            .as_ref()
            .is_some_and(|liar| liar.is(Habit::Amnesia))
        {
            self.oracle.verdict.count("amnesia");
            self.hosts[host].liar.as_mut().expect("just seen").fire(Habit::Amnesia);
            self.hosts[host].disk.lose_tail(&mut self.prng);
        }
        self.hosts[host].go_down();
        self.at(self.time + down_us, Event::Restart { host });
    }

    /// A host comes back with what its log has.
    pub(crate) fn restart(&mut self, host: HostId) {
        if self.hosts[host].replica.is_some() || self.hosts[host].gone {
            return;
        }
        self.oracle.verdict.count("restart");
        let Some(records) = self.open_log(host) else { return };
        // What survived without having been acknowledged is durable now.
        self.learn(host);
        let member = self.hosts[host].member;
        self.oracle.history.forget(member);
        let effects = self.recover(host, &records);
        let text = crate::trace::effects(&effects);
        let name = self.name(host);
        self.line(|| format!("{name} restarts -> {text}"));
        effects.iter().for_each(|effect| self.hash.effect(effect));
        let scene = self.scene(host);
        if self.hosts[host].judged() {
            let replica = self.hosts[host].replica.as_ref().expect("just started");
            let (view, high_qc) = (replica.view(), replica.status().high_qc);
            self.oracle.restarted(scene, &self.hosts[host].facts, view, high_qc);
        }
        self.perform(host, effects);
        self.after_step(host);
        for (a, b) in self.pairs().into_iter().filter(|(a, b)| *a == host || *b == host) {
            let at = self.time + self.prng.skewed(50_000);
            self.at(at, Event::Connect { a, b });
        }
    }

    /// A faulty member says nothing any more.
    pub(crate) fn silence(&mut self, host: HostId) {
        self.oracle.verdict.count("a faulty member falls silent");
        if let Some(liar) = self.hosts[host].liar.as_mut().filter(|liar| liar.is(Habit::Silent)) {
            liar.fire(Habit::Silent);
        }
        for peer in 0..self.hosts.len() {
            if peer != host && self.prng.percent(70) {
                self.break_link(host, peer);
            }
        }
        self.hosts[host].gone = true;
    }

    /// Some correct members are broken for good, so that a core of n-f is all there is.
    fn lose(&mut self) {
        for (member, loss) in self.plan.lost.clone() {
            let host = usize::from(member);
            self.hosts[host].lost = true;
            self.line(|| format!("-- {member} is lost: {loss:?}"));
            match loss {
                Loss::Down => {
                    self.crash(host, 0, false);
                    self.hosts[host].gone = true;
                    self.oracle.verdict.count("a correct member is down for good");
                }
                Loss::Deaf | Loss::Mute => {
                    for other in (0..self.hosts.len()).filter(|other| *other != host) {
                        let (from, to) = if matches!(loss, Loss::Deaf) {
                            (other, host)
                        } else {
                            (host, other)
                        };
                        self.network.block(from, to, true, self.time);
                    }
                    self.oracle.verdict.count("a correct member is deaf or mute for good");
                }
            }
        }
    }

    /// The network heals and every correct member of a core is up; what is faulty stays so.
    pub(crate) fn heal(&mut self) {
        self.line(|| "-- the network heals".into());
        self.healed_at = Some(self.time);
        let scoped = !std::mem::take(&mut self.plan.scopes).is_empty();
        let lossy = scoped || self.network.weather.loss_ppm > 0 || self.network.weather.reorder;
        self.network.weather = calm(&self.network.weather);
        for host in 0..self.hosts.len() {
            self.hosts[host].frozen_until = 0;
            if let Some(disk) = self.hosts[host].disk.logged() {
                disk.mend();
            }
            self.restart(host);
        }
        for a in 0..self.hosts.len() {
            for b in a + 1..self.hosts.len() {
                self.unblock(a, b);
                self.unblock(b, a);
            }
        }
        self.lose();
        self.recount_news();
        for (a, b) in self.pairs() {
            if lossy {
                self.break_link(a, b);
            }
            let at = self.time + 1 + self.prng.below(50_000);
            self.at(at, Event::Connect { a, b });
        }
        for _ in 0..self.plan.load.last_wave {
            let (at, client) = (
                self.time + self.prng.below(300_000),
                self.prng.index(self.clients.len()),
            );
            self.at(at, Event::LastWish { client });
        }
        self.at(self.time + 20_000, Event::Look);
    }
}
