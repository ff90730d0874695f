//! Where what stands on the screen. On a large terminal everything is there at once; on a small one the lower half shows
//! one panel, which keys choose.

use ratatui_core::buffer::Buffer;
use ratatui_core::layout::{Constraint, Layout, Rect};
use ratatui_core::style::{Color, Modifier, Style};
use ratatui_core::text::{Line, Span};
use ratatui_core::widgets::Widget as _;
use termion::event::Key;

use super::data::Data;
use super::{budgets, network, replicas};
use crate::attention::{self, Weight};
use crate::health::Health;

/// From here on the panels stand beside each other.
const WIDE: u16 = 120;
/// Sentences about replicas that are shown at most.
const SENTENCES: usize = 5;
/// Of a printed screen: events at most.
const PRINTED_EVENTS: u16 = 12;

pub(super) const PLAIN: Style = Style::new();
pub(super) const QUIET: Style = Style::new().add_modifier(Modifier::DIM);
pub(super) const HEAD: Style = Style::new().add_modifier(Modifier::BOLD);
pub(super) const GOOD: Style = Style::new().fg(Color::Green);
pub(super) const WARN: Style = Style::new().fg(Color::Yellow);
pub(super) const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
pub(super) const MARK: Style = Style::new().fg(Color::Cyan);

/// Panels of the lower half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Panel {
    /// The latency budget.
    #[default]
    Latency,
    /// The signature budget.
    Signatures,
    /// Round trips.
    RoundTrips,
    /// Links between stages and budgets of memory.
    Room,
    /// Events.
    Events,
}

impl Panel {
    const ALL: [Panel; 5] = [
        Panel::Latency,
        Panel::Signatures,
        Panel::RoundTrips,
        Panel::Room,
        Panel::Events,
    ];

    fn name(self) -> &'static str {
        match self {
            Panel::Latency => "latency",
            Panel::Signatures => "signatures",
            Panel::RoundTrips => "round trips",
            Panel::Room => "room",
            Panel::Events => "events",
        }
    }

    /// The panel after a key.
    pub(super) fn after(self, key: Key) -> Panel {
        let at = Self::ALL.iter().position(|panel| *panel == self).unwrap_or(0);
        let count = Self::ALL.len();
        match key {
            Key::Char('\t') | Key::Right => Self::ALL[(at + 1) % count],
            Key::BackTab | Key::Left => Self::ALL[(at + count - 1) % count],
            Key::Char(digit) => {
                let chosen = digit.to_digit(10).and_then(|digit| usize::try_from(digit).ok());
                let chosen = chosen.and_then(|digit| Self::ALL.get(digit.checked_sub(1)?));
                chosen.copied().unwrap_or(self)
            }
            _ => self,
        }
    }

    fn lines(self, data: &Data, width: u16) -> Vec<Line<'static>> {
        match self {
            Panel::Latency => budgets::latency(data, width),
            Panel::Signatures => budgets::signatures(data, width),
            Panel::RoundTrips => network::round_trips(data),
            Panel::Room => network::room(data),
            Panel::Events => network::events(data),
        }
    }
}

/// Draws everything.
pub(super) fn draw(data: &Data, panel: Panel, frozen: bool, area: Rect, buffer: &mut Buffer) {
    let mut top = header(data, frozen);
    top.extend(sentences(data));
    let table = replicas::lines(data, area.width);
    let heights = [height(&top), 3, height(&table) + 1, 0].map(Constraint::Length);
    let [top_area, chart_area, table_area, _] = Layout::vertical(heights).areas(area);
    put(&top, top_area, buffer);
    chart(data, chart_area, buffer);
    put(&table, table_area, buffer);
    let rest = Rect {
        y: table_area.bottom(),
        height: area.bottom().saturating_sub(table_area.bottom()),
        ..area
    };
    if area.width >= WIDE && rest.height >= 16 {
        beside(data, rest, buffer);
    } else {
        one(data, panel, rest, buffer);
    }
}

