//! The network between replicas and clients: ordered lanes of frames with limits at both ends, as QUIC streams have
//! them, connections that end on one side before the other, and delay. `peers.rs` has the members' connections, `clients.rs`
//! those of clients.

mod clients;
mod peers;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::task::{Context, Waker};

use bytes::Bytes;
use trireme_sim::prng::Prng;
use trireme_transport::{Class, ClientEvent, CloseReason, ClosedBy, ConnId, Disconnect, PeerEvent, SendError};

/// Shared by the world and the doors of its replicas.
pub(crate) type Net = Rc<RefCell<Wire>>;

/// As many events go before a waiting bulk frame at most, as in the real endpoint.
const CONTROL_STREAK: u32 = 64;
/// A lost connection is dialled again after this time at the earliest.
const REDIAL_US: u64 = 20_000;

/// What bounds a lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes that are on their way or wait for the receiver: beyond, nothing leaves the sender.
    pub(crate) window: usize,
    /// Bytes that wait at the sender.
    pub(crate) queue_bytes: usize,
    /// Frames that wait at the sender.
    pub(crate) queue_frames: usize,
}

/// Where a lane ends.
#[derive(Clone, Copy, Debug)]
enum Sink {
    Member { host: usize, peer: u32, class: Class },
    Door { host: usize, conn: ConnId },
    Client { client: usize, host: usize },
}

/// One direction of one stream.
struct Lane {
    sink: Sink,
    limits: Limits,
    queue: VecDeque<Bytes>,
    queued: usize,
    moving: usize,
    waiting: usize,
    /// Frames arrive in order: none before this time.
    last_us: u64,
    paused: bool,
}

/// An event and the credit that its frame holds.
type Entry<E> = (E, Option<(u64, usize)>);

/// Events on their way to a stage.
struct Inbox<E> {
    first: VecDeque<Entry<E>>,
    bulk: VecDeque<Entry<E>>,
    streak: u32,
    waker: Option<Waker>,
}

impl<E> Default for Inbox<E> {
    fn default() -> Self {
        Self {
            first: VecDeque::new(),
            bulk: VecDeque::new(),
            streak: 0,
            waker: None,
        }
    }
}

impl<E> Inbox<E> {
    fn push(&mut self, bulk: bool, entry: Entry<E>) {
        let line = if bulk { &mut self.bulk } else { &mut self.first };
        line.push_back(entry);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn pop(&mut self, cx: &Context<'_>) -> Option<Entry<E>> {
        let bulk_turn = self.streak >= CONTROL_STREAK || self.first.is_empty();
        if bulk_turn && let Some(entry) = self.bulk.pop_front() {
            self.streak = 0;
            return Some(entry);
        }
        self.streak = self.streak.saturating_add(1);
        let entry = self.first.pop_front();
        if entry.is_none() {
            self.waker = Some(cx.waker().clone());
        }
        entry
    }
}

/// A connection between two members, the lower one first.
struct PeerConn {
    number: u64,
    alive: [bool; 2],
    /// By the side that sends, and by class.
    lanes: [[u64; 2]; 2],
}

/// A client's connection.
struct ClientConn {
    client: usize,
    host: usize,
    alive_here: bool,
    alive_there: bool,
    up: u64,
    down: u64,
}

/// What reaches a client.
#[derive(Debug)]
pub(crate) enum Mail {
    Frame(usize, Bytes),
    Closed(usize),
}

enum Arrival {
    Frame {
        lane: u64,
        bytes: Bytes,
    },
    PeerEnd {
        pair: (usize, usize),
        number: u64,
        side: usize,
        end: Disconnect,
    },
    Dial {
        pair: (usize, usize),
    },
    DoorEnd {
        conn: ConnId,
        end: Disconnect,
    },
    ClientEnd {
        conn: ConnId,
    },
}

/// Everything under way.
pub(crate) struct Wire {
    pub(crate) now_us: u64,
    prng: Prng,
    delay_us: u64,
    spread_us: u64,
    pub(crate) calm: bool,
    peer_limits: Limits,
    arrivals: BTreeMap<(u64, u64), Arrival>,
    numbers: u64,
    lanes: BTreeMap<u64, Lane>,
    up: Vec<bool>,
    members: Vec<Inbox<PeerEvent>>,
    doors: Vec<Inbox<ClientEvent>>,
    mailboxes: Vec<VecDeque<Entry<Mail>>>,
    pairs: BTreeMap<(usize, usize), PeerConn>,
    blocked: BTreeSet<(usize, usize)>,
    conns: BTreeMap<ConnId, ClientConn>,
    /// How often what happened.
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

impl Wire {
    pub(crate) fn new(
        hosts: usize,
        clients: usize,
        prng: Prng,
        delay_us: u64,
        spread_us: u64,
        peer_limits: Limits,
    ) -> Self {
        Self {
            now_us: 0,
            prng,
            delay_us,
            spread_us,
            calm: false,
            peer_limits,
            arrivals: BTreeMap::new(),
            numbers: 0,
            lanes: BTreeMap::new(),
            up: vec![false; hosts],
            members: (0..hosts).map(|_| Inbox::default()).collect(),
            doors: (0..hosts).map(|_| Inbox::default()).collect(),
            mailboxes: (0..clients).map(|_| VecDeque::new()).collect(),
            pairs: BTreeMap::new(),
            blocked: BTreeSet::new(),
            conns: BTreeMap::new(),
            counts: BTreeMap::new(),
        }
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn at(&mut self, time_us: u64, arrival: Arrival) {
        let number = self.number();
        self.arrivals.insert((time_us, number), arrival);
    }

    fn delay(&mut self) -> u64 {
        self.delay_us + self.prng.skewed(self.spread_us)
    }

    /// When something happens next.
    pub(crate) fn next_us(&self) -> Option<u64> {
        self.arrivals.first_key_value().map(|((time, _), _)| *time)
    }

    /// It is `now_us`: what is due arrives. Returns how much.
    pub(crate) fn advance(&mut self, now_us: u64) -> u64 {
        self.now_us = now_us;
        let mut arrived = 0;
        while self.next_us().is_some_and(|due| due <= now_us) {
            let (_, arrival) = self.arrivals.pop_first().expect("just seen");
            self.arrive(arrival);
            arrived += 1;
        }
        arrived
    }

    fn arrive(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Frame { lane, bytes } => self.frame(lane, bytes),
            Arrival::PeerEnd {
                pair,
                number,
                side,
                end,
            } => self.end_side(pair, number, side, end),
            Arrival::Dial { pair } => self.dial(pair),
            Arrival::DoorEnd { conn, end } => self.end_at_door(conn, end),
            Arrival::ClientEnd { conn } => self.end_at_client(conn),
        }
    }

