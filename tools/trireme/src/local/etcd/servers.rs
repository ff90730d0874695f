//! The servers of etcd: which program, how it is called, and what its servers say.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use tokio::time::{Instant, sleep};
use trireme_load::{EtcdServer, EtcdState, etcd_hash, etcd_state};

use crate::local::replicas::Replicas;

/// How long the servers may take to choose a leader.
const READY_PATIENCE: Duration = Duration::from_secs(30);
/// How long they may take, after the load, to hold the same.
const REST_PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// Its default of 2 GB would end a long run; nothing is measured by it.
const QUOTA_BYTES: u64 = 8 << 30;
/// Its defaults, in milliseconds: for a local network.
const HEARTBEAT_MS: u64 = 100;
const ELECTION_MS: u64 = 1_000;

/// Where a program is; none if it is in no directory of PATH.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

/// The installed etcd, and its version.
pub(super) fn installed() -> Result<(PathBuf, String)> {
    let program = find("etcd").context(
        "the program etcd is not installed: `apt-get install etcd-server` (Debian, Ubuntu), or put etcd 3.4 or newer into a \
         directory of PATH",
    )?;
    let output = Command::new(&program)
        .arg("--version")
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.lines().find_map(|line| line.strip_prefix("etcd Version: "));
    let version = version.with_context(|| format!("{} --version says no version", program.display()))?;
    Ok((program, version.trim().to_owned()))
}

/// Where the servers are reached: ports that are held until they start.
pub(super) struct Addresses {
    held: Vec<TcpListener>,
    /// Where they listen for each other, and for clients.
    pub(super) peers: Vec<SocketAddr>,
    pub(super) clients: Vec<SocketAddr>,
}

impl Addresses {
    pub(super) fn reserve(servers: usize) -> Result<Self> {
        let held = (0..2 * servers)
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free TCP port on 127.0.0.1"))
            .collect::<Result<Vec<_>>>()?;
        let all = held.iter().map(|held| Ok(held.local_addr()?));
        let mut all = all.collect::<Result<Vec<SocketAddr>>>()?;
        let clients = all.split_off(servers);
        Ok(Self {
            held,
            peers: all,
            clients,
        })
    }

    pub(super) fn release(&mut self) {
        self.held.clear();
    }
}

/// What the servers are told.
pub(super) struct Plan<'a> {
    pub(super) dir: &'a Path,
    pub(super) addresses: &'a Addresses,
    /// Where each server is found by the others: its own address, or that of a proxy in front of it.
    pub(super) advertised: &'a [SocketAddr],
    /// The longest round trip between servers.
    pub(super) longest_rtt: Duration,
}

impl Plan<'_> {
    fn arguments(&self, index: usize) -> Vec<OsString> {
        let url = |address: SocketAddr| format!("http://{address}");
        let all = self.advertised.iter().enumerate();
        let cluster: Vec<String> = all.map(|(other, at)| format!("server-{other}={}", url(*at))).collect();
        // As its tuning guide says: a heartbeat as long as the longest round trip, an election ten times as long.
        let rtt_ms = u64::try_from(self.longest_rtt.as_millis()).unwrap_or(u64::MAX);
        let heartbeat = HEARTBEAT_MS.max(rtt_ms);
        let election = ELECTION_MS.max(10 * rtt_ms);
        let mut out: Vec<OsString> = vec![
            "--data-dir".into(),
            self.dir.join(format!("server-{index}")).into_os_string(),
        ];
        let pairs = [
            ("--name", format!("server-{index}")),
            ("--listen-peer-urls", url(self.addresses.peers[index])),
            ("--initial-advertise-peer-urls", url(self.advertised[index])),
            ("--listen-client-urls", url(self.addresses.clients[index])),
            ("--advertise-client-urls", url(self.addresses.clients[index])),
            ("--initial-cluster", cluster.join(",")),
            ("--initial-cluster-state", "new".to_owned()),
            ("--initial-cluster-token", self.dir.display().to_string()),
            ("--heartbeat-interval", heartbeat.to_string()),
            ("--election-timeout", election.to_string()),
            ("--quota-backend-bytes", QUOTA_BYTES.to_string()),
            ("--logger", "zap".to_owned()),
            ("--log-level", "warn".to_owned()),
        ];
        out.extend(pairs.into_iter().flat_map(|(name, value)| [name.into(), value.into()]));
        out
    }
}