/// A screen as text, as high as it needs to be.
pub(super) fn text(data: &Data, width: u16) -> String {
    let area = Rect::new(0, 0, width.max(40), 200);
    let mut buffer = Buffer::empty(area);
    let mut lines = header(data, false);
    lines.extend(sentences(data));
    lines.push(rates(data));
    lines.push(Line::default());
    lines.extend(replicas::lines(data, width));
    for panel in Panel::ALL {
        lines.push(Line::default());
        lines.push(Line::styled(panel.name(), HEAD));
        let all = panel.lines(data, width);
        let most = if panel == Panel::Events {
            PRINTED_EVENTS.into()
        } else {
            all.len()
        };
        lines.extend(all.into_iter().take(most));
    }
    put(&lines, area, &mut buffer);
    let row = |y: u16| (0..area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    let shown = height(&lines).min(area.height);
    let rows: Vec<String> = (0..shown).map(|y| row(y).trim_end().to_owned()).collect();
    rows.join("\n") + "\n"
}

/// Everything at once: budgets on the left, network on the right, events below.
fn beside(data: &Data, area: Rect, buffer: &mut Buffer) {
    let width = area.width / 2 - 1;
    let column = |panels: [Panel; 2]| {
        let mut lines = Vec::new();
        for panel in panels {
            lines.push(Line::styled(panel.name(), HEAD));
            lines.extend(panel.lines(data, width));
            lines.push(Line::default());
        }
        lines
    };
    let (left, right) = (
        column([Panel::Latency, Panel::Signatures]),
        column([Panel::RoundTrips, Panel::Room]),
    );
    let high = height(&left).max(height(&right)).min(area.height);
    let column = Rect {
        width,
        height: high,
        ..area
    };
    put(&left, column, buffer);
    put(
        &right,
        Rect {
            x: area.x + width + 2,
            ..column
        },
        buffer,
    );
    let below = Rect {
        y: area.y + high,
        height: area.height - high,
        ..area
    };
    let mut events = vec![Line::styled(Panel::Events.name(), HEAD)];
    events.extend(Panel::Events.lines(data, area.width));
    put(&events, below, buffer);
}

/// The chosen panel, and events where room is left.
fn one(data: &Data, panel: Panel, area: Rect, buffer: &mut Buffer) {
    let tab = |(number, other): (usize, &Panel)| {
        let style = if *other == panel { HEAD.patch(MARK) } else { QUIET };
        Span::styled(format!("{number} {}  ", other.name()), style)
    };
    let tabs: Line<'_> = (1..).zip(&Panel::ALL).map(tab).collect();
    let mut lines = vec![tabs];
    lines.extend(panel.lines(data, area.width));
    if panel != Panel::Events && height(&lines) + 2 < area.height {
        lines.push(Line::default());
        lines.extend(Panel::Events.lines(data, area.width));
    }
    put(&lines, area, buffer);
}

fn header(data: &Data, frozen: bool) -> Vec<Line<'static>> {
    let health = data.health();
    let style = match health {
        Health::Healthy => GOOD,
        Health::Degraded => WARN,
        Health::Unavailable | Health::Alarmed => BAD,
    };
    let params = &data.cluster.params;
    let mut first = vec![
        Span::styled(data.cluster.name.clone(), HEAD),
        Span::raw("  "),
        Span::styled(health.sentence(&data.now), style),
    ];
    if frozen {
        first.push(Span::styled("  stands still", MARK));
    }
    let about = format!(
        "{}, n = {}, f = {} · q ends, space stops, tab or 1-5 turn the page",
        data.cluster.fingerprint().short(),
        params.n,
        params.f
    );
    vec![Line::from(first), Line::styled(about, QUIET)]
}

