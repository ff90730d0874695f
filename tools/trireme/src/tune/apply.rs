//! `trireme tune apply`: a host and its replicas set to a profile, shown before it is done, and undone at will.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use trireme_config::ReplicaConfig;

use crate::say::say;
use crate::tune::host::Host;
use crate::tune::profile::{self, Profile, merge};
use crate::tune::steps::{Before, RECORD, Step, carry_out};

/// Kernel parameters, kept over restarts.
const SYSCTL_FILE: &str = "/etc/sysctl.d/90-trireme.conf";
/// Limits of logins (units have their own).
const LIMITS_FILE: &str = "/etc/security/limits.d/90-trireme.conf";
/// Exit code: something is left, to be done by root.
const LEFT: u8 = 3;

/// Arguments of `trireme tune apply`.
#[derive(Debug, clap::Args)]
pub(crate) struct ApplyArgs {
    /// A profile's name, or a file (such as `trireme tune calibrate` writes) [default: small-host, from eight cores on
    /// big-host]
    #[arg(long, value_name = "NAME|FILE")]
    profile: Option<String>,
    /// Change these settings of replicas (replica.toml), too; a replica reads them when it starts
    #[arg(long = "replica", value_name = "FILE")]
    replicas: Vec<PathBuf>,
    /// Leave the system as it is: only settings of replicas
    #[arg(long, requires = "replicas")]
    replicas_only: bool,
    /// Whose limits are raised, at logins
    #[arg(long, value_name = "NAME", default_value = "trireme")]
    user: String,
    /// Only say what would be done (so it is without --yes)
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do it
    #[arg(long)]
    yes: bool,
    /// Undo everything that was done so far (with --yes)
    #[arg(long, conflicts_with_all = ["profile", "replicas"])]
    revert: bool,
    /// The host under this directory
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    root: PathBuf,
}

/// Runs `trireme tune apply`.
pub(crate) fn run(args: &ApplyArgs) -> Result<ExitCode> {
    let host = Host::new(&args.root);
    let root = !host.is_live() || rustix::process::geteuid().is_root();
    if args.revert {
        return revert(args, &host, root);
    }
    let name = args.profile.as_deref().unwrap_or(profile::usual(host.cores()));
    let wanted = profile::find(name)?;
    say!("profile {name}: {}", wanted.about);
    let mut steps = if args.replicas_only {
        Vec::new()
    } else {
        system_steps(&host, &wanted, &args.user)
    };
    for path in &args.replicas {
        steps.push(replica_step(path, &wanted)?);
    }
    steps.retain(|step| !step.is_done(&host));
    for step in &steps {
        let left = if step.is_system(&host) && !root {
            "needs root: "
        } else {
            ""
        };
        say!("  {left}{}", step.words(&host));
    }
    for words in &wanted.by_hand {
        say!("  by hand: {words}");
    }
    if steps.is_empty() {
        say!("nothing to do: it is so already");
        return Ok(ExitCode::SUCCESS);
    }
    if !args.yes {
        say!(
            "nothing was done: add --yes{}",
            if root { "" } else { " (as root for the system)" }
        );
        return Ok(ExitCode::SUCCESS);
    }
    let (left, own): (Vec<Step>, Vec<Step>) = steps.into_iter().partition(|step| step.is_system(&host) && !root);
    if !own.is_empty() {
        carry_out(&own, &host, &record(&host, root))?;
        say!(
            "done: {} change(s); `trireme tune apply --revert --yes` undoes them",
            own.len()
        );
    }
    if own
        .iter()
        .any(|step| matches!(step, Step::File { path, .. } if args.replicas.contains(path)))
    {
        say!("replicas read their settings when they start: restart them one after the other");
    }
    match left.len() {
        0 => Ok(ExitCode::SUCCESS),
        count => {
            say!("left: {count} change(s) of the system; run the same as root");
            Ok(ExitCode::from(LEFT))
        }
    }
}

/// Where it is written how things were: root's for the system, the user's own otherwise.
fn record(host: &Host, root: bool) -> PathBuf {
    let own = std::env::var_os("HOME").filter(|home| !home.is_empty() && !root);
    match own {
        Some(home) => PathBuf::from(home).join(".local/state/trireme/tune-before.json"),
        None => host.path(RECORD),
    }
}

fn revert(args: &ApplyArgs, host: &Host, root: bool) -> Result<ExitCode> {
    let record = record(host, root);
    let before = Before::read(&record)?;
    if before.is_empty() {
        say!("nothing to undo: there is no {}", record.display());
        return Ok(ExitCode::SUCCESS);
    }
    before.words(host).iter().for_each(|words| say!("  {words}"));
    if !args.yes {
        say!("nothing was done: add --yes");
        return Ok(ExitCode::SUCCESS);
    }
    if before.is_system(host) && !root {
        say!("left: run the same as root");
        return Ok(ExitCode::from(LEFT));
    }
    before.undo(host, &record)?;
    say!("undone");
    Ok(ExitCode::SUCCESS)
}

