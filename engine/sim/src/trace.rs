//! One line for each event of a replay, and a hash over all of them.

use std::fmt::Write as _;

use trireme_core::api::Input;
use trireme_core::message::{Message, Vote};
use trireme_core::record::{Record, VoteRecord};
use trireme_core::{Effect, Slot, To};
use trireme_crypto::Digest;

use crate::prng::split_mix;

/// Folds what happened into 64 bits: equal for equal runs, and only for those.
#[derive(Clone, Debug, Default)]
pub(crate) struct TraceHash(u64);

impl TraceHash {
    pub(crate) fn add(&mut self, word: u64) {
        self.0 = self.0.rotate_left(23) ^ word;
        let mut state = self.0;
        self.0 = split_mix(&mut state);
    }

    pub(crate) fn add_digest(&mut self, digest: &Digest) {
        self.add(u64::from_le_bytes(digest.0[..8].try_into().expect("eight bytes")));
    }

    pub(crate) fn value(&self) -> u64 {
        self.0
    }

    /// What an effect was.
    pub(crate) fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Append {
                id, records, release, ..
            } => {
                [1, *id, records.len() as u64, release.len() as u64]
                    .into_iter()
                    .for_each(|word| self.add(word));
                release.iter().for_each(|outbound| self.message(&outbound.message));
            }
            Effect::Send(outbound) => {
                self.add(2);
                self.message(&outbound.message);
            }
            Effect::Verify { job, .. } => self.add(3 ^ (job << 8)),
            Effect::Execute(execution) => self.add_digest(&execution.block),
            Effect::StateRoot { slot } => self.add(5 ^ (slot << 8)),
            Effect::Serve { digests, .. } => digests.iter().for_each(|digest| self.add_digest(digest)),
            Effect::Disconnect { member, .. } => self.add(7 ^ (u64::from(*member) << 8)),
            Effect::Evidence(_) => self.add(8),
            Effect::Alarm(_) => self.add(9),
            Effect::Stable { certificate, .. } => self.add(10 ^ (certificate.vote.slot << 8)),
            Effect::Release { slot, .. } => self.add(11 ^ (slot << 8)),
            Effect::Transfer { certificate } => self.add(12 ^ (certificate.vote.slot << 8)),
            Effect::Quarantined(_) => self.add(13),
            Effect::Readmitted(at) => self.add(14 ^ (at.slot << 8)),
        }
    }

    fn message(&mut self, message: &Message) {
        let signature = match message {
            Message::Batch(batch) => &batch.head.signature,
            Message::Ack(ack) => &ack.signature,
            Message::Block(block) => &block.signature,
            Message::Vote(vote) => &vote.signature,
            Message::Timeout(timeout) => &timeout.signature,
            Message::StateVote(vote) => &vote.signature,
            _ => return self.add(10),
        };
        self.add(u64::from_le_bytes(signature.0[..8].try_into().expect("eight bytes")));
    }
}

/// An input in a few words.
pub(crate) fn input(input: &Input) -> String {
    match input {
        Input::Message(checked) => format!(
            "from {} (view {}): {}",
            checked.from(),
            checked.view(),
            message(checked.message())
        ),
        Input::Connected(member) => format!("connected {member}"),
        Input::Disconnected(member) => format!("disconnected {member}"),
        Input::Rtt { member, us } => format!("rtt {member} {us}us"),
        Input::Appended(id) => format!("appended #{id}"),
        Input::Verified { job, good } => format!("verified job {job}: {good}"),
        Input::Executed { slot, state } => {
            format!(
                "executed slot {slot}{}",
                if state.is_some() { " with root" } else { "" }
            )
        }
        Input::Bundle { ops, .. } => format!("bundle of {ops}"),
        Input::Snapshotted { slot } => format!("snapshot of s{slot} is durable"),
        Input::Installed { certificate, .. } => format!("state of s{} installed", certificate.vote.slot),
        Input::Idle => "idle".into(),
        Input::Timeout => "timeout".into(),
    }
}

/// Effects in a few words.
pub(crate) fn effects(effects: &[Effect]) -> String {
    let mut text = String::new();
    for effect in effects {
        let separator = if text.is_empty() { "" } else { "; " };
        write!(text, "{separator}{}", one_effect(effect)).expect("writing to memory");
    }
    text
}

fn one_effect(effect: &Effect) -> String {
    match effect {
        Effect::Append {
            id,
            records,
            release,
            urgent,
        } => {
            let records: Vec<String> = records.iter().map(record).collect();
            let release: Vec<String> = release.iter().map(|out| outbound(out.to, &out.message)).collect();
            let pace = if *urgent { "" } else { " (lazy)" };
            format!(
                "append #{id}{pace} [{}] then [{}]",
                records.join(", "),
                release.join(", ")
            )
        }
        Effect::Send(out) => outbound(out.to, &out.message),
        Effect::Verify { job, digest, .. } => format!("verify job {job} of {}", digest.short()),
        Effect::Execute(execution) => format!(
            "execute slot {} {} with {} batches{}",
            execution.slot,
            execution.block.short(),
            execution.batches.len(),
            if execution.fast { " (fast)" } else { "" }
        ),
        Effect::StateRoot { slot } => format!("root of slot {slot}"),
        Effect::Serve { to, digests, .. } => format!("serve {} records to {to}", digests.len()),
        Effect::Disconnect { member, reason } => format!("disconnect {member}: {}", reason.name()),
        Effect::Evidence(evidence) => format!("EVIDENCE {}", evidence.kind()),
        Effect::Alarm(alarm) => format!("ALARM {alarm:?}"),
        Effect::Stable { certificate, .. } => format!("checkpoint s{} is stable", certificate.vote.slot),
        Effect::Release { after, slot, heights } => format!("release below s{slot}, up to {heights:?}, after #{after}"),
        Effect::Transfer { certificate } => format!("fetch the state of s{}", certificate.vote.slot),
        Effect::Quarantined(cause) => format!("QUARANTINED: {}", cause.name()),
        Effect::Readmitted(at) => format!("READMITTED at v{} s{}", at.view, at.slot),
    }
}

