//! Clients: they send real signed bundles over their connections, believe f+1 equal replies, and keep account of what
//! became of each request.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use trireme_core::Slot;
use trireme_core::reply::{FromReplica, Outcome, Refusal, ReplyEntry, ReplySet, ToReplica};
use trireme_core::request::{BundleBuilder, request_digest};
use trireme_core::types::ClientId;
use trireme_crypto::{Digest, Domain, SecretKey};
use trireme_sim::prng::Prng;
use trireme_state::kv;
use trireme_transport::ConnId;

use crate::plan::{ClientPlan, Habit};
use crate::wire::{Limits, Mail, Wire};

/// What a client's connections take on the way up.
const UP: Limits = Limits {
    window: 0, // The replica's receive window: set for each connection.
    queue_bytes: 32 << 10,
    queue_frames: 64,
};

/// What clients do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Load and faults.
    Load,
    /// No new requests; what is open is sent again.
    Settle,
    /// One request for each replica, sent once.
    Wishes,
}

/// A request without an answer.
struct Open {
    payload: Vec<u8>,
    sent_us: u64,
    /// Sent once, to this replica.
    wish: Option<usize>,
    /// Only ever sent under a signature that is not valid.
    forged: bool,
}

/// Replicas that gave one reply set, and its entries.
type Voters = (BTreeSet<usize>, Option<Vec<ReplyEntry>>);

/// What a client believes.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) client: ClientId,
    pub(crate) number: u64,
    pub(crate) request: Digest,
    pub(crate) outcome: Outcome,
}

/// What came of reading a client's mail.
#[derive(Default)]
pub(crate) struct News {
    pub(crate) accepted: Vec<Accepted>,
    pub(crate) refused: Vec<Refusal>,
    pub(crate) wrong: Vec<String>,
    pub(crate) statuses: u64,
}

pub(crate) struct Client {
    pub(crate) plan: ClientPlan,
    index: usize,
    secret: SecretKey,
    pub(crate) id: ClientId,
    tls: [u8; 32],
    home: usize,
    conns: Vec<Option<ConnId>>,
    next: u64,
    opened: u64,
    done: BTreeSet<u64>,
    done_below: u64,
    open: BTreeMap<u64, Open>,
    replies: BTreeMap<(Slot, Digest), Voters>,
    /// Numbers that were never sent under a good signature.
    pub(crate) forged: BTreeSet<u64>,
    enough: usize,
    deaf_until_us: u64,
    /// Status questions without an answer, by replica and number.
    asked: BTreeSet<(usize, u64)>,
    asks: u64,
    prng: Prng,
    domain: Domain,
}

/// The keys of client `index`: signing and connecting.
pub(crate) fn keys(index: usize) -> (SecretKey, [u8; 32]) {
    let byte = u8::try_from(index).expect("few clients");
    (SecretKey::from_seed([100 + byte; 32]), [200 + byte; 32])
}

impl Client {
    pub(crate) fn new(
        index: usize,
        plan: ClientPlan,
        hosts: usize,
        enough: usize,
        domain: Domain,
        mut prng: Prng,
    ) -> Self {
        let (secret, tls) = keys(index);
        Self {
            plan,
            index,
            id: secret.public(),
            secret,
            tls,
            home: prng.index(hosts),
            conns: vec![None; hosts],
            next: 1,
            opened: 0,
            done: BTreeSet::new(),
            done_below: 1,
            open: BTreeMap::new(),
            replies: BTreeMap::new(),
            forged: BTreeSet::new(),
            enough,
            deaf_until_us: 0,
            asked: BTreeSet::new(),
            asks: 0,
            prng,
            domain,
        }
    }

    /// Requests and questions without an answer that deserve one.
    pub(crate) fn unanswered(&self) -> usize {
        self.open.values().filter(|open| !open.forged).count() + self.asked.len()
    }

    /// Whether it has no more to ask for.
    pub(crate) fn satisfied(&self) -> bool {
        self.opened >= self.plan.requests
    }

    /// Its turn.
    pub(crate) fn turn(&mut self, net: &mut Wire, phase: Phase, windows: &[u32], budgets: &[(u64, u32)]) {
        self.connect(net, windows, budgets);
        if phase == Phase::Load {
            if self.plan.habit == Habit::Nuisance && self.prng.percent(10) {
                self.annoy(net);
            }
            self.ask(net);
        }
        if phase < Phase::Wishes && self.asked.len() < 8 && self.prng.percent(3) {
            self.ask_status(net);
        }
        if phase != Phase::Wishes {
            self.retry(net);
        }
    }

