//! The emulation's own error: pings through it, beside the matrix.

use super::{Live, Network, Place, Shim, Spot, WanError};
use crate::socket;
use quinn::AsyncUdpSocket;
use quinn::udp::{RecvMeta, Transmit};
use std::future::poll_fn;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Between two pings of a pair.
const PAUSE: Duration = Duration::from_millis(20);
/// How long, beyond the round trip, an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
const PING_BYTES: usize = 8;

/// What pings between two places took, beside what they should have taken.
#[derive(Clone, Debug, PartialEq)]
pub struct PairError {
    /// From here.
    pub from: Place,
    /// To there and back.
    pub to: Place,
    /// What the network says: both ways.
    pub expected_us: u64,
    /// Median round trip.
    pub p50_us: u64,
    /// Deviations from what was expected, without their sign, ascending. Pings that got lost are left out.
    pub deviations_us: Vec<u64>,
    /// Pings without an answer.
    pub lost: usize,
}

impl PairError {
    /// A quantile (0 to 1) of the deviations.
    pub fn deviation_us(&self, quantile: f64) -> u64 {
        quantile_of(&self.deviations_us, quantile)
    }
}

/// A quantile of ascending values; 0 of none.
fn quantile_of(values: &[u64], quantile: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let at = (values.len() as f64 * quantile).ceil() as usize;
    values.get(at.saturating_sub(1)).copied().unwrap_or(0)
}

/// Pings `count` times between all pairs of places, over sockets of this machine behind the network's shim, all pairs
/// at once. Inside a tokio runtime.
///
/// # Errors
///
/// [`WanError`]: no socket, or one that fails.
pub async fn measure(network: &Network, count: usize) -> Result<Vec<PairError>, WanError> {
    let mut tasks = JoinSet::new();
    let places = network.places();
    let mut order = 0;
    for (index, to) in places.iter().enumerate() {
        for from in &places[index + 1..] {
            // One end of each link is a replica.
            if let Place::Replica(_) = to {
                let (network, from, to) = (network.clone(), *from, *to);
                order += 1;
                tasks.spawn(async move { (order, pair(network, from, to, count, order).await) });
            }
        }
    }
    let mut all = Vec::with_capacity(order);
    for (order, result) in tasks.join_all().await {
        let result = result.map_err(|source| WanError::Io {
            what: "cannot ping over",
            path: "127.0.0.1".into(),
            source,
        });
        all.push((order, result?));
    }
    all.sort_by_key(|(order, _)| *order);
    Ok(all.into_iter().map(|(_, result)| result).collect())
}

async fn pair(network: Network, from: Place, to: Place, count: usize, order: usize) -> io::Result<PairError> {
    let expected_us = network.settings(from, to).delay_us + network.settings(to, from).delay_us;
    let (near, far) = (bind()?, bind()?);
    let ends = [(from, near.local_addr()?), (to, far.local_addr()?)];
    // The addresses of the others do not matter.
    let address = |index: u16| {
        let own = ends.iter().find(|(place, _)| *place == Place::Replica(index));
        own.map_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)), |(_, addr)| *addr)
    };
    let replicas = u16::try_from(network.replicas().len()).expect("at most 65535 replicas");
    let addresses: Vec<SocketAddr> = (0..replicas).map(address).collect();
    let live = Live::fixed(network);
    let spot = |place| Spot::new(live.clone(), place, addresses.clone()).map_err(io::Error::other);
    let near = Shim::new(near, spot(from)?)?;
    let far = Arc::new(Shim::new(far, spot(to)?)?);
    let there = ends[1].1;
    let echo = tokio::spawn({
        let far = far.clone();
        async move { while echo(&far).await.is_ok() {} }
    });
    // Pairs do not ping in step.
    tokio::time::sleep(PAUSE * u32::try_from(order % 16).unwrap_or(0) / 16).await;
    let pinged = ping(&near, there, count, Duration::from_micros(expected_us)).await;
    echo.abort();
    let mut times = pinged?;
    times.sort_unstable();
    let mut deviations_us: Vec<u64> = times.iter().map(|us| us.abs_diff(expected_us)).collect();
    deviations_us.sort_unstable();
    Ok(PairError {
        from,
        to,
        expected_us,
        p50_us: quantile_of(&times, 0.5),
        lost: count - times.len().min(count),
        deviations_us,
    })
}

