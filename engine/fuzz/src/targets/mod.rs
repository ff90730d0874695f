//! The table of targets.

mod certificates;
mod cluster;
mod config;
mod execute;
mod kv;
mod log;
mod merkle;
mod replies;
mod requests;
mod signatures;
#[cfg(feature = "transport")]
mod transport;
mod wire;

/// Names and bytes of inputs that reach a target's depths.
pub type Samples = Vec<(String, Vec<u8>)>;

/// A target.
pub struct Target {
    /// Its name, also that of its corpus directory.
    pub name: &'static str,
    /// What it shows, in a line.
    pub about: &'static str,
    /// Runs an input; panics if something does not hold. Returns whether the input got past the first refusal.
    pub run: fn(&[u8]) -> bool,
    /// Inputs for the corpus; all of them are accepted.
    pub samples: fn() -> Samples,
    /// Mutants in the smoke run.
    pub mutants: u64,
}

macro_rules! targets {
    ($($(#[$when:meta])* $name:literal in $module:ident as $run:ident, $samples:ident, $mutants:literal: $about:literal;)*) => {
        /// All targets.
        pub const TARGETS: &[Target] = &[$($(#[$when])* Target {
            name: $name,
            about: $about,
            run: $module::$run,
            samples: $module::$samples,
            mutants: $mutants,
        }),*];
    };
}

targets! {
    "envelope" in wire as envelope, envelopes, 1_000_000: "a frame between replicas: strict, and encoded as it was read";
    "record" in wire as record, records, 1_000_000: "a record of the log: strict, and encoded as it was read";
    "bundle" in requests as bundle, bundles, 1_000_000: "a client's bundle: what is accepted is built again from its parts";
    "body" in requests as body, bodies, 1_000_000: "a batch's body: what is accepted is assembled again from its bundles";
    "client-frame" in replies as frames, samples, 500_000: "frames between clients and replicas, both ways";
    #[cfg(feature = "transport")]
    "transport" in transport as run, samples, 1_000_000: "frames out of a stream in any cut, and the hello";
    "config" in config as run, samples, 200_000: "cluster.toml, replica.toml, client.toml and key files";
    "kv-op" in kv as run, samples, 1_000_000: "operations and results of the key-value store";
    "execute" in execute as run, samples, 100_000: "any bytes as a committed batch: two executors agree";
    "log-header" in log as headers, header_samples, 500_000: "headers and records of the log, with sums that hold";
    "log-recovery" in log as recovery, recovery_samples, 60_000: "damage to a log: nothing invented, no durable end cut off";
    "merkle" in merkle as run, samples, 400_000: "paths: one leaf, one index, one root, one path";
    "certificate" in certificates as run, samples, 400_000: "certificates against an independent count";
    "signature" in signatures as run, samples, 12_000: "single and batch verification agree in every composition";
    "cluster" in cluster as run, samples, 60_000: "three replicas, one liar, any order of everything: agreement";
}

/// The target of this name.
pub fn named(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
