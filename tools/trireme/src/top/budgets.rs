//! The latency budget and the signature budget, over the last half minute or more.

use ratatui_core::text::{Line, Span};

use super::data::{Data, Spread, WAY, float};
use super::view::{MARK, PLAIN, QUIET, table};

/// Kinds of signed statements of members, as the status names them, and what they are.
const KINDS: [(&str, &str); 6] = [
    ("header", "batch headers"),
    ("ack", "acks"),
    ("block", "blocks"),
    ("vote", "votes"),
    ("timeout", "timeouts"),
    ("state", "state votes"),
];

/// Milliseconds for people.
pub(super) fn ms(us: f64) -> String {
    match us {
        us if us >= 100_000.0 => format!("{:.0}", us / 1e3),
        us if us >= 10_000.0 => format!("{:.1}", us / 1e3),
        us => format!("{:.2}", us / 1e3),
    }
}

/// Where the time of an operation goes, with bars.
pub(super) fn latency(data: &Data, width: u16) -> Vec<Line<'static>> {
    let time = |us: Option<f64>| us.map_or("-".to_owned(), ms);
    let spreads = WAY.map(|stage| data.stage(stage));
    let whole: f64 = spreads.iter().filter_map(Spread::mean).sum();
    let row = |name: &str, spread: &Spread, share: Option<f64>| {
        vec![
            name.to_owned(),
            share.map_or(String::new(), |share| format!("{:.0} %", 100.0 * share)),
            time(spread.mean()),
            time(spread.quantile(0.5)),
            time(spread.quantile(0.9)),
            time(spread.quantile(0.99)),
        ]
    };
    let share = |spread: &Spread| Some(spread.mean()? / whole.max(1e-9));
    let mut rows: Vec<_> = WAY
        .iter()
        .zip(&spreads)
        .map(|(stage, spread)| (PLAIN, row(stage, spread, share(spread))))
        .collect();
    rows.push((QUIET, row("read to executed", &data.stage("total"), None)));
    rows.push((QUIET, row("append to durable", &data.stage("log"), None)));
    let heads = ["<stage", "share", "mean ms", "p50", "p90", "p99"];
    let mut lines = table(&heads, rows);
    let used = lines.iter().map(Line::width).max().unwrap_or(0);
    let room = usize::from(width).saturating_sub(used + 2).min(40);
    if room >= 8 {
        for (line, spread) in lines.iter_mut().skip(1).zip(&spreads) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a bar for people"
            )]
            let long = (share(spread).unwrap_or(0.0) * room as f64).round() as usize;
            line.push_span(Span::styled(format!("  {}", "█".repeat(long)), MARK));
        }
    }
    lines
}

/// Signatures per operation, all replicas together.
pub(super) fn signatures(data: &Data, _width: u16) -> Vec<Line<'static>> {
    let operations = data.operations();
    if operations == 0 {
        return vec![Line::styled("no operations yet", QUIET)];
    }
    let per = |count: u64| format!("{:.2}", float(count) / float(operations));
    let made = |path: &str| per(data.growth(path));
    let mut rows: Vec<_> = KINDS
        .iter()
        .map(|(key, name)| {
            let of = |what: &str| made(&format!("/member_signatures/by_kind/{key}/{what}"));
            (PLAIN, vec![(*name).to_owned(), of("made"), of("verified")])
        })
        .collect();
    let all = ["made", "verified"].map(|what| made(&format!("/member_signatures/{what}")));
    let [all_made, all_verified] = all;
    rows.push((QUIET, vec!["members, together".to_owned(), all_made, all_verified]));
    let witnessed = data.growth("/client_signatures/witnessed");
    let entry = data.growth("/client_signatures/verified").saturating_sub(witnessed);
    rows.push((PLAIN, vec!["clients, on entry".to_owned(), String::new(), per(entry)]));
    rows.push((
        PLAIN,
        vec!["clients, as witness".to_owned(), String::new(), per(witnessed)],
    ));
    table(&["<per operation", "made", "checked"], rows)
}
