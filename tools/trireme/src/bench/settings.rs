//! The runs behind the goals: each a name and the flags of `trireme local`.

use trireme_transport::wan::Matrix;

use crate::bench::runs::Runs;

/// The emulated networks of goal 6.
pub(crate) const NETWORKS: [&str; 3] = ["autobahn", "ibm", "three-regions"];
/// Replicas of every run of this engine's own ordering.
const REPLICAS: usize = 4;
/// Requests a second of the runs that measure latency on an emulated network: far from any limit.
const WAN_RATE: &str = "200";

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    /// How goals name it.
    pub(crate) name: String,
    /// The goal that wants it first.
    pub(crate) goal: u8,
    flags: Vec<String>,
    /// Its rate is this share of the throughput that another setting reached in the runs so far.
    share_of: Option<(&'static str, f64)>,
}

impl Setting {
    fn new(goal: u8, name: &str, flags: &str) -> Setting {
        Setting {
            name: name.to_owned(),
            goal,
            flags: flags.split_whitespace().map(str::to_owned).collect(),
            share_of: None,
        }
    }

    /// The flags of the next run; none if they depend on a run that failed.
    pub(crate) fn flags(&self, settings: &[Setting], so_far: &[Runs]) -> Option<Vec<String>> {
        let mut flags = self.flags.clone();
        if let Some((name, share)) = self.share_of {
            let at = settings.iter().position(|other| other.name == name)?;
            let reached = so_far[at].median("/throughput_ops_s")?;
            flags.extend(["--rate".to_owned(), format!("{:.0}", reached * share)]);
        }
        Some(flags)
    }

    /// The flags, for people.
    pub(crate) fn words(&self) -> String {
        let rate = self
            .share_of
            .map(|(name, share)| format!(" --rate (of {name}: {share})"));
        self.flags.join(" ") + &rate.unwrap_or_default()
    }
}

/// Name of the run on a network with all clients in one region.
pub(crate) fn wan_name(network: &str, region: &str) -> String {
    format!("{network}, clients in {region}")
}

/// The regions of the replicas on a network, each once.
pub(crate) fn regions(network: &str) -> Vec<String> {
    let Some(matrix) = Matrix::shipped(network) else {
        return Vec::new();
    };
    matrix.regions().iter().take(REPLICAS).cloned().collect()
}

/// All runs of these goals. `quick` leaves out what only repeats: networks and regions but one.
pub(crate) fn all(goals: &[u8], quick: bool) -> Vec<Setting> {
    let mut settings = vec![
        Setting::new(1, "bundle 64, null", "--bundle 64 --app null"),
        Setting {
            share_of: Some(("bundle 64, null", 0.8)),
            ..Setting::new(1, "bundle 64, null, at 80 %", "--bundle 64 --app null")
        },
        Setting::new(1, "bundle 64, kv", "--bundle 64"),
        Setting::new(2, "one signature a request, null", "--app null"),
        Setting::new(2, "one signature a request, kv", ""),
        Setting::new(3, "128 B, bundle 1024, null", "--payload 128 --bundle 1024 --app null"),
        Setting::new(3, "128 B, bundle 1024, kv", "--payload 128 --bundle 1024"),
        Setting::new(4, "1000 ops/s, durable", "--rate 1000"),
        Setting::new(4, "1000 ops/s, durability none", "--rate 1000 --durability none"),
        Setting::new(
            5,
            "bundle 64, null, raft",
            "--ordering raft --replicas 3 --bundle 64 --app null",
        ),
        Setting::new(5, "1000 ops/s, raft", "--ordering raft --replicas 3 --rate 1000"),
    ];
    let networks = if quick { &NETWORKS[2..] } else { &NETWORKS[..] };
    for network in networks {
        let mut regions = regions(network);
        if quick {
            regions.truncate(1);
        }
        for region in regions {
            let mut setting = Setting::new(6, &wan_name(network, &region), "");
            // Names of regions may have blanks.
            let flags = ["--wan", network, "--client-regions", &region, "--rate", WAN_RATE];
            setting.flags = flags.map(str::to_owned).to_vec();
            settings.push(setting);
        }
    }
    // Goals 5 and 7 compare with the runs of goals 1 and 4.
    let wanted = |setting: &Setting| {
        goals.contains(&setting.goal)
            || goals.contains(&5) && ["bundle 64, null", "1000 ops/s, durable"].contains(&setting.name.as_str())
            || goals.contains(&7) && setting.name == "bundle 64, null"
    };
    settings.retain(wanted);
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::LocalArgs;
    use clap::Parser;
    use serde_json::json;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: LocalArgs,
    }

    #[test]
    fn every_run_of_this_ordering_can_be_run() {
        for setting in all(&[1, 2, 3, 4, 6], false) {
            let reached = vec![Runs::of(vec![json!({"throughput_ops_s": 1000.0})])];
            let first = [Setting::new(1, "bundle 64, null", "")];
            let flags = setting.flags(&first, &reached).unwrap();
            let line = Line::try_parse_from(std::iter::once("local".to_owned()).chain(flags)).unwrap();
            line.args.check().unwrap();
        }
    }

    #[test]
    fn a_rate_follows_what_was_reached() {
        let settings = all(&[1], true);
        let runs: Vec<Runs> = settings
            .iter()
            .map(|_| Runs::of(vec![json!({"throughput_ops_s": 1000.0})]))
            .collect();
        let flags = settings[1].flags(&settings, &runs).unwrap();
        assert!(flags.ends_with(&["--rate".to_owned(), "800".to_owned()]), "{flags:?}");
        let none: Vec<Runs> = settings.iter().map(|_| Runs::default()).collect();
        assert_eq!(settings[1].flags(&settings, &none), None);
    }

    #[test]
    fn names_are_unique_and_networks_have_regions() {
        let settings = all(&[1, 2, 3, 4, 5, 6, 7], false);
        let names: std::collections::BTreeSet<_> = settings.iter().map(|setting| &setting.name).collect();
        assert_eq!(names.len(), settings.len());
        assert!(NETWORKS.iter().all(|network| regions(network).len() >= 3));
        assert_eq!(all(&[7], false).len(), 1);
    }
}
