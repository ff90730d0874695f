//! Latency by percentile, over time, and against throughput.

use hdrhistogram::Histogram;

use crate::plot::{COLOURS, Level, Plot, Series};
use crate::read::Run;
use crate::scale::Kind;

/// Most lines in one plot of percentiles: beyond, colours would repeat.
const MOST: usize = COLOURS;
/// Points of a curve for each halving of the distance to 100 %.
const POINTS_PER_HALF: u32 = 8;

/// The curve that HdrHistogram's plotter draws: quantile and milliseconds.
fn curve(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    if histogram.is_empty() {
        return Vec::new();
    }
    // Beyond one value in so many there is nothing to see.
    let last = 1.0 - 1.0 / histogram.len() as f64;
    histogram
        .iter_quantiles(POINTS_PER_HALF)
        .map(|at| (at.quantile_iterated_to().min(last), at.value_iterated_to() as f64 / 1e6))
        .collect()
}

/// Latency by percentile, of each run, or of the kinds of operations of a single one.
pub(crate) fn percentiles(runs: &[Run]) -> String {
    let mut lines: Vec<(String, &Histogram<u64>)> = Vec::new();
    for run in runs {
        lines.push((run.name.clone(), &run.latencies));
    }
    if let [run] = runs {
        lines[0].0 = "all operations".to_owned();
        lines.extend(run.kinds.iter().map(|(kind, histogram)| (kind.clone(), histogram)));
    }
    let series: Vec<Series> = lines
        .into_iter()
        .take(MOST)
        .enumerate()
        .map(|(colour, (name, histogram))| Series {
            name,
            colour,
            dashed: false,
            dots: false,
            points: curve(histogram),
        })
        .collect();
    let values = || {
        series
            .iter()
            .flat_map(|series| series.points.iter().map(|point| point.1))
    };
    let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    let kind = if most > 50.0 * least { Kind::Log } else { Kind::Linear };
    let floors = runs.iter().filter_map(|run| run.budget.as_ref()?.floor);
    let levels = floors.take(1).map(|us| Level {
        value: us / 1e3,
        text: "physical floor of the median".to_owned(),
    });
    let plot = Plot {
        x: ("percentile of operations".to_owned(), Kind::Percentile),
        y: ("latency (ms)".to_owned(), kind),
        height: 340.0,
        series,
        levels: levels.collect(),
    };
    plot.draw("Latency by percentile")
}

/// Throughput, and below it the median and the 99th percentile, second by second.
pub(crate) fn over_time(runs: &[Run]) -> String {
    type Value = fn(&crate::read::Second) -> f64;
    let series = |value: Value, name: &str, dashed: bool| -> Vec<Series> {
        runs.iter()
            .take(MOST)
            .enumerate()
            .map(|(colour, run)| Series {
                name: if runs.len() > 1 {
                    format!("{} {name}", run.name)
                } else {
                    name.to_owned()
                },
                colour,
                dashed,
                dots: run.seconds.len() < 40,
                points: run.seconds.iter().map(|second| (second.at_s, value(second))).collect(),
            })
            .collect()
    };
    let time = || {
        (
            "time since the beginning of the measured time (s)".to_owned(),
            Kind::Linear,
        )
    };
    let throughput = Plot {
        x: time(),
        y: ("operations/s".to_owned(), Kind::Linear),
        height: 220.0,
        series: series(|second| second.ops_s, "throughput", false),
        levels: Vec::new(),
    };
    let mut both = series(|second| second.p99_ms, "p99", false);
    both.extend(series(|second| second.p50_ms, "p50", true));
    let latency = Plot {
        x: time(),
        y: ("latency (ms)".to_owned(), Kind::Linear),
        height: 240.0,
        series: both,
        levels: Vec::new(),
    };
    throughput.draw("Throughput over time") + &latency.draw("Latency over time")
}

/// Latency against throughput: the steps of each sweep; runs without one are points of one more line.
pub(crate) fn against_throughput(runs: &[Run]) -> String {
    let mut series = Vec::new();
    let mut levels = Vec::new();
    for run in runs {
        let Some(sweep) = &run.sweep else { continue };
        if series.len() + 2 > 2 * MOST {
            break;
        }
        let colour = series.len() / 2;
        let mut steps: Vec<_> = sweep.steps.iter().collect();
        steps.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        let line = |name: &str, dashed, ms: fn(&trireme_load::LatencyUs) -> f64| Series {
            name: format!("{} {name}", run.name),
            colour,
            dashed,
            dots: true,
            points: steps
                .iter()
                .map(|step| (step.throughput_ops_s, ms(&step.latency_us)))
                .collect(),
        };
        series.push(line("p99", false, |latency| latency.p99 / 1e3));
        series.push(line("p50", true, |latency| latency.p50 / 1e3));
        for (bound, us) in sweep.slo.bounds_us() {
            levels.push(Level {
                value: us / 1e3,
                text: format!("objective: {bound}"),
            });
        }
    }
    if series.is_empty() {
        series = single_points(runs);
    }
    levels.dedup_by(|a, b| a.text == b.text && (a.value - b.value).abs() < 1e-9);
    let plot = Plot {
        x: ("acknowledged operations/s".to_owned(), Kind::Linear),
        y: ("latency (ms)".to_owned(), Kind::Log),
        height: 320.0,
        series,
        levels,
    };
    plot.draw("Latency against throughput")
}

/// Without a sweep, three runs or more make a curve, too.
fn single_points(runs: &[Run]) -> Vec<Series> {
    if runs.len() < 3 {
        return Vec::new();
    }
    let mut points: Vec<(f64, &Histogram<u64>)> = runs
        .iter()
        .filter_map(|run| Some((run.throughput_ops_s?, &run.latencies)))
        .collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let line = |name: &str, quantile, dashed| Series {
        name: name.to_owned(),
        colour: 0,
        dashed,
        dots: true,
        points: points
            .iter()
            .map(|(rate, histogram)| (*rate, histogram.value_at_quantile(quantile) as f64 / 1e6))
            .collect(),
    };
    vec![line("p99", 0.99, false), line("p50", 0.5, true)]
}
