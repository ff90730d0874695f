//! `trireme backup` and `trireme restore`: certified checkpoints apart from a running replica.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use trireme_config::Cluster;
use trireme_pipeline::snapshots::{self, Summary};

use crate::files;
use crate::progress::Waiting;
use crate::say::say;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct BackupArgs {
    #[command(subcommand)]
    command: Option<BackupCommand>,
    /// The replica's data directory, or the directory of its replica.toml; the replica may be running
    #[arg(value_name = "DIR", required = true)]
    dir: Option<PathBuf>,
    /// Where to write the backup
    #[arg(long, value_name = "FILE", required = true)]
    out: Option<PathBuf>,
    /// The cluster file, if DIR is a data directory
    #[arg(long, value_name = "FILE")]
    cluster: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum BackupCommand {
    /// Check a backup with nothing but the cluster file: signatures, block, and the root of the whole state
    Verify {
        /// The backup
        file: PathBuf,
        /// The cluster file
        #[arg(long, value_name = "FILE")]
        cluster: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The backup
    file: PathBuf,
    /// The data directory, which has to be empty, or the directory of the replica.toml that names it
    #[arg(long, value_name = "DIR")]
    into: PathBuf,
    /// The cluster file, if DIR is a data directory
    #[arg(long, value_name = "FILE")]
    cluster: Option<PathBuf>,
}

pub(crate) fn backup(args: BackupArgs) -> Result<()> {
    if let Some(BackupCommand::Verify { file, cluster }) = args.command {
        let cluster = files::cluster(&cluster)?;
        let waiting = Waiting::on(format!("checking {}", size(&file)));
        let summary = snapshots::verify(&file, &cluster)?;
        drop(waiting);
        say!("{} is sound\n{}", file.display(), describe(&summary));
        return Ok(());
    }
    let (dir, out) = (args.dir.expect("required"), args.out.expect("required"));
    let (data_dir, cluster) = place(&dir, args.cluster.as_deref())?;
    let waiting = Waiting::on("copying and checking the newest checkpoint".to_owned());
    let summary = snapshots::backup(&data_dir, &out, &cluster)?;
    drop(waiting);
    say!("wrote {}\n{}", out.display(), describe(&summary));
    Ok(())
}

pub(crate) fn restore(args: &RestoreArgs) -> Result<()> {
    let (data_dir, cluster) = place(&args.into, args.cluster.as_deref())?;
    let waiting = Waiting::on(format!("checking and copying {}", size(&args.file)));
    let summary = snapshots::restore(&args.file, &data_dir, &cluster)?;
    drop(waiting);
    say!(
        "restored into {}\n{}\n\
         The replica that starts there has forgotten what it signed: it comes up quarantined, fetches what is newer, and\n\
         votes again when the others let it.",
        data_dir.display(),
        describe(&summary)
    );
    Ok(())
}

/// A file's size for people; its errors are told by whoever opens it.
fn size(file: &Path) -> String {
    let bytes = std::fs::metadata(file).map_or(0, |metadata| metadata.len());
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// The data directory that is meant, and the cluster.
fn place(dir: &Path, cluster: Option<&Path>) -> Result<(PathBuf, Cluster)> {
    let settings = dir.join("replica.toml");
    if !settings.exists() {
        let hint = "give the cluster file with --cluster, or the directory of a replica.toml";
        return Ok((dir.to_path_buf(), files::cluster(cluster.context(hint)?)?));
    }
    let config = files::settings(&settings)?;
    let cluster = files::cluster(cluster.unwrap_or(&config.cluster_file))?;
    Ok((config.data_dir, cluster))
}

fn describe(summary: &Summary) -> String {
    let signers: Vec<String> = summary.signers.iter().map(ToString::to_string).collect();
    format!(
        "  checkpoint  slot {}, block {}\n  state root  {}\n  signed by   members {}\n  holds       {} entries, {} \
         sessions, {:.1} MB",
        summary.slot,
        summary.block,
        summary.state_root,
        signers.join(", "),
        summary.entries,
        summary.sessions,
        summary.bytes as f64 / 1e6,
    )
}
