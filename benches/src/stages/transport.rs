//! The engine's transport beside plain quinn in the same run: the same keys, windows and datagrams, interleaved.
//! Both sides on one thread: CPU time of both together, whatever else runs on the machine.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use trireme_transport::{Class, Identity, PeerAddress, PeerEndpoint, PeerEvent, TransportConfig, Trust, bare};

use crate::meter::{Meter, thread_cpu};

/// Length of datagrams of an ordinary network.
const MTU: u16 = 1_452;
const FRAME_BYTES: usize = 256 << 10;
/// Bulk bytes of one round.
const ROUND_BYTES: usize = 32 << 20;
const AHEAD_BYTES: usize = 4 << 20;
const SMALL_BYTES: usize = 200;
const SMALL_FRAMES: usize = 20_000;
/// Rounds of each, interleaved; the median counts.
const ROUNDS: usize = 5;

pub(super) fn measure(meter: &mut Meter) -> Result<()> {
    if !["engine", "quinn", "ratio"]
        .iter()
        .any(|name| meter.wants("transport", name))
    {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut own = Vec::new();
    let mut small = Vec::new();
    let mut plain = Vec::new();
    runtime.block_on(async {
        let mut engine = Engine::connect().await?;
        let bare = Bare::connect().await?;
        for _ in 0..ROUNDS {
            own.push(engine.bulk().await?);
            plain.push(bare.bulk().await?);
            small.push(engine.small().await?);
        }
        anyhow::Ok(())
    })?;
    let (own, plain, small) = (median(own), median(plain), median(small));
    meter.put(
        "transport",
        "engine, bulk frames of 256 KiB",
        own,
        "us/MB of both sides",
    );
    meter.put("transport", "bare quinn, one stream", plain, "us/MB of both sides");
    meter.put(
        "transport",
        "ratio of engine to quinn",
        own / plain,
        "(goal: at most 1.3)",
    );
    meter.put(
        "transport",
        "engine, control frames of 200 B",
        small,
        "us/frame of both sides",
    );
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn config() -> TransportConfig {
    TransportConfig {
        mtu_lower_bound: MTU,
        mtu_upper_bound: MTU,
        bulk_streams: 1,
        peer_stream_window_bytes: 2 << 20,
        ..TransportConfig::default()
    }
}

fn free_address() -> Result<SocketAddr> {
    let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).context("no UDP socket")?;
    Ok(socket.local_addr()?)
}

fn identities() -> Result<[Identity; 2]> {
    Ok([Identity::from_seed(&[1; 32])?, Identity::from_seed(&[2; 32])?])
}

/// CPU time of this thread for each MB.
fn us_per_mb(since: std::time::Duration) -> f64 {
    (thread_cpu() - since).as_secs_f64() * 1e6 / (ROUND_BYTES as f64 / 1e6)
}

struct Engine {
    here: PeerEndpoint,
    there: PeerEndpoint,
}

impl Engine {
    async fn connect() -> Result<Engine> {
        let [first, second] = identities()?;
        let sockets = [free_address()?, free_address()?];
        let keys = [first.public(), second.public()];
        let peers: Vec<PeerAddress> = (0u32..)
            .zip(keys.into_iter().zip(sockets))
            .map(|(index, (tls_public, addr))| PeerAddress {
                index,
                tls_public,
                addr,
            })
            .collect();
        let mut here = PeerEndpoint::bind(sockets[0], first, config(), peers.clone(), 0)?;
        let mut there = PeerEndpoint::bind(sockets[1], second, config(), peers, 1)?;
        for endpoint in [&mut here, &mut there] {
            while !matches!(endpoint.recv().await, Some(PeerEvent::Connected { .. })) {}
        }
        Ok(Engine { here, there })
    }

    async fn bulk(&mut self) -> Result<f64> {
        let frame = Bytes::from(vec![7; FRAME_BYTES]);
        let (mut sent, mut got, start) = (0, 0, thread_cpu());
        while got < ROUND_BYTES {
            while sent < ROUND_BYTES && self.here.queued_bytes(1, Class::Bulk) < AHEAD_BYTES {
                self.here.send(1, Class::Bulk, frame.clone())?;
                sent += FRAME_BYTES;
            }
            got += self.receive().await?;
        }
        Ok(us_per_mb(start))
    }

    async fn small(&mut self) -> Result<f64> {
        let frame = Bytes::from(vec![7; SMALL_BYTES]);
        let (mut sent, mut got, start) = (0, 0, thread_cpu());
        while got < SMALL_FRAMES * SMALL_BYTES {
            // As a stage would: a run, then a turn for the others.
            for _ in 0..100.min(SMALL_FRAMES - sent) {
                self.here.send(1, Class::Control, frame.clone())?;
                sent += 1;
            }
            got += self.receive().await?;
        }
        Ok((thread_cpu() - start).as_secs_f64() * 1e6 / SMALL_FRAMES as f64)
    }

    /// Sleeps until something has arrived, and takes what is there: bytes of frames.
    async fn receive(&mut self) -> Result<usize> {
        let mut next = self.there.recv().await;
        anyhow::ensure!(next.is_some(), "the endpoint ended");
        let mut bytes = 0;
        while let Some(event) = next {
            match event {
                PeerEvent::Frame { bytes: frame, .. } => bytes += frame.len(),
                PeerEvent::Disconnected { reason, .. } => bail!("the connection ended: {reason}"),
                _ => {}
            }
            next = self.there.try_recv();
        }
        Ok(bytes)
    }
}

struct Bare {
    here: quinn::Connection,
    there: quinn::Connection,
    /// They end when they are dropped.
    _endpoints: [quinn::Endpoint; 2],
}

impl Bare {
    async fn connect() -> Result<Bare> {
        let [first, second] = identities()?;
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let here = bare::bind(local, &first, &config(), Trust::Open)?;
        let there = bare::bind(local, &second, &config(), Trust::Open)?;
        let dialled = bare::dial(&here, there.local_addr()?, &first, &config(), second.public())?;
        let accepted = async {
            let incoming = there.accept().await.context("the endpoint ended")?;
            anyhow::Ok(incoming.await?)
        };
        let (dialled, accepted) = tokio::join!(dialled, accepted);
        Ok(Bare {
            here: dialled?,
            there: accepted?,
            _endpoints: [here, there],
        })
    }

    async fn bulk(&self) -> Result<f64> {
        let frame = Bytes::from(vec![7; FRAME_BYTES]);
        let start = thread_cpu();
        let send = async {
            let mut stream = self.here.open_uni().await?;
            for _ in 0..ROUND_BYTES / FRAME_BYTES {
                stream.write_chunk(frame.clone()).await?;
            }
            stream.finish()?;
            anyhow::Ok(())
        };
        let receive = async {
            let mut stream = self.there.accept_uni().await?;
            let mut got = 0;
            while let Some(chunk) = stream.read_chunk(usize::MAX, true).await? {
                got += chunk.bytes.len();
            }
            anyhow::Ok(got)
        };
        let (sent, got) = tokio::join!(send, receive);
        sent?;
        anyhow::ensure!(got? == ROUND_BYTES, "bytes are missing");
        Ok(us_per_mb(start))
    }
}
