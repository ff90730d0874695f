//! The `trireme` command: makes clusters, runs replicas, talks to them, loads them, and shows the whole on one machine.

#![forbid(unsafe_code)]

mod attention;
mod backup;
mod bench;
mod chaos;
mod check_history;
mod compare;
mod disk;
mod executed;
mod files;
mod health;
mod init;
mod kv;
mod load;
mod local;
mod logging;
mod names;
mod parent;
mod probe;
mod proc;
mod progress;
mod replica;
mod report;
mod say;
mod simulate;
mod status;
mod top;
mod tune;
mod unseen;
mod wan;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Byzantine-fault-tolerant replication
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the files of a new cluster: keys, cluster.toml, replica.toml of each replica, client.toml
    Init(init::InitArgs),
    /// Run one replica
    Replica(replica::ReplicaArgs),
    /// Run a whole cluster and a load on this machine, and check what it did
    Local(local::LocalArgs),
    /// Kill, stop, cut off and slow the replicas of a loaded cluster on this machine, and check that nothing is lost
    Chaos(chaos::ChaosArgs),
    /// Write a key
    Put(kv::PutArgs),
    /// Read a key
    Get(kv::GetArgs),
    /// Remove a key
    Delete(kv::DeleteArgs),
    /// Write a key if it has a given version
    Cas(kv::CasArgs),
    /// Read keys in their order
    Scan(kv::ScanArgs),
    /// Send a load to a cluster
    Load(load::LoadArgs),
    /// Measure this engine, raft in it and etcd in turn on this machine, and show them on one HTML page
    Compare(compare::CompareArgs),
    /// Show runs as one HTML page
    Report(report::ReportArgs),
    /// Say whether the recorded history of a load is linearizable
    CheckHistory(check_history::CheckHistoryArgs),
    /// Show how the replicas are: exit code 0 all well, 3 degraded, 4 unavailable, 5 an alarm
    Status(status::StatusArgs),
    /// Show the cluster in the terminal, live
    Top(top::TopArgs),
    /// Show, change and measure the emulated network of a cluster on this machine
    Wan(wan::WanArgs),
    /// Copy a replica's newest certified checkpoint, or check such a copy
    Backup(backup::BackupArgs),
    /// Put a backup into the empty data directory of a replica
    Restore(backup::RestoreArgs),
    /// Measure what the engine was built to reach, beside its goals
    Bench(bench::BenchArgs),
    /// Look at this host, measure it, and set it up for a replica
    Tune(tune::TuneArgs),
    /// Run the protocol under simulated time, faults and Byzantine members
    Simulate(simulate::SimulateArgs),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Local(args) => return local::run(args),
        Command::Compare(args) => return compare::run(&args),
        Command::Simulate(args) => return simulate::run(&args),
        Command::Bench(args) => return bench::run(&args),
        Command::Tune(args) => return tune::run(&args),
        Command::Chaos(args) => return chaos::run(&args),
        Command::Status(args) => return status::run(&args),
        Command::CheckHistory(args) => return check_history::run(&args),
        Command::Init(args) => init::run(args),
        Command::Replica(args) => replica::run(&args),
        Command::Put(args) => kv::put(args),
        Command::Get(args) => kv::get(args),
        Command::Delete(args) => kv::delete(args),
        Command::Cas(args) => kv::cas(args),
        Command::Scan(args) => kv::scan(args),
        Command::Load(args) => load::run(args),
        Command::Report(args) => report::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Wan(args) => wan::run(&args),
        Command::Backup(args) => backup::backup(args),
        Command::Restore(args) => backup::restore(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("trireme: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a future, with its local tasks, on this thread.
fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, future)
}
