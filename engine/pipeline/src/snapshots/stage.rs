//! The snapshots stage: passes jobs to the keeper's thread and its reports to the other stages. In a simulation, which
//! has one thread, there is no keeper, and no checkpoint is kept.

use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use trireme_core::message::{Envelope, SignedBlock, StateCertificate};
use trireme_core::{MemberId, Message, Slot, To};
use trireme_state::Image;
use trireme_transport::CloseReason;

use super::Installation;
use super::keeper::{Job, Keeper, KeeperStatus, Report};
use crate::clock::Clock;
use crate::error::ReplicaError;
use crate::items::ToMembers;
use crate::link::{Receiver, Sender};
use crate::log::frame;
use crate::signal::Threads;
use crate::stage::{Finish, Turn, Work, entries};
use crate::topology::Stage;

/// Questions of one member that are being answered. It asks for fewer at once; more are not answered.
const MAX_QUESTIONS: usize = 16;

/// What the order stage tells the keeper.
#[derive(Debug)]
pub(crate) enum ToKeeper {
    Stable(Box<StateCertificate>, Box<SignedBlock>),
    Transfer(Box<StateCertificate>),
}

/// What members say about images.
#[derive(Debug)]
pub(crate) struct StateMessage {
    pub(crate) from: MemberId,
    pub(crate) slot: Slot,
    pub(crate) part: u64,
    /// An answer's bytes; `None`: a question.
    pub(crate) bytes: Option<Bytes>,
}

/// The links of the stage.
pub(crate) struct SnapshotsLinks {
    pub(crate) images: Receiver<Image>,
    pub(crate) checkpoints: Receiver<ToKeeper>,
    pub(crate) messages: Receiver<StateMessage>,
    pub(crate) frames: Sender<ToMembers>,
    pub(crate) kept: Sender<Slot>,
    pub(crate) installs: Sender<Box<Installation>>,
}

/// See the module's text.
pub(crate) struct Snapshots {
    links: SnapshotsLinks,
    desk: Option<Desk>,
    epoch: u64,
    /// Questions in work, by member.
    questions: Vec<usize>,
    refused: u64,
    /// A report that found no room.
    blocked: Option<Report>,
}

/// The keeper's thread.
struct Desk {
    jobs: mpsc::Sender<Job>,
    reports: mpsc::Receiver<Report>,
    status: Arc<Mutex<KeeperStatus>>,
    thread: JoinHandle<()>,
}

impl Snapshots {
    /// With a keeper's thread, if there is a keeper; its reports wake `thread`.
    pub(crate) fn new(
        links: SnapshotsLinks,
        keeper: Option<Keeper>,
        (epoch, members): (u64, usize),
        (threads, thread): (Threads, usize),
        clock: Clock,
    ) -> Result<Self, ReplicaError> {
        let desk = keeper
            .map(|keeper| Desk::start(keeper, threads, thread, clock))
            .transpose()?;
        Ok(Self {
            links,
            desk,
            epoch,
            questions: vec![0; members],
            refused: 0,
            blocked: None,
        })
    }

    fn take_jobs(&mut self) -> bool {
        let mut progress = false;
        loop {
            let job = if let Some(image) = self.links.images.pop() {
                Job::Image(image)
            } else if let Some(told) = self.links.checkpoints.pop() {
                match told {
                    ToKeeper::Stable(certificate, anchor) => Job::Stable(certificate, anchor),
                    ToKeeper::Transfer(certificate) => Job::Transfer(certificate),
                }
            } else if let Some(StateMessage {
                from,
                slot,
                part,
                bytes,
            }) = self.links.messages.pop()
            {
                match bytes {
                    Some(bytes) => Job::Part(from, slot, part, bytes),
                    None if self.questions[usize::from(from)] >= MAX_QUESTIONS => {
                        self.refused += 1;
                        continue;
                    }
                    None => {
                        self.questions[usize::from(from)] += 1;
                        Job::Asked(from, slot, part)
                    }
                }
            } else {
                return progress;
            };
            progress = true;
            if let Some(desk) = &self.desk {
                // Its thread ends with this stage, or with a panic, which ends the process.
                let _ = desk.jobs.send(job);
            }
        }
    }

    fn pass_reports(&mut self) -> bool {
        let mut progress = false;
        loop {
            let report = self.blocked.take();
            let report = report.or_else(|| self.desk.as_ref().and_then(|desk| desk.reports.try_recv().ok()));
            let Some(report) = report else { return progress };
            if let Some(report) = self.pass(report) {
                self.blocked = Some(report);
                return progress;
            }
            progress = true;
        }
    }