/// The processes, not started yet. The kernel ends them with this process where `setpriv` can ask it to.
pub(super) fn processes(program: &Path, plan: &Plan<'_>) -> Replicas {
    let count = plan.advertised.len();
    let output = |index: usize| plan.dir.join(format!("server-{index}.txt"));
    let Some(setpriv) = find("setpriv") else {
        let list = (0..count).map(|index| (plan.arguments(index), output(index)));
        return Replicas::of_program(program.to_owned(), list.collect(), true);
    };
    let arguments = |index| {
        let own = ["--pdeathsig".into(), "KILL".into(), program.as_os_str().to_owned()];
        own.into_iter().chain(plan.arguments(index)).collect()
    };
    let list = (0..count).map(|index| (arguments(index), output(index)));
    Replicas::of_program(setpriv, list.collect(), true)
}

async fn ask_all(clients: &[SocketAddr]) -> Result<Vec<EtcdServer>> {
    let mut all = Vec::with_capacity(clients.len());
    for (index, server) in clients.iter().enumerate() {
        let said = etcd_state(*server).await;
        all.push(said.map_err(|why| anyhow!("server {index} does not answer: {why}"))?);
    }
    Ok(all)
}

/// Waits until all servers know the same leader; gives what they say.
pub(super) async fn ready(processes: &mut Replicas, clients: &[SocketAddr]) -> Result<Vec<EtcdServer>> {
    let deadline = Instant::now() + READY_PATIENCE;
    loop {
        processes.check()?;
        let missing = match ask_all(clients).await {
            Ok(all)
                if all
                    .iter()
                    .all(|server| server.leader != 0 && server.leader == all[0].leader) =>
            {
                return Ok(all);
            }
            Ok(_) => "no common leader yet".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        ensure!(
            Instant::now() < deadline,
            "not ready within {} s: {missing}",
            READY_PATIENCE.as_secs()
        );
        sleep(POLL).await;
    }
}

/// Waits until all servers hold the same at the newest revision; gives it.
pub(super) async fn at_rest(processes: &mut Replicas, clients: &[SocketAddr]) -> Result<EtcdState> {
    let deadline = Instant::now() + REST_PATIENCE;
    loop {
        processes.check()?;
        let mut states = Vec::new();
        for server in clients {
            states.push(etcd_hash(*server, 0).await.map_err(anyhow::Error::msg)?);
        }
        if states.iter().all(|state| *state == states[0]) {
            return Ok(states[0]);
        }
        if Instant::now() >= deadline {
            bail!("the servers hold different things after the load: {states:?}");
        }
        sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_told_the_same_of_each_other() {
        let addresses = Addresses::reserve(3).unwrap();
        let plan = Plan {
            dir: Path::new("/data"),
            addresses: &addresses,
            advertised: &addresses.peers,
            longest_rtt: Duration::from_millis(150),
        };
        let words = |index| {
            let all = plan.arguments(index).into_iter();
            all.map(|word| word.into_string().unwrap()).collect::<Vec<_>>()
        };
        let value = |index: usize, name: &str| {
            let all = words(index);
            let at = all.iter().position(|word| word == name).unwrap();
            all[at + 1].clone()
        };
        assert_eq!(value(0, "--initial-cluster"), value(2, "--initial-cluster"));
        assert_eq!(value(1, "--initial-cluster").matches("http://127.0.0.1:").count(), 3);
        assert_ne!(value(0, "--data-dir"), value(1, "--data-dir"));
        assert_eq!(value(0, "--heartbeat-interval"), "150");
        assert_eq!(value(0, "--election-timeout"), "1500");
        assert!(
            !words(0).iter().any(|word| word.contains("fsync")),
            "its default is to flush"
        );
        assert!(find("no-such-program-anywhere").is_none());
    }
}
