//! R-TIMER: what doubles the view timer. n = 4: f+1 = 2, t = 3.
//!
//! Found by seed 9952: seventeen views that were left within three seconds, most of them because channels broke, had
//! doubled a timer of 5 ms to eleven minutes; then one view that could not commit stopped the cluster.

mod lab;

use lab::{Actor, Lab, genesis, without};
use trireme_core::message::{Justify, Message};
use trireme_core::{Input, View};

/// A replica with a block that waits for its commit.
fn with_work() -> (Lab, Actor) {
    let lab = Lab::new(4, 1);
    let mut r3 = lab.replica(3, &without(""));
    let (_, block) = lab.block(0, (0, genesis()), 0, Justify::None);
    r3.hear_block(&block);
    (lab, r3)
}

fn leave(lab: &Lab, actor: &mut Actor, view: View) {
    let tc = lab.empty_tc(view, &[0, 1, 2]);
    actor.hear(0, Message::Entry(Box::new(tc))).unwrap();
    assert_eq!(actor.replica.view(), view + 1);
}

#[test]
fn views_that_are_left_at_once_do_not_double_it() {
    let (lab, mut r3) = with_work();
    for view in 0..40 {
        r3.wait(1_000);
        leave(&lab, &mut r3, view);
    }
    assert_eq!(r3.replica.timer_doublings().0, 0);
}

#[test]
fn views_in_which_work_waited_for_nothing_double_it() {
    let (lab, mut r3) = with_work();
    for view in 0..6 {
        let (tc, leader) = (lab.empty_tc(view, &[0, 1, 2]), (view + 1) % 4);
        r3.wait(lab.params.timer_floor_us << view);
        leave(&lab, &mut r3, view);
        let doublings = u32::try_from(view + 1).unwrap();
        assert_eq!(r3.replica.timer_doublings().0, doublings, "after view {view}");
        // The next leader's block waits in vain, too.
        let (_, first) = lab.block(view + 1, (0, genesis()), 0, Justify::Tc(Box::new(tc)));
        if leader != 3 {
            r3.hear_block(&first);
        }
    }
}

/// Over long distances channels open half a second after a start: what waits for a commit by then says nothing against the
/// leader.
#[test]
fn nobody_is_suspected_before_a_quorum_is_connected() {
    let lab = Lab::new(4, 1);
    let mut r3 = lab.replica(3, &without(""));
    let suspects = |actor: &Actor| {
        let said = |message: &Message| matches!(message, Message::Suspect { standing: true, .. });
        actor.sent.iter().filter(|outbound| said(&outbound.message)).count()
    };
    let connect = |actor: &mut Actor, member| {
        actor.step(Input::Rtt { member, us: 130_000 });
        actor.step(Input::Connected(member));
    };
    connect(&mut r3, 0);
    let (_, block) = lab.block(0, (0, genesis()), 0, Justify::None);
    r3.hear_block(&block);
    r3.wait(20 * lab.params.timer_floor_us);
    assert_eq!(suspects(&r3), 0, "alone with the leader");
    connect(&mut r3, 1);
    r3.wait(260_000);
    assert_eq!(suspects(&r3), 0, "two round trips are what a commit may take");
    r3.wait(600_000);
    assert_eq!(suspects(&r3), 1, "and then the leader is at fault");
}
