//! Round trips, room in links and budgets, and what happened.

use ratatui_core::text::{Line, Span};
use serde_json::Value;

use super::data::{Data, float, number};
use super::replicas::answered;
use super::view::{BAD, PLAIN, QUIET, WARN, table};

/// Rows of links and budgets.
const FULLEST: usize = 6;
/// Full enough to say so.
const NEARLY: f64 = 0.8;

/// Round trips in milliseconds from each replica (row) to each (column).
pub(super) fn round_trips(data: &Data) -> Vec<Line<'static>> {
    let n = data.now.len();
    let cell = |from: usize, to: usize| -> String {
        let Some(status) = data.status(from) else {
            return "-".to_owned();
        };
        let mut peers = status["peers"].as_array().into_iter().flatten();
        match peers.find(|peer| number(peer, "/member") == to as u64) {
            _ if from == to => ".".to_owned(),
            Some(peer) if peer["connected"] == true => format!("{:.1}", float(number(peer, "/rtt_us")) / 1e3),
            Some(_) => "down".to_owned(),
            None => "-".to_owned(),
        }
    };
    let row = |from: usize| {
        let cells = std::iter::once(from.to_string()).chain((0..n).map(|to| cell(from, to)));
        let cells: Vec<String> = cells.collect();
        let style = if cells.iter().any(|cell| cell == "down") {
            WARN
        } else {
            PLAIN
        };
        (style, cells)
    };
    let members: Vec<String> = (0..n).map(|to| format!("to {to}")).collect();
    let heads: Vec<&str> = std::iter::once("ms from")
        .chain(members.iter().map(String::as_str))
        .collect();
    table(&heads, (0..n).map(row).collect())
}

/// The fullest links and budgets of memory.
pub(super) fn room(data: &Data) -> Vec<Line<'static>> {
    let mut rows: Vec<(f64, u64, Vec<String>)> = Vec::new();
    for (member, status) in answered(data) {
        for link in status["links"].as_array().into_iter().flatten() {
            let share = |used: &str, limit: &str| float(number(link, used)) / float(number(link, limit).max(1));
            let full = share("/held", "/depth").max(share("/bytes", "/limit_bytes"));
            let name = format!("link {}", link["name"].as_str().unwrap_or("-"));
            rows.push((
                full,
                number(link, "/shed"),
                cells(member, &name, full, number(link, "/shed")),
            ));
        }
        for (name, used, limit) in [
            ("client intake", "/clients/intake_bytes", "/clients/intake_limit_bytes"),
            ("core intake", "/held/intake_bytes", "/windows/core_intake_bytes"),
            ("largest lane", "/held/lane_bytes", "/windows/lane_bytes"),
        ] {
            let full = float(number(status, used)) / float(number(status, limit).max(1));
            rows.push((full, 0, cells(member, &format!("memory, {name}"), full, 0)));
        }
    }
    rows.sort_by(|a, b| (b.1, b.0).partial_cmp(&(a.1, a.0)).unwrap_or(std::cmp::Ordering::Equal));
    let style = |full: f64, shed: u64| match () {
        () if full > NEARLY => BAD,
        () if shed > 0 => WARN,
        () => PLAIN,
    };
    let rows = rows.into_iter().take(FULLEST);
    let rows = rows.map(|(full, shed, cells)| (style(full, shed), cells)).collect();
    table(&["replica", "<the fullest", "full", "turned away"], rows)
}

fn cells(member: usize, name: &str, full: f64, shed: u64) -> Vec<String> {
    vec![
        member.to_string(),
        name.to_owned(),
        format!("{:.0} %", 100.0 * full),
        shed.to_string(),
    ]
}

/// What happened, newest first.
pub(super) fn events(data: &Data) -> Vec<Line<'static>> {
    let line = |(at, member, event): (u64, usize, &Value)| {
        let style = match event["weight"].as_str() {
            Some("error") => BAD,
            Some("warning") => WARN,
            _ => PLAIN,
        };
        let seconds = at / 1_000_000 % 86_400;
        let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        let when = format!("{hours:02}:{minutes:02}:{seconds:02}Z replica {member}  ");
        let text = event["text"].as_str().unwrap_or_default().to_owned();
        Line::from(vec![Span::styled(when, QUIET), Span::styled(text, style)])
    };
    let lines: Vec<_> = data.events().into_iter().map(line).collect();
    if lines.is_empty() {
        return vec![Line::styled("nothing happened yet", QUIET)];
    }
    lines
}
