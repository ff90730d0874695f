//! `trireme put`, `get`, `delete`, `cas`, `scan`: one operation on the replicated key-value store.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use trireme_client::{Client, Options};
use trireme_config::AppKind;
use trireme_state::kv::{FoundKey, MAX_KEY_BYTES, MAX_SCAN_KEYS, MAX_VALUE_BYTES, Op, OpResult};

use crate::files;
use crate::say::say;

/// Which cluster, and as whom.
#[derive(Debug, clap::Args)]
pub(crate) struct Connection {
    /// The client's settings (client.toml)
    #[arg(long, value_name = "FILE", default_value = "cluster/client/client.toml")]
    config: PathBuf,
}

/// Arguments of `trireme put`.
#[derive(Debug, clap::Args)]
pub(crate) struct PutArgs {
    #[command(flatten)]
    connection: Connection,
    key: String,
    value: String,
}

/// Arguments of `trireme get`.
#[derive(Debug, clap::Args)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    connection: Connection,
    key: String,
    /// Say the version, too
    #[arg(long)]
    version: bool,
}

/// Arguments of `trireme delete`.
#[derive(Debug, clap::Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    connection: Connection,
    key: String,
}

/// Arguments of `trireme cas`.
#[derive(Debug, clap::Args)]
pub(crate) struct CasArgs {
    #[command(flatten)]
    connection: Connection,
    key: String,
    /// The version that the key must have; 0: it must be absent
    expected: u64,
    value: String,
}

/// Arguments of `trireme scan`.
#[derive(Debug, clap::Args)]
pub(crate) struct ScanArgs {
    #[command(flatten)]
    connection: Connection,
    /// The first key, or the place where it would stand
    start: String,
    /// The most keys to show
    #[arg(default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_SCAN_KEYS)))]
    limit: u16,
}

/// Runs `trireme put`.
pub(crate) fn put(args: PutArgs) -> Result<()> {
    let op = Op::Put {
        key: args.key.as_bytes(),
        value: args.value.as_bytes(),
    };
    run(&args.connection, op, |result| written(&result))
}

/// Runs `trireme get`.
pub(crate) fn get(args: GetArgs) -> Result<()> {
    let op = Op::Get {
        key: args.key.as_bytes(),
    };
    run(&args.connection, op, |result| match result {
        OpResult::Value { version, value } => {
            if args.version {
                say!("version {version}");
            }
            let mut out = std::io::stdout();
            out.write_all(value)?;
            Ok(out.write_all(b"\n")?)
        }
        OpResult::Absent => bail!("no such key"),
        other => unexpected(&other),
    })
}

/// Runs `trireme delete`.
pub(crate) fn delete(args: DeleteArgs) -> Result<()> {
    let op = Op::Delete {
        key: args.key.as_bytes(),
    };
    run(&args.connection, op, |result| match result {
        OpResult::Deleted { version } => {
            say!("deleted version {version}");
            Ok(())
        }
        OpResult::Absent => bail!("no such key"),
        other => unexpected(&other),
    })
}

/// Runs `trireme cas`.
pub(crate) fn cas(args: CasArgs) -> Result<()> {
    let (key, value) = (args.key.as_bytes(), args.value.as_bytes());
    let op = Op::CompareAndSet {
        key,
        expected: args.expected,
        value,
    };
    run(&args.connection, op, |result| match result {
        OpResult::Mismatch { version: 0 } => bail!("not written: the key is absent"),
        OpResult::Mismatch { version } => bail!("not written: the key has version {version}"),
        other => written(&other),
    })
}

/// Runs `trireme scan`: a line for each key, with its version and value, and to the standard error whether there are more.
pub(crate) fn scan(args: ScanArgs) -> Result<()> {
    let op = Op::Scan {
        start: args.start.as_bytes(),
        limit: args.limit,
    };
    run(&args.connection, op, |result| match result {
        OpResult::Found(found) => {
            let mut out = std::io::stdout().lock();
            for FoundKey { key, version, value } in found.keys() {
                write!(out, "{}\t{version}\t", key.escape_ascii())?;
                writeln!(out, "{}", value.escape_ascii())?;
            }
            if found.more() {
                eprintln!("trireme: more keys follow");
            }
            Ok(())
        }
        other => unexpected(&other),
    })
}

fn written(result: &OpResult<'_>) -> Result<()> {
    match result {
        OpResult::Written { version } => {
            say!("version {version}");
            Ok(())
        }
        OpResult::Full => bail!("not written: the store is full"),
        other => unexpected(other),
    }
}

fn unexpected(result: &OpResult<'_>) -> Result<()> {
    bail!("the cluster answered with something else: {result:?}")
}

/// Orders one operation and shows its result.
fn run(connection: &Connection, op: Op<'_>, show: impl FnOnce(OpResult<'_>) -> Result<()>) -> Result<()> {
    let (key, value) = match op {
        Op::Put { key, value } | Op::CompareAndSet { key, value, .. } => (key, value),
        Op::Get { key } | Op::Delete { key } | Op::Scan { start: key, .. } => (key, &[][..]),
    };
    ensure!(
        (1..=MAX_KEY_BYTES).contains(&key.len()),
        "a key has 1 to {MAX_KEY_BYTES} bytes"
    );
    ensure!(
        value.len() <= MAX_VALUE_BYTES,
        "a value has at most {MAX_VALUE_BYTES} bytes"
    );
    let files = files::client(&connection.config)?;
    ensure!(
        files.cluster.app == AppKind::Kv,
        "this cluster replicates no keys: its app is {}",
        files.cluster.app.name()
    );
    let payload = op.encode();
    let accepted = crate::block_on(async {
        let client = Client::connect(&files.cluster, &files.keys, Options::default()).await?;
        let accepted = client.submit(&payload).await?;
        client.close();
        Ok(accepted)
    })?;
    match OpResult::decode(&accepted.result) {
        Ok(result) => show(result),
        Err(why) => bail!("f+1 replicas agree on a result that cannot be read: {why}"),
    }
}