    // Lanes.

    fn open_lane(&mut self, sink: Sink, limits: Limits) -> u64 {
        let number = self.number();
        let lane = Lane {
            sink,
            limits,
            queue: VecDeque::new(),
            queued: 0,
            moving: 0,
            waiting: 0,
            last_us: 0,
            paused: false,
        };
        self.lanes.insert(number, lane);
        number
    }

    fn push(&mut self, number: u64, frame: Bytes) -> Result<(), SendError> {
        let lane = self.lanes.get_mut(&number).ok_or(SendError::NotConnected)?;
        let full = lane.queue.len() >= lane.limits.queue_frames
            || (!lane.queue.is_empty() && lane.queued + frame.len() > lane.limits.queue_bytes);
        if full {
            return Err(SendError::Full);
        }
        lane.queued += frame.len();
        lane.queue.push_back(frame);
        self.pump(number);
        Ok(())
    }

    /// Sends what the receiver has credit for.
    fn pump(&mut self, number: u64) {
        let delay = self.delay();
        let Some(lane) = self.lanes.get_mut(&number) else {
            return;
        };
        let mut leaving = Vec::new();
        while !lane.paused && lane.moving + lane.waiting < lane.limits.window {
            let Some(bytes) = lane.queue.pop_front() else { break };
            lane.queued -= bytes.len();
            lane.moving += bytes.len();
            lane.last_us = lane.last_us.max(self.now_us + delay);
            leaving.push((lane.last_us, bytes));
        }
        for (time, bytes) in leaving {
            self.at(time, Arrival::Frame { lane: number, bytes });
        }
    }

    fn frame(&mut self, number: u64, bytes: Bytes) {
        let Some(lane) = self.lanes.get_mut(&number) else {
            return;
        };
        lane.moving -= bytes.len();
        lane.waiting += bytes.len();
        let credit = Some((number, bytes.len()));
        match lane.sink {
            Sink::Member { host, peer, class } => {
                let event = PeerEvent::Frame { peer, class, bytes };
                self.members[host].push(class == Class::Bulk, (event, credit));
            }
            Sink::Door { host, conn } => self.doors[host].push(false, (ClientEvent::Frame { conn, bytes }, credit)),
            Sink::Client { client, host } => self.mailboxes[client].push_back((Mail::Frame(host, bytes), credit)),
        }
    }

    fn give_back(&mut self, credit: Option<(u64, usize)>) {
        let Some((number, bytes)) = credit else { return };
        if let Some(lane) = self.lanes.get_mut(&number) {
            lane.waiting -= bytes;
            self.pump(number);
        }
    }

    // Processes.

    /// A replica's process is gone.
    pub(crate) fn kill(&mut self, host: usize) {
        self.up[host] = false;
        let reset = Disconnect {
            reason: CloseReason::Reset,
            by: ClosedBy::Path,
        };
        let pairs: Vec<_> = self.pairs.iter().map(|(pair, conn)| (*pair, conn.number)).collect();
        for (pair, number) in pairs.into_iter().filter(|(pair, _)| pair.0 == host || pair.1 == host) {
            let side = usize::from(pair.1 == host);
            self.end_side(pair, number, side, reset);
            let time = self.now_us + self.prng.skewed(400_000);
            let side = 1 - side;
            self.at(
                time,
                Arrival::PeerEnd {
                    pair,
                    number,
                    side,
                    end: reset,
                },
            );
        }
        let conns: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|(_, c)| c.host == host)
            .map(|(id, _)| *id)
            .collect();
        for conn in conns {
            self.end_at_door(conn, reset);
            let time = self.now_us + self.prng.skewed(100_000);
            self.at(time, Arrival::ClientEnd { conn });
        }
        self.members[host] = Inbox::default();
        self.doors[host] = Inbox::default();
    }

    /// A replica's process has started.
    pub(crate) fn start(&mut self, host: usize) {
        self.up[host] = true;
        for other in (0..self.up.len()).filter(|other| *other != host) {
            let time = self.now_us + self.delay();
            let pair = (host.min(other), host.max(other));
            self.at(time, Arrival::Dial { pair });
        }
    }
}
