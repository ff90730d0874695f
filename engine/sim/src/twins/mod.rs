//! Twins (Bano et al., "Twins: BFT systems made robust", 2021): Byzantine members made of honest parts.
//!
//! A twin is a member that runs twice with one key. Both instances follow the protocol, and neither knows of the
//! other, so that together they equivocate, vote twice, forget and lie in every way that two honest runs can differ. A
//! [`Scenario`] scripts who is a twin, who leads each view, and stage by stage which instances hear each other; all
//! scenarios of a space are run, each once however its members are named ([`enumerate`]), or random ones
//! ([`sample`]).
//!
//! [`run`] runs one: correct replicas never commit different things and accuse nobody who is correct, and after the
//! script, with the twins silent, they commit something new.

mod cluster;
mod enumerate;
mod judge;
mod mail;
mod scenario;
mod search;
mod symmetry;

pub use enumerate::{Sample, Scenarios, Size, enumerate, sample, size};
pub use scenario::{BadScenario, Fate, Instance, MAX_MEMBERS, MAX_STAGES, Scenario, Span, Stage};
pub use search::{Outcome, Search, Unscriptable, replay, run};

/// Who may crash when a view begins: at most one instance in each view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crashes {
    /// Nobody.
    None,
    /// Instances of twins: they come back with what was durable or without.
    Twins,
    /// Correct members, too: they come back with what was durable.
    All,
}

/// Whether this build can script leaders (the core's feature `bugs`).
pub fn can_script() -> bool {
    trireme_core::bugs::Bugs::default().script_leaders(&[])
}

/// A space of scenarios.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwinsOptions {
    /// Members; as many of them are twins as may be faulty.
    pub n: u16,
    /// Views that are scripted.
    pub views: usize,
    /// The most groups of a stage, at least 1.
    pub groups: u8,
    /// Up to how many stages of one message step each a view has before its last one.
    pub cuts: usize,
    /// Whether views may be busy: then something new is asked for at each of their stages.
    pub busy: bool,
    /// Who may crash when a view begins.
    pub crashes: Crashes,
    /// Whether leaders are scripted; without, members lead in turn and any of them are twins. Scripts take a build with
    /// the core's feature `bugs`.
    pub scripted: bool,
}