/// The changes of the system: each parameter now, and two files for the time after the next start.
fn system_steps(host: &Host, wanted: &Profile, user: &str) -> Vec<Step> {
    let known: Vec<_> = wanted
        .sysctl
        .iter()
        .filter(|(key, _)| host.sysctl(key).is_some())
        .collect();
    let mut steps = Vec::new();
    let mut text = String::from("# Written by `trireme tune apply`; `trireme tune apply --revert --yes` removes it.\n");
    for (key, parameter) in &known {
        // A later file of the same directory would win; a value that is good already stays.
        let live = host.sysctl(key).unwrap_or_default();
        let value = match parameter.is_met(&live) {
            true => live,
            false => parameter.value.to_string(),
        };
        let _ = write!(text, "# {}\n{key} = {value}\n", parameter.reason);
        steps.push(Step::Parameter {
            key: (*key).clone(),
            value,
        });
    }
    if !known.is_empty() {
        steps.push(Step::File {
            path: host.path(SYSCTL_FILE),
            text,
        });
    }
    if !wanted.limits.is_empty() {
        steps.push(Step::File {
            path: host.path(LIMITS_FILE),
            text: limits(wanted, user),
        });
    }
    steps
}

fn limits(wanted: &Profile, user: &str) -> String {
    let mut text = String::from(
        "# Written by `trireme tune apply`; `trireme tune apply --revert --yes` removes it.\n\
         # For logins; a systemd unit sets LimitMEMLOCK and LimitNOFILE itself.\n",
    );
    for (name, limit) in &wanted.limits {
        let _ = write!(text, "# {}\n{user} - {name} {}\n", limit.reason, limit.value);
    }
    text
}

/// A replica's settings with the profile's keys, checked as the replica checks them.
fn replica_step(path: &Path, wanted: &Profile) -> Result<Step> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    ReplicaConfig::from_toml(&text).map_err(|error| error.in_file(path))?;
    let mut table: toml::Table = toml::from_str(&text).with_context(|| format!("{} is no TOML", path.display()))?;
    let before = table.clone();
    merge(&mut table, &wanted.replica);
    if table == before {
        return Ok(Step::File {
            path: path.to_path_buf(),
            text,
        });
    }
    let merged = toml::to_string(&table).context("the settings have no TOML form")?;
    let config = ReplicaConfig::from_toml(&merged)
        .with_context(|| format!("the profile does not go together with {}", path.display()))?;
    Ok(Step::File {
        path: path.to_path_buf(),
        text: config.to_toml(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tune::host::tests::fake;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ApplyArgs,
    }

    fn apply(host: &Host, line: &str) -> ExitCode {
        let root = host.path("").to_string_lossy().into_owned();
        let words = ["apply", "--root", &root].into_iter().chain(line.split_whitespace());
        run(&Line::try_parse_from(words).unwrap().args).unwrap()
    }

    const REPLICA: &str = "member = 0\ncluster_file = \"c\"\nkey_file = \"k\"\npeer_listen = \"127.0.0.1:1\"\n\
                           client_listen = \"127.0.0.1:2\"\ndata_dir = \"d\"\ncore_plan = \"2\"\n";

    fn host() -> (Host, tempfile::TempDir) {
        fake(&[
            ("/proc/sys/net/core/rmem_max", "212992\n"),
            ("/proc/sys/net/core/wmem_max", "99999999\n"),
            ("/home/replica.toml", REPLICA),
        ])
    }

    #[test]
    fn nothing_is_done_without_a_yes() {
        let (host, _dir) = host();
        for line in ["", "--dry-run", "--profile big-host", "--revert"] {
            apply(&host, line);
            assert_eq!(host.sysctl("net.core.rmem_max").as_deref(), Some("212992"), "{line}");
            assert!(
                !host.path(SYSCTL_FILE).exists() && !host.path(RECORD).exists(),
                "{line}"
            );
        }
    }

    #[test]
    fn a_profile_is_applied_and_undone() {
        let (host, _dir) = host();
        let replica = host.path("/home/replica.toml");
        apply(
            &host,
            &format!("--profile small-host --user bob --yes --replica {}", replica.display()),
        );
        assert_eq!(host.sysctl("net.core.rmem_max").as_deref(), Some("4194304"));
        assert_eq!(
            host.sysctl("net.core.wmem_max").as_deref(),
            Some("99999999"),
            "more is as good"
        );
        let file = fs::read_to_string(host.path(SYSCTL_FILE)).unwrap();
        assert!(
            file.contains("\nnet.core.rmem_max = 4194304\n") && file.contains("wmem_max = 99999999"),
            "{file}"
        );
        assert!(!file.contains("io_uring_disabled"), "this kernel has no such parameter");
        let limits = fs::read_to_string(host.path(LIMITS_FILE)).unwrap();
        assert!(limits.contains("\nbob - memlock 65536\n"), "{limits}");
        let config = ReplicaConfig::from_toml(&fs::read_to_string(&replica).unwrap()).unwrap();
        assert_eq!((config.core_plan.as_str(), config.log.flushes_in_flight), ("1", 2));
        apply(&host, "--revert --yes");
        assert_eq!(host.sysctl("net.core.rmem_max").as_deref(), Some("212992"));
        assert_eq!(fs::read_to_string(&replica).unwrap(), REPLICA);
        assert!(!host.path(SYSCTL_FILE).exists() && !host.path(LIMITS_FILE).exists());
    }

    #[test]
    fn settings_that_do_not_go_together_are_refused() {
        let (host, _dir) = host();
        let path = host.path("/home/replica.toml");
        let wrong = Profile {
            replica: toml::from_str("core_plan = \"1\"\n[log]\nbuffer_bytes = 1\n").unwrap(),
            ..Profile::default()
        };
        let error = format!("{:#}", replica_step(&path, &wrong).unwrap_err());
        assert!(error.contains("buffer_bytes"), "{error}");
        let unknown = Profile {
            replica: toml::from_str("no_such_key = 1\n").unwrap(),
            ..Profile::default()
        };
        assert!(replica_step(&path, &unknown).is_err());
    }
}
