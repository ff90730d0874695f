//! The socket that QUIC sees: between it and the real one lies the network.

use super::flow::Flow;
use super::line::Line;
use super::{Place, Spot};
use atomic_waker::AtomicWaker;
use bytes::Bytes;
use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// How long the line waits for room in the socket before it drops a datagram.
const FULL_PAUSE: Duration = Duration::from_micros(100);
const FULL_TRIES: usize = 20;
/// Datagrams that have arrived and were not taken; more are dropped.
const MAX_ARRIVED: usize = 16 << 10;

/// What a datagram on the line still needs to be sent or received.
enum Label {
    Out {
        destination: SocketAddr,
        ecn: Option<EcnCodepoint>,
        segment_size: Option<usize>,
        src_ip: Option<IpAddr>,
    },
    In(RecvMeta),
}

/// Datagrams that have come through the network, for the endpoint.
#[derive(Default)]
struct Arrived {
    queue: Mutex<VecDeque<(RecvMeta, Bytes)>>,
    waker: AtomicWaker,
}

/// Both directions to one replica.
struct Pair {
    peer: Place,
    out: Flow,
    back: Flow,
}

struct Pairs {
    version: u64,
    by_replica: Vec<Pair>,
}

/// A socket behind an emulated network.
pub(crate) struct Shim {
    inner: Arc<dyn AsyncUdpSocket>,
    spot: Spot,
    replica_at: HashMap<SocketAddr, usize>,
    pairs: Mutex<Pairs>,
    line: Line<Label>,
    /// Only for clients: their replicas do not delay what they send.
    arrived: Option<Arc<Arrived>>,
    /// For `poll_recv`: what the real socket gives.
    scratch: Mutex<Vec<u8>>,
}

impl Shim {
    /// Puts the network before a socket.
    pub(crate) fn new(inner: Arc<dyn AsyncUdpSocket>, spot: Spot) -> io::Result<Shim> {
        let network = spot.live.network();
        let version = spot.live.version();
        let me = spot.place;
        let seed = |from: Place, to: Place| {
            let code = |place| match place {
                Place::Replica(index) => u64::from(index),
                Place::Clients(region) => (1 << 20) + region as u64,
            };
            network.seed() ^ (code(from) << 42) ^ (code(to) << 21)
        };
        let pair = |index| {
            let peer = Place::Replica(index);
            Pair {
                peer,
                out: Flow::new(network.settings(me, peer), seed(me, peer)),
                back: Flow::new(network.settings(peer, me), seed(peer, me)),
            }
        };
        let count = u16::try_from(spot.addresses.len()).expect("a network has at most 65535 replicas");
        let by_replica = (0..count).map(pair).collect();
        let replica_at = spot.addresses.iter().copied().zip(0..).collect();
        let both_ways = matches!(me, Place::Clients(_));
        let arrived = both_ways.then(Arc::<Arrived>::default);
        let line = Line::start(deliver(inner.clone(), arrived.clone()))?;
        Ok(Shim {
            inner,
            spot,
            replica_at,
            pairs: Mutex::new(Pairs { version, by_replica }),
            line,
            arrived,
            scratch: Mutex::default(),
        })
    }

    /// Which replica listens there. A socket of both families sees mapped addresses.
    fn replica(&self, addr: SocketAddr) -> Option<usize> {
        let plain = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        self.replica_at.get(&plain).copied()
    }

