//! A wide-area network for servers that know nothing of it: a proxy in front of each, which hands every byte on after
//! the one-way delay between the regions of the two ends.
//!
//! Servers of etcd must agree on each other's addresses, so all of them reach a server by one proxy. Who it is that
//! connects follows from the kernel's table of sockets: whose process holds the other end. Clients have a proxy for
//! each of their regions, in front of the nearest server.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use trireme_transport::wan::{Network, Place};

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Chunks that may be on their way: more than a link of 10 Gbit/s holds in half a second.
const CHUNKS: usize = 16_384;

/// Process ids of the servers, as they are started.
type Pids = Arc<Mutex<Vec<Option<u32>>>>;

/// The proxies; they end with this value.
pub(super) struct Delays {
    network: Arc<Network>,
    pids: Pids,
    /// In front of each server, for the others.
    pub(super) peers: Vec<SocketAddr>,
    /// Of each region with clients, in front of its nearest server.
    pub(super) clients: Vec<SocketAddr>,
    _end: tokio::sync::oneshot::Sender<()>,
}

/// One proxy: where it hands on to, and how it knows the delays there and back.
struct Door {
    listener: std::net::TcpListener,
    server: SocketAddr,
    from: From,
    to: u16,
}

#[derive(Clone)]
enum From {
    /// One of the servers: the table of sockets says which.
    Servers(Pids),
    Clients(usize),
}

impl Delays {
    /// Starts the proxies on a thread of their own.
    pub(super) fn start(network: Network, peers: &[SocketAddr], clients: &[SocketAddr]) -> Result<Delays> {
        let network = Arc::new(network);
        let pids: Pids = Arc::new(Mutex::new(vec![None; peers.len()]));
        let mut doors = Vec::new();
        for (to, server) in (0u16..).zip(peers) {
            doors.push(door(*server, From::Servers(pids.clone()), to)?);
        }
        for region in network.clients() {
            let to = nearest(&network, *region)?;
            doors.push(door(clients[usize::from(to)], From::Clients(*region), to)?);
        }
        let addresses = doors.iter().map(|door| Ok(door.listener.local_addr()?));
        let mut in_front = addresses.collect::<Result<Vec<SocketAddr>>>()?;
        let for_clients = in_front.split_off(peers.len());
        let (end, ended) = tokio::sync::oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = network.clone();
        let work = move || {
            runtime.block_on(async move {
                for door in doors {
                    tokio::spawn(serve(door, shared.clone()));
                }
                let _ = ended.await;
            });
        };
        std::thread::Builder::new()
            .name("network".to_owned())
            .spawn(work)
            .context("cannot start a thread for the network")?;
        Ok(Delays {
            network,
            pids,
            peers: in_front,
            clients: for_clients,
            _end: end,
        })
    }

    /// A server runs as this process.
    pub(super) fn know(&self, server: usize, pid: u32) {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner)[server] = Some(pid);
    }

    pub(super) fn name(&self) -> &str {
        self.network.name()
    }

    /// Of the servers.
    pub(super) fn regions(&self) -> Vec<String> {
        let names = self.network.matrix().regions();
        self.network
            .replicas()
            .iter()
            .map(|region| names[*region].clone())
            .collect()
    }

    /// Between two servers.
    pub(super) fn longest_rtt(&self) -> Duration {
        let count = u16::try_from(self.peers.len()).unwrap_or(u16::MAX);
        let both = |a, b| {
            let way = |from, to| self.network.one_way_us(Place::Replica(from), Place::Replica(to));
            way(a, b) + way(b, a)
        };
        let all = (0..count).flat_map(|a| (0..count).map(move |b| both(a, b)));
        Duration::from_micros(all.max().unwrap_or(0))
    }
}

fn door(server: SocketAddr, from: From, to: u16) -> Result<Door> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free TCP port on 127.0.0.1")?;
    listener.set_nonblocking(true)?;
    Ok(Door {
        listener,
        server,
        from,
        to,
    })
}

/// The server that a region's clients reach first.
fn nearest(network: &Network, region: usize) -> Result<u16> {
    let count = u16::try_from(network.replicas().len()).context("more servers than indices")?;
    let near = (0..count).min_by_key(|server| network.one_way_us(Place::Clients(region), Place::Replica(*server)));
    near.context("a network without servers")
}

async fn serve(door: Door, network: Arc<Network>) {
    let listener = match TcpListener::from_std(door.listener) {
        Ok(listener) => listener,
        Err(error) => return eprintln!("the emulated network is down: {error}"),
    };
    while let Ok((stream, source)) = listener.accept().await {
        let (network, from) = (network.clone(), door.from.clone());
        let (server, to) = (door.server, Place::Replica(door.to));
        tokio::spawn(async move {
            let from = match &from {
                From::Clients(region) => Some(Place::Clients(*region)),
                From::Servers(pids) => whose(source, pids).await.map(Place::Replica),
            };
            // Whoever is nobody's gets no connection: it would have no delay.
            let Some(from) = from else {
                return eprintln!("the emulated network refuses a connection of nobody, {source}");
            };
            let way = |from, to| Duration::from_micros(network.one_way_us(from, to));
            if let Ok(onward) = TcpStream::connect(server).await {
                join(stream, onward, way(from, to), way(to, from)).await;
            }
        });
    }
}

