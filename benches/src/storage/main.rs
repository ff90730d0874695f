//! What storage costs, measured with real processes: a restart with a long log, the transfer of a state, and what the
//! writing of checkpoints does to latency.
//!
//! ```text
//! cargo run --release -p trireme-benches --bin storage -- restart --log-mb 1000
//! cargo run --release -p trireme-benches --bin storage -- transfer --keys 200000
//! cargo run --release -p trireme-benches --bin storage -- checkpoint --keys 200000 --rate 2000
//! ```
//!
//! Needs the release binary of `trireme` beside it. Prints JSON. The data go to `--data`, which must be on a disk.

// Wall time is what is measured, and other processes are waited for.
#![allow(clippy::disallowed_methods)]

mod cluster;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};
use serde_json::{Value, json};

use cluster::{Cluster, cpu_seconds};

/// Restart, transfer and checkpoints, measured.
#[derive(Parser)]
struct Options {
    /// Where the data of the runs go, in a fresh directory that is removed at the end.
    #[arg(long, default_value = ".", global = true)]
    data: PathBuf,
    /// The binary to run.
    #[arg(long, global = true)]
    trireme: Option<PathBuf>,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// kill -9 of a replica with this much log, and the time until it runs again
    Restart {
        /// Log of the replica, in MB, of which all is replayed: no checkpoint shortens it
        #[arg(long, default_value_t = 1_000)]
        log_mb: u64,
        /// Restarts
        #[arg(long, default_value_t = 3)]
        runs: usize,
    },
    /// A replica loses log and snapshots and fetches the state from the others
    Transfer {
        /// Keys of the state, with values of 512 bytes
        #[arg(long, default_value_t = 200_000)]
        keys: u32,
    },
    /// p99 while snapshots are written all the time, and without any, interleaved
    Checkpoint {
        /// Keys of the state, with values of 512 bytes
        #[arg(long, default_value_t = 200_000)]
        keys: u32,
        /// Requests per second
        #[arg(long, default_value_t = 2_000)]
        rate: u32,
        /// Seconds of each load
        #[arg(long, default_value_t = 20)]
        seconds: u32,
        /// Loads of each kind
        #[arg(long, default_value_t = 3)]
        runs: usize,
    },
}

