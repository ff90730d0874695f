//! The replicas, a row each: as many columns as there is room for.

use anyhow::Result;
use ratatui_core::style::Style;
use ratatui_core::text::Line;
use serde_json::Value;

use super::data::{Data, float, number};
use super::view::{BAD, GOOD, PLAIN, WARN, table};

/// Columns that a narrow terminal does without, by their place.
const DISPENSABLE: [usize; 4] = [6, 10, 9, 1];
const HEADS: [&str; 11] = [
    "<replica",
    "<region",
    "<state",
    "view",
    "committed",
    "lag",
    "executed",
    "ops/s",
    "CPU",
    "fast path",
    "clients",
];

pub(super) fn lines(data: &Data, width: u16) -> Vec<Line<'static>> {
    let top = data.top_slot();
    let mut heads: Vec<&str> = HEADS.to_vec();
    let mut up: Vec<(Style, Vec<String>)> = Vec::new();
    let mut down = Vec::new();
    for (member, answer) in data.now.iter().enumerate() {
        match answer {
            Ok(status) => up.push(row(member, status, top, data)),
            // A long reason does not widen the columns of the others.
            Err(error) => down.push(Line::styled(format!("{member:<7}  {error:#}"), BAD)),
        }
    }
    let mut lines = table(&heads, up.clone());
    for column in DISPENSABLE {
        if lines.iter().all(|line| line.width() <= usize::from(width)) {
            break;
        }
        let name = HEADS[column];
        let Some(at) = heads.iter().position(|head| *head == name) else {
            continue;
        };
        heads.remove(at);
        for (_, row) in &mut up {
            row.remove(at);
        }
        lines = table(&heads, up.clone());
    }
    lines.extend(down);
    lines
}

fn row(member: usize, status: &Value, top: u64, data: &Data) -> (Style, Vec<String>) {
    let (state, style) = state(status);
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
    (style, cells)
}

/// One word for how a replica is.
fn state(status: &Value) -> (&'static str, Style) {
    if status["halted"] == true {
        ("halted", BAD)
    } else if status["log"]["full"] == true {
        ("log full", BAD)
    } else if status["quarantined"] == true {
        ("quarantine", WARN)
    } else if status["ready"] != true {
        ("no quorum", BAD)
    } else if status["leading"] == true {
        ("leader", GOOD)
    } else {
        ("follows", PLAIN)
    }
}

/// Statuses of replicas that answered, with their numbers.
pub(super) fn answered(data: &Data) -> impl Iterator<Item = (usize, &Value)> {
    let answers = data.now.iter().enumerate();
    answers.filter_map(|(member, answer): (usize, &Result<Value>)| Some((member, answer.as_ref().ok()?)))
}
