//! QUIC between two endpoints of a replica's kind on loopback: a round trip, and what a byte costs.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use trireme_transport::{Class, Identity, PeerAddress, PeerEndpoint, PeerEvent, TransportConfig};

use super::figure;

const PING_BYTES: usize = 200;
const FRAME_BYTES: usize = 256 << 10;
/// What waits in the sender's queue at most.
const AHEAD_BYTES: usize = 4 << 20;
/// Datagrams of an ordinary network, and what loopback carries.
const LENGTHS: [(&str, u16); 2] = [("1452", 1_452), ("8952", 8_952)];

/// By the length of datagrams.
pub(crate) struct Figures {
    rows: Vec<Row>,
}

struct Row {
    datagram: &'static str,
    round_trip_us: f64,
    mb_s: f64,
    cpu_us_per_mb: f64,
}

impl Figures {
    pub(crate) fn words(&self) -> String {
        let one = |row: &Row| {
            format!(
                "datagrams of {} bytes: round trip {:.0} us, {:.0} MB/s, {:.0} us CPU a MB of both sides",
                row.datagram, row.round_trip_us, row.mb_s, row.cpu_us_per_mb
            )
        };
        self.rows.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    /// For the profile.
    pub(crate) fn table(&self) -> toml::Table {
        let one = |row: &Row| {
            let mut table = toml::Table::new();
            table.insert("round_trip_us".into(), figure(row.round_trip_us));
            table.insert("mb_per_s".into(), figure(row.mb_s));
            table.insert("cpu_us_per_mb".into(), figure(row.cpu_us_per_mb));
            (format!("datagram_{}", row.datagram), toml::Value::Table(table))
        };
        self.rows.iter().map(one).collect()
    }
}

/// Measures, each length for half of the time.
pub(crate) fn measure(time: Duration) -> Result<Figures> {
    let one = |(datagram, mtu): (&'static str, u16)| run(datagram, mtu, time / 4);
    Ok(Figures {
        rows: LENGTHS.into_iter().map(one).collect::<Result<_>>()?,
    })
}

fn run(datagram: &'static str, mtu: u16, time: Duration) -> Result<Row> {
    let config = TransportConfig {
        mtu_lower_bound: mtu,
        mtu_upper_bound: mtu,
        ..TransportConfig::default()
    };
    let sockets = [free_address()?, free_address()?];
    let identities = [1, 2].map(|seed| Identity::from_seed(&[seed; 32]));
    let [first, second] = identities;
    let (first, second) = (first.context("a key")?, second.context("a key")?);
    let peers = vec![
        PeerAddress {
            index: 0,
            tls_public: first.public(),
            addr: sockets[0],
        },
        PeerAddress {
            index: 1,
            tls_public: second.public(),
            addr: sockets[1],
        },
    ];
    let (other_config, other_peers) = (config.clone(), peers.clone());
    let other = std::thread::spawn(move || -> Result<()> {
        runtime()?.block_on(async { echo(PeerEndpoint::bind(sockets[1], second, other_config, other_peers, 1)?).await })
    });
    let row = runtime()?.block_on(async {
        let mut endpoint = PeerEndpoint::bind(sockets[0], first, config, peers, 0)?;
        let row = drive(&mut endpoint, datagram, time).await;
        endpoint.shutdown().await;
        row
    });
    match other.join() {
        Ok(done) => done?,
        Err(_) => bail!("the other side ended by itself"),
    }
    row
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")
}

fn free_address() -> Result<SocketAddr> {
    let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).context("no UDP socket")?;
    Ok(socket.local_addr()?)
}

/// Sends control frames back and counts bulk, whose amount each control frame tells.
async fn echo(mut endpoint: PeerEndpoint) -> Result<()> {
    let mut bulk = 0u64;
    while let Some(event) = endpoint.recv().await {
        match event {
            PeerEvent::Frame {
                class: Class::Bulk,
                bytes,
                ..
            } => bulk += bytes.len() as u64,
            PeerEvent::Frame { peer, .. } => {
                let mut answer = vec![0; PING_BYTES];
                answer[..8].copy_from_slice(&bulk.to_le_bytes());
                endpoint.send(peer, Class::Control, Bytes::from(answer))?;
            }
            PeerEvent::Disconnected { .. } => return Ok(()),
            _ => {}
        }
    }
    Ok(())
}

async fn drive(endpoint: &mut PeerEndpoint, datagram: &'static str, time: Duration) -> Result<Row> {
    while !matches!(endpoint.recv().await, Some(PeerEvent::Connected { .. })) {}
    let start = Instant::now();
    let mut trips = Vec::new();
    while start.elapsed() < time {
        let from = Instant::now();
        ask(endpoint).await?;
        trips.push(from.elapsed().as_secs_f64() * 1e6);
    }
    trips.sort_by(f64::total_cmp);
    let round_trip_us = trips[trips.len() / 2];
    let (start, cpu, mut sent) = (Instant::now(), cpu_us(), 0u64);
    let frame = Bytes::from(vec![7; FRAME_BYTES]);
    while start.elapsed() < time {
        while endpoint.queued_bytes(1, Class::Bulk) < AHEAD_BYTES {
            endpoint.send(1, Class::Bulk, frame.clone())?;
            sent += FRAME_BYTES as u64;
        }
        tokio::task::yield_now().await;
    }
    while ask(endpoint).await? < sent {}
    let megabytes = sent as f64 / 1e6;
    Ok(Row {
        datagram,
        round_trip_us,
        mb_s: megabytes / start.elapsed().as_secs_f64(),
        cpu_us_per_mb: (cpu_us() - cpu) / megabytes,
    })
}

/// One control round trip: the bulk bytes that the other side has.
async fn ask(endpoint: &mut PeerEndpoint) -> Result<u64> {
    endpoint.send(1, Class::Control, Bytes::from(vec![0; PING_BYTES]))?;
    loop {
        match endpoint.recv().await {
            Some(PeerEvent::Frame { bytes, .. }) => {
                let head = bytes
                    .get(..8)
                    .and_then(|head| head.try_into().ok())
                    .context("a short answer")?;
                return Ok(u64::from_le_bytes(head));
            }
            Some(PeerEvent::Disconnected { reason, .. }) => bail!("the connection ended: {reason}"),
            Some(_) => {}
            None => bail!("the endpoint ended"),
        }
    }
}

/// CPU time of this process: both sides.
fn cpu_us() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}