/// More slots than any run has: no checkpoint.
const NEVER: u64 = 1 << 40;
/// Slots between checkpoints where a state is to be fetched: one that lies two of them behind needs an image.
const NEAR: u64 = 200;
/// A replica does not take this long for anything here.
const STUCK: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(found) => {
            println!("{found:#}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<Value> {
    let binary = match &options.trireme {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("trireme"),
    };
    let dir = options.data.join(format!("trireme-storage-{}", std::process::id()));
    std::fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let found = match options.what {
        What::Restart { log_mb, runs } => restart(Cluster::make(&binary, &dir.join("a"), 0, NEVER)?, log_mb, runs),
        What::Transfer { keys } => transfer(Cluster::make(&binary, &dir.join("a"), 0, NEAR)?, keys),
        What::Checkpoint {
            keys,
            rate,
            seconds,
            runs,
        } => {
            let without = Cluster::make(&binary, &dir.join("a"), 0, NEVER)?;
            // So often that the next one waits when one is written.
            let with = Cluster::make(&binary, &dir.join("b"), 100, 200)?;
            checkpoint(with, without, (keys, rate, seconds), runs)
        }
    };
    std::fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    found
}

/// The member that is killed: not the leader of the first view.
const HIT: usize = 3;

fn restart(mut cluster: Cluster, log_mb: u64, runs: usize) -> Result<Value> {
    cluster.start_all()?;
    while cluster.log_bytes(HIT)? < log_mb * 1_000_000 {
        cluster.load(&["--duration", "5s", "--bundle", "64", "--keys", "100000", "--no-fill"])?;
    }
    let mut restarts = Vec::new();
    for _ in 0..runs {
        cluster.kill(HIT)?;
        let begin = Instant::now();
        let from = cluster.said_bytes(HIT)?;
        cluster.start(HIT)?;
        let recovered = cluster.wait_for(HIT, from, "recovered from the log", STUCK)?;
        cluster.wait_for(HIT, from, "replica is running", STUCK)?;
        let (wall_s, cpu_s) = (begin.elapsed().as_secs_f64(), cpu_seconds(cluster.pid(HIT)?)?);
        let number = |key: &str| recovered[key].as_f64().unwrap_or(0.0);
        let mb = number("bytes") / 1e6;
        restarts.push(json!({
            "log_mb": mb,
            "records": recovered["records"],
            "until_running_s": wall_s,
            "cpu_s": cpu_s,
            "mb_per_s": mb / wall_s,
            "mb_per_cpu_s": mb / cpu_s,
            "waited_for_disk_s": number("waited_for_disk_ms") / 1e3,
        }));
    }
    cluster.stop_all();
    Ok(json!({ "schema": "trireme.bench-restart/1", "restarts": restarts }))
}

fn transfer(mut cluster: Cluster, keys: u32) -> Result<Value> {
    cluster.start_all()?;
    let keys = keys.to_string();
    // Every key is written once before the load; the load brings checkpoints.
    cluster.load(&[
        "--duration",
        "1s",
        "--bundle",
        "16",
        "--keys",
        &keys,
        "--workload",
        "ycsb-a",
        "--payload",
        "512",
    ])?;
    let more = ["--duration", "2s", "--rate", "1000", "--keys", &keys, "--no-fill"];
    while cluster.executed(HIT)? < 4 * NEAR || cluster.snapshots(0)?.0 < 2 {
        cluster.load(&more)?;
    }
    cluster.kill(HIT)?;
    cluster.lose_data(HIT)?;
    let begin = Instant::now();
    let from = cluster.said_bytes(HIT)?;
    cluster.start(HIT)?;
    let fetched = cluster.wait_for(HIT, from, "state is fetched", STUCK)?;
    cluster.wait_for(HIT, from, "left quarantine", STUCK)?;
    let left = begin.elapsed().as_secs_f64();
    cluster.stop_all();
    Ok(json!({
        "schema": "trireme.bench-transfer/1",
        "bytes": fetched["bytes"],
        "seconds": fetched["took_us"].as_f64().map(|us| us / 1e6),
        "mb_per_s": fetched["mb_per_second"],
        "limit_mb_per_s": 67.1,
        "voting_again_after_s": left,
    }))
}

fn checkpoint(mut with: Cluster, mut without: Cluster, load: (u32, u32, u32), runs: usize) -> Result<Value> {
    let (keys, rate, seconds) = load;
    let (keys, rate, duration) = (keys.to_string(), rate.to_string(), format!("{seconds}s"));
    for cluster in [&mut with, &mut without] {
        cluster.start_all()?;
        cluster.load(&[
            "--duration",
            "1s",
            "--bundle",
            "16",
            "--keys",
            &keys,
            "--workload",
            "ycsb-a",
            "--payload",
            "512",
        ])?;
    }
    let flags = ["--duration", &duration, "--rate", &rate, "--keys", &keys, "--no-fill"];
    let (mut during, mut plain, mut share) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let before = with.snapshots(HIT)?;
        let begin = Instant::now();
        during.push(with.load(&flags)?);
        let (after, took) = (with.snapshots(HIT)?, begin.elapsed().as_secs_f64());
        ensure!(
            after.0 > before.0,
            "no snapshot was written meanwhile: the load is too short"
        );
        share.push((after.1 - before.1) / 1e6 / took);
        plain.push(without.load(&flags)?);
    }
    with.stop_all();
    without.stop_all();
    let (a, b) = (median(&during, "p99")?, median(&plain, "p99")?);
    Ok(json!({
        "schema": "trireme.bench-checkpoint/1",
        "share_of_time_writing": share,
        "during": { "p50_us": median(&during, "p50")?, "p99_us": a, "all_p99_us": all(&during, "p99")? },
        "without": { "p50_us": median(&plain, "p50")?, "p99_us": b, "all_p99_us": all(&plain, "p99")? },
        "p99_ratio": a / b,
        "goal": 1.5,
    }))
}

fn all(runs: &[Value], key: &str) -> Result<Vec<f64>> {
    let of = |run: &Value| run["latency_us"][key].as_f64();
    let found: Option<Vec<f64>> = runs.iter().map(of).collect();
    found.with_context(|| format!("no latency_us.{key} in a report"))
}

fn median(runs: &[Value], key: &str) -> Result<f64> {
    let mut values = all(runs, key)?;
    values.sort_by(f64::total_cmp);
    Ok(values[values.len() / 2])
}
