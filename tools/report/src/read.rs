//! What a page needs of a run, from each kind of file that has some of it.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde_json::Value;
use trireme_load::{Encoded, Record, SCHEMA, SweepReport, merge_intervals, read_hlog};

/// Why a file is no run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {why}")]
pub struct ReadError {
    name: String,
    why: String,
}

/// One second of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Second {
    /// In the middle of it, in seconds since the beginning of the measured time.
    pub(crate) at_s: f64,
    pub(crate) ops_s: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Mean times on the way of an operation, in microseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Budget {
    /// Of the replicas, by stage, in the order of the way.
    pub(crate) stages: Vec<(String, f64)>,
    /// From read to executed, at the replica that the client sends to.
    pub(crate) total: Option<f64>,
    /// Of the client, from the intended time to f + 1 replies.
    pub(crate) client_mean: f64,
    pub(crate) client_p50: f64,
    /// The physical floor of the median.
    pub(crate) floor: Option<f64>,
    pub(crate) floor_by_region: Vec<(String, f64)>,
    /// CPU time of all replicas by stage, per operation.
    pub(crate) cpu: Vec<(String, f64)>,
}

/// Signatures per operation, all replicas together.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Signatures {
    /// Kind, made, verified.
    pub(crate) kinds: Vec<(String, Option<f64>, Option<f64>)>,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Run {
    pub(crate) name: String,
    /// What it was, in words.
    pub(crate) facts: Vec<(String, String)>,
    /// What went wrong with it, or limits its figures.
    pub(crate) warnings: Vec<String>,
    /// All latencies, in nanoseconds.
    pub(crate) latencies: Histogram<u64>,
    pub(crate) kinds: BTreeMap<String, Histogram<u64>>,
    pub(crate) seconds: Vec<Second>,
    pub(crate) throughput_ops_s: Option<f64>,
    pub(crate) sweep: Option<SweepReport>,
    pub(crate) replicas: Option<u64>,
    pub(crate) budget: Option<Budget>,
    pub(crate) signatures: Option<Signatures>,
}

