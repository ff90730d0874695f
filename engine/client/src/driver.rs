//! The exchange on real connections: one poll function for all of it.

use std::future::{Future, poll_fn};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use trireme_config::{ClientAuth, ClientKeys, Cluster};
use trireme_core::quorum::MemberSet;
use trireme_core::reply::{MAX_REPLY_SET_BYTES, ToReplica};
use trireme_core::types::{ClientId, MemberId, Tick};
use trireme_transport::wan::Spot;
use trireme_transport::{CloseReason, Dialer, Identity, SendError, TransportConfig};

use crate::clock::{Clock, wall_us};
use crate::error::{ConnectError, SubmitError};
use crate::exchange::{Completion, Counters, Exchange, Outgoing, Shape};
use crate::link::{Link, LinkEvent};
use crate::options::{Options, Route};

/// Frames taken from one link before the others get their turn.
const FRAMES_A_TURN: usize = 256;
/// How often round trips are read from the connections.
const RTT_US: u64 = 1_000_000;
/// Longest frame that is taken from a replica.
const MAX_FRAME_BYTES: usize = 8 << 20;
/// Bytes queued for one replica; beyond, requests go to another one.
const MAX_QUEUED_BYTES: usize = 32 << 20;

const _: () = assert!(MAX_FRAME_BYTES >= MAX_REPLY_SET_BYTES + (1 << 20) && MAX_QUEUED_BYTES >= MAX_FRAME_BYTES);

/// Sessions of several identities over one set of connections. Whoever owns it calls [`Driver::poll`] (or awaits
/// [`Driver::ready`]) and takes the completions; nothing happens in between. Lives in one current-thread tokio
/// runtime.
pub struct Driver {
    exchange: Exchange,
    links: Vec<Link>,
    dialer: Dialer,
    clock: Clock,
    timer: Pin<Box<tokio::time::Sleep>>,
    armed: Tick,
    waker: Option<Waker>,
    rtt_at: Tick,
    needed: usize,
    answers: Vec<StatusAnswer>,
    batch: Vec<Outgoing>,
}

/// What a replica said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusAnswer {
    /// Which replica.
    pub member: MemberId,
    /// The nonce of the question.
    pub nonce: u64,
    /// A JSON object.
    pub json: String,
}

impl Driver {
    /// Connects to the replicas of a cluster: to all of them if they answer in `connect_grace_us`, to f+1 at least.
    /// The others are dialled for ever.
    ///
    /// # Errors
    ///
    /// [`ConnectError`], after `connect_timeout_us` at the latest.
    pub async fn connect(cluster: &Cluster, keys: &ClientKeys, options: Options) -> Result<Self, ConnectError> {
        Self::connect_from(cluster, keys, options, None).await
    }