    fn connect(&mut self, net: &mut Wire, windows: &[u32], budgets: &[(u64, u32)]) {
        for host in 0..self.conns.len() {
            if self.conns[host].is_some() {
                continue;
            }
            let up = Limits {
                window: windows[host] as usize,
                ..UP
            };
            let (queue_bytes, queue_frames) = budgets[host];
            let down = Limits {
                window: self.plan.read_window,
                queue_bytes: usize::try_from(queue_bytes).expect("fits"),
                queue_frames: queue_frames as usize,
            };
            self.conns[host] = net.connect(self.index, host, self.tls, up, down);
            let subscribe = ToReplica::Subscribe {
                clients: vec![self.id],
                full: self.plan.full || host == self.home,
            };
            if let Some(conn) = self.conns[host] {
                net.say(conn, subscribe.to_bytes().into());
            }
        }
    }

    /// Asks for something new, as much as its window, its quota and the connection allow.
    fn ask(&mut self, net: &mut Wire) {
        loop {
            let room = self.plan.window.saturating_sub(self.open.len() as u64);
            let left = self.plan.requests - self.opened;
            let count = self.plan.bundle.min(room).min(left);
            if count == 0 {
                return;
            }
            let forged = self.plan.habit == Habit::Forger && self.prng.percent(30);
            let numbers: Vec<u64> = (0..count).map(|_| self.open_one(net.now_us, None, forged)).collect();
            let bundle = self.cut(&numbers, forged);
            if self.prng.percent(self.plan.spread_percent) {
                for host in 0..self.conns.len() {
                    self.say(net, host, bundle.clone());
                }
            } else if !self.say(net, self.home, bundle) {
                return; // It goes out again when it is tired of waiting.
            }
            if !matches!(self.plan.habit, Habit::Flood | Habit::Deaf) {
                return;
            }
        }
    }

    fn open_one(&mut self, now_us: u64, wish: Option<usize>, forged: bool) -> u64 {
        let number = self.next;
        self.next += 1;
        self.opened += u64::from(wish.is_none());
        let key = [b'k', u8::try_from(self.prng.below(8)).expect("small")];
        let value = vec![b'v'; self.plan.payload_bytes + self.prng.index(16)];
        let payload = match self.prng.below(4) {
            0 => kv::Op::Get { key: &key }.encode(),
            _ => kv::Op::Put {
                key: &key,
                value: &value,
            }
            .encode(),
        };
        if forged {
            self.forged.insert(number);
        }
        let open = Open {
            payload,
            sent_us: now_us,
            wish,
            forged,
        };
        self.open.insert(number, open);
        number
    }

    /// A wish for one replica, sent once; false if it could not be sent.
    pub(crate) fn wish(&mut self, net: &mut Wire, host: usize) -> bool {
        if self.conns[host].is_none() {
            return false;
        }
        let number = self.open_one(net.now_us, Some(host), false);
        let bundle = self.cut(&[number], false);
        let sent = self.say(net, host, bundle);
        if !sent {
            self.open.remove(&number);
            self.next = number;
        }
        sent
    }

    fn cut(&self, numbers: &[u64], forged: bool) -> Bytes {
        // A forged request is never done; it must not hold the mark back.
        let mut bundle = BundleBuilder::new(self.id, self.done_below.min(numbers[0]));
        for number in numbers {
            bundle
                .push(*number, &self.open[number].payload)
                .expect("numbers ascend and payloads are small");
        }
        let wrong = SecretKey::from_seed([7; 32]);
        let key = if forged { &wrong } else { &self.secret };
        let bytes = bundle.finish(|statement| key.sign(statement), &self.domain);
        ToReplica::Bundle(bytes.into()).to_bytes().into()
    }

    fn say(&mut self, net: &mut Wire, host: usize, frame: Bytes) -> bool {
        self.conns[host].is_some_and(|conn| net.say(conn, frame))
    }

