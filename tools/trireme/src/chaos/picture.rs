//! The picture of a run: throughput, 99th percentile and faults over time, as SVG.

use std::fmt::Write as _;

use crate::chaos::fault::Kind;
use crate::chaos::report::Entry;
use crate::chaos::timeline::Second;

const WIDTH: f64 = 1_120.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;
const PANEL: f64 = 170.0;
const GAP: f64 = 46.0;
const TOP: f64 = 56.0;
const ROW: f64 = 22.0;
const LEGEND_ROW: f64 = 18.0;
/// Kinds in one row of the legend.
const LEGEND_KINDS: usize = 8;

/// Where a panel stands, and how its values become heights.
struct Panel {
    top: f64,
    most: f64,
    /// Logarithmic from 1 on.
    logarithmic: bool,
}

impl Panel {
    fn y(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            value.max(1.0).log10() / self.most.max(10.0).log10()
        } else {
            value / self.most
        };
        self.top + PANEL * (1.0 - share.clamp(0.0, 1.0))
    }

    /// Values for lines across.
    fn marks(&self) -> Vec<f64> {
        if self.logarithmic {
            let decades = self.most.max(10.0).log10().ceil();
            let mut marks = vec![1.0_f64];
            while marks.len() <= 6 && marks[marks.len() - 1].log10() < decades {
                marks.push(marks[marks.len() - 1] * 10.0);
            }
            marks
        } else {
            (0..=4).map(|part| self.most * f64::from(part) / 4.0).collect()
        }
    }
}

fn colour(kind: Kind) -> &'static str {
    match kind {
        Kind::Kill => "#c0392b",
        Kind::Restart => "#e08e79",
        Kind::Damage => "#7b241c",
        Kind::Snapshot => "#af601a",
        Kind::LogLost => "#512e5f",
        Kind::Restore => "#6c7a89",
        Kind::DiskFull => "#145a32",
        Kind::Stop => "#8e44ad",
        Kind::Partition => "#2c3e50",
        Kind::OneWay => "#2980b9",
        Kind::Partial => "#16a085",
        Kind::Slow => "#d4a017",
    }
}

/// A round number that is not below.
fn round_up(value: f64) -> f64 {
    let step = 10f64.powf(value.max(1.0).log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0]
        .iter()
        .map(|factor| factor * step)
        .find(|round| *round >= value)
        .unwrap_or(value)
}

/// The whole picture.
pub(super) fn svg(title: &str, seconds: &[Second], faults: &[Entry], replicas: u16) -> String {
    let last = seconds.last().map_or(1.0, |second| f64::from(second.second));
    let end = faults
        .iter()
        .map(|fault| fault.end_s + fault.caught_up_s)
        .fold(last, f64::max)
        .max(1.0);
    let x = |time: f64| LEFT + (WIDTH - LEFT - RIGHT) * time / end;
    let most = |of: fn(&Second) -> f64| round_up(seconds.iter().map(of).fold(1.0, f64::max));
    let throughput = Panel {
        top: TOP,
        most: most(|second| second.ops_s),
        logarithmic: false,
    };
    let latency = Panel {
        top: TOP + PANEL + GAP,
        most: 10f64.powf(most(|second| second.p99_ms).max(10.0).log10().ceil()),
        logarithmic: true,
    };
    let rows = TOP + 2.0 * (PANEL + GAP);
    let height = rows + ROW * f64::from(replicas) + 70.0 + LEGEND_ROW;
    let mut out = String::new();
    let mut put = |text: String| out.push_str(&text);
    put(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\"><rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"15\">{title}</text>\n"
    ));
    for fault in faults {
        let (from, to) = (x(fault.begin_s), x(fault.end_s).max(x(fault.begin_s) + 1.0));
        let strength = if fault.leader { 0.28 } else { 0.12 };
        put(format!(
            "<rect x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\" opacity=\"{strength}\"/>\n",
            to - from,
            2.0 * PANEL + GAP,
            colour(fault.kind)
        ));
    }
    put(panel(&throughput, "acknowledged requests a second"));
    put(panel(&latency, "99th percentile of latency in the second, ms"));
    put(line(&throughput, "#1f618d", seconds, &x, |second| second.ops_s));
    put(line(&latency, "#a04000", seconds, &x, |second| second.p99_ms));
    put(rows_of(rows, faults, replicas, &x));
    put(time_axis(rows + ROW * f64::from(replicas), end, &x));
    put(legend(height - 14.0 - LEGEND_ROW));
    out + "</svg>\n"
}

