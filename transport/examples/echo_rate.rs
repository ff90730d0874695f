//! Measures control-frame round trips and bulk throughput between two endpoints on loopback.
//!
//! Each endpoint has a thread with its own current-thread runtime, as in a replica. Arguments: `one` runs both
//! endpoints on one thread, `mtu=BYTES` fixes the UDP payload, `socket=BYTES` the socket buffers, `window=BYTES` the
//! window of a stream, `streams=N` the bulk streams, `bbr` chooses that congestion control.

use bytes::Bytes;
use hdrhistogram::Histogram;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use trireme_transport::{
    Class, Congestion, Identity, PeerAddress, PeerEndpoint, PeerEvent, SendError, TransportConfig,
};

const ROUNDS: usize = 20_000;
const BULK_FRAME_BYTES: usize = 256 << 10;
const BULK_TOTAL_BYTES: usize = 1 << 30;
const SMALL_FRAMES: usize = 1_000_000;

fn main() {
    let mut config = TransportConfig::default();
    let mut one_thread = false;
    for argument in std::env::args().skip(1) {
        let (key, value) = argument.split_once('=').unwrap_or((&argument, "0"));
        let value: usize = value.parse().expect("a number");
        match key {
            "one" => one_thread = true,
            "bbr" => config.congestion = Congestion::Bbr,
            "mtu" => {
                config.mtu_lower_bound = value as u16;
                config.mtu_upper_bound = value as u16;
            }
            "socket" => config.socket_buffer_bytes = value,
            "window" => config.peer_stream_window_bytes = value as u32,
            "streams" => config.bulk_streams = value,
            _ => panic!("unknown argument {argument}"),
        }
    }
    let sockets = [free_addr(), free_addr()];
    let identities = [1, 2].map(|seed| Identity::from_seed(&[seed; 32]).expect("a seed is a key"));
    let peers: Vec<PeerAddress> = (0..2)
        .map(|index| PeerAddress {
            index: index as u32,
            tls_public: identities[index].public(),
            addr: sockets[index],
        })
        .collect();
    let bind = {
        let [first, second] = identities;
        move |me: u32| {
            let identity = if me == 0 { first.clone() } else { second.clone() };
            let addr = sockets[me as usize];
            PeerEndpoint::bind(addr, identity, config.clone(), peers.clone(), me).expect("bind")
        }
    };
    if one_thread {
        runtime().block_on(async {
            let echo = tokio::spawn(echo(bind(1)));
            measure(bind(0)).await;
            echo.await.expect("echo ends in order");
        });
        return;
    }
    let other = {
        let bind = bind.clone();
        std::thread::spawn(move || runtime().block_on(async { echo(bind(1)).await }))
    };
    runtime().block_on(async { measure(bind(0)).await });
    other.join().expect("echo ends in order");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime")
}

fn free_addr() -> SocketAddr {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
    socket.local_addr().expect("bound")
}

/// Sends control frames back; of bulk, and of control frames that begin with 1, only counts, and answers the last.
async fn echo(mut endpoint: PeerEndpoint) {
    let mut bulk = 0;
    let mut small = 0;
    let done = || Bytes::from_static(b"\x02done");
    while let Some(event) = endpoint.recv().await {
        match event {
            PeerEvent::Frame { peer, class, bytes } => match (class, bytes[0]) {
                (Class::Control, 1) => {
                    small += 1;
                    if small == SMALL_FRAMES {
                        endpoint.send(peer, Class::Control, done()).expect("room");
                    }
                }
                (Class::Control, _) => endpoint.send(peer, class, bytes).expect("room"),
                (Class::Bulk, _) => {
                    bulk += bytes.len();
                    if bulk == BULK_TOTAL_BYTES {
                        endpoint.send(peer, Class::Control, done()).expect("room");
                        bulk = 0;
                    }
                }
            },
            PeerEvent::Disconnected { .. } => return,
            _ => {}
        }
    }
}

async fn measure(mut endpoint: PeerEndpoint) {
    while !matches!(endpoint.recv().await, Some(PeerEvent::Connected { .. })) {}
    round_trips(&mut endpoint, "idle").await;
    round_trips(&mut endpoint, "again").await;
    small_frames(&mut endpoint).await;
    bulk(&mut endpoint, false).await;
    bulk(&mut endpoint, true).await;
    println!("{:?}", endpoint.stats(1).expect("connected"));
    endpoint.shutdown().await;
}