    /// Sends again what waits for long, cut anew, to any replica.
    fn retry(&mut self, net: &mut Wire) {
        let now_us = net.now_us;
        let late = |open: &Open| !open.forged && open.wish.is_none() && now_us >= open.sent_us + self.plan.retry_us;
        let numbers: Vec<u64> = self
            .open
            .iter()
            .filter(|(_, open)| late(open))
            .map(|(n, _)| *n)
            .take(16)
            .collect();
        let mut rest = numbers.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(1 + self.prng.index(rest.len().min(4)));
            rest = later;
            let host = self.prng.index(self.conns.len());
            let bundle = self.cut(now, false);
            self.say(net, host, bundle);
            for number in now {
                self.open.get_mut(number).expect("it is open").sent_us = now_us;
            }
        }
    }

    /// Asks a replica how it is.
    fn ask_status(&mut self, net: &mut Wire) {
        self.asks += 1;
        let (nonce, host) = (self.asks, self.prng.index(self.conns.len()));
        if self.say(net, host, ToReplica::Status { nonce }.to_bytes().into()) {
            self.asked.insert((host, nonce));
        }
    }

    /// A connection is gone, and what was asked over it.
    fn lost(&mut self, host: usize) {
        self.conns[host] = None;
        self.asked.retain(|(asked, _)| *asked != host);
    }

    /// Sends what it must not.
    fn annoy(&mut self, net: &mut Wire) {
        let host = self.prng.index(self.conns.len());
        let frame = match self.prng.below(3) {
            0 => Bytes::from_static(b"\x09 no frame"),
            1 => self.bundle_of(&SecretKey::from_seed([8; 32])), // Nobody knows it.
            _ => self.bundle_of(&keys(0).0),                     // Another's name over this connection.
        };
        self.say(net, host, frame);
    }

    fn bundle_of(&self, secret: &SecretKey) -> Bytes {
        let mut bundle = BundleBuilder::new(secret.public(), 0);
        bundle.push(u64::MAX, b"mine").expect("a small request");
        let bytes = bundle.finish(|statement| secret.sign(statement), &self.domain);
        ToReplica::Bundle(bytes.into()).to_bytes().into()
    }

    /// Reads its mail, or does not.
    pub(crate) fn read(&mut self, net: &mut Wire, phase: Phase) -> News {
        let mut news = News::default();
        if phase == Phase::Load && self.plan.habit == Habit::Deaf {
            if net.now_us < self.deaf_until_us {
                return news;
            }
            if self.prng.percent(5) {
                self.deaf_until_us = net.now_us + self.prng.skewed(500_000);
            }
        }
        while let Some(mail) = net.read(self.index) {
            match mail {
                Mail::Closed(host) => self.lost(host),
                Mail::Frame(host, bytes) => self.frame(host, &bytes, &mut news),
            }
        }
        if phase == Phase::Load && self.prng.percent(1) {
            let host = self.prng.index(self.conns.len());
            if let Some(conn) = self.conns[host].take() {
                net.count("client hung up");
                net.hang_up(conn);
                self.lost(host);
            }
        }
        news
    }

    fn frame(&mut self, host: usize, bytes: &[u8], news: &mut News) {
        match FromReplica::from_bytes(bytes) {
            Ok(FromReplica::Replies(set)) => self.replies(host, set, news),
            Ok(FromReplica::Refused { numbers, reason, .. }) => {
                news.refused.push(reason);
                for number in numbers {
                    let of_wish = self.open.get(&number).is_some_and(|open| open.wish == Some(host));
                    let forged = self.forged.contains(&number) && reason == Refusal::BadSignature;
                    if of_wish || forged {
                        self.settle(number);
                    }
                }
            }
            Ok(FromReplica::Status { nonce, .. }) => {
                if !self.asked.remove(&(host, nonce)) {
                    news.wrong
                        .push(format!("replica {host} answers a question that nobody asked"));
                }
                news.statuses += 1;
            }
            Err(error) => news
                .wrong
                .push(format!("replica {host} sent what is no frame: {error:?}")),
        }
    }

    fn replies(&mut self, host: usize, set: ReplySet, news: &mut News) {
        if set.client != self.id {
            return news.wrong.push(format!("replica {host} sent another client's replies"));
        }
        if set.entries.is_some() && !set.is_consistent() {
            return news
                .wrong
                .push(format!("replica {host}: a digest is not that of its entries"));
        }
        let (voters, entries) = self.replies.entry((set.slot, set.digest)).or_default();
        voters.insert(host);
        if entries.is_none() {
            entries.clone_from(&set.entries);
        }
        if voters.len() < self.enough {
            return;
        }
        let Some(entries) = entries.clone() else { return };
        for entry in entries {
            let own = self.open.get(&entry.number);
            let own = own.is_some_and(|open| request_digest(&self.id, entry.number, &open.payload) == entry.request);
            news.accepted.push(Accepted {
                client: self.id,
                number: entry.number,
                request: entry.request,
                outcome: entry.outcome.clone(),
            });
            if own && !matches!(entry.outcome, Outcome::TooFarAhead { .. }) {
                self.settle(entry.number);
            }
        }
    }

    fn settle(&mut self, number: u64) {
        if self.open.remove(&number).is_some() {
            self.done.insert(number);
            while self.done.remove(&self.done_below) {
                self.done_below += 1;
            }
        }
    }
}
