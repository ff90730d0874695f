//! Makes all links of a plan and deals their ends out to the stages.

use std::sync::Arc;

use crate::execute::ExecuteLinks;
use crate::ingress::IngressLinks;
use crate::link::{LinkCounts, Receiver, Sender, link};
use crate::log::LogLinks;
use crate::order::OrderLinks;
use crate::peers::PeersLinks;
use crate::signal::Threads;
use crate::snapshots::SnapshotsLinks;
use crate::topology::{
    APPENDS, BODIES, CHECKED_BUNDLES, CHECKPOINTS, DURABLE, EXECUTED, FRAMES, IMAGES, INSTALLS, KEPT, LINKS, LinkSpec,
    MESSAGES, OWN_BUNDLES, Plan, REFUSALS, RELEASED, REPLIES, Room, SLOTS, STATE_FRAMES, STATE_MESSAGES, Stage,
    URGENT_BODIES, VERDICTS,
};
use crate::verify::VerifyLinks;

/// A stage's ends.
pub(crate) enum Ends {
    Ingress(IngressLinks),
    Verify(VerifyLinks),
    Peers(PeersLinks),
    Order(OrderLinks),
    Log(LogLinks),
    Execute(ExecuteLinks),
    Snapshots(SnapshotsLinks),
}

impl Ends {
    pub(crate) fn stage(&self) -> Stage {
        match self {
            Self::Ingress(_) => Stage::Ingress,
            Self::Verify(_) => Stage::Verify,
            Self::Peers(_) => Stage::Peers,
            Self::Order(_) => Stage::Order,
            Self::Log(_) => Stage::Log,
            Self::Execute(_) => Stage::Execute,
            Self::Snapshots(_) => Stage::Snapshots,
        }
    }
}

/// Links under construction.
struct Wiring<'a> {
    plan: &'a Plan,
    threads: &'a Threads,
    rooms: &'a dyn Fn(&LinkSpec) -> Room,
    counts: Vec<Arc<LinkCounts>>,
}

impl Wiring<'_> {
    fn link<T>(&mut self, spec: &'static LinkSpec) -> (Sender<T>, Receiver<T>) {
        let (from, to) = (self.plan.thread_of(spec.from), self.plan.thread_of(spec.to));
        let (sender, receiver) = link(spec, (self.rooms)(spec), self.threads, from, to);
        self.counts.push(sender.counts());
        (sender, receiver)
    }
}

/// All links of a plan with the room that each is given: the ends of each stage, in the order of [`Stage::ALL`], and
/// what the links count.
pub(crate) fn wire(
    plan: &Plan,
    threads: &Threads,
    rooms: &dyn Fn(&LinkSpec) -> Room,
) -> ([Ends; Stage::COUNT], Vec<Arc<LinkCounts>>) {
    let mut wiring = Wiring {
        plan,
        threads,
        rooms,
        counts: Vec::new(),
    };
    let w = &mut wiring;
    let (own_in, own_out) = w.link(&OWN_BUNDLES);
    let (refusals_in, refusals_out) = w.link(&REFUSALS);
    let (checked_in, checked_out) = w.link(&CHECKED_BUNDLES);
    let (bodies_in, bodies_out) = w.link(&BODIES);
    let (urgent_in, urgent_out) = w.link(&URGENT_BODIES);
    let (verdicts_in, verdicts_out) = w.link(&VERDICTS);
    let (messages_in, messages_out) = w.link(&MESSAGES);
    let (frames_in, frames_out) = w.link(&FRAMES);
    let (appends_in, appends_out) = w.link(&APPENDS);
    let (durable_in, durable_out) = w.link(&DURABLE);
    let (released_in, released_out) = w.link(&RELEASED);
    let (slots_in, slots_out) = w.link(&SLOTS);
    let (executed_in, executed_out) = w.link(&EXECUTED);
    let (replies_in, replies_out) = w.link(&REPLIES);
    let (images_in, images_out) = w.link(&IMAGES);
    let (checkpoints_in, checkpoints_out) = w.link(&CHECKPOINTS);
    let (kept_in, kept_out) = w.link(&KEPT);
    let (state_messages_in, state_messages_out) = w.link(&STATE_MESSAGES);
    let (state_frames_in, state_frames_out) = w.link(&STATE_FRAMES);
    let (installs_in, installs_out) = w.link(&INSTALLS);
    let ends = [
        Ends::Ingress(IngressLinks {
            own: own_in,
            refusals: refusals_out,
            replies: replies_out,
        }),
        Ends::Verify(VerifyLinks {
            own: own_out,
            bodies: bodies_out,
            urgent: urgent_out,
            refusals: refusals_in,
            checked: checked_in,
            verdicts: verdicts_in,
        }),
        Ends::Peers(PeersLinks {
            messages: messages_in,
            frames: frames_out,
            released: released_out,
            state: state_messages_in,
            state_frames: state_frames_out,
        }),
        Ends::Order(OrderLinks {
            messages: messages_out,
            bundles: checked_out,
            verdicts: verdicts_out,
            durable: durable_out,
            executed: executed_out,
            bodies: bodies_in,
            urgent: urgent_in,
            appends: appends_in,
            frames: frames_in,
            slots: slots_in,
            checkpoints: checkpoints_in,
            kept: kept_out,
        }),
        Ends::Log(LogLinks {
            jobs: appends_out,
            durable: durable_in,
            released: released_in,
        }),
        Ends::Execute(ExecuteLinks {
            jobs: slots_out,
            executed: executed_in,
            replies: replies_in,
            images: images_in,
            installs: installs_out,
        }),
        Ends::Snapshots(SnapshotsLinks {
            images: images_out,
            checkpoints: checkpoints_out,
            messages: state_messages_out,
            frames: state_frames_in,
            kept: kept_in,
            installs: installs_in,
        }),
    ];
    assert_eq!(wiring.counts.len(), LINKS.len(), "the topology lists every link");
    (ends, wiring.counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::PLANS;

    #[test]
    fn every_declared_link_is_made_and_every_stage_gets_its_ends() {
        for plan in PLANS {
            let (ends, counts) = wire(plan, &Threads::new(plan.threads.len()), &LinkSpec::room);
            assert!(ends.iter().map(Ends::stage).eq(Stage::ALL));
            for spec in LINKS {
                assert!(counts.iter().any(|made| std::ptr::eq(made.spec, spec)), "{}", spec.name);
            }
        }
    }
}