    /// The links, as the network says them now.
    fn pairs(&self) -> MutexGuard<'_, Pairs> {
        let mut pairs = self.pairs.lock().expect("no panic while it is held");
        let version = self.spot.live.version();
        if pairs.version != version {
            pairs.version = version;
            let network = self.spot.live.network();
            for pair in &mut pairs.by_replica {
                pair.out.set(network.settings(self.spot.place, pair.peer));
                pair.back.set(network.settings(pair.peer, self.spot.place));
            }
        }
        pairs
    }

    /// Takes datagrams off the real socket and puts them on their way.
    fn receive(&self, cx: &mut Context<'_>, arrived: &Arrived, capacity: usize) -> Poll<io::Result<()>> {
        const BATCH: usize = 16;
        let mut scratch = self.scratch.lock().expect("no panic while it is held");
        scratch.resize(capacity * BATCH, 0);
        loop {
            let mut metas = [RecvMeta::default(); BATCH];
            let mut buffers = scratch.chunks_mut(capacity).map(IoSliceMut::new).collect::<Vec<_>>();
            let count = std::task::ready!(self.inner.poll_recv(cx, &mut buffers, &mut metas))?;
            let now = Instant::now();
            let mut pairs = self.pairs();
            for (meta, buffer) in metas[..count].iter().zip(&buffers) {
                let flow = self.replica(meta.addr).map(|at| &mut pairs.by_replica[at].back);
                let mut flow = flow.filter(|flow| !flow.is_plain());
                for datagram in buffer[..meta.len].chunks(meta.stride.max(1)) {
                    let own = RecvMeta {
                        len: datagram.len(),
                        stride: datagram.len(),
                        ..*meta
                    };
                    let contents = Bytes::copy_from_slice(datagram);
                    match &mut flow {
                        None => arrived.push(own, contents),
                        Some(flow) => {
                            for due in flow.send(now, datagram.len()).into_iter().flatten() {
                                self.line.send(due, Label::In(own), contents.clone());
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What the line does with a datagram that is due.
fn deliver(inner: Arc<dyn AsyncUdpSocket>, arrived: Option<Arc<Arrived>>) -> super::line::Deliver<Label> {
    Box::new(move |label, contents| match label {
        Label::Out {
            destination,
            ecn,
            segment_size,
            src_ip,
        } => {
            let transmit = Transmit {
                destination,
                ecn,
                contents: &contents,
                segment_size,
                src_ip,
            };
            for _ in 0..FULL_TRIES {
                match inner.try_send(&transmit) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::park_timeout(FULL_PAUSE),
                    // An error of the network is a loss, like any other.
                    _ => break,
                }
            }
        }
        Label::In(meta) => {
            if let Some(arrived) = &arrived {
                arrived.push(meta, contents);
                arrived.waker.wake();
            }
        }
    })
}

impl Arrived {
    fn push(&self, meta: RecvMeta, contents: Bytes) {
        let mut queue = self.queue.lock().expect("no panic while it is held");
        if queue.len() < MAX_ARRIVED {
            queue.push_back((meta, contents));
        }
    }

    /// Fills buffers; the number of those filled.
    fn take(&self, buffers: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> usize {
        let mut queue = self.queue.lock().expect("no panic while it is held");
        let mut filled = 0;
        for (buffer, slot) in buffers.iter_mut().zip(metas) {
            let Some((meta, contents)) = queue.pop_front() else {
                break;
            };
            buffer[..contents.len()].copy_from_slice(&contents);
            *slot = meta;
            filled += 1;
        }
        filled
    }
}

impl AsyncUdpSocket for Shim {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let Some(at) = self.replica(transmit.destination) else {
            return self.inner.try_send(transmit);
        };
        let mut pairs = self.pairs();
        let flow = &mut pairs.by_replica[at].out;
        if flow.is_plain() {
            drop(pairs);
            return self.inner.try_send(transmit);
        }
        let now = Instant::now();
        let (train, segment_size) = match transmit.segment_size {
            Some(size) if !flow.keeps_trains() => (size, None),
            size => (transmit.contents.len(), size),
        };
        for part in transmit.contents.chunks(train.max(1)) {
            let mut contents = None;
            for due in flow.send(now, part.len()).into_iter().flatten() {
                let label = Label::Out {
                    destination: transmit.destination,
                    ecn: transmit.ecn,
                    segment_size,
                    src_ip: transmit.src_ip,
                };
                let contents = contents.get_or_insert_with(|| Bytes::copy_from_slice(part)).clone();
                self.line.send(due, label, contents);
            }
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let Some(arrived) = &self.arrived else {
            return self.inner.poll_recv(cx, buffers, metas);
        };
        // Before it looks: what arrives after the look wakes.
        arrived.waker.register(cx.waker());
        let capacity = buffers.iter().map(|buffer| buffer.len()).min().unwrap_or(0);
        if let Poll::Ready(Err(error)) = self.receive(cx, arrived, capacity) {
            return Poll::Ready(Err(error));
        }
        match arrived.take(buffers, metas) {
            0 => Poll::Pending,
            count => Poll::Ready(Ok(count)),
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

impl fmt::Debug for Shim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shim").field("spot", &self.spot).finish_non_exhaustive()
    }
}
