//! The peers stage: frames from members are decoded and checked here, before the core sees them (R-CHANNEL), and
//! frames to members are handed to the transport.

use std::collections::BTreeMap;
use std::task::Poll;

use serde_json::{Map, Value, json};
use trireme_core::api::Reject;
use trireme_core::check::{CheckContext, Checked};
use trireme_core::wire::decode_envelope;
use trireme_core::{MemberId, Message, Tick, To};
use trireme_transport::{CloseReason, ClosedBy, Counters, PeerEvent, SendError};

use crate::clock::micros;
use crate::doors::PeerDoor;
use crate::error::ReplicaError;
use crate::items::{FromMember, ToMembers};
use crate::link::{Receiver, Sender};
use crate::orderer::MessageGate;
use crate::snapshots::StateMessage;
use crate::stage::{Finish, Turn, Work, entries};
use crate::topology::Stage;

/// A member's round trip is told to the core at most this often, and only while frames come from it.
const RTT_EVERY_US: u64 = 1_000_000;

/// The links of the stage.
pub(crate) struct PeersLinks {
    pub(crate) messages: Sender<FromMember>,
    pub(crate) frames: Receiver<ToMembers>,
    pub(crate) released: Receiver<ToMembers>,
    /// What members say about images, which is nothing to the core.
    pub(crate) state: Sender<StateMessage>,
    pub(crate) state_frames: Receiver<ToMembers>,
}

/// See the module's text.
pub(crate) struct Peers<D> {
    endpoint: D,
    links: PeersLinks,
    context: CheckContext,
    gate: MessageGate,
    me: MemberId,
    members: Vec<Member>,
    rejects: [u64; Reject::COUNT],
    /// Messages that were accepted, by kind.
    received: [u64; KINDS.len()],
    /// Frames that found no room in a member's queue; each cost that member its connection.
    queue_full: u64,
}

/// What is known of a member's channel.
#[derive(Clone, Debug, Default)]
struct Member {
    connected: bool,
    /// It broke the protocol; what it still says on this channel is not listened to.
    condemned: bool,
    rtt_told: Option<Tick>,
    rejects: u64,
}

impl<D: PeerDoor> Peers<D> {
    pub(crate) fn new(
        endpoint: D,
        links: PeersLinks,
        (context, gate): (CheckContext, MessageGate),
        me: MemberId,
    ) -> Self {
        let members = vec![Member::default(); context.quorums.n()];
        Self {
            endpoint,
            links,
            context,
            gate,
            me,
            members,
            rejects: [0; Reject::COUNT],
            received: [0; KINDS.len()],
            queue_full: 0,
        }
    }

    fn transmit(&mut self, item: ToMembers) {
        match item {
            ToMembers::Frame {
                to: To::One(member),
                class,
                frame,
            } => self.send(member, class, frame),
            ToMembers::Frame {
                to: To::All,
                class,
                frame,
            } => {
                for member in self.context.quorums.members() {
                    if member != self.me {
                        self.send(member, class, frame.clone());
                    }
                }
            }
            ToMembers::Disconnect(member, reason) => self.disconnect(member, reason),
        }
    }

    fn send(&mut self, member: MemberId, class: trireme_transport::Class, frame: bytes::Bytes) {
        match self.endpoint.send(u32::from(member), class, frame) {
            // Whoever is not connected is brought up to date when it is.
            Ok(()) | Err(SendError::NotConnected) => {}
            // The endpoint closes the connection: nothing is dropped silently.
            Err(SendError::Full) => {
                self.queue_full += 1;
                tracing::warn!(
                    member,
                    "member does not keep up: its queue is full, its connection is closed"
                );
            }
            // It announced a limit below what the protocol needs.
            Err(error @ SendError::FrameLength { .. }) => {
                tracing::warn!(member, %error, "member does not take what the protocol sends, channel closed");
                self.disconnect(member, CloseReason::Unexpected);
            }
        }
    }

    fn disconnect(&mut self, member: MemberId, reason: CloseReason) {
        self.members[usize::from(member)].condemned = true;
        self.endpoint.disconnect(u32::from(member), reason);
    }