    /// The same from a place in an emulated network.
    ///
    /// # Errors
    ///
    /// Those of [`Driver::connect`].
    pub async fn connect_from(
        cluster: &Cluster,
        keys: &ClientKeys,
        options: Options,
        from: Option<Spot>,
    ) -> Result<Self, ConnectError> {
        let mut driver = Self::new(cluster, keys, options, from)?;
        let start = driver.now();
        let all = driver.links.len();
        let mut grace_from = None;
        loop {
            let now = driver.now();
            let connected = driver.connected().count();
            if connected >= driver.needed {
                grace_from.get_or_insert(now);
            }
            let graced = grace_from.is_some_and(|from| now.since(from) >= options.connect_grace_us);
            if connected == all || graced {
                return Ok(driver);
            }
            if let Some(reason) = driver.refused_by_the_cluster() {
                return Err(ConnectError::Refused { reason });
            }
            if now.since(start) >= options.connect_timeout_us {
                return Err(driver.unreachable(connected));
            }
            // Links wake this; the pause only bounds how late the grace and the timeout are noticed.
            let turn = tokio::time::sleep(Duration::from_millis(10));
            tokio::pin!(turn);
            poll_fn(|cx| {
                let changed = driver.poll(cx).is_ready() || driver.connected().count() != connected;
                if changed || turn.as_mut().poll(cx).is_ready() {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
        }
    }

    fn new(cluster: &Cluster, keys: &ClientKeys, options: Options, from: Option<Spot>) -> Result<Self, ConnectError> {
        let setup = |why: String| ConnectError::Setup(why);
        if keys.clients.is_empty() {
            return Err(setup("no identity".to_owned()));
        }
        if let Route::To(member) = options.route
            && usize::from(member) >= cluster.members.len()
        {
            return Err(setup(format!("there is no replica {member}")));
        }
        let identity = Identity::from_seed(&keys.tls.seed()).map_err(|error| setup(error.to_string()))?;
        let mut config = transport_config(cluster);
        config.place_in_network(from);
        let dialer = Dialer::bind(any_address(cluster), identity, config).map_err(|error| setup(error.to_string()))?;
        let quorums = cluster.quorums();
        let shape = Shape {
            quorums,
            domain: cluster.domain(),
            session_window: cluster.params.session_window,
            signed: cluster.client_auth == ClientAuth::Signed,
        };
        let links = (0..)
            .zip(&cluster.members)
            .map(|(index, m)| Link::new(index, m.client_address, m.tls_key));
        let first_number = options.first_number.unwrap_or_else(wall_us);
        Ok(Self {
            exchange: Exchange::new(shape, &keys.clients, first_number, options),
            links: links.collect(),
            dialer,
            clock: Clock::start(),
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            armed: Tick(0),
            waker: None,
            rtt_at: Tick(0),
            needed: quorums.one_honest(),
            answers: Vec::new(),
            batch: Vec::new(),
        })
    }

    fn now(&self) -> Tick {
        self.clock.now()
    }

    /// Number of identities.
    pub fn identities(&self) -> u32 {
        self.exchange.identities()
    }

    /// The key of an identity.
    pub fn client(&self, identity: u32) -> ClientId {
        self.exchange.client(identity)
    }

    /// Requests that this identity may submit now.
    pub fn room(&self, identity: u32) -> usize {
        self.exchange.room(identity)
    }

    /// The replica that an identity's requests go to now.
    pub fn home(&self, identity: u32) -> MemberId {
        self.exchange.home(identity)
    }

    /// The connected replicas.
    pub fn connected(&self) -> MemberSet {
        self.exchange.connected()
    }

    /// Round trips of the connected replicas in microseconds, by QUIC's measurement.
    pub fn rtts_us(&self) -> Vec<(MemberId, u64)> {
        self.links
            .iter()
            .filter_map(|link| Some((link.member, link.rtt_us()?)))
            .collect()
    }

    /// Counts since the start.
    pub fn counters(&self) -> Counters {
        self.exchange.counters()
    }

    /// Submits requests of one identity as one bundle under one signature. Gives the number of the first; the others
    /// follow without gaps. `tag` comes back in each completion.
    ///
    /// # Errors
    ///
    /// `TooLarge` and `Busy`: nothing was submitted. Everything else arrives as a completion.
    ///
    /// # Panics
    ///
    /// Without payloads, or for an identity that there is not.
    pub fn submit<P: AsRef<[u8]>>(&mut self, identity: u32, payloads: &[P], tag: u64) -> Result<u64, SubmitError> {
        let now = self.now();
        let first = self.exchange.submit(now, identity, payloads, tag)?;
        self.flush(now);
        // The timeout may be earlier than the one that the owner's last poll waits for.
        if self.exchange.next_timeout() < self.armed || self.exchange.has_completions() {
            self.wake();
        }
        Ok(first)
    }

    /// Asks a replica for its status; the answer comes with [`Driver::take_answers`]. False: not connected, or its
    /// queue is full.
    pub fn ask_status(&mut self, member: MemberId, nonce: u64) -> bool {
        let frame = ToReplica::Status { nonce }.to_bytes();
        self.links[usize::from(member)]
            .send(bytes::Bytes::new(), frame.into())
            .is_ok()
    }

    /// Status answers that have come.
    pub fn take_answers(&mut self) -> Vec<StatusAnswer> {
        std::mem::take(&mut self.answers)
    }

    /// Completions that have come.
    pub fn completions(&mut self) -> std::vec::Drain<'_, Completion> {
        self.exchange.drain_completions()
    }

    /// Until there is something to take.
    pub async fn ready(&mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    /// Moves everything on: dials, reads, retries. Ready when there are completions or answers to take.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = self.now();
            let mut more = false;
            for index in 0..self.links.len() {
                more |= self.poll_link(cx, now, index);
            }
            self.on_clock(now);
            self.flush(now);
            if more {
                cx.waker().wake_by_ref();
            }
            if self.exchange.has_completions() || !self.answers.is_empty() {
                return Poll::Ready(());
            }
            let dials = self.links.iter().filter_map(Link::next_dial);
            let next = dials
                .chain([self.exchange.next_timeout(), self.rtt_at])
                .min()
                .expect("at least the last two");
            if next != self.armed {
                self.armed = next;
                self.timer.as_mut().reset(self.clock.instant(next));
            }
            if more || self.timer.as_mut().poll(cx).is_pending() {
                self.waker
                    .get_or_insert_with(|| cx.waker().clone())
                    .clone_from(cx.waker());
                return Poll::Pending;
            }
        }
    }

    /// True if the link has more than its turn allowed.
    fn poll_link(&mut self, cx: &mut Context<'_>, now: Tick, index: usize) -> bool {
        let member = self.links[index].member;
        for _ in 0..FRAMES_A_TURN {
            match self.links[index].poll(cx, now, &self.dialer) {
                Poll::Pending => return false,
                Poll::Ready(LinkEvent::Connected { rtt_us }) => self.exchange.on_connected(now, member, rtt_us),
                Poll::Ready(LinkEvent::Disconnected) => self.exchange.on_disconnected(now, member),
                Poll::Ready(LinkEvent::Frame(frame)) => match self.exchange.on_frame(now, member, &frame) {
                    Ok(None) => {}
                    Ok(Some((nonce, json))) => self.answers.push(StatusAnswer { member, nonce, json }),
                    Err(malformed) => {
                        tracing::warn!(member, ?malformed, "replica sent a malformed frame");
                        self.links[index].refuse(now, CloseReason::Malformed);
                        self.exchange.on_disconnected(now, member);
                    }
                },
            }
        }
        true
    }

    fn on_clock(&mut self, now: Tick) {
        if now >= self.rtt_at {
            self.rtt_at = now.plus(RTT_US);
            for link in &self.links {
                if let Some(us) = link.rtt_us() {
                    self.exchange.on_rtt(link.member, us);
                }
            }
        }
        if now >= self.exchange.next_timeout() {
            self.exchange.on_timeout(now);
        }
    }

    /// Hands outgoing frames to the connections. A full queue counts as a refusal, which may give new frames.
    fn flush(&mut self, now: Tick) {
        let mut batch = std::mem::take(&mut self.batch);
        loop {
            batch.extend(self.exchange.drain_outgoing());
            if batch.is_empty() {
                break;
            }
            for Outgoing {
                member,
                head,
                body,
                bundle,
            } in batch.drain(..)
            {
                let sent = self.links[usize::from(member)].send(head, body);
                match (sent, bundle) {
                    (Ok(()), _) | (Err(SendError::NotConnected), _) => {}
                    (Err(_), Some(key)) => self.exchange.on_queue_full(now, member, key),
                    (Err(error), None) => {
                        // A subscription must not be lost: without it this replica's replies are.
                        tracing::warn!(member, %error, "no room for a subscription");
                        self.links[usize::from(member)].refuse(now, CloseReason::Overloaded);
                        self.exchange.on_disconnected(now, member);
                    }
                }
            }
        }
        self.batch = batch;
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Ends all outstanding requests (their completions can still be taken) and closes the connections.
    pub fn close(&mut self) {
        let now = self.now();
        self.exchange.close(now);
        self.links.iter().for_each(Link::close);
        self.wake();
    }

    /// The reason for which f+1 replicas turn this client away, if there is one: one of them is honest.
    fn refused_by_the_cluster(&self) -> Option<CloseReason> {
        use CloseReason as C;
        let fatal = [C::UnknownKey, C::WrongCluster, C::TooManyConnections];
        let count = |reason: &C| {
            self.links
                .iter()
                .filter(|link| link.last_reason == Some(*reason))
                .count()
        };
        fatal.into_iter().find(|reason| count(reason) >= self.needed)
    }

    fn unreachable(&self, connected: usize) -> ConnectError {
        let failure = |link: &Link| {
            (
                link.member,
                link.last_error.clone().unwrap_or_else(|| "no answer yet".to_owned()),
            )
        };
        let failures = self.links.iter().filter(|link| !link.is_up()).map(failure).collect();
        ConnectError::Unreachable {
            connected,
            needed: self.needed,
            failures,
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.links.iter().for_each(Link::close);
    }
}

/// The wildcard of the members' address family.
pub(crate) fn any_address(cluster: &Cluster) -> SocketAddr {
    let six = cluster.members.iter().any(|member| member.client_address.is_ipv6());
    let ip = if six {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    } else {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    };
    SocketAddr::new(ip, 0)
}

/// The transport's limits as a client needs them: replies may be long, and all that is outstanding may be queued.
pub(crate) fn transport_config(cluster: &Cluster) -> TransportConfig {
    TransportConfig {
        cluster: cluster.fingerprint().0,
        max_client_frame_bytes: MAX_FRAME_BYTES,
        client_outbound_bytes: MAX_QUEUED_BYTES,
        ..TransportConfig::default()
    }
}
