//! Who hears what: messages in flight, and the groups that they cross within.

use std::rc::Rc;

use trireme_core::check::{CheckContext, Checked, check};
use trireme_core::message::{Envelope, Message};
use trireme_core::types::Epoch;
use trireme_core::{MemberId, View};

use super::scenario::Scenario;

/// Instances, one bit each.
pub(super) type Mask = u32;

/// A message under way, judged by the gate once for all its receivers: the gate is a function of the message and of
/// constants that all share.
#[derive(Clone)]
pub(super) struct Frame {
    pub(super) from: usize,
    pub(super) to: Mask,
    pub(super) checked: Rc<Result<Checked, trireme_core::api::Reject>>,
}

/// The network of a stage.
#[derive(Clone)]
pub(super) struct Mail {
    /// Instances of each member.
    of_member: Vec<Mask>,
    /// The group of each instance, itself included.
    group: Vec<Mask>,
    /// What was said, in order.
    flight: Vec<Frame>,
    /// Said in views that begin with the next stage.
    ahead: Vec<Frame>,
    /// The highest view that is heard in this stage.
    horizon: View,
    /// Proposals of the views heard do not arrive.
    pub(super) no_blocks: bool,
    /// Instances that are up.
    up: Mask,
}

impl Mail {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let mut of_member = vec![0; usize::from(scenario.n)];
        for instance in 0..scenario.instances() {
            of_member[usize::from(scenario.member(instance))] |= 1 << instance;
        }
        Self {
            of_member,
            group: (0..scenario.instances()).map(|instance| 1 << instance).collect(),
            flight: Vec::new(),
            ahead: Vec::new(),
            horizon: 0,
            no_blocks: false,
            up: 0,
        }
    }

    /// The group of an instance.
    pub(super) fn group(&self, instance: usize) -> Mask {
        self.group[instance]
    }

    /// Whether two instances hear each other.
    pub(super) fn hears(&self, a: usize, b: usize) -> bool {
        self.group[a] & self.up & (1 << b) != 0 && self.up & (1 << a) != 0
    }

    /// An instance comes up or goes down: what was on its way to it or from it is lost.
    pub(super) fn set_up(&mut self, instance: usize, up: bool) {
        let bit = 1 << instance;
        self.up = if up { self.up | bit } else { self.up & !bit };
        if !up {
            for frames in [&mut self.flight, &mut self.ahead] {
                frames.retain(|frame| frame.from != instance);
                frames.iter_mut().for_each(|frame| frame.to &= !bit);
            }
        }
    }

    /// New groups. What crosses their borders is lost; what was said ahead is heard now.
    pub(super) fn regroup(&mut self, groups: Vec<Mask>, horizon: View) {
        self.group = groups;
        self.horizon = horizon;
        self.flight.append(&mut self.ahead);
        let group = &self.group;
        self.flight.retain_mut(|frame| {
            frame.to &= group[frame.from];
            frame.to != 0
        });
    }

    /// An instance speaks to some others.
    pub(super) fn post(&mut self, context: &CheckContext, from: (usize, MemberId, View), to: Mask, message: Message) {
        let (instance, member, view) = from;
        let to = to & self.group[instance] & self.up & !self.of_member[usize::from(member)];
        let ahead = view > self.horizon;
        if to == 0 || (self.no_blocks && !ahead && matches!(message, Message::Block(_))) {
            return;
        }
        let epoch: Epoch = context.keys.domain().epoch;
        let frame = Frame {
            from: instance,
            to,
            checked: Rc::new(check(context, member, Envelope { epoch, view, message })),
        };
        if ahead {
            self.ahead.push(frame);
        } else {
            self.flight.push(frame);
        }
    }

    /// Instances of a member.
    pub(super) fn of_member(&self, member: MemberId) -> Mask {
        self.of_member[usize::from(member)]
    }

    /// Nothing is to be heard in this stage any more.
    pub(super) fn is_quiet(&self) -> bool {
        self.flight.is_empty()
    }

    /// All that is heard in the next message step.
    pub(super) fn take(&mut self) -> Vec<Frame> {
        std::mem::take(&mut self.flight)
    }
}
