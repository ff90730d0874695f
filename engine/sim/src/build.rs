//! From a plan to hosts.

use std::sync::Arc;

use trireme_core::MemberId;
use trireme_core::types::Keys;
use trireme_crypto::Digest;

use crate::byzantine::{Coalition, Liar, Rogue, coalition};
use crate::clock::Clock;
use crate::disk::Disk;
use crate::host::{Host, Parts};
use crate::keys::Ring;
use crate::network::Weather;
use crate::plan::{Options, Plan, Role};
use crate::prng::Prng;

/// A host for each member, and a second one for twins, behind all others.
pub(crate) fn build_hosts(
    prng: &mut Prng,
    plan: &Plan,
    ring: &Arc<Ring>,
    genesis: Digest,
    options: &Options,
) -> Vec<Host> {
    let mut members: Vec<usize> = (0..plan.roles.len()).collect();
    let twins = |m: &usize| matches!(plan.roles[*m], Role::Byzantine { twin: true, .. });
    members.extend((0..plan.roles.len()).filter(twins));
    let count = members.len();
    let together = coalition(prng.clone().next());
    let build = |(host, member): (usize, usize)| {
        let keys = ring.member(MemberId::try_from(member).expect("few members"));
        let keys = match &plan.roles[member] {
            Role::Correct => keys.broken(),
            // Half of the clusters have faulty members that bend their signatures, where those are real.
            Role::Byzantine { .. } if ring.domain().cluster_id.0[1] < 128 => keys.bent(),
            Role::Byzantine { .. } => keys,
        };
        let liar = match &plan.roles[member] {
            Role::Correct => None,
            Role::Byzantine { habits, .. } => {
                let alone = coalition(prng.clone().next());
                let with = if plan.collude {
                    Coalition::clone(&together)
                } else {
                    alone
                };
                let (params, habits) = (plan.params.clone(), habits.clone());
                Some(Liar::new(keys.clone(), params, genesis, habits, &with, prng))
            }
        };
        Host::new(Parts {
            hosts: count,
            member: keys.me(),
            liar,
            params: plan.params.clone(),
            keys,
            genesis,
            clock: {
                let (origin, fast) = (prng.below(1 << 40), prng.below(plan.drift_ppm + 1));
                let clock = Clock::new(origin, fast, prng.below(plan.wall_spread_us + 1));
                let jump = plan.clock_jump;
                clock.ahead_until(
                    jump.map_or(0, |jump| jump.ahead_us),
                    jump.map_or(0, |jump| jump.until_us),
                )
            },
            disk: Disk::new(plan.disk.clone(), &plan.storage, host as u64, ring.domain()),
            bugs: options.bugs.clone(),
        })
    };
    members.into_iter().enumerate().map(build).collect()
}

/// The faulty clients; their identities are added to the ring.
pub(crate) fn build_rogues(plan: &Plan, ring: &mut Arc<Ring>, prng: &mut Prng) -> Vec<Rogue> {
    let mut first = plan.load.clients;
    let most = usize::try_from(plan.params.max_batch_bytes / 2)
        .expect("small")
        .min(600);
    let mut rogues = Vec::new();
    for rogue in &plan.rogues {
        let identities = (first..first + rogue.identities).collect();
        first += rogue.identities;
        let window = u64::from(plan.params.session_window);
        rogues.push(Rogue::new(rogue.pranks.clone(), identities, window, most, prng.fork()));
    }
    ring.add_clients(prng, first - plan.load.clients);
    rogues
}

/// What is left of the weather once the network has healed.
pub(crate) fn calm(weather: &Weather) -> Weather {
    Weather {
        jitter_us: weather.jitter_us,
        ..Weather::default()
    }
}