    fn handle(&mut self, event: PeerEvent, now: Tick) {
        match event {
            PeerEvent::Connected { peer } => {
                let Some(member) = self.member(peer) else { return };
                self.members[usize::from(member)] = Member {
                    connected: true,
                    rejects: self.members[usize::from(member)].rejects,
                    ..Member::default()
                };
                tracing::info!(member, "member connected");
                // First, so that no timer that the connection starts takes the distance for nothing.
                if self.links.messages.places() > 1 {
                    self.tell_rtt(member, now);
                }
                self.links.messages.push(0, FromMember::Connected(member));
            }
            PeerEvent::Disconnected { peer, reason } => {
                let Some(member) = self.member(peer) else { return };
                let state = &mut self.members[usize::from(member)];
                (state.connected, state.condemned) = (false, false);
                tracing::info!(member, %reason, "member disconnected");
                self.links.messages.push(0, FromMember::Disconnected(member));
            }
            PeerEvent::Frame { peer, bytes, .. } => {
                let Some(member) = self.member(peer) else { return };
                if !self.members[usize::from(member)].condemned {
                    self.frame(member, bytes, now);
                }
            }
            PeerEvent::Refused { addr, reason } => tracing::warn!(%addr, %reason, "connection refused"),
        }
    }

    fn member(&self, peer: u32) -> Option<MemberId> {
        let member = MemberId::try_from(peer).ok()?;
        (usize::from(member) < self.members.len() && member != self.me).then_some(member)
    }

    fn frame(&mut self, member: MemberId, bytes: bytes::Bytes, now: Tick) {
        let weight = bytes.len();
        match decode_envelope(bytes).and_then(|envelope| self.gate.check(&self.context, member, envelope)) {
            Ok(checked) => {
                self.received[kind(checked.message())] += 1;
                self.pass(member, weight, checked);
                self.tell_rtt(member, now);
            }
            Err(reject) => {
                self.rejects[reject as usize] += 1;
                self.members[usize::from(member)].rejects += 1;
                tracing::warn!(member, reason = reject.name(), "message refused, channel closed");
                self.disconnect(member, close_reason(reject));
            }
        }
    }

    fn pass(&mut self, from: MemberId, weight: usize, checked: Checked) {
        let (slot, part, bytes) = match checked.message() {
            Message::FetchState { slot, part } => (*slot, *part, None),
            Message::StatePart { slot, part, bytes } => (*slot, *part, Some(bytes.clone())),
            _ => return self.links.messages.push(weight, FromMember::Message(checked)),
        };
        let message = StateMessage {
            from,
            slot,
            part,
            bytes,
        };
        self.links.state.push(weight, message);
    }

    fn tell_rtt(&mut self, member: MemberId, now: Tick) {
        let state = &mut self.members[usize::from(member)];
        let due = state.rtt_told.is_none_or(|told| now.since(told) >= RTT_EVERY_US);
        if due && self.links.messages.places() > 0 {
            state.rtt_told = Some(now);
            if let Some(rtt) = self.endpoint.rtt(u32::from(member)) {
                self.links.messages.push(0, FromMember::Rtt(member, micros(rtt)));
            }
        }
    }

    fn member_status(&self, member: MemberId) -> Value {
        let state = &self.members[usize::from(member)];
        let stats = self.endpoint.stats(u32::from(member)).filter(|_| state.connected);
        json!({
            "member": member,
            "connected": state.connected,
            "rtt_us": stats.map(|stats| micros(stats.rtt)),
            "sent_bytes": stats.map(|stats| stats.sent_bytes),
            "received_bytes": stats.map(|stats| stats.received_bytes),
            "sent_datagrams": stats.map(|stats| stats.sent_datagrams),
            "lost_packets": stats.map(|stats| stats.lost_packets),
            "rejects": state.rejects,
        })
    }
}

/// Kinds of messages, as [`kind`] numbers them.
const KINDS: [&str; 25] = [
    "batch",
    "ack",
    "certificate",
    "block",
    "vote",
    "suspect",
    "timeout",
    "entry",
    "high_qc",
    "state_vote",
    "state_certificate",
    "lanes",
    "fetch_blocks",
    "blocks",
    "fetch_batches",
    "not_held",
    "committed",
    "fetch_state",
    "state_part",
    "shown",
    "inquire",
    "recollection",
    "leave_view",
    "readmitted",
    "raft",
];