impl Run {
    /// Reads a file's bytes: JSON of `trireme local` or `trireme load`, or an interval log. `name` is what the page calls
    /// it.
    ///
    /// # Errors
    ///
    /// [`ReadError`]: neither of these.
    pub fn read(name: &str, bytes: &[u8]) -> Result<Self, ReadError> {
        let refuse = |why: String| ReadError {
            name: name.to_owned(),
            why,
        };
        if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            return Self::of_log(name, bytes).map_err(refuse);
        }
        let value: Value = serde_json::from_slice(bytes).map_err(|error| refuse(error.to_string()))?;
        let schema = value.get("schema").and_then(Value::as_str).unwrap_or("none");
        if schema == SCHEMA {
            let record = serde_json::from_value(value).map_err(|error| refuse(error.to_string()))?;
            return Ok(Self::of_record(name, record));
        }
        if !schema.starts_with("trireme.local/") {
            return Err(refuse(format!(
                "its schema is {schema}; files of `trireme local --json`, `trireme load --json` and interval logs are read"
            )));
        }
        let load = value.get("load").filter(|load| load.is_object()).cloned();
        let load = load.ok_or_else(|| refuse("the run came to no load".to_owned()))?;
        let record = serde_json::from_value(load).map_err(|error| refuse(error.to_string()))?;
        let mut run = Self::of_record(name, record);
        run.add_cluster(&value);
        Ok(run)
    }

    fn of_log(name: &str, bytes: &[u8]) -> Result<Self, String> {
        let lines = merge_intervals(vec![read_hlog(bytes)?]);
        let first = lines.iter().map(|line| line.from_unix_s).fold(f64::INFINITY, f64::min);
        let mut all = Encoded::default();
        let mut kinds: BTreeMap<String, Encoded> = BTreeMap::new();
        let mut seconds = Vec::new();
        for line in &lines {
            match &line.tag {
                Some(tag) => kinds.entry(tag.clone()).or_default().add(&line.latencies),
                None => {
                    all.add(&line.latencies);
                    seconds.push(second(
                        line.from_unix_s - first,
                        line.length_s,
                        line.latencies.0.len() as f64 / line.length_s.max(1e-9),
                        &line.latencies.0,
                    ));
                }
            }
        }
        if seconds.is_empty() {
            return Err("no line without a tag".to_owned());
        }
        let length: f64 = lines
            .iter()
            .filter(|line| line.tag.is_none())
            .map(|line| line.length_s)
            .sum();
        Ok(Self {
            name: name.to_owned(),
            facts: vec![("file".to_owned(), "interval log of HdrHistogram".to_owned())],
            warnings: Vec::new(),
            throughput_ops_s: (length > 0.0).then(|| all.0.len() as f64 / length),
            latencies: all.0,
            kinds: kinds.into_iter().map(|(tag, latencies)| (tag, latencies.0)).collect(),
            seconds,
            sweep: None,
            replicas: None,
            budget: None,
            signatures: None,
        })
    }

    fn of_record(name: &str, record: Record) -> Self {
        let setting = &record.setting;
        let summary = &record.summary;
        let how = match setting.rate {
            Some(rate) => format!("open loop, {rate:.0} requests/s, {} arrivals", setting.arrivals),
            None => "closed loop".to_owned(),
        };
        let facts = [
            ("load", how),
            (
                "workload",
                format!("{}, values of {} bytes", setting.workload.name, setting.workload.value),
            ),
            (
                "keys",
                format!("{} ({})", setting.workload.keys, setting.workload.distribution),
            ),
            (
                "clients",
                format!(
                    "{} in {} process(es), {} request(s) a signature",
                    summary.clients, record.parts, setting.bundle
                ),
            ),
            (
                "requests",
                format!(
                    "{} acknowledged, {} failed, {} unknown",
                    summary.acknowledged, summary.failed, summary.unknown
                ),
            ),
        ];
        let limits = record.generator.limits.iter();
        let measured = record.seconds.iter().filter(|second| second.measured);
        Self {
            name: name.to_owned(),
            facts: facts.map(|(name, text)| (name.to_owned(), text)).into(),
            warnings: limits
                .map(|limit| format!("the load generator was a limit: {limit}"))
                .collect(),
            throughput_ops_s: Some(summary.throughput_ops_s),
            seconds: measured
                .map(|s| second(s.from_s, s.length_s, s.ops_s, &s.latencies.0))
                .collect(),
            kinds: record
                .operations
                .into_iter()
                .map(|(kind, figures)| (kind.name().to_owned(), figures.latencies.0))
                .collect(),
            latencies: record.latencies.0,
            sweep: record.sweep,
            replicas: None,
            budget: None,
            signatures: None,
        }
    }

    /// What `trireme local` knows of the replicas.
    fn add_cluster(&mut self, value: &Value) {
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let number = |key: &str| value.get(key).and_then(Value::as_f64);
        self.replicas = value.get("replicas").and_then(Value::as_u64);
        let mut facts = Vec::new();
        if let (Some(n), Some(f)) = (self.replicas, number("f")) {
            facts.push((
                "cluster".to_owned(),
                format!("{n} replicas, f = {f}, application {}", text("app").unwrap_or_default()),
            ));
        }
        if let (Some(durability), Some(auth)) = (text("durability"), text("client_auth")) {
            facts.push((
                "durability".to_owned(),
                format!("{durability}; client signatures {auth}"),
            ));
        }
        if let Some(wan) = text("wan") {
            let regions = value.get("regions").and_then(Value::as_array).into_iter().flatten();
            let regions: Vec<&str> = regions.filter_map(Value::as_str).collect();
            facts.push(("network".to_owned(), format!("{wan}: {}", regions.join(", "))));
        }
        if let Some(machine) = value.get("machine") {
            let cpu = machine.get("cpu").and_then(Value::as_str).unwrap_or("unknown");
            let cores = machine.get("cores").and_then(Value::as_u64).unwrap_or(0);
            facts.push(("machine".to_owned(), format!("{cores} cores, {cpu}")));
        }
        facts.append(&mut self.facts);
        self.facts = facts;
        if value.get("ok").and_then(Value::as_bool) != Some(true) {
            let why = text("error").unwrap_or_default();
            self.warnings.insert(0, format!("the run failed: {why}"));
        }
        let notes = value.get("notes").and_then(Value::as_array).into_iter().flatten();
        let notes = notes.filter_map(Value::as_str);
        self.facts
            .extend(notes.map(|note| ("note".to_owned(), note.to_owned())));
        self.budget = Some(self.budget_of(value));
        self.signatures = signatures_of(value);
    }

    fn budget_of(&self, value: &Value) -> Budget {
        let table = |key: &str| -> BTreeMap<String, f64> {
            let entries = value.get(key).and_then(Value::as_object).into_iter().flatten();
            let number = |(name, value): (&String, &Value)| Some((name.clone(), value.as_f64()?));
            entries.filter_map(number).collect()
        };
        let mut stages = table("stages_us");
        let total = stages.remove("total");
        let way = [
            "ingress",
            "verify",
            "batching",
            "dissemination",
            "ordering",
            "execution",
        ];
        let stages = way
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), *stages.get(*name)?)));
        let floor = value.get("floor_us").filter(|floor| floor.is_object());
        let by_region = floor.and_then(|floor| floor.get("by_region")?.as_object());
        let regions = by_region.into_iter().flatten();
        Budget {
            stages: stages.collect(),
            total,
            client_mean: self.latencies.mean() / 1e3,
            client_p50: self.latencies.value_at_quantile(0.5) as f64 / 1e3,
            floor: floor.and_then(|floor| floor.get("p50")?.as_f64()),
            floor_by_region: regions
                .filter_map(|(region, us)| Some((region.clone(), us.as_f64()?)))
                .collect(),
            cpu: table("cpu_us_per_op_by_stage").into_iter().collect(),
        }
    }
}

