//! What can be taken away from a run besides its faults, and what can be made ordinary.

use trireme_core::MemberId;
use trireme_core::types::Params;

use super::Search;
use crate::Scenario;
use crate::network::Weather;
use crate::plan::{Fault, Plan, Role};

/// A name, and what it does to a plan.
type Change = (&'static str, fn(&mut Plan));

/// The name of a constant, and what makes it the one of the second parameters.
type Usual = (&'static str, fn(&mut Params, &Params));

/// Changes that leave the number of choices of a run about as it is.
const ORDINARY: &[Change] = &[
    ("messages are not lost", |plan| plan.weather.loss_ppm = 0),
    ("messages do not come twice", |plan| plan.weather.duplicate_ppm = 0),
    ("messages do not overtake", |plan| plan.weather.reorder = false),
    ("no long delays", |plan| plan.weather.tail_ppm = 0),
    ("calm weather", |plan| {
        plan.weather = Weather {
            jitter_us: plan.weather.jitter_us,
            ..Weather::default()
        };
    }),
    ("no real log", |plan| plan.storage.log = None),
    ("signatures are fakes", |plan| plan.real_signatures = false),
    ("frames stay what they are", |plan| plan.encode = false),
    ("clocks do not drift", |plan| plan.drift_ppm = 0),
    ("clocks agree", |plan| plan.wall_spread_us = 0),
    ("clocks do not jump", |plan| plan.clock_jump = None),
    ("turns take no time", |plan| plan.turn_us = 1),
    ("execution takes no time", |plan| plan.execution_us = 10),
    ("verification takes no time", |plan| plan.verification_us = 10),
    ("a fast disk", |plan| {
        plan.disk.flush_us = 10;
        plan.disk.spread_us = 100;
        plan.disk.linger_us = 500;
    }),
    ("a latency of a millisecond", |plan| {
        plan.latency_us = plan.latency_us.min(1_000)
    }),
    ("little jitter", |plan| {
        plan.weather.jitter_us = plan.weather.jitter_us.min(10)
    }),
    ("requests go to one replica", |plan| plan.load.spread_percent = 0),
    ("small bundles", |plan| plan.load.max_bundle = 1),
];

/// Everything, in the order of the list at the top of the module above.
pub(super) fn all(search: &mut Search<'_>) {
    without_lies(search);
    without_losses(search);
    for (what, change) in ORDINARY {
        search.change(what, false, |scenario| change(&mut scenario.plan));
    }
    ordinary_constants(search);
    without_members(search);
    less_load(search);
    shorter(search);
}

fn without_lies(search: &mut Search<'_>) {
    for member in 0..search.best.plan.roles.len() {
        if search.best.plan.roles[member] == Role::Correct {
            continue;
        }
        if search.change(&format!("replica {member} is correct"), true, |scenario| {
            scenario.plan.roles[member] = Role::Correct;
        }) {
            continue;
        }
        search.change(&format!("replica {member} has no twin"), true, |scenario| {
            if let Role::Byzantine { twin, habits } = &mut scenario.plan.roles[member] {
                // Without a twin and without a habit it is no liar, but its disk may be bad.
                *twin = habits.is_empty();
            }
        });
        let mut at = 0;
        while let Role::Byzantine { habits, twin } = &search.best.plan.roles[member] {
            if at >= habits.len() || (habits.len() == 1 && !twin) {
                break;
            }
            let what = format!("replica {member} does not {:?}", habits[at]);
            let gone = search.change(&what, false, |scenario| {
                if let Role::Byzantine { habits, .. } = &mut scenario.plan.roles[member] {
                    habits.remove(at);
                }
            });
            at += usize::from(!gone);
        }
    }
}

/// Members that do not heal, heal.
fn without_losses(search: &mut Search<'_>) {
    let mut at = 0;
    while at < search.best.plan.lost.len() {
        let what = format!("replica {} heals", search.best.plan.lost[at].0);
        let gone = search.change(&what, true, |scenario| {
            scenario.plan.lost.remove(at);
        });
        at += usize::from(!gone);
    }
}

/// The constants of PROTOCOL.md instead of odd ones.
fn ordinary_constants(search: &mut Search<'_>) {
    let set: &[Usual] = &[
        ("window", |own, usual| own.window = usual.window),
        ("w0", |own, usual| own.w0 = usual.w0),
        ("lane_window_heights", |own, usual| {
            own.lane_window_heights = usual.lane_window_heights;
        }),
        ("lane_window_bytes", |own, usual| {
            own.lane_window_bytes = usual.lane_window_bytes;
        }),
        ("max_batch_bytes", |own, usual| {
            own.max_batch_bytes = usual.max_batch_bytes
        }),
        ("max_drift_us", |own, usual| own.max_drift_us = usual.max_drift_us),
        ("state_interval", |own, usual| own.state_interval = usual.state_interval),
        ("checkpoints", |own, usual| {
            own.checkpoint_slots = usual.checkpoint_slots;
            own.checkpoint_bytes = usual.checkpoint_bytes;
            own.log_window = usual.log_window;
        }),
        ("state_idle_us", |own, usual| own.state_idle_us = usual.state_idle_us),
        ("timer_floor_us", |own, usual| own.timer_floor_us = usual.timer_floor_us),
        ("timer_factor", |own, usual| own.timer_factor = usual.timer_factor),
        ("timer_decay_commits", |own, usual| {
            own.timer_decay_commits = usual.timer_decay_commits;
        }),
        ("idle_lock_us", |own, usual| own.idle_lock_us = usual.idle_lock_us),
        ("session_window", |own, usual| own.session_window = usual.session_window),
    ];
    for (name, set) in set {
        search.change(&format!("{name} as usual"), false, |scenario| {
            let params = &mut scenario.plan.params;
            let usual = Params::new(params.n, params.f);
            set(params, &usual);
            // A lane's window holds a few batches.
            params.lane_window_bytes = params.lane_window_bytes.max(4 * u64::from(params.max_batch_bytes));
        });
    }
}

fn without_members(search: &mut Search<'_>) {
    let mut member = search.best.plan.roles.len();
    while member > 0 {
        member -= 1;
        let n = search.best.plan.params.n;
        if n > 4 && usize::from(n) > member {
            search.change(&format!("{} replicas", n - 1), true, |scenario| {
                drop_member(scenario, member)
            });
        }
    }
}

/// Takes a member out: those behind it move up, what names it goes.
fn drop_member(scenario: &mut Scenario, member: usize) {
    let plan = &mut scenario.plan;
    plan.roles.remove(member);
    plan.params.n -= 1;
    plan.params.f = plan.params.f.min((plan.params.n - 1) / 3);
    let mut liars = plan.params.f;
    for role in &mut plan.roles {
        if matches!(role, Role::Byzantine { .. }) {
            if liars == 0 {
                *role = Role::Correct;
            } else {
                liars -= 1;
            }
        }
    }
    let gone = MemberId::try_from(member).expect("few members");
    plan.faults.retain(|(_, fault)| !fault.members().contains(&gone));
    plan.lost.retain(|(lost, _)| *lost != gone);
    for (lost, _) in &mut plan.lost {
        *lost -= u16::from(*lost > gone);
    }
    let room = usize::from(plan.params.f.saturating_sub(plan.byzantine()));
    plan.lost.truncate(room);
    for (_, fault) in &mut plan.faults {
        for named in fault.members_mut() {
            *named -= u16::from(*named > gone);
        }
        if let Fault::Partition { side, .. } = fault {
            let below = (1 << gone) - 1;
            *side = (*side & below) | (*side >> 1 & !below);
        }
    }
}

fn less_load(search: &mut Search<'_>) {
    while search.best.plan.load.clients > 1
        && search.change("half the clients", true, |scenario| scenario.plan.load.clients /= 2)
    {}
    while search.best.plan.load.requests > 0
        && search.change("half the requests", true, |scenario| scenario.plan.load.requests /= 2)
    {}
    search.change("no last requests", true, |scenario| scenario.plan.load.last_wave = 0);
    search.change("one last request", true, |scenario| {
        scenario.plan.load.last_wave = scenario.plan.load.last_wave.min(1);
    });
}

fn shorter(search: &mut Search<'_>) {
    while search.best.plan.chaos_us > 10_000
        && search.change("half the time", true, |scenario| {
            scenario.plan.chaos_us /= 2;
            let end = scenario.plan.chaos_us;
            scenario.plan.faults.retain(|(at, _)| *at < end);
        })
    {}
    for index in 0..search.best.plan.faults.len() {
        search.change(&format!("fault {index} is short"), false, |scenario| {
            if let Some((_, fault)) = scenario.plan.faults.get_mut(index)
                && let Some(us) = fault.lasts_mut()
            {
                *us = (*us).min(20_000);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;

    #[test]
    fn a_plan_without_a_member_is_a_plan() {
        let options = Options {
            n: Some(7),
            ..Options::default()
        };
        let mut some_fault = false;
        for seed in 0..20 {
            let mut scenario = Scenario::of_seed(seed, &options, None);
            some_fault |= !scenario.plan.faults.is_empty();
            while scenario.plan.params.n > 4 {
                let member = usize::from(scenario.plan.params.n) / 2;
                drop_member(&mut scenario, member);
                let text = scenario.to_text();
                Scenario::parse(&text, std::path::Path::new("x")).unwrap_or_else(|error| panic!("{error}\n{text}"));
            }
        }
        assert!(some_fault);
        let mut plan = Scenario::of_seed(0, &options, None);
        plan.plan.faults = vec![(
            1,
            Fault::Partition {
                side: 0b110_1011,
                one_way: false,
                us: 5,
            },
        )];
        drop_member(&mut plan, 3);
        assert!(matches!(
            plan.plan.faults[0].1,
            Fault::Partition { side: 0b11_0011, .. }
        ));
    }
}