fn panel(panel: &Panel, name: &str) -> String {
    let mut out = format!(
        "<text x=\"{LEFT}\" y=\"{:.1}\" fill=\"#333\">{name}</text>\n",
        panel.top - 8.0
    );
    for mark in panel.marks() {
        let y = panel.y(mark);
        writeln!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#555\">{mark}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            y + 4.0
        )
        .expect("writing to a String does not fail");
    }
    out
}

fn line(panel: &Panel, colour: &str, seconds: &[Second], x: &impl Fn(f64) -> f64, of: fn(&Second) -> f64) -> String {
    // A second's value stands in its middle.
    let point = |second: &Second| format!("{:.1},{:.1}", x(f64::from(second.second) - 0.5), panel.y(of(second)));
    // A second without any acknowledgement has no latency: the line is broken there.
    let runs = seconds.split(|second| panel.logarithmic && second.ops_s == 0.0);
    let run = |run: &[Second]| {
        let points: Vec<String> = run.iter().map(point).collect();
        format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"/>\n",
            points.join(" ")
        )
    };
    runs.map(run).collect()
}

/// A row for each replica: faults, and how long it took to catch up (hollow).
fn rows_of(top: f64, faults: &[Entry], replicas: u16, x: &impl Fn(f64) -> f64) -> String {
    let mut out = format!(
        "<text x=\"{LEFT}\" y=\"{:.1}\" fill=\"#333\">faults, and catching up after them</text>\n",
        top - 8.0
    );
    for replica in 0..replicas {
        let y = top + ROW * f64::from(replica);
        out.push_str(&format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#555\">replica {replica}</text>\n",
            LEFT - 8.0,
            y + 14.0
        ));
        for fault in faults.iter().filter(|fault| fault.replica == replica) {
            let (from, to) = (x(fault.begin_s), x(fault.end_s).max(x(fault.begin_s) + 1.5));
            let after = x(fault.end_s + fault.caught_up_s).max(to);
            let (fill, leader) = (colour(fault.kind), if fault.leader { ", leader" } else { "" });
            out.push_str(&format!(
                "<rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{fill}\"><title>{}{leader}: {} s to \
                 {} s</title></rect><rect x=\"{to:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"none\" \
                 stroke=\"{fill}\"/>\n",
                y + 3.0,
                to - from,
                ROW - 6.0,
                fault.kind.name(),
                fault.begin_s,
                fault.end_s,
                y + 6.0,
                after - to,
                ROW - 12.0
            ));
        }
    }
    out
}

fn time_axis(y: f64, end: f64, x: &impl Fn(f64) -> f64) -> String {
    let step = round_up(end / 12.0);
    let mut out = String::new();
    let mut time = 0.0;
    while time <= end {
        out.push_str(&format!(
            "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{TOP}\" y2=\"{y:.1}\" stroke=\"#eee\"/><text x=\"{0:.1}\" y=\"{1:.1}\" \
             text-anchor=\"middle\" fill=\"#555\">{time} s</text>\n",
            x(time),
            y + 18.0
        ));
        time += step;
    }
    out
}

fn legend(y: f64) -> String {
    use clap::ValueEnum as _;
    let mut out = String::new();
    let mut at = (LEFT, y);
    for (index, kind) in Kind::value_variants().iter().enumerate() {
        if index > 0 && index % LEGEND_KINDS == 0 {
            at = (LEFT, at.1 + LEGEND_ROW);
        }
        let (x, y) = at;
        out.push_str(&format!(
            "<rect x=\"{x}\" y=\"{:.1}\" width=\"12\" height=\"12\" fill=\"{}\"/><text x=\"{:.1}\" y=\"{y}\" \
             fill=\"#333\">{}</text>\n",
            y - 10.0,
            colour(*kind),
            x + 17.0,
            kind.name()
        ));
        at.0 += 90.0;
    }
    let (x, y) = at;
    out + &format!("<text x=\"{x}\" y=\"{y}\" fill=\"#333\">darker: it was the leader</text>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_a_point_for_each_second_and_nothing_that_is_no_number() {
        let seconds: Vec<Second> = (1..=20)
            .map(|second| Second {
                second,
                ops_s: f64::from(second % 3) * 100.0,
                p99_ms: f64::from(second),
            })
            .collect();
        let text = svg("a run", &seconds, &[], 4);
        let points = text
            .split("points=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .unwrap();
        assert_eq!(points.split(' ').count(), 20);
        for text in [text, svg("nothing", &[], &[], 4)] {
            assert!(!text.contains("NaN") && !text.contains("inf") && text.ends_with("</svg>\n"));
        }
        assert_eq!((round_up(280.0), round_up(1.0), round_up(0.0)), (500.0, 1.0, 1.0));
    }
}
