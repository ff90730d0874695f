//! Lies of time: too late, too late for some, and deaf (FAULTS.md 2, 17, 19).

use trireme_core::message::Message;
use trireme_core::types::Keys;
use trireme_core::{MemberId, View};

use super::Habit;
use super::strategy::{Act, Me, Said, Strategy};
use crate::prng::Prng;

/// 2: own blocks come late. The delay grows while nobody protests and shrinks when the view is left, so that it comes
/// to stand just under the timeout.
pub(super) struct SlowLeader {
    delay_us: u64,
    /// The view of the last own block, and of the last one that was left.
    view: View,
    lost: Option<View>,
}

impl SlowLeader {
    pub(super) fn draw(prng: &mut Prng) -> Self {
        Self {
            delay_us: prng.pick(&[2_000, 20_000, 60_000]),
            view: 0,
            lost: None,
        }
    }
}

impl Strategy for SlowLeader {
    fn bend(&mut self, me: &mut Me, _to: MemberId, mut said: Said, out: &mut Vec<Said>) {
        if let Message::Block(signed) = &said.message
            && me.leads(signed.block.view)
        {
            self.view = signed.block.view;
            if me.prng.percent(20) {
                self.delay_us = (self.delay_us + self.delay_us / 8).min(2_000_000);
            }
            said.delay_us += self.delay_us;
            me.fire(Habit::SlowLeader);
        }
        out.push(said);
    }

    fn hear(&mut self, me: &mut Me, _from: MemberId, message: &Message, _acts: &mut Vec<Act>) {
        if let Message::Timeout(timeout) = message
            && me.leads(timeout.timeout.view)
            && timeout.timeout.view == self.view
            && self.lost != Some(self.view)
        {
            self.lost = Some(self.view);
            self.delay_us = (self.delay_us * 3 / 4).max(500);
        }
    }
}

/// 19: its Suspects, Timeouts and entry certificates reach one half late.
pub(super) struct Desynchronise {
    most_us: u64,
}

impl Desynchronise {
    pub(super) fn draw(prng: &mut Prng) -> Self {
        Self {
            most_us: prng.pick(&[10_000, 100_000, 500_000]),
        }
    }
}

impl Strategy for Desynchronise {
    fn bend(&mut self, me: &mut Me, to: MemberId, mut said: Said, out: &mut Vec<Said>) {
        let told = matches!(
            said.message,
            Message::Timeout(_) | Message::Suspect { .. } | Message::Entry(_) | Message::HighQc(_)
        );
        if told && me.in_other_half(to) {
            said.delay_us += self.most_us / 2 + me.prng.below(self.most_us);
            me.fire(Habit::Desynchronise);
        }
        out.push(said);
    }

    fn out_of_turn(&mut self, me: &mut Me, to: MemberId, out: &mut Vec<Message>) {
        // And a suspicion that comes and goes, for the other half.
        if !me.in_other_half(to) && me.prng.percent(5) {
            out.push(Message::Suspect {
                view: me.view,
                standing: me.prng.percent(50),
            });
        }
    }
}

/// 17: hears nothing, and wants every view to end.
pub(super) struct Deaf;

impl Strategy for Deaf {
    fn deaf(&self) -> bool {
        true
    }

    fn hear(&mut self, me: &mut Me, from: MemberId, message: &Message, acts: &mut Vec<Act>) {
        if matches!(message, Message::Block(_)) && me.prng.percent(20) && from != me.keys.me() {
            let view = match message {
                Message::Block(signed) => signed.block.view,
                _ => me.view,
            };
            let suspect = Message::Suspect { view, standing: true };
            me.fire(Habit::Deaf);
            acts.push(Act::Say(None, suspect));
        }
    }
}
