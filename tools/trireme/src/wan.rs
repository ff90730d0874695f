//! `trireme wan`: the emulated network of a cluster on this machine: shown, changed while it runs, and measured.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use trireme_transport::wan::{Change, Matrix, Network, Place, Settings, WanError, measure};

use crate::say::say;

/// Name of the network's file, in the directory of a cluster.
pub(crate) const FILE: &str = "wan.toml";

/// Name of a network without any delay: there to be changed.
pub(crate) const LAN: &str = "lan";

/// Arguments of `trireme wan`.
#[derive(Debug, clap::Args)]
pub(crate) struct WanArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show the network: who is where, and what each link does now
    Show(At),
    /// Change links while the cluster runs: delay=200ms jitter=5ms loss=2% duplicate=1% reorder=1% bandwidth=10mbit
    Set {
        #[command(flatten)]
        link: LinkArgs,
        /// What changes; delays are one way
        #[arg(required = true, value_name = "NAME=VALUE")]
        settings: Vec<String>,
    },
    /// Cut links: nothing arrives any more
    Cut(LinkArgs),
    /// End cuts: of a pair as it was cut, or all
    Heal {
        #[command(flatten)]
        at: At,
        /// As it was given to `cut`
        #[arg(value_name = "A-B")]
        pair: Option<String>,
    },
    /// Forget all changes
    Reset(At),
    /// Ping through the emulation and compare with the network: its own error
    Check {
        #[command(flatten)]
        at: At,
        /// Measure a matrix instead of a cluster's network: autobahn, ibm, three-regions, or a CSV file
        #[arg(long, value_name = "NAME|FILE", conflicts_with = "data")]
        matrix: Option<String>,
        /// Pings of each pair, 20 ms apart
        #[arg(long, default_value_t = 200)]
        pings: usize,
    },
}

#[derive(Debug, clap::Args)]
struct At {
    /// Directory of the cluster (as `trireme local` says it), or its wan.toml
    #[arg(long, value_name = "DIR", default_value = ".")]
    data: PathBuf,
}

#[derive(Debug, clap::Args)]
struct LinkArgs {
    #[command(flatten)]
    at: At,
    /// Each a region, the number of a replica, `clients`, or `all`
    #[arg(value_name = "A-B")]
    pair: String,
    /// Only from A to B
    #[arg(long)]
    one_way: bool,
}

impl At {
    fn file(&self) -> PathBuf {
        if self.data.is_dir() {
            self.data.join(FILE)
        } else {
            self.data.clone()
        }
    }

    /// Changes the file, which running processes follow.
    fn change(&self, work: impl FnOnce(&mut Network) -> Result<(), WanError>) -> Result<()> {
        let path = self.file();
        let mut network = Network::read(&path)?;
        work(&mut network)?;
        network.write(&path)?;
        show(&network);
        Ok(())
    }
}

/// Runs `trireme wan`.
pub(crate) fn run(args: &WanArgs) -> Result<()> {
    match &args.action {
        Action::Show(at) => {
            show(&Network::read(&at.file())?);
            Ok(())
        }
        Action::Set { link, settings } => {
            let change = Change::parse(settings.iter().map(String::as_str))?;
            link.at.change(|network| network.set(&link.pair, link.one_way, change))
        }
        Action::Cut(link) => {
            let change = Change {
                cut: Some(true),
                ..Change::default()
            };
            link.at.change(|network| network.set(&link.pair, link.one_way, change))
        }
        Action::Heal { at, pair } => at.change(|network| network.heal(pair.as_deref())),
        Action::Reset(at) => at.change(|network| {
            network.reset();
            Ok(())
        }),
        Action::Check { at, matrix, pings } => {
            ensure!(*pings > 0, "--pings must be positive");
            let network = match matrix {
                Some(name) => {
                    let matrix = self::matrix(name)?;
                    let regions = matrix.regions().to_vec();
                    Network::new(name, matrix, &regions, &[], 1)?
                }
                None => Network::read(&at.file())?,
            };
            check(&network, *pings)
        }
    }
}

