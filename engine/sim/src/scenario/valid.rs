//! What a scenario may say: anything else would stop the simulator with an assertion that explains nothing.

use trireme_core::MemberId;
use trireme_core::quorum::Quorums;

use super::Scenario;
use crate::bank::Bug;
use crate::plan::{Fault, Plan, Role};

/// Most replicas, clients and requests that a file may ask for: memory is bounded.
const MOST_MEMBERS: u16 = 32;
const MOST_CLIENTS: usize = 64;
const MOST_REQUESTS: u64 = 100_000;
/// The longest time in a file: an hour.
const LONGEST_US: u64 = 3_600_000_000;

/// What is wrong, and the words in the file near which it stands.
pub(super) struct Wrong {
    pub(super) what: String,
    near: &'static str,
    /// How many of them stand before it.
    skip: usize,
}

impl Wrong {
    fn new(near: &'static str, what: impl Into<String>) -> Option<Self> {
        let what = what.into();
        Some(Self { what, near, skip: 0 })
    }

    /// Where in the text it stands: at the beginning of a line.
    pub(super) fn place(&self, text: &str) -> usize {
        let starts = |line: &&str| line.starts_with(self.near);
        let line = text.split_inclusive('\n').filter(starts).nth(self.skip);
        line.map_or(0, |line| line.as_ptr() as usize - text.as_ptr() as usize)
    }
}

/// What is wrong with a scenario.
pub(super) fn fault(scenario: &Scenario) -> Option<Wrong> {
    if let Some(clause) = scenario.off.as_ref().filter(|clause| Bug::of(clause).is_none()) {
        return Wrong::new("off", format!("no clause has the name {clause}"));
    }
    sizes(&scenario.plan)
        .or_else(|| times(scenario))
        .or_else(|| load(&scenario.plan))
        .or_else(|| faults(&scenario.plan))
}

fn sizes(plan: &Plan) -> Option<Wrong> {
    let (n, f) = (plan.params.n, plan.params.f);
    if n > MOST_MEMBERS || Quorums::new(n, f).is_err() {
        return Wrong::new(
            "n = ",
            format!("{n} members that stand {f}: n >= 3f + 1 and n <= {MOST_MEMBERS}"),
        );
    }
    if plan.roles.len() != usize::from(n) {
        return Wrong::new("n = ", format!("{n} members, but {} roles", plan.roles.len()));
    }
    if plan.byzantine() > f {
        return Wrong::new("f = ", format!("{} Byzantine members, but f = {f}", plan.byzantine()));
    }
    if usize::from(plan.byzantine()) + plan.lost.len() > usize::from(f) {
        return Wrong::new("lost = ", format!("more lost and Byzantine members than f = {f}"));
    }
    let wrong = |member: MemberId| plan.roles.get(usize::from(member)) != Some(&Role::Correct);
    if let Some((member, _)) = plan.lost.iter().find(|(member, _)| wrong(*member)) {
        return Wrong::new("lost = ", format!("{member} is no correct member"));
    }
    let params = &plan.params;
    let zero = [params.window, params.w0, params.state_interval, params.timer_factor].contains(&0);
    if zero || params.timer_decay_commits == 0 || params.timer_floor_us == 0 {
        return Wrong::new("[plan.params]", "a window, a timer or an interval of nothing");
    }
    if params.checkpoint_slots == 0 || params.checkpoint_bytes == 0 {
        return Wrong::new("checkpoint", "a checkpoint after nothing");
    }
    if params.log_window / 2 < params.checkpoint_slots {
        return Wrong::new("log_window", "the log's window must hold two checkpoints");
    }
    if params.lane_window_bytes < u64::from(params.max_batch_bytes) {
        return Wrong::new("lane_window_bytes", "a lane's window must hold a batch");
    }
    None
}

fn times(scenario: &Scenario) -> Option<Wrong> {
    let plan = &scenario.plan;
    let times = [
        ("patience_us", scenario.patience_us),
        ("latency_us", plan.latency_us),
        ("execution_us", plan.execution_us),
        ("verification_us", plan.verification_us),
        ("turn_us", plan.turn_us),
        ("chaos_us", plan.chaos_us),
        ("retry_us", plan.load.retry_us),
        ("jitter_us", plan.weather.jitter_us),
        ("ahead_us", plan.clock_jump.map_or(0, |jump| jump.ahead_us)),
    ];
    for (name, us) in times {
        if us > LONGEST_US {
            return Wrong::new(name, format!("{name} = {us} is more than an hour"));
        }
    }
    if plan.chaos_us == 0 || plan.load.retry_us == 0 {
        return Wrong::new("[plan]", "chaos_us and retry_us must be above 0");
    }
    None
}

fn load(plan: &Plan) -> Option<Wrong> {
    let load = &plan.load;
    if load.clients == 0 || load.clients > MOST_CLIENTS {
        return Wrong::new("clients", format!("{} clients: from 1 to {MOST_CLIENTS}", load.clients));
    }
    if load.requests + load.last_wave > MOST_REQUESTS || load.max_bundle > 1_000 {
        return Wrong::new("requests", "too many requests");
    }
    None
}

fn faults(plan: &Plan) -> Option<Wrong> {
    let n = plan.params.n;
    let stranger = |member: &MemberId| *member >= n;
    for (index, (_, fault)) in plan.faults.iter().enumerate() {
        let wrong = match fault {
            Fault::Break { a, b } if a == b => Some("a connection of a member with itself".into()),
            fault => fault
                .members()
                .iter()
                .find(|m| stranger(m))
                .map(|m| format!("no member {m}")),
        };
        if let Some(what) = wrong {
            return Some(Wrong {
                what,
                near: "[[plan.faults]]",
                skip: index,
            });
        }
    }
    None
}
