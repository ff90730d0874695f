//! Lays out what `top` shows, in lines.

use serde_json::Value;

use super::data::{Data, STAGES, float, number};
use crate::health::Health;

/// Columns of the small chart.
const CHART: usize = 60;
/// Events shown.
const EVENTS: usize = 12;

/// How a text is drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ink {
    Plain,
    Quiet,
    Bold,
    Good,
    Warn,
    Bad,
}

/// Draws with colours, or without for a file.
#[derive(Clone, Copy)]
struct Pen {
    colours: bool,
}

impl Pen {
    fn draw(self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Plain => return text.to_owned(),
            Ink::Quiet => "2",
            Ink::Bold => "1",
            Ink::Good => "32",
            Ink::Warn => "33",
            Ink::Bad => "1;31",
        };
        match self.colours {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    /// Rows of cells under heads; each column as wide as its widest cell, numbers to the right.
    fn table(self, heads: &[&str], rows: &[(Ink, Vec<String>)]) -> Vec<String> {
        let width = |column: usize| {
            let cells = rows
                .iter()
                .filter_map(|(_, row)| row.get(column))
                .map(|cell| cell.chars().count());
            cells.chain([heads[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..heads.len()).map(width).collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| -> String {
            let cells =
                cells.zip(&widths).map(
                    |(cell, width)| match cell.starts_with(|c: char| c.is_ascii_alphabetic()) {
                        true => format!("{cell:<width$}"),
                        false => format!("{cell:>width$}"),
                    },
                );
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let mut lines = vec![self.draw(Ink::Quiet, &line(&mut heads.iter().copied()))];
        for (ink, row) in rows {
            lines.push(self.draw(*ink, &line(&mut row.iter().map(String::as_str))));
        }
        lines
    }
}

/// The whole screen.
pub(super) fn screen(data: &Data, colours: bool) -> Vec<String> {
    let pen = Pen { colours };
    let mut lines = header(pen, data);
    lines.push(chart(data));
    let sections = [
        replicas(pen, data),
        stages(pen, data),
        round_trips(pen, data),
        events(pen, data),
    ];
    for section in sections {
        lines.push(String::new());
        lines.extend(section);
    }
    lines
}

fn header(pen: Pen, data: &Data) -> Vec<String> {
    let health = data.health();
    let ink = match health {
        Health::Healthy => Ink::Good,
        Health::Degraded => Ink::Warn,
        Health::Unavailable | Health::Alarmed => Ink::Bad,
    };
    let params = &data.cluster.params;
    let about = format!(
        "cluster {}, {} replicas, stands {} Byzantine; Ctrl-C ends",
        data.cluster.fingerprint().short(),
        params.n,
        params.f
    );
    vec![
        format!(
            "{}  {}",
            pen.draw(Ink::Bold, &data.cluster.name),
            pen.draw(ink, &health.sentence(&data.now))
        ),
        pen.draw(Ink::Quiet, &about),
    ]
}

/// Throughput over the last minute or two.
fn chart(data: &Data) -> String {
    const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let now = data.throughput.back().copied().unwrap_or(0);
    let peak = data.throughput.iter().max().copied().unwrap_or(0);
    let skipped = data.throughput.len().saturating_sub(CHART);
    let step = |rate: &u64| STEPS[usize::try_from(rate * 7 / peak.max(1)).unwrap_or(7).min(7)];
    let bars: String = data.throughput.iter().skip(skipped).map(step).collect();
    format!("{bars}  {now} operations/s now, {peak} at most")
}

fn replicas(pen: Pen, data: &Data) -> Vec<String> {
    let heads = [
        "replica",
        "region",
        "state",
        "view",
        "committed",
        "lag",
        "executed",
        "ops/s",
        "CPU",
        "fast path",
        "clients",
    ];
    let top = data.top_slot();
    let row = |(member, answer): (usize, &anyhow::Result<Value>)| match answer {
        Err(error) => (Ink::Bad, vec![member.to_string(), String::new(), format!("{error:#}")]),
        Ok(status) => replica(member, status, top, data),
    };
    let rows: Vec<_> = data.now.iter().enumerate().map(row).collect();
    // A long reason does not widen the columns of the others.
    let (down, up): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(_, row)| row.len() == 3);
    let mut lines = pen.table(&heads, &up);
    for (ink, row) in down {
        lines.push(pen.draw(ink, &format!("{:>7}  {}", row[0], row[2])));
    }
    lines
}

fn replica(member: usize, status: &Value, top: u64, data: &Data) -> (Ink, Vec<String>) {
    let (state, ink) = if status["halted"] == true {
        ("halted", Ink::Bad)
    } else if status["log"]["full"] == true {
        ("log full", Ink::Bad)
    } else if status["ready"] != true {
        ("no quorum", Ink::Bad)
    } else if status["leading"] == true {
        ("leader", Ink::Good)
    } else {
        ("follows", Ink::Plain)
    };
    let rate = |path: &str| data.per_second(member, path);
    let fast = number(status, "/commits/fast");
    let missed =
        ["late_votes", "member_away", "view_change"].map(|reason| number(status, &format!("/commits/{reason}")));
    let share = match fast + missed.iter().sum::<u64>() {
        0 => "-".to_owned(),
        all => format!("{:.0} %", 100.0 * float(fast) / float(all)),
    };
    let cells = vec![
        member.to_string(),
        status["region"].as_str().unwrap_or("-").to_owned(),
        state.to_owned(),
        number(status, "/view").to_string(),
        number(status, "/committed_slot").to_string(),
        top.saturating_sub(number(status, "/committed_slot")).to_string(),
        number(status, "/executed_slot").to_string(),
        rate("/execution/fresh").map_or("-".to_owned(), |rate| format!("{rate:.0}")),
        rate("/cpu_us/process").map_or("-".to_owned(), |us| format!("{:.0} %", us / 1e4)),
        share,
        number(status, "/clients/connections").to_string(),
    ];
    (ink, cells)
}

fn stages(pen: Pen, data: &Data) -> Vec<String> {
    let ms = |us: Option<f64>| us.map_or("-".to_owned(), |us| format!("{:.2}", us / 1_000.0));
    let row = |stage: &&'static str| {
        let spread = data.stage(stage);
        let ink = if matches!(*stage, "total" | "log") {
            Ink::Quiet
        } else {
            Ink::Plain
        };
        let cells = vec![
            (*stage).to_owned(),
            spread.count.to_string(),
            ms(spread.mean()),
            ms(spread.quantile(0.5)),
            ms(spread.quantile(0.9)),
            ms(spread.quantile(0.99)),
        ];
        (ink, cells)
    };
    let rows: Vec<_> = STAGES.iter().map(row).collect();
    pen.table(&["latency budget", "counted", "mean ms", "p50", "p90", "p99"], &rows)
}

fn round_trips(pen: Pen, data: &Data) -> Vec<String> {
    let n = data.now.len();
    let cell = |from: usize, to: usize| -> String {
        let Some(Ok(status)) = data.now.get(from) else {
            return "-".to_owned();
        };
        let mut peers = status["peers"].as_array().into_iter().flatten();
        match peers.find(|peer| number(peer, "/member") == to as u64) {
            _ if from == to => ".".to_owned(),
            Some(peer) if peer["connected"] == true => format!("{:.1}", float(number(peer, "/rtt_us")) / 1_000.0),
            Some(_) => "down".to_owned(),
            None => "-".to_owned(),
        }
    };
    let row = |from: usize| {
        let cells = std::iter::once(from.to_string()).chain((0..n).map(|to| cell(from, to)));
        (Ink::Plain, cells.collect::<Vec<_>>())
    };
    let members: Vec<String> = (0..n).map(|to| format!("to {to}")).collect();
    let heads: Vec<&str> = std::iter::once("round trips, ms")
        .chain(members.iter().map(String::as_str))
        .collect();
    pen.table(&heads, &(0..n).map(row).collect::<Vec<_>>())
}

fn events(pen: Pen, data: &Data) -> Vec<String> {
    let line = |(at, member, event): (u64, usize, &Value)| {
        let ink = match event["weight"].as_str() {
            Some("error") => Ink::Bad,
            Some("warning") => Ink::Warn,
            _ => Ink::Plain,
        };
        let seconds = at / 1_000_000 % 86_400;
        let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        let when = format!("{hours:02}:{minutes:02}:{seconds:02}Z replica {member}");
        let text = event["text"].as_str().unwrap_or_default();
        format!("{}  {}", pen.draw(Ink::Quiet, &when), pen.draw(ink, text))
    };
    data.events().into_iter().take(EVENTS).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(member: u64, at: u64, slot: u64) -> Value {
        json!({
            "member": member, "region": "here", "ready": true, "halted": false, "leading": member == 0, "view": 3,
            "committed_slot": slot, "executed_slot": slot, "uptime_us": at, "cpu_us": { "process": at / 4 },
            "execution": { "fresh": 500 * at / 1_000_000 }, "commits": { "fast": 30, "late_votes": 10 },
            "clients": { "connections": 7 }, "log": { "full": false },
            "stages": { "total": {
                "count": at / 1_000_000 * 10, "sum_us": at / 50, "le_us": [1_000, 3_000],
                "at_or_below": [0, at / 1_000_000 * 10],
            } },
            "peers": [{ "member": 1 - member, "connected": true, "rtt_us": 12_300 }],
            "events": [{ "wall_us": 3_661_000_000_u64, "weight": "warning", "text": "view 2 left for 3" }],
        })
    }

    fn shown(colours: bool) -> String {
        let dir = tempfile::tempdir().unwrap();
        let mut data = Data::new(crate::init::for_tests(dir.path(), 4));
        data.take(vec![Ok(status(0, 1_000_000, 90)), Ok(status(1, 1_000_000, 80))]);
        data.take(vec![
            Ok(status(0, 2_000_000, 100)),
            Ok(status(1, 2_000_000, 88)),
            Err(anyhow::anyhow!("gone")),
        ]);
        screen(&data, colours).join("\n")
    }

    #[test]
    fn the_screen_shows_what_the_replicas_say() {
        let screen = shown(false);
        let line = |start: &str| {
            let found = screen.lines().find(|line| line.trim_start().starts_with(start));
            found
                .unwrap_or_else(|| panic!("{start} is not in\n{screen}"))
                .to_owned()
        };
        assert!(screen.contains("degraded: 2 of 3 replicas ready"), "{screen}");
        assert!(screen.contains("500 operations/s now"), "{screen}");
        assert!(
            line("0  here").contains("leader") && line("0  here").contains("75 %"),
            "{screen}"
        );
        let second: Vec<String> = line("1  here").split_whitespace().map(str::to_owned).collect();
        assert_eq!(second[2..7], ["follows", "3", "88", "12", "88"], "it lags by 12 slots");
        assert!(line("2  gone").ends_with("gone"));
        // Of two replicas: 20 in all, 2 ms in the mean, the half of them below the middle of 1 to 3 ms.
        let total: Vec<String> = line("total").split_whitespace().map(str::to_owned).collect();
        assert_eq!(total, ["total", "20", "2.00", "2.00", "2.80", "2.98"]);
        assert!(screen.contains("12.3"), "{screen}");
        assert!(screen.contains("01:01:01Z replica 0  view 2 left for 3"), "{screen}");
        assert!(!screen.contains('\x1b'), "no colours in a file");
        assert!(shown(true).contains("\x1b[33m"), "but in a terminal");
    }
}