/// What somebody should know of the replicas.
fn sentences(data: &Data) -> Vec<Line<'static>> {
    let mut all: Vec<(Weight, String)> = Vec::new();
    for (member, answer) in data.now.iter().enumerate() {
        let of = answer.iter().flat_map(attention::of);
        all.extend(of.map(|(weight, text)| (weight, format!("replica {member} {text}"))));
    }
    all.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    let more = all.len().saturating_sub(SENTENCES);
    let line = |(weight, text): (Weight, String)| {
        let style = match weight {
            Weight::Note => MARK,
            Weight::Warning => WARN,
            Weight::Fault => BAD,
        };
        Line::styled(text, style)
    };
    let mut lines: Vec<Line<'_>> = all.into_iter().take(SENTENCES).map(line).collect();
    if more > 0 {
        lines.push(Line::styled(format!("and {more} more"), QUIET));
    }
    lines
}

/// Throughput over the last minutes, and the latency inside the cluster.
fn chart(data: &Data, area: Rect, buffer: &mut Buffer) {
    let [graph, caption] = Layout::vertical([Constraint::Length(2), Constraint::Length(1)]).areas(area);
    let skipped = data.throughput.len().saturating_sub(graph.width.into());
    let bars: Vec<u64> = data.throughput.iter().skip(skipped).copied().collect();
    put(&columns(&bars, graph.height), graph, buffer);
    put(&[rates(data)], caption, buffer);
}

/// Bars of one column each, in eighths of a row.
fn columns(bars: &[u64], rows: u16) -> Vec<Line<'static>> {
    const STEPS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let peak = bars.iter().max().copied().unwrap_or(0).max(1);
    let row = |row: u16| {
        let below = u64::from(rows - 1 - row) * 8;
        let step = |bar: &u64| {
            let eighths = (bar * 8 * u64::from(rows)).div_ceil(peak);
            STEPS[usize::try_from(eighths.saturating_sub(below).min(8)).unwrap_or(8)]
        };
        Line::styled(bars.iter().map(step).collect::<String>(), MARK)
    };
    (0..rows).map(row).collect()
}

fn rates(data: &Data) -> Line<'static> {
    let now = data.throughput.back().copied().unwrap_or(0);
    let peak = data.throughput.iter().max().copied().unwrap_or(0);
    let total = data.stage("total");
    let ms = |share| total.quantile(share).map_or("-".to_owned(), budgets::ms);
    Line::from(vec![
        Span::styled(format!("{now} operations/s"), HEAD),
        Span::styled(
            format!(
                " now, {peak} at most · inside the cluster p50 {} ms, p99 {} ms",
                ms(0.5),
                ms(0.99)
            ),
            QUIET,
        ),
    ])
}

fn put(lines: &[Line<'_>], area: Rect, buffer: &mut Buffer) {
    for (row, line) in area.rows().zip(lines) {
        line.render(row, buffer);
    }
}

fn height(lines: &[Line<'_>]) -> u16 {
    u16::try_from(lines.len()).unwrap_or(u16::MAX)
}

/// Rows of cells under heads; each column as wide as its widest cell. A head that begins with `<` has its column to the
/// left.
pub(super) fn table(heads: &[&str], rows: Vec<(Style, Vec<String>)>) -> Vec<Line<'static>> {
    let name = |column: usize| heads[column].trim_start_matches('<');
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|(_, row)| row.get(column));
        let widths = cells.map(|cell| cell.chars().count());
        widths.chain([name(column).chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |style: Style, cells: &[String]| {
        let cell = |(column, cell): (usize, &String)| {
            let width = widths.get(column).copied().unwrap_or(0);
            match heads.get(column).is_some_and(|head| head.starts_with('<')) {
                true => format!("{cell:<width$}"),
                false => format!("{cell:>width$}"),
            }
        };
        let cells: Vec<String> = cells.iter().enumerate().map(cell).collect();
        Line::styled(cells.join("  "), style)
    };
    let head: Vec<String> = (0..heads.len()).map(|column| name(column).to_owned()).collect();
    let mut lines = vec![line(QUIET, &head)];
    lines.extend(rows.iter().map(|(style, row)| line(*style, row)));
    lines
}

#[cfg(test)]
mod tests;