fn second(from_s: f64, length_s: f64, ops_s: f64, latencies: &Histogram<u64>) -> Second {
    let ms = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e6;
    Second {
        at_s: from_s + length_s / 2.0,
        ops_s,
        p50_ms: ms(0.5),
        p99_ms: ms(0.99),
    }
}

/// What members sign, as reports name it and as people do.
const STATEMENTS: [(&str, &str); 6] = [
    ("header", "members: batch headers"),
    ("ack", "members: acks"),
    ("block", "members: blocks"),
    ("vote", "members: votes"),
    ("timeout", "members: timeouts"),
    ("state", "members: state votes"),
];

fn signatures_of(value: &Value) -> Option<Signatures> {
    let per = |of: Option<&Value>| of.and_then(Value::as_f64);
    let statements = value.get("member_signatures").filter(|kinds| kinds.is_object());
    let fine: Vec<_> = STATEMENTS
        .iter()
        .filter_map(|(key, name)| {
            let counts = statements?.get(key)?;
            Some(((*name).to_owned(), per(counts.get("made")), per(counts.get("verified"))))
        })
        .collect();
    let mut kinds = value.get("signatures").and_then(Value::as_object).cloned();
    if let (Some(kinds), false) = (&mut kinds, fine.is_empty()) {
        kinds.remove("members");
    }
    let kinds: Vec<_> = match kinds {
        Some(kinds) => kinds
            .iter()
            .map(|(kind, counts)| (kind.clone(), per(counts.get("made")), per(counts.get("verified"))))
            .chain(fine)
            .collect(),
        None => {
            let made = per(value.get("signatures_made_per_op"));
            let verified = per(value.get("signatures_verified_per_op"));
            made.or(verified)
                .map(|_| ("all".to_owned(), made, verified))
                .into_iter()
                .collect()
        }
    };
    (!kinds.is_empty()).then_some(Signatures { kinds })
}