fn kind(message: &Message) -> usize {
    match message {
        Message::Batch(_) => 0,
        Message::Ack(_) => 1,
        Message::Certificate(_) => 2,
        Message::Block(_) => 3,
        Message::Vote(_) => 4,
        Message::Suspect { .. } => 5,
        Message::Timeout(_) => 6,
        Message::Entry(_) => 7,
        Message::HighQc(_) => 8,
        Message::StateVote(_) => 9,
        Message::StateCertificate(_) => 10,
        Message::Lanes(_) => 11,
        Message::FetchBlocks { .. } => 12,
        Message::Blocks { .. } => 13,
        Message::FetchBatches { .. } => 14,
        Message::NotHeld { .. } => 15,
        Message::Committed { .. } => 16,
        Message::FetchState { .. } => 17,
        Message::StatePart { .. } => 18,
        Message::Shown(_) => 19,
        Message::Inquire => 20,
        Message::Recollection(_) => 21,
        Message::LeaveView(_) => 22,
        Message::Readmitted(_) => 23,
        Message::Ordering(_) => 24,
    }
}

/// What the other side is told about a refused message.
pub(crate) fn close_reason(reject: Reject) -> CloseReason {
    match reject {
        Reject::TooLarge => CloseReason::Oversized,
        Reject::Unrequested => CloseReason::Unexpected,
        _ => CloseReason::Malformed,
    }
}

/// Connections that ended, by reason; only those that occurred.
pub(crate) fn closed_status(counters: &Counters) -> Value {
    let count = |reason| -> u64 {
        [ClosedBy::Local, ClosedBy::Remote, ClosedBy::Path]
            .map(|by| counters.closed(by, reason))
            .iter()
            .sum()
    };
    let occurred = CloseReason::ALL
        .into_iter()
        .map(|reason| (reason, count(reason)))
        .filter(|(_, count)| *count > 0);
    occurred
        .map(|(reason, count)| (reason.name().to_owned(), count.into()))
        .collect::<Map<_, _>>()
        .into()
}

impl<D: PeerDoor> Work for Peers<D> {
    fn stage(&self) -> Stage {
        Stage::Peers
    }

    fn poll(&mut self, turn: &mut Turn<'_, '_>) -> Result<bool, ReplicaError> {
        let mut progress = false;
        // These links hold what one turn of their producers gave; they are emptied whatever else waits.
        while let Some(item) = self.links.released.pop() {
            self.transmit(item);
            progress = true;
        }
        while let Some(item) = self.links.frames.pop() {
            self.transmit(item);
            progress = true;
        }
        while let Some(item) = self.links.state_frames.pop() {
            self.transmit(item);
            progress = true;
        }
        for _ in 0..turn.budget {
            // An event gives one item, and perhaps a round trip, which does without a place.
            if !self.links.messages.room() || !self.links.state.room() {
                break;
            }
            let Poll::Ready(Some(event)) = self.endpoint.poll_recv(turn.cx) else {
                break;
            };
            self.handle(event, turn.now.tick);
            progress = true;
        }
        Ok(progress)
    }

    fn status(&mut self) -> Map<String, Value> {
        let others = self.context.quorums.members().filter(|member| *member != self.me);
        let rejects = REJECTS
            .into_iter()
            .map(|r| (r.name().to_owned(), self.rejects[r as usize].into()));
        let counters = self.endpoint.counters();
        entries(json!({
            "peers": others.map(|member| self.member_status(member)).collect::<Vec<_>>(),
            "peer_traffic": {
                "frames_sent": counters.frames_sent,
                "bytes_sent": counters.bytes_sent,
                "frames_received": counters.frames_received,
                "bytes_received": counters.bytes_received,
                "queue_full": self.queue_full,
                "closed": closed_status(&counters),
            },
            "messages": KINDS.into_iter().zip(self.received).collect::<BTreeMap<_, _>>(),
            "rejects": rejects.collect::<Map<_, _>>(),
        }))
    }

    fn finish(mut self: Box<Self>) -> Finish {
        Box::pin(async move {
            while let Some(item) = self.links.released.pop() {
                self.transmit(item);
            }
            self.endpoint.shutdown().await;
            Ok(())
        })
    }
}

const REJECTS: [Reject; Reject::COUNT] = [
    Reject::Malformed,
    Reject::Epoch,
    Reject::Members,
    Reject::Count,
    Reject::Signature,
    Reject::Author,
    Reject::Body,
    Reject::Inconsistent,
    Reject::TooLarge,
    Reject::Unrequested,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_are_listed_in_the_order_of_their_numbers() {
        for (index, reject) in REJECTS.into_iter().enumerate() {
            assert_eq!(reject as usize, index);
        }
    }
}
