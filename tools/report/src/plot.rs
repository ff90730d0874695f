//! Plots as inline SVG. Colours are the page's, by class, so that light and dark share one drawing.

use std::fmt::Write as _;

use crate::page::escape;
use crate::scale::{Kind, Scale, number};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 48.0;

/// Colours that the page has.
pub(crate) const COLOURS: usize = 6;

/// Values to draw.
pub(crate) struct Series {
    pub(crate) name: String,
    /// Which colour.
    pub(crate) colour: usize,
    /// Drawn as dashes: a second figure of the same run.
    pub(crate) dashed: bool,
    /// Whether each value has a dot.
    pub(crate) dots: bool,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A level worth knowing.
pub(crate) struct Level {
    pub(crate) value: f64,
    pub(crate) text: String,
}

/// A plot with two axes.
pub(crate) struct Plot {
    pub(crate) x: (String, Kind),
    pub(crate) y: (String, Kind),
    pub(crate) height: f64,
    pub(crate) series: Vec<Series>,
    pub(crate) levels: Vec<Level>,
}

impl Plot {
    fn scales(&self) -> (Scale, Scale) {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let bounds = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            })
        };
        let (x_low, x_high) = bounds(&mut points().map(|point| point.0));
        let levels = self.levels.iter().map(|level| level.value);
        let (y_low, y_high) = bounds(&mut points().map(|point| point.1).chain(levels));
        // A linear axis of amounts begins with nothing.
        let from = |kind: Kind, low: f64| if kind == Kind::Log { low } else { low.min(0.0) };
        (
            Scale::new(self.x.1, from(self.x.1, x_low), x_high),
            Scale::new(self.y.1, from(self.y.1, y_low), y_high),
        )
    }

    /// The drawing, with its legend. Nothing if there is nothing to draw.
    pub(crate) fn draw(&self, title: &str) -> String {
        if self.series.iter().all(|series| series.points.is_empty()) {
            return String::new();
        }
        let (x, y) = self.scales();
        let (inner_w, inner_h) = (WIDTH - LEFT - RIGHT, self.height - TOP - BOTTOM);
        let px = |value: f64| LEFT + x.at(value) * inner_w;
        let py = |value: f64| TOP + (1.0 - y.at(value)) * inner_h;
        let mut out = format!(
            "<div class=plot><svg viewBox=\"0 0 {WIDTH} {}\" role=img aria-label=\"{}\">",
            self.height,
            escape(title)
        );
        for (value, text) in y.ticks() {
            let at = py(value);
            line(&mut out, "grid", (LEFT, at), (WIDTH - RIGHT, at));
            label(&mut out, "end", (LEFT - 8.0, at + 4.0), &text);
        }
        for (value, text) in x.ticks() {
            let at = px(value);
            line(&mut out, "grid", (at, TOP), (at, self.height - BOTTOM));
            label(&mut out, "middle", (at, self.height - BOTTOM + 17.0), &text);
        }
        label(
            &mut out,
            "middle name",
            (LEFT + inner_w / 2.0, self.height - 8.0),
            &self.x.0,
        );
        let middle = TOP + inner_h / 2.0;
        let _ = write!(
            out,
            "<text class=\"middle name\" transform=\"translate(14 {middle:.1}) rotate(-90)\">{}</text>",
            escape(&self.y.0)
        );
        for level in &self.levels {
            let at = py(level.value);
            line(&mut out, "level", (LEFT, at), (WIDTH - RIGHT, at));
            label(&mut out, "end level", (WIDTH - RIGHT - 4.0, at - 5.0), &level.text);
        }
        for series in &self.series {
            draw_series(&mut out, series, &px, &py);
        }
        out.push_str("</svg></div>");
        out + &self.legend()
    }

    fn legend(&self) -> String {
        if self.series.len() < 2 {
            return String::new();
        }
        let mut out = String::from("<p class=legend>");
        for series in &self.series {
            let _ = write!(
                out,
                "<span><i class=\"c{}{}\"></i>{}</span> ",
                series.colour % COLOURS,
                if series.dashed { " dashed" } else { "" },
                escape(&series.name)
            );
        }
        out + "</p>"
    }
}

fn draw_series(out: &mut String, series: &Series, px: &dyn Fn(f64) -> f64, py: &dyn Fn(f64) -> f64) {
    let class = format!(
        "c{}{}",
        series.colour % COLOURS,
        if series.dashed { " dashed" } else { "" }
    );
    let _ = write!(out, "<polyline class=\"{class}\" points=\"");
    for (x, y) in &series.points {
        let _ = write!(out, "{:.1},{:.1} ", px(*x), py(*y));
    }
    out.push_str("\"/>");
    if series.dots {
        for (x, y) in &series.points {
            let _ = write!(
                out,
                "<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\"><title>{}: {}, {}</title></circle>",
                px(*x),
                py(*y),
                escape(&series.name),
                number(*x),
                number(*y)
            );
        }
    }
}

fn line(out: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let _ = write!(
        out,
        "<line class={class} x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn label(out: &mut String, class: &str, at: (f64, f64), text: &str) {
    let _ = write!(
        out,
        "<text class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
        at.0,
        at.1,
        escape(text)
    );
}

/// A part of a bar.
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) colour: usize,
}

/// Bars of parts, one below the other, all to one scale, with a line where the floor is.
pub(crate) fn bars(title: &str, unit: &str, rows: &[(String, Vec<Part>)], floor: Option<(f64, &str)>) -> String {
    const ROW: f64 = 44.0;
    let whole = |parts: &[Part]| parts.iter().map(|part| part.value).sum::<f64>();
    let longest = rows.iter().map(|(_, parts)| whole(parts)).fold(0.0, f64::max);
    let x = Scale::new(
        Kind::Linear,
        0.0,
        longest.max(floor.map_or(0.0, |(value, _)| value)).max(1e-6),
    );
    let left = 16.0;
    let height = TOP + ROW * rows.len() as f64 + BOTTOM;
    let px = |value: f64| left + x.at(value) * (WIDTH - left - RIGHT - 12.0);
    let mut out = format!(
        "<div class=plot><svg viewBox=\"0 0 {WIDTH} {height}\" role=img aria-label=\"{}\">",
        escape(title)
    );
    for (value, text) in x.ticks() {
        line(&mut out, "grid", (px(value), TOP), (px(value), height - BOTTOM));
        label(&mut out, "middle", (px(value), height - BOTTOM + 17.0), &text);
    }
    label(&mut out, "middle name", (WIDTH / 2.0, height - 8.0), unit);
    let mut top = TOP;
    for (name, parts) in rows {
        label(&mut out, "", (left, top + 13.0), name);
        let mut from = 0.0;
        for part in parts {
            let (x1, x2) = (px(from), px(from + part.value));
            let _ = write!(
                out,
                "<rect class=c{} x=\"{x1:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"18\"><title>{}: {}</title></rect>",
                part.colour % COLOURS,
                top + 19.0,
                (x2 - x1).max(0.5),
                escape(&part.name),
                number(part.value)
            );
            from += part.value;
        }
        top += ROW;
    }
    if let Some((value, text)) = floor {
        line(&mut out, "level", (px(value), TOP), (px(value), height - BOTTOM));
        let (class, at) = if x.at(value) > 0.6 {
            ("end level", -5.0)
        } else {
            ("level", 5.0)
        };
        label(&mut out, class, (px(value) + at, TOP + 10.0), text);
    }
    out.push_str("</svg></div>");
    out
}
