//! A run as a file: one JSON object with everything that was measured, histograms included, so that files of several
//! machines can be merged and drawn later. `tools/load/README.md` has it as a table.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::encoded::Encoded;
use crate::generator::GeneratorCheck;
use crate::meter::Meter;
use crate::options::{LoadOptions, Rate};
use crate::shape::Arrivals;
use crate::summary::{OperationFigures, Second, Summary};
use crate::sweep::SweepReport;
use crate::workload::{Operation, Workload};

/// Name and version of the form. A key that is removed, or means something else, raises the number.
pub const SCHEMA: &str = "trireme.load/1";

/// What load it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Requests a second that were asked for; none: closed loop.
    pub rate: Option<f64>,
    /// When they came, in an open loop.
    pub arrivals: Arrivals,
    /// Requests under one signature.
    pub bundle: u32,
    /// Operations, keys, sizes.
    pub workload: Workload,
    /// Of arrivals, keys and values.
    pub seed: u64,
    /// Seconds before the measured time.
    pub warm_up_s: f64,
    /// `kv` or `null`.
    pub app: String,
}

impl Setting {
    pub(crate) fn of(options: &LoadOptions) -> Self {
        Self {
            rate: match options.rate {
                Rate::Max => None,
                Rate::PerSecond(rate) => Some(rate),
            },
            arrivals: options.arrivals,
            bundle: options.bundle,
            workload: options.workload.clone(),
            seed: options.seed,
            warm_up_s: options.warm_up.as_secs_f64(),
            app: options.app.name().to_owned(),
        }
    }
}

/// One run, or several merged.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: String,
    /// Of the program.
    pub version: String,
    /// Processes that made the load, on all machines.
    pub parts: u32,
    /// When the measured time began, in microseconds since 1970.
    pub started_unix_us: u64,
    /// What load it was: of the first part, except for the rate, which is that of all.
    pub setting: Setting,
    /// Figures.
    #[serde(flatten)]
    pub summary: Summary,
    /// By kind of operation, if there are several.
    pub operations: BTreeMap<Operation, OperationFigures>,
    /// Whether the generator was the limit.
    pub generator: GeneratorCheck,
    /// Steps of a sweep; the rest of the object is then its best step.
    pub sweep: Option<SweepReport>,
    /// Second by second, from the beginning of the warm-up to the end of the drain.
    pub seconds: Vec<Second>,
    /// All latencies, in nanoseconds.
    pub latencies: Encoded,
}

impl Record {
    pub(crate) fn new(
        setting: Setting,
        started: SystemTime,
        summary: Summary,
        meter: Meter,
        seconds: Vec<Second>,
        generator: GeneratorCheck,
    ) -> Self {
        let since = started.duration_since(UNIX_EPOCH).unwrap_or_default();
        let kinds = meter.by_operation.into_iter();
        Self {
            schema: SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            parts: 1,
            started_unix_us: u64::try_from(since.as_micros()).unwrap_or(u64::MAX),
            setting,
            summary,
            operations: kinds
                .map(|(kind, latencies)| (kind, OperationFigures::of(Encoded(latencies))))
                .collect(),
            generator,
            sweep: None,
            seconds,
            latencies: Encoded(meter.measured),
        }
    }

    /// Reads a file's text.
    ///
    /// # Errors
    ///
    /// What is wrong, in words: another schema, or no such object.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let value: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let schema = value.get("schema").and_then(|schema| schema.as_str()).unwrap_or("none");
        if schema != SCHEMA {
            return Err(format!("its schema is {schema}, {SCHEMA} is needed"));
        }
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    /// When the measured time began.
    pub fn started(&self) -> SystemTime {
        UNIX_EPOCH + std::time::Duration::from_micros(self.started_unix_us)
    }
}
