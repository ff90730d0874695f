//! `trireme bench efficiency` and `trireme bench curve`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use trireme_benches::curve::{self, Curve, Point};
use trireme_benches::meter::{Meter, Row};
use trireme_config::Durability;

use crate::bench::alone::{self, Efficiency};
use crate::bench::runs::interleaved;
use crate::bench::settings;
use crate::say::say;
use crate::{disk, names};

/// Arguments of `trireme bench efficiency`.
#[derive(Debug, clap::Args)]
pub(crate) struct EfficiencyArgs {
    /// Runs of the cluster; the one with the median throughput counts
    #[arg(long, value_name = "N", default_value_t = 3)]
    runs: usize,
    /// How long each loads the cluster
    #[arg(long, value_name = "TIME", default_value = "10s")]
    duration: String,
    /// How long each stage is measured
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = names::duration)]
    stage: Duration,
    /// Where to write it
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The stages alone, on the disk that runs use.
pub(crate) fn stages_alone(time: Duration) -> Result<Meter> {
    let disk = disk::choose(None, Durability::Sync)?;
    let measured = alone::measure(&disk.dir, time);
    disk::discard(&disk.dir);
    measured
}

/// Runs `trireme bench efficiency`: exit code 3 if the goal is missed.
pub(crate) fn efficiency(args: &EfficiencyArgs) -> Result<ExitCode> {
    #[derive(Serialize)]
    struct File<'a> {
        schema: &'static str,
        efficiency: &'a Efficiency,
        stages_alone: &'a [Row],
    }
    ensure!(args.runs > 0, "--runs must be positive");
    eprintln!("the stages alone");
    let meter = stages_alone(args.stage)?;
    let all = interleaved(&settings::all(&[7], false), args.runs, &args.duration)?;
    let runs = all.first().context("a setting is missing")?;
    let report = runs
        .typical()
        .with_context(|| runs.failure.clone().unwrap_or_default())?;
    let found = alone::efficiency(report, &meter).context("the run's report lacks what is needed")?;
    alone::lines(&found).iter().for_each(|line| say!("{line}"));
    if let Some(path) = &args.json {
        let file = File {
            schema: "trireme.bench-efficiency/1",
            efficiency: &found,
            stages_alone: meter.rows(),
        };
        write(path, &(serde_json::to_string_pretty(&file)? + "\n"))?;
    }
    Ok(ExitCode::from(if found.efficiency >= GOAL { 0 } else { 3 }))
}

/// Goal 7.
pub(crate) const GOAL: f64 = 0.8;