/// The server whose process holds a socket with this address.
async fn whose(address: SocketAddr, pids: &Pids) -> Option<u16> {
    // A server's id is known a moment after it was started.
    for _ in 0..50 {
        let known = pids.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let found = inode_of(address).and_then(|inode| {
            let holds = |pid: &Option<u32>| pid.is_some_and(|pid| holds_socket(pid, inode));
            known.iter().position(holds)
        });
        if let Some(server) = found {
            return u16::try_from(server).ok();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    None
}

fn inode_of(address: SocketAddr) -> Option<u64> {
    let table = std::fs::read_to_string("/proc/self/net/tcp").ok()?;
    inode_in(&table, address)
}

/// Rows: number, local address, remote address, state, ..., inode. Addresses are hexadecimal, in the machine's order.
fn inode_in(table: &str, address: SocketAddr) -> Option<u64> {
    let SocketAddr::V4(address) = address else { return None };
    let ip = u32::from_ne_bytes(address.ip().octets());
    let wanted = format!("{ip:08X}:{:04X}", address.port());
    let mut rows = table
        .lines()
        .skip(1)
        .map(|row| row.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.get(1) == Some(&wanted.as_str()))?;
    row.get(9)?.parse().ok()
}

fn holds_socket(pid: u32, inode: u64) -> bool {
    let wanted = format!("socket:[{inode}]");
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    files
        .flatten()
        .filter_map(|file| std::fs::read_link(file.path()).ok())
        .any(|target| target.as_os_str() == wanted.as_str())
}

async fn join(a: TcpStream, b: TcpStream, there: Duration, back: Duration) {
    let _ = (a.set_nodelay(true), b.set_nodelay(true));
    let ((a_read, a_write), (b_read, b_write)) = (a.into_split(), b.into_split());
    tokio::join!(one_way(a_read, b_write, there), one_way(b_read, a_write, back));
}

/// Hands on what comes, each chunk so much later, until the end, which is handed on, too.
async fn one_way(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (send, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS);
    let read = async move {
        let mut buffer = vec![0; CHUNK_BYTES];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            if send
                .send((Instant::now() + delay, buffer[..count].to_vec()))
                .await
                .is_err()
            {
                return;
            }
        }
        let _ = send.send((Instant::now() + delay, Vec::new())).await;
    };
    let write = async move {
        while let Some((at, chunk)) = due.recv().await {
            sleep_until(at).await;
            if chunk.is_empty() {
                let _ = to.shutdown().await;
                return;
            }
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_transport::wan::Matrix;

    #[test]
    fn a_socket_is_found_in_the_kernels_table_and_in_its_process() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:0CEA 0100007F:0CEB 01 00000000:00000000 00:00000000 00000000     0        0 4711 1 0\n";
        if cfg!(target_endian = "little") {
            assert_eq!(inode_in(table, ([127, 0, 0, 1], 3306).into()), Some(4711));
        }
        assert_eq!(inode_in(table, ([127, 0, 0, 1], 3308).into()), None);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let inode = inode_of(listener.local_addr().unwrap()).unwrap();
        assert!(holds_socket(std::process::id(), inode));
        assert!(!holds_socket(1, inode));
    }

    #[tokio::test]
    async fn every_byte_is_late_and_none_is_lost() {
        let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = echo.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = echo.accept().await.unwrap();
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
        let matrix = Matrix::from_csv("x,a,b\na,0.1,60\nb,60,0.1\n").unwrap();
        let regions = ["a".to_owned(), "b".to_owned()];
        let network = Network::new("two", matrix, &regions[..1], &regions[1..], 1).unwrap();
        let delays = Delays::start(network, &[server], &[server]).unwrap();
        let mut client = TcpStream::connect(delays.clients[0]).await.unwrap();
        let sent: Vec<u8> = (0..300_000u32).map(|i| i.to_le_bytes()[0]).collect();
        let begin = Instant::now();
        let (mut read, mut write) = client.split();
        let mut heard = Vec::new();
        let write = async {
            write.write_all(&sent).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let (read, ()) = tokio::join!(read.read_to_end(&mut heard), write);
        read.unwrap();
        assert!(heard == sent);
        // Two ways of 30 ms are a lower bound, not a timing.
        assert!(begin.elapsed() >= Duration::from_millis(60));
        assert_eq!(
            (delays.regions(), delays.longest_rtt().as_micros()),
            (vec!["a".to_owned()], 0)
        );
    }
}
