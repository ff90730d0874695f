//! `trireme status`: what the replicas say of themselves, once or again and again, with exit codes for scripts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use trireme_config::Cluster;

use crate::attention;
use crate::files;
use crate::health::Health;
use crate::names;
use crate::probe::Probe;
use crate::say::say;

/// Arguments of `trireme status`.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// The client's settings (client.toml)
    #[arg(long, value_name = "FILE", default_value = "cluster/client/client.toml")]
    config: PathBuf,
    /// Everything that the replicas say, as JSON; with --watch one line each time
    #[arg(long)]
    json: bool,
    /// Again and again until Ctrl-C, at this interval
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "1s", value_parser = names::duration)]
    watch: Option<Duration>,
    /// How long to wait for each replica
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = names::duration)]
    timeout: Duration,
}

/// What is read out of a replica's status. Everything is a count since the start of its process unless it says
/// otherwise.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Status {
    pub(crate) view: u64,
    pub(crate) leader: u16,
    pub(crate) committed_slot: u64,
    pub(crate) executed_slot: u64,
    pub(crate) fast_commits: u64,
    pub(crate) slow_commits: u64,
    pub(crate) batches_ordered: u64,
    pub(crate) batch_bytes_ordered: u64,
    pub(crate) evidence: u64,
    pub(crate) alarms: u64,
    pub(crate) member_signatures: MemberSignatures,
    pub(crate) client_signatures: ClientSignatures,
    pub(crate) log: Log,
    /// The newest state vote: none before the first one.
    pub(crate) state: Option<StateRoot>,
    /// CPU time by stage.
    pub(crate) cpu_us: BTreeMap<String, u64>,
    /// The way of own operations by stage: of replicas that measure it.
    #[serde(default)]
    pub(crate) stages: BTreeMap<String, StageTimes>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) lanes: Vec<Lane>,
    #[serde(default)]
    pub(crate) snapshots: Option<Snapshots>,
    #[serde(default)]
    pub(crate) notes: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct StageTimes {
    /// Operations that passed it.
    pub(crate) count: u64,
    /// Their times added up.
    pub(crate) sum_us: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Snapshots {
    held: Vec<Snapshot>,
    writing: Option<Snapshot>,
    transfer: Option<Transfer>,
    transfers: u64,
    peers_dropped: Vec<u16>,
    error: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Snapshot {
    slot: u64,
    bytes: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct Transfer {
    slot: u64,
    parts_held: u64,
    parts_missing: u64,
    bytes: u64,
}

impl Snapshots {
    /// One line, or nothing if there is nothing to say.
    fn line(&self) -> Option<String> {
        let size = |snapshot: &Snapshot| format!("@{} ({:.1} MB)", snapshot.slot, snapshot.bytes as f64 / 1e6);
        let mut words: Vec<String> = self.held.iter().map(size).collect();
        words.extend(
            self.writing
                .as_ref()
                .map(|writing| format!("writing {}", size(writing))),
        );
        words.extend(self.transfer.as_ref().map(|transfer| {
            let all = transfer.parts_held + transfer.parts_missing;
            let mb = transfer.bytes as f64 / 1e6;
            format!(
                "fetching @{}: {} of {all} parts, {mb:.1} MB",
                transfer.slot, transfer.parts_held
            )
        }));
        words.extend((self.transfers > 0).then(|| format!("fetched {}", self.transfers)));
        let dropped = !self.peers_dropped.is_empty();
        words.extend(dropped.then(|| format!("peers that lied: {:?}", self.peers_dropped)));
        words.extend(self.error.clone());
        (!words.is_empty()).then(|| words.join(", "))
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct MemberSignatures {
    pub(crate) made: u64,
    pub(crate) verified: u64,
    /// The same by what was signed.
    #[serde(default)]
    pub(crate) by_kind: BTreeMap<String, MadeAndVerified>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct MadeAndVerified {
    pub(crate) made: u64,
    pub(crate) verified: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ClientSignatures {
    pub(crate) verified: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Log {
    pub(crate) device: String,
    pub(crate) fsyncs: u64,
    /// What it takes on the disk, preallocated space included.
    #[serde(default)]
    disk_bytes: u64,
    #[serde(default)]
    segments: u64,
    /// The oldest block that is still there.
    #[serde(default)]
    oldest_slot: Option<u64>,
    #[serde(default)]
    released_segments: u64,
    #[serde(default)]
    released_bytes: u64,
    /// Records that were damaged, and are fetched from other replicas when they are needed.
    #[serde(default)]
    lost_records: u64,
    /// Why it cannot grow.
    #[serde(default)]
    growth_stopped: Option<String>,
    /// New requests are refused.
    #[serde(default)]
    full: bool,
    /// Nothing can be appended at all.
    #[serde(default)]
    stalled: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct StateRoot {
    pub(crate) slot: u64,
    pub(crate) root: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Peer {
    pub(crate) member: u16,
    pub(crate) connected: bool,
    pub(crate) rtt_us: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Lane {
    pub(crate) member: u16,
    pub(crate) stored: u64,
    pub(crate) committed: u64,
    pub(crate) certified: u64,
}

impl Status {
    pub(crate) fn read(value: Value) -> Result<Status> {
        serde_json::from_value(value).context("the replica's status is not in the expected form")
    }
}

/// Runs `trireme status`. Its exit code says how the cluster is ([`Health::exit_code`]).
pub(crate) fn run(args: &StatusArgs) -> ExitCode {
    match ask(args) {
        Ok(health) => ExitCode::from(health.exit_code()),
        Err(error) => {
            eprintln!("trireme: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn ask(args: &StatusArgs) -> Result<Health> {
    let files = files::client(&args.config)?;
    crate::block_on(async {
        let mut probe = Probe::new(&files.cluster, &files.keys, args.timeout);
        loop {
            let answers = probe.ask_all().await;
            let health = Health::of(&files.cluster, &answers);
            if answers.iter().all(Result::is_err) {
                eprintln!("trireme: no replica answered");
            }
            print(args, &files.cluster, health, answers)?;
            match args.watch {
                Some(every) => tokio::time::sleep(every).await,
                None => return Ok(health),
            }
        }
    })
}

fn print(args: &StatusArgs, cluster: &Cluster, health: Health, answers: Vec<Result<Value>>) -> Result<()> {
    if !args.json {
        if args.watch.is_some() && std::io::stdout().is_terminal() {
            print!("\x1b[H\x1b[2J"); // The terminal is cleared: each table stands where the last one stood.
        }
        let sentence = health.sentence(&answers);
        let attention = sentences(&answers);
        say!("{}{attention}{sentence}", table(answers));
        return Ok(());
    }
    let entry = |(member, answer): (usize, Result<Value>)| match answer {
        Ok(status) => json!({ "member": member, "status": status }),
        Err(error) => json!({ "member": member, "error": format!("{error:#}") }),
    };
    let all: Vec<Value> = answers.into_iter().enumerate().map(entry).collect();
    let all = json!({ "cluster": cluster.fingerprint().to_string(), "health": health.name(), "replicas": all });
    match args.watch {
        Some(_) => say!("{all}"),
        None => say!("{}", serde_json::to_string_pretty(&all)?),
    }
    Ok(())
}

/// What somebody should know, a line each.
fn sentences(answers: &[Result<Value>]) -> String {
    let of = |(member, answer): (usize, &Result<Value>)| {
        let all = answer.iter().flat_map(attention::of).collect::<Vec<_>>();
        let line = move |(_, text): (attention::Weight, String)| format!("replica {member} {text}\n");
        all.into_iter().map(line).collect::<String>()
    };
    answers.iter().enumerate().map(of).collect()
}

fn table(answers: Vec<Result<Value>>) -> String {
    let mut out = String::from("replica  view  leader  committed  executed  state root         peers (RTT)\n");
    let (mut lanes, mut snapshots) = (String::new(), String::new());
    let mut logs = String::from("replica  log on disk  segments  from slot  released              remarks\n");
    for (member, answer) in answers.into_iter().enumerate() {
        match answer.and_then(Status::read) {
            Ok(status) => {
                row(&mut out, member, &status);
                if let Some(line) = status.snapshots.as_ref().and_then(Snapshots::line) {
                    let _ = writeln!(snapshots, "{member:<7}  snapshots {line}");
                }
                log_row(&mut logs, member, &status.log);
                if lanes.is_empty() {
                    lanes = lane_table(member, &status.lanes);
                }
            }
            Err(error) => out.push_str(&format!("{member:<7}  {error:#}\n")),
        }
    }
    out + &logs + &snapshots + &lanes
}

fn row(out: &mut String, member: usize, status: &Status) {
    let root = status.state.as_ref().map_or("-".to_owned(), |state| {
        format!("{} @{}", state.root.get(..8).unwrap_or(&state.root), state.slot)
    });
    let peer = |peer: &Peer| match (peer.connected, peer.rtt_us) {
        (true, Some(us)) => format!("{} {:.1} ms", peer.member, us_as_ms(us)),
        (true, None) => peer.member.to_string(),
        (false, _) => format!("{} down", peer.member),
    };
    let peers: Vec<String> = status.peers.iter().map(peer).collect();
    let Status {
        view,
        leader,
        committed_slot,
        executed_slot,
        ..
    } = status;
    let line = format!("{member:<7}  {view:<4}  {leader:<6}  {committed_slot:<9}  {executed_slot:<8}  {root:<17}  ");
    writeln!(out, "{line}{}", peers.join(", ")).expect("writing to a String does not fail");
}

fn log_row(out: &mut String, member: usize, log: &Log) {
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    let disk = mib(log.disk_bytes);
    let from = log.oldest_slot.map_or("-".to_owned(), |slot| slot.to_string());
    let released = format!("{} segments, {}", log.released_segments, mib(log.released_bytes));
    let mut remarks = Vec::new();
    if log.stalled {
        remarks.push("full: takes no part".to_owned());
    } else if log.full {
        remarks.push("nearly full: refuses requests".to_owned());
    }
    remarks.extend(log.growth_stopped.clone());
    if log.lost_records > 0 {
        remarks.push(format!("{} records were damaged", log.lost_records));
    }
    let segments = log.segments;
    let line = format!("{member:<7}  {disk:<11}  {segments:<8}  {from:<9}  {released:<20}  ");
    writeln!(out, "{line}{}", remarks.join("; ")).expect("writing to a String does not fail");
}

fn lane_table(member: usize, lanes: &[Lane]) -> String {
    let mut out = format!("lanes as replica {member} sees them:\nlane  stored  certified  committed\n");
    for lane in lanes {
        let Lane {
            member,
            stored,
            certified,
            committed,
        } = lane;
        writeln!(out, "{member:<4}  {stored:<6}  {certified:<9}  {committed}")
            .expect("writing to a String does not fail");
    }
    out
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn us_as_ms(us: u64) -> f64 {
    us as f64 / 1_000.0
}