/// Arguments of `trireme bench curve`.
#[derive(Debug, clap::Args)]
pub(crate) struct CurveArgs {
    /// Requests under one client signature
    #[arg(long, value_name = "K", default_value_t = 64)]
    bundle: u32,
    /// Requests of each loaded cluster
    #[arg(long, value_name = "COUNT", default_value_t = 100_000)]
    requests: u64,
    /// How long each stage is measured before
    #[arg(long, value_name = "TIME", default_value = "300ms", value_parser = names::duration)]
    stage: Duration,
    /// Where to write it
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where to write it as a page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Runs `trireme bench curve`.
pub(crate) fn curve(args: &CurveArgs) -> Result<ExitCode> {
    ensure!(
        (1..=1_024).contains(&args.bundle) && args.requests > 0,
        "--bundle from 1 to 1024, --requests from 1"
    );
    eprintln!("the stages alone");
    let model = curve::model(&stages_alone(args.stage)?);
    let curve = draw(&model, args.bundle, args.requests);
    if let Some(path) = &args.json {
        write(path, &(serde_json::to_string_pretty(&curve)? + "\n"))?;
    }
    if let Some(path) = &args.html {
        write(path, &page(&curve))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Measures the curve, a line for each point as it comes.
pub(crate) fn draw(model: &curve::Model, bundle: u32, requests: u64) -> Curve {
    say!(
        "{:>3}  {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}  {:>9} {:>9} {:>9}",
        "n",
        "us/op",
        "clients",
        "members",
        "core",
        "transport",
        "rest",
        "ops/s",
        "idle p50",
        "us/op"
    );
    let curve = curve::measure(model, bundle, requests, |point| say!("{}", line(point)));
    for (lead, when) in [
        (curve.signatures_lead_loaded, "loaded"),
        (curve.signatures_lead_idle, "one bundle at a time"),
    ] {
        match lead {
            Some(n) => say!("{when}: from n = {n} on members' signatures cost more than everything else together"),
            None => say!("{when}: members' signatures cost less than everything else together, up to n = 31"),
        }
    }
    curve
}

fn line(point: &Point) -> String {
    let costs = &point.loaded.costs_us;
    let members = costs.signing + costs.checking;
    format!(
        "{:>3}  {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>9.2}  {:>9.0} {:>9.0} {:>9.1}",
        point.n,
        costs.sum(),
        costs.client_signatures,
        members,
        costs.core,
        costs.transport,
        costs.codec + costs.log + costs.execute,
        point.loaded.ops_s,
        point.idle.p50_us,
        point.idle.costs_us.sum()
    )
}

/// The curve as one page: bars of the costs by kind, and the figures.
pub(crate) fn page(curve: &Curve) -> String {
    const COLOURS: [(&str, &str); 5] = [
        ("client signatures", "#d08"),
        ("members' signatures", "#e60"),
        ("core", "#27c"),
        ("transport", "#2a6"),
        ("rest", "#888"),
    ];
    let parts = |point: &Point| {
        let costs = &point.loaded.costs_us;
        let rest = costs.codec + costs.log + costs.execute;
        [
            costs.client_signatures,
            costs.signing + costs.checking,
            costs.core,
            costs.transport,
            rest,
        ]
    };
    let most = curve
        .points
        .iter()
        .map(|point| parts(point).iter().sum::<f64>())
        .fold(1e-9, f64::max);
    let mut out = String::from(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=color-scheme content=\"light dark\"><title>Trireme: cost \
         against members</title><style>body{font:15px sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
         td,th{padding:.2rem .7rem;text-align:right}</style><h1>Cost and latency against the number of members</h1>",
    );
    let _ = write!(
        out,
        "<p>{} requests of {} bytes under one client signature. Encoding, checking, signatures and core ran here, on \
         simulated time; sockets, flushes and execution stand in it with what they cost alone on this machine; every \
         replica has a core of its own; {} us from one to another.</p><svg viewBox='0 0 640 320' width='100%'>",
        curve.load.bundle, curve.load.payload_bytes, curve.model.network_us
    );
    for (index, point) in curve.points.iter().enumerate() {
        let mut top = 290.0;
        let left = 20 + index * 100;
        for (part, (name, colour)) in parts(point).iter().zip(COLOURS) {
            let height = part / most * 260.0;
            top -= height;
            let _ = write!(
                out,
                "<rect x={left} y={top:.1} width=70 height={height:.1} fill='{colour}'><title>n = {}, {name}: {part:.2} us/op</title></rect>",
                point.n
            );
        }
        let _ = write!(
            out,
            "<text x={} y=308 text-anchor=middle fill=currentColor font-size=13>n = {}</text>",
            left + 35,
            point.n
        );
    }
    out.push_str("</svg><p>");
    for (name, colour) in COLOURS {
        let _ = write!(out, "<span style='color:{colour}'>&#9632;</span> {name} &nbsp; ");
    }
    out.push_str("(us of CPU for each operation, all replicas together)</p><table><tr><th>n<th>us/op<th>of it signatures<th>ops/s<th>p50 loaded, us<th>p50 of one bundle at a time, us<th>us/op then<th>frames/op<th>bytes/op");
    for point in &curve.points {
        let costs = &point.loaded.costs_us;
        let _ = write!(
            out,
            "<tr><td>{}<td>{:.2}<td>{:.0} %<td>{:.0}<td>{:.0}<td>{:.0}<td>{:.1}<td>{:.3}<td>{:.0}",
            point.n,
            costs.sum(),
            costs.signatures() / costs.sum().max(1e-9) * 100.0,
            point.loaded.ops_s,
            point.loaded.p50_us,
            point.idle.p50_us,
            point.idle.costs_us.sum(),
            point.loaded.frames,
            point.loaded.bytes
        );
    }
    out.push_str("</table></html>\n");
    out
}