    /// Passes a report on, or gives it back if its link is full.
    fn pass(&mut self, report: Report) -> Option<Report> {
        let room = match &report {
            Report::Snapshotted(_) => self.links.kept.room(),
            Report::Installed(_) => self.links.installs.room(),
            _ => self.links.frames.room(),
        };
        if !room {
            return Some(report);
        }
        match report {
            Report::Ask(to, slot, part) => self.send(to, Message::FetchState { slot, part }),
            Report::Answer(to, slot, part, bytes) => {
                self.questions[usize::from(to)] -= 1;
                self.send(to, Message::StatePart { slot, part, bytes });
            }
            Report::Snapshotted(slot) => self.links.kept.push(0, slot),
            Report::Installed(installation) => self.links.installs.push(0, installation),
            Report::Liar(member) => {
                let lie = ToMembers::Disconnect(member, CloseReason::Malformed);
                self.links.frames.push(0, lie);
            }
        }
        None
    }

    fn send(&mut self, to: MemberId, message: Message) {
        // The host's messages do not reach the other core, so the view says nothing.
        let (epoch, view) = (self.epoch, 0);
        let frame = frame(To::One(to), &Envelope { epoch, view, message });
        self.links.frames.push(frame.bytes(), frame);
    }
}

impl Work for Snapshots {
    fn stage(&self) -> Stage {
        Stage::Snapshots
    }

    fn poll(&mut self, _: &mut Turn<'_, '_>) -> Result<bool, ReplicaError> {
        let took = self.take_jobs();
        Ok(self.pass_reports() | took)
    }

    fn status(&mut self) -> Map<String, Value> {
        let status = self
            .desk
            .as_ref()
            .map(|desk| desk.status.lock().expect("nobody panics with it").json());
        entries(json!({ "snapshots": status, "state_questions_refused": self.refused }))
    }

    fn finish(self: Box<Self>) -> Finish {
        Box::pin(async move {
            if let Some(Desk { jobs, thread, .. }) = self.desk {
                drop(jobs);
                // It ends after the part at hand; nothing that it leaves unfinished is relied on.
                thread
                    .join()
                    .map_err(|_| ReplicaError::Panicked("the snapshots' thread".to_owned()))?;
            }
            Ok(())
        })
    }
}

impl Desk {
    fn start(keeper: Keeper, threads: Threads, thread: usize, clock: Clock) -> Result<Self, ReplicaError> {
        let (jobs, inbox) = mpsc::channel();
        let (outbox, reports) = mpsc::channel();
        let status = keeper.status();
        let handle = std::thread::Builder::new()
            .name("snapshots".to_owned())
            .spawn(move || {
                // Whatever this thread does can wait; the processor and the disk prefer the others.
                if let Err(error) = rustix::process::setpriority_process(None, 10) {
                    tracing::warn!(%error, "the snapshots' thread runs at full priority");
                }
                run(keeper, &inbox, &clock, |report| {
                    let _ = outbox.send(report);
                    threads.signal(thread).notify();
                });
            })
            .map_err(ReplicaError::system("start a thread"))?;
        Ok(Self {
            jobs,
            reports,
            status,
            thread: handle,
        })
    }
}

/// The keeper's thread: jobs first, then what is due, until nobody sends jobs any more.
fn run(mut keeper: Keeper, inbox: &mpsc::Receiver<Job>, clock: &Clock, mut tell: impl FnMut(Report)) {
    loop {
        let now = clock.tick().0;
        let job = match keeper.next_due().map(|due| due.saturating_sub(now)) {
            Some(0) => inbox.try_recv().map(Some).or_else(|error| match error {
                TryRecvError::Empty => Ok(None),
                TryRecvError::Disconnected => Err(()),
            }),
            Some(wait) => inbox
                .recv_timeout(Duration::from_micros(wait))
                .map(Some)
                .or_else(|error| match error {
                    RecvTimeoutError::Timeout => Ok(None),
                    RecvTimeoutError::Disconnected => Err(()),
                }),
            None => inbox.recv().map(Some).map_err(drop),
        };
        let now = clock.tick().0;
        match job {
            Ok(Some(job)) => keeper.job(job, now),
            Ok(None) => keeper.work(now),
            Err(()) => return,
        }
        keeper.reports().for_each(&mut tell);
    }
}
