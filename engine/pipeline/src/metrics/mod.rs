//! The status in the text format of Prometheus.
//!
//! A metric is one row of [`metrics`]: its name, its kind, what it means, and where in the status document its values
//! stand. To add one, put the number into the status of a stage and a row into the table; `METRICS.md` lists them for
//! people, and a test compares both.

mod table;

use std::fmt::Write as _;

use serde_json::Value;

pub use table::metrics;

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from 0 at the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

impl Kind {
    /// Name in the text format.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// Where in the status the values stand. In a path, `*` stands for every key of an object and `#name` for every element
/// of an array, told apart by its `name`; each gives the value of one label. `=` at the end takes a text for the label of a 1.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// At this path.
    At(&'static str),
    /// At several ones, each with a value of the only label.
    Several(&'static [(&'static str, &'static str)]),
    /// The constant 1; the labels are keys of the status.
    Info,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Name, with its unit.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// What it means.
    pub help: &'static str,
    /// Names of its labels, beside `replica`, which every metric has.
    pub labels: &'static [&'static str],
    /// It has no value in some states of a replica.
    pub optional: bool,
    source: Source,
    /// Microseconds in the status, seconds in the metric.
    micros: bool,
}

/// Renders a status document.
pub fn expose(status: &Value) -> String {
    let mut out = String::with_capacity(64 << 10);
    let replica = status["member"].as_u64().unwrap_or_default().to_string();
    for metric in metrics() {
        metric.expose(status, &replica, &mut out);
    }
    out
}

/// Labels and where a value stands.
type Sample<'a> = (Vec<(&'a str, String)>, &'a Value);

impl Metric {
    fn expose(&self, status: &Value, replica: &str, out: &mut String) {
        let (name, kind) = (self.name, self.kind.name());
        write(out, format_args!("# HELP {name} {}\n# TYPE {name} {kind}\n", self.help));
        for (mut labels, value) in self.samples(status) {
            labels.insert(0, ("replica", replica.to_owned()));
            match self.kind {
                Kind::Histogram => self.histogram(&labels, value, out),
                _ => {
                    if let Some(number) = self.number(value) {
                        write(out, format_args!("{name}{} {number}\n", braces(&labels)));
                    }
                }
            }
        }
    }

    fn samples<'a>(&self, status: &'a Value) -> Vec<Sample<'a>> {
        let mut found = Vec::new();
        match self.source {
            Source::At(path) => walk(status, path, self.labels, Vec::new(), &mut found),
            Source::Several(paths) => {
                for (value, path) in paths {
                    walk(
                        status,
                        path,
                        &[],
                        vec![(self.labels[0], (*value).to_owned())],
                        &mut found,
                    );
                }
            }
            Source::Info => {
                let text = |key: &&'static str| match &status[*key] {
                    Value::String(text) => (*key, text.clone()),
                    other => (*key, other.to_string()),
                };
                found.push((self.labels.iter().map(text).collect(), &Value::Bool(true)));
            }
        }
        found
    }

    /// A number as the text format writes it; `None` where there is none.
    fn number(&self, value: &Value) -> Option<String> {
        match value {
            Value::Bool(yes) => Some(u8::from(*yes).to_string()),
            Value::Number(number) if self.micros => Some((number.as_f64()? / 1e6).to_string()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    fn histogram(&self, labels: &[(&str, String)], value: &Value, out: &mut String) {
        let name = self.name;
        let (limits, sum) = match self.micros {
            true => (&value["le_us"], &value["sum_us"]),
            false => (&value["le"], &value["sum"]),
        };
        let (Some(limits), Some(counts)) = (limits.as_array(), value["at_or_below"].as_array()) else {
            return;
        };
        let mut bucket = |limit: &str, count: &Value| {
            let mut labels = labels.to_vec();
            labels.push(("le", limit.to_owned()));
            write(out, format_args!("{name}_bucket{} {count}\n", braces(&labels)));
        };
        for (limit, count) in limits.iter().zip(counts) {
            bucket(&self.number(limit).unwrap_or_default(), count);
        }
        bucket("+Inf", &value["count"]);
        let (braces, sum) = (braces(labels), self.number(sum).unwrap_or_default());
        let count = &value["count"];
        write(
            out,
            format_args!("{name}_sum{braces} {sum}\n{name}_count{braces} {count}\n"),
        );
    }
}

/// Finds what stands at a path.
fn walk<'a>(
    value: &'a Value,
    path: &str,
    names: &[&'a str],
    labels: Vec<(&'a str, String)>,
    found: &mut Vec<Sample<'a>>,
) {
    let Some(rest) = path.strip_prefix('/') else {
        if !value.is_null() {
            found.push((labels, value));
        }
        return;
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let (segment, rest) = rest.split_at(end);
    let with = |label: String| {
        let mut labels = labels.clone();
        labels.push((names[0], label));
        labels
    };
    match (segment.strip_prefix('#'), value) {
        (None, Value::String(text)) if segment == "=" => found.push((with(text.clone()), &Value::Bool(true))),
        (Some(key), Value::Array(list)) => {
            for element in list {
                let label = match &element[key] {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                walk(element, rest, &names[1..], with(label), found);
            }
        }
        (None, Value::Object(map)) if segment == "*" => {
            for (key, value) in map {
                walk(value, rest, &names[1..], with(key.clone()), found);
            }
        }
        (None, Value::Object(map)) => {
            if let Some(value) = map.get(segment) {
                walk(value, rest, names, labels, found);
            }
        }
        _ => {}
    }
}

fn braces(labels: &[(&str, String)]) -> String {
    let label = |(name, value): &(&str, String)| {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        format!("{name}=\"{value}\"")
    };
    format!("{{{}}}", labels.iter().map(label).collect::<Vec<_>>().join(","))
}

fn write(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a String does not fail");
}

#[cfg(test)]
mod tests;