fn bind() -> io::Result<Arc<dyn AsyncUdpSocket>> {
    let plain = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket::wrap(plain)
}

async fn receive(socket: &Shim) -> io::Result<([u8; PING_BYTES], SocketAddr)> {
    let mut bytes = vec![0; 65_536];
    let mut meta = [RecvMeta::default()];
    loop {
        let count = poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(&mut bytes)], &mut meta)).await?;
        if count == 1 && meta[0].len == PING_BYTES {
            let ping = bytes[..PING_BYTES].try_into().expect("as long as this");
            return Ok((ping, meta[0].addr));
        }
    }
}

fn send(socket: &Shim, contents: &[u8], destination: SocketAddr) -> io::Result<()> {
    socket.try_send(&Transmit {
        destination,
        ecn: None,
        contents,
        segment_size: None,
        src_ip: None,
    })
}

async fn echo(socket: &Shim) -> io::Result<()> {
    let (ping, from) = receive(socket).await?;
    send(socket, &ping, from)
}

/// Round trips in microseconds.
async fn ping(socket: &Shim, there: SocketAddr, count: usize, expected: Duration) -> io::Result<Vec<u64>> {
    let mut sent = Vec::with_capacity(count);
    let mut times = Vec::with_capacity(count);
    let mut tick = tokio::time::interval(PAUSE);
    let mut end = tokio::time::Instant::now() + PATIENCE;
    loop {
        tokio::select! {
            _ = tick.tick(), if sent.len() < count => {
                sent.push(Instant::now());
                send(socket, &(sent.len() as u64 - 1).to_le_bytes(), there)?;
                end = tokio::time::Instant::now() + expected + PATIENCE;
            }
            came = receive(socket) => {
                let (number, _) = came?;
                let at = usize::try_from(u64::from_le_bytes(number)).ok();
                if let Some(from) = at.and_then(|at| sent.get(at)) {
                    times.push(u64::try_from(from.elapsed().as_micros()).unwrap_or(u64::MAX));
                }
                if times.len() >= count {
                    return Ok(times);
                }
            }
            () = tokio::time::sleep_until(end) => return Ok(times),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wan::{Change, Matrix};

    /// No upper bound is asserted: the machine may be busy. That nothing is early, and everything comes, is certain.
    #[tokio::test]
    async fn pings_take_what_the_network_says() {
        let names = ["a", "b"].map(str::to_owned);
        let mut network = Network::new(
            "three",
            Matrix::shipped("three-regions").unwrap(),
            &names,
            &names[..1],
            1,
        )
        .unwrap();
        let slow = Change::parse(["delay=5ms"]).unwrap();
        network.set("all-all", false, slow).unwrap();
        network
            .set("0-1", false, Change::parse(["delay=30ms"]).unwrap())
            .unwrap();
        let pairs = measure(&network, 3).await.unwrap();
        let of = |from, to| pairs.iter().find(|pair| (pair.from, pair.to) == (from, to)).unwrap();
        let (replicas, clients) = (
            of(Place::Replica(1), Place::Replica(0)),
            of(Place::Clients(0), Place::Replica(1)),
        );
        assert_eq!((replicas.expected_us, clients.expected_us), (60_000, 10_000));
        assert!(replicas.p50_us >= 60_000 && clients.p50_us >= 10_000, "{pairs:?}");
        assert!(
            pairs.iter().all(|pair| pair.lost == 0 && pair.deviations_us.len() == 3),
            "{pairs:?}"
        );
    }

    #[tokio::test]
    async fn a_cut_link_carries_nothing() {
        let names = ["a", "b"].map(str::to_owned);
        let mut network = Network::new("three", Matrix::shipped("three-regions").unwrap(), &names, &[], 1).unwrap();
        network
            .set(
                "0-1",
                true,
                Change {
                    cut: Some(true),
                    ..Change::default()
                },
            )
            .unwrap();
        let pairs = measure(&network, 2).await.unwrap();
        assert_eq!((pairs.len(), pairs[0].lost), (1, 2));
    }
}