fn outbound(to: To, what: &Message) -> String {
    match to {
        To::All => format!("all<- {}", message(what)),
        To::One(member) => format!("{member}<- {}", message(what)),
    }
}

fn record(record: &Record) -> String {
    match record {
        Record::Batch(batch) => format!("batch {}/{}", batch.head.header.lane, batch.head.header.height),
        Record::Vote(VoteRecord::Accept(block)) => format!("accept v{} s{}", block.block.view, block.block.slot),
        Record::Vote(VoteRecord::Block(block)) => format!("block v{} s{}", block.block.view, block.block.slot),
        Record::Vote(VoteRecord::HighQc(qc)) => format!("high_qc v{} s{}", qc.at.view, qc.at.slot),
        Record::Vote(VoteRecord::Timeout(timeout)) => format!("timeout v{}", timeout.timeout.view),
        Record::Vote(VoteRecord::Enter(tc)) => format!("enter v{}", tc.view + 1),
        Record::Vote(VoteRecord::Reserve(height)) => format!("reserve {height}"),
        Record::Vote(VoteRecord::Committed(slot, _)) => format!("committed s{slot}"),
        Record::Vote(VoteRecord::Quarantined(cause)) => format!("quarantined: {}", cause.name()),
        Record::Vote(VoteRecord::Readmitted(way)) => format!("readmitted at v{} s{}", way.qc.at.view, way.qc.at.slot),
        Record::Ordering(bytes) => format!("another ordering's, {} bytes", bytes.len()),
        Record::Vote(VoteRecord::Standing(standing)) => format!("standing, {} listed", standing.accepted.len()),
    }
}

/// A message in a few words.
pub(crate) fn message(message: &Message) -> String {
    match message {
        Message::Batch(batch) => {
            let header = &batch.head.header;
            format!("batch {}/{} ({} ops)", header.lane, header.height, header.ops)
        }
        Message::Ack(signed) => {
            let ack = &signed.ack;
            let flag = |set: bool, name| if set { name } else { "-" };
            let flags = [flag(ack.stored, "s"), flag(ack.verified, "v"), flag(ack.witnessed, "w")].concat();
            format!("ack {}/{} {flags}", ack.lane, ack.height)
        }
        Message::Certificate(ac) => format!("certificate {}/{}", ac.lane, ac.height),
        Message::Block(signed) => {
            let block = &signed.block;
            let cut: Vec<String> = block.cut.iter().map(|entry| entry.height.to_string()).collect();
            format!(
                "block v{} s{} on {} cut {}",
                block.view,
                block.slot,
                block.parent.short(),
                cut.join("/")
            )
        }
        Message::Vote(signed) => vote(&signed.vote),
        Message::Committed { slot, digest } => format!("committed s{slot} {}", digest.short()),
        Message::Suspect { view, standing } => format!("suspect v{view} {standing}"),
        Message::Timeout(signed) => {
            let timeout = &signed.timeout;
            let high = timeout.high_qc;
            format!(
                "timeout v{} qc v{} s{} +{}",
                timeout.view,
                high.view,
                high.slot,
                timeout.accepted.len()
            )
        }
        Message::Entry(tc) => format!("tc v{}", tc.view),
        Message::HighQc(qc) => format!("qc v{} s{}", qc.at.view, qc.at.slot),
        Message::StateVote(signed) => format!("state s{} {}", signed.vote.slot, signed.vote.state_root.short()),
        Message::StateCertificate(certificate) => format!("state certificate s{}", certificate.vote.slot),
        Message::Lanes(_) => "lanes".into(),
        Message::FetchBlocks { digest, floor, .. } => format!("fetch block {} above s{floor}", digest.short()),
        Message::Blocks { digest, blocks } => format!("{} blocks for {}", blocks.len(), digest.short()),
        Message::FetchBatches {
            lane, digest, floor, ..
        } => {
            format!("fetch batch {} of lane {lane} above {floor}", digest.short())
        }
        Message::NotHeld { digest } => format!("not held {}", digest.short()),
        Message::Shown(shown) => format!(
            "shown {} votes, timeout {:?}, header {:?}",
            shown.votes.len(),
            shown.timeout.as_ref().map(|t| t.0.view),
            shown.header.as_ref().map(|h| h.header.height)
        ),
        Message::Inquire => "inquire".into(),
        Message::Recollection(told) => format!("recollection v{}, {} tips", told.entry.view(), told.tips.len()),
        Message::LeaveView(view) => format!("leave v{view}"),
        Message::Readmitted(way) => format!("readmitted at v{} s{}", way.qc.at.view, way.qc.at.slot),
        Message::Ordering(bytes) => format!("another ordering's, {} bytes", bytes.len()),
        Message::FetchState { slot, part } => format!("fetch part {part} of the state of s{slot}"),
        Message::StatePart { slot, part, bytes } => {
            format!("part {part} of the state of s{slot}, {} bytes", bytes.len())
        }
    }
}

fn vote(vote: &Vote) -> String {
    let part =
        |part: Option<(Slot, Digest)>| part.map_or("-".into(), |(slot, digest)| format!("s{slot} {}", digest.short()));
    format!(
        "vote v{} voted {} locked {}",
        vote.view,
        part(vote.voted),
        part(vote.locked)
    )
}