async fn answer(endpoint: &mut PeerEndpoint) -> Bytes {
    loop {
        match endpoint.recv().await {
            Some(PeerEvent::Frame { bytes, .. }) => return bytes,
            Some(PeerEvent::Disconnected { reason, .. }) => panic!("{reason}"),
            _ => {}
        }
    }
}

async fn round_trips(endpoint: &mut PeerEndpoint, name: &str) {
    let mut times = Histogram::<u64>::new(3).expect("histogram");
    let ping = Bytes::from(vec![0; 200]);
    let cpu = cpu_time();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        endpoint.send(1, Class::Control, ping.clone()).expect("room");
        answer(endpoint).await;
        times.record(start.elapsed().as_nanos() as u64).expect("in range");
    }
    let cpu = (cpu_time() - cpu) / ROUNDS as u32;
    println!("  mtu {}", endpoint.stats(1).expect("connected").mtu);
    println!(
        "control round trip, 200 B, {name}: p50 {:.1} us, p99 {:.1} us; cpu of both sides {cpu:?}",
        times.value_at_quantile(0.5) as f64 / 1e3,
        times.value_at_quantile(0.99) as f64 / 1e3,
    );
}

async fn small_frames(endpoint: &mut PeerEndpoint) {
    let mut frame = vec![0; 200];
    frame[0] = 1;
    let frame = Bytes::from(frame);
    let cpu = cpu_time();
    let start = Instant::now();
    for count in 0..SMALL_FRAMES {
        endpoint.send(1, Class::Control, frame.clone()).expect("room");
        // As a stage would: a burst, then a turn for the others.
        if count % 100 == 99 {
            tokio::task::yield_now().await;
            while endpoint.queued_bytes(1, Class::Control) > 1 << 20 {
                tokio::task::yield_now().await;
            }
        }
    }
    answer(endpoint).await;
    report("control frames, 200 B", SMALL_FRAMES * 200, SMALL_FRAMES, start, cpu);
}

/// Bulk as fast as it goes; `with_control` also keeps one control round trip under way.
async fn bulk(endpoint: &mut PeerEndpoint, with_control: bool) {
    let frame = Bytes::from(vec![7; BULK_FRAME_BYTES]);
    let ping = Bytes::from(vec![0; 200]);
    let mut times = Histogram::<u64>::new(3).expect("histogram");
    let cpu = cpu_time();
    let start = Instant::now();
    let mut sent = 0;
    let mut pinged: Option<Instant> = None;
    loop {
        while sent < BULK_TOTAL_BYTES && endpoint.queued_bytes(1, Class::Bulk) < 4 << 20 {
            match endpoint.send(1, Class::Bulk, frame.clone()) {
                Ok(()) => sent += BULK_FRAME_BYTES,
                Err(SendError::Full) => panic!("more than asked for"),
                Err(error) => panic!("{error}"),
            }
        }
        if with_control && pinged.is_none() {
            endpoint.send(1, Class::Control, ping.clone()).expect("room");
            pinged = Some(Instant::now());
        }
        match endpoint.try_recv() {
            Some(PeerEvent::Frame { bytes, .. }) if bytes[0] == 2 => break,
            Some(PeerEvent::Frame { .. }) => {
                let time = pinged.take().expect("asked").elapsed();
                times.record(time.as_nanos() as u64).expect("in range");
            }
            Some(event) => panic!("{event:?}"),
            None => tokio::task::yield_now().await,
        }
    }
    println!("  mtu {}", endpoint.stats(1).expect("connected").mtu);
    report("bulk, 256 KiB frames", sent, sent / BULK_FRAME_BYTES, start, cpu);
    if with_control {
        println!(
            "  control round trip beside it: p50 {:.1} us, p99 {:.1} us",
            times.value_at_quantile(0.5) as f64 / 1e3,
            times.value_at_quantile(0.99) as f64 / 1e3,
        );
        if pinged.is_some() {
            answer(endpoint).await;
        }
    }
}

fn report(what: &str, bytes: usize, frames: usize, start: Instant, cpu: Duration) {
    let seconds = start.elapsed().as_secs_f64();
    let cpu = (cpu_time() - cpu).as_secs_f64();
    println!(
        "{what}: {:.0} MB/s, {:.0} frames/s, cpu of both sides {:.2} ns/byte, {:.2} us/frame",
        bytes as f64 / seconds / 1e6,
        frames as f64 / seconds,
        cpu * 1e9 / bytes as f64,
        cpu * 1e6 / frames as f64,
    );
}

fn cpu_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