/// A shipped matrix, that without delays, or one from a file.
pub(crate) fn matrix(name: &str) -> Result<Matrix> {
    if name == LAN {
        return Ok(Matrix::new(vec![LAN.to_owned()], vec![vec![0.0]])?);
    }
    if let Some(matrix) = Matrix::shipped(name) {
        return Ok(matrix);
    }
    let path = Path::new(name);
    let text = std::fs::read_to_string(path).with_context(|| {
        let shipped: Vec<&str> = Matrix::shipped_names().collect();
        format!("{name} is none of {}, and cannot be read as a file", shipped.join(", "))
    })?;
    Matrix::from_csv(&text).with_context(|| format!("{name}: no matrix of round-trip times"))
}

fn place_name(network: &Network, place: Place) -> String {
    match place {
        Place::Replica(index) => format!("{index} ({})", network.region_name(place)),
        Place::Clients(_) => format!("clients ({})", network.region_name(place)),
    }
}

fn show(network: &Network) {
    let places = network.places();
    say!(
        "{}: one way from row to column in ms, with what else the link does",
        network.name()
    );
    let names: Vec<String> = places.iter().map(|place| place_name(network, *place)).collect();
    let width = names.iter().map(String::len).max().unwrap_or(0).max(12);
    let heads: Vec<String> = names.iter().map(|name| format!("{name:>width$}")).collect();
    say!("{:width$}  {}", "", heads.join("  "));
    for (from, name) in places.iter().zip(&names) {
        let cells = places.iter().map(|to| {
            let clients = |place: &Place| matches!(place, Place::Clients(_));
            let text = if from == to || (clients(from) && clients(to)) {
                "-".to_owned()
            } else {
                settings_text(&network.settings(*from, *to))
            };
            format!("{text:>width$}")
        });
        say!("{name:width$}  {}", cells.collect::<Vec<_>>().join("  "));
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn settings_text(settings: &Settings) -> String {
    if settings.cut {
        return "cut".to_owned();
    }
    let mut text = format!("{:.2}", settings.delay_us as f64 / 1e3);
    if settings.jitter_us > 0 {
        text.push_str(&format!("+{:.2}", settings.jitter_us as f64 / 1e3));
    }
    for (name, share) in [
        ("loss", settings.loss),
        ("twice", settings.duplicate),
        ("late", settings.reorder),
    ] {
        if share > 0.0 {
            text.push_str(&format!(" {name} {:.2}%", share * 100.0));
        }
    }
    if settings.bits_per_s > 0 {
        text.push_str(&format!(" {:.3}mbit", settings.bits_per_s as f64 / 1e6));
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn check(network: &Network, pings: usize) -> Result<()> {
    let ms = |us: u64| us as f64 / 1e3;
    let pairs = crate::block_on(async { Ok(measure(network, pings).await?) })?;
    say!("round trips of {pings} pings a pair, in ms, and how far they are off");
    say!("{:<44}  expected     p50   off p50   off p99   off max  lost", "pair");
    let mut all = Vec::new();
    for pair in &pairs {
        let name = format!("{} - {}", place_name(network, pair.from), place_name(network, pair.to));
        say!(
            "{name:<44}  {:>8.2}  {:>6.2}  {:>8.3}  {:>8.3}  {:>8.3}  {}",
            ms(pair.expected_us),
            ms(pair.p50_us),
            ms(pair.deviation_us(0.5)),
            ms(pair.deviation_us(0.99)),
            ms(pair.deviation_us(1.0)),
            pair.lost
        );
        all.extend_from_slice(&pair.deviations_us);
    }
    ensure!(!all.is_empty(), "no ping came back");
    all.sort_unstable();
    let at = |share: usize| ms(all[((all.len() * share).div_ceil(100)).saturating_sub(1)]);
    say!("all pairs: off by {:.3} ms at p50, {:.3} ms at p99", at(50), at(99));
    Ok(())
}
