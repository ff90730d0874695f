//! `trireme load`: a load on any cluster.

mod args;
mod drive;
mod fleet;
mod merge;
mod output;
mod part;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use trireme_config::AppKind;
use trireme_load::{Recording, Stop};

pub(crate) use args::ShapeArgs;
pub(crate) use drive::{Event, Job, Sweep, Whom, drive};
pub(crate) use output::{Display, print_generator, print_knee, second_line, write_files};

use crate::files;
use crate::names::{self, System};
use crate::say::say;

/// Clients of etcd, which has no key file to count them.
const ETCD_CLIENTS: u32 = 16;

/// Arguments of `trireme load`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct LoadArgs {
    #[command(subcommand)]
    command: Option<LoadCommand>,
    /// The client's settings (client.toml)
    #[arg(long, value_name = "FILE", default_value = "cluster/client/client.toml")]
    config: PathBuf,
    /// What is loaded
    #[arg(long, default_value = "trireme")]
    target: System,
    /// etcd: where its servers listen for clients, separated by commas; clients connect to them in turn
    #[arg(long, value_name = "IP:PORT,...", value_delimiter = ',')]
    endpoints: Vec<SocketAddr>,
    /// How long the load is measured
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = names::duration)]
    duration: Duration,
    /// Client identities [default: all of the key file; of etcd 16]
    #[arg(long, value_name = "C")]
    clients: Option<u32>,
    /// The first of them, by its place in the key file: machines that load one cluster together use different ones
    #[arg(long, value_name = "PLACE", default_value_t = 0)]
    first_client: u32,
    #[command(flatten)]
    shape: ShapeArgs,
    /// The store is empty, and nobody else writes to it: the check of the history is stricter then
    #[arg(long, requires = "history")]
    fresh: bool,
    /// Where to write the figures
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum LoadCommand {
    /// Join what several machines measured at the same time
    Merge(merge::MergeArgs),
    /// One process of a load that has several
    #[command(hide = true)]
    Part,
}

/// Runs `trireme load`. Ctrl-C ends it early, with the figures so far.
pub(crate) fn run(args: LoadArgs) -> Result<()> {
    match &args.command {
        Some(LoadCommand::Merge(args)) => return merge::run(args),
        Some(LoadCommand::Part) => return part::run(),
        None => {}
    }
    let (whom, app, clients) = whom(&args)?;
    args.shape.check(clients)?;
    let warm_up = Duration::from_secs(1);
    let mut options = args.shape.options(clients, app, args.duration, warm_up)?;
    options.recording = Recording::None;
    options.first_client = args.first_client;
    if let Some(history) = &mut options.history {
        history.fresh = args.fresh;
    }
    options.check()?;
    say!("{}", args.shape.describe()?);
    let stop = Stop::default();
    stop_on_interrupt(stop.clone())?;
    let keys = options.workload.fill.then_some(options.workload.keys);
    let display = Display::new(options.warm_up + options.duration, args.shape.sweep, keys, "");
    let job = Job {
        whom,
        options,
        processes: args.shape.processes,
        sweep: Sweep::of(&args.shape),
    };
    // Printing must not disturb the arrivals: the load has a thread of its own.
    let (say_event, events) = std::sync::mpsc::channel();
    let record = std::thread::scope(|scope| {
        let work = || {
            drive(&job, &stop, &mut move |event| {
                let _ = say_event.send(event);
            })
        };
        let work = std::thread::Builder::new()
            .name("load".to_owned())
            .spawn_scoped(scope, work);
        let work = work.context("cannot start a thread for the load")?;
        events.iter().for_each(|event| display.show(&event));
        work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    display.end();
    let record = record?;
    output::print(&record);
    write_files(&args.shape, &record)?;
    args.json
        .as_ref()
        .map_or(Ok(()), |path| output::write_json(path, &record))
}

/// Who is loaded, what it runs, and how many clients do it.
fn whom(args: &LoadArgs) -> Result<(Whom, AppKind, u32)> {
    if args.target == System::Etcd {
        ensure!(
            !args.endpoints.is_empty(),
            "--target etcd needs --endpoints IP:PORT,..., where its servers listen for clients"
        );
        let whom = Whom::Etcd(args.endpoints.clone());
        return Ok((whom, AppKind::Kv, args.clients.unwrap_or(ETCD_CLIENTS)));
    }
    ensure!(args.endpoints.is_empty(), "--endpoints needs --target etcd");
    let files = files::client(&args.config)?;
    let identities = u32::try_from(files.keys.clients.len()).context("too many client identities")?;
    let clients = args.clients.unwrap_or(identities.saturating_sub(args.first_client));
    ensure!(clients >= 1, "--first-client: the key file has {identities} identities");
    let app = files.cluster.app;
    let whom = Whom::Trireme {
        config: args.config.clone(),
        cluster: files.cluster,
        keys: files.keys,
    };
    Ok((whom, app, clients))
}

/// Ends the load on the first Ctrl-C and the process on the second.
fn stop_on_interrupt(stop: Stop) -> Result<()> {
    let wait = move || {
        let watched = crate::block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let mut interrupt = signal(SignalKind::interrupt())?;
            interrupt.recv().await;
            eprintln!("stopping; Ctrl-C again to end at once");
            stop.stop();
            interrupt.recv().await;
            std::process::exit(130)
        });
        let _: Result<()> = watched.inspect_err(|error| eprintln!("Ctrl-C is not watched: {error:#}"));
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)
        .context("cannot start a thread")?;
    Ok(())
}
