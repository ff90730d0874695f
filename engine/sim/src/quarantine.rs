//! Members whose disk forgets what they promised, and their way back (R-QUARANTINE). Such a member counts as faulty from
//! the moment it forgets until every lane has passed what it stored when it came back: at most f at any time.

use serde::{Deserialize, Serialize};
use trireme_core::MemberId;
use trireme_core::quarantine::Cause;
use trireme_core::types::Height;

use crate::byzantine::Habit;
use crate::disk::{Disk, DiskFault, LoggedDisk};
use crate::network::HostId;
use crate::oracle::Facts;
use crate::plan::{Fault, Options, Plan, Role};
use crate::prng::Prng;
use crate::vault::Vault;
use crate::world::World;

/// Keeps the draws of this file apart from those of the rest of the plan.
const FORK: u64 = 0x0F06_E700;

/// How a disk forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Forget {
    /// It is brought back to an earlier state: nobody but the other members can know.
    RolledBack,
    /// The log is gone; that there was one is known.
    Wiped,
    /// Vote records are damaged: the log is put aside.
    Damaged,
}

impl Forget {
    const ALL: [Self; 3] = [Self::RolledBack, Self::Wiped, Self::Damaged];

    fn counter(self) -> &'static str {
        match self {
            Self::RolledBack => "a log is rolled back",
            Self::Wiped => "a log is wiped",
            Self::Damaged => "a log is damaged for good",
        }
    }
}

/// Whether and how a host's memory is whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    /// It forgot, and has not come back.
    pub(crate) forgot: bool,
    /// It knows, and signs nothing.
    pub(crate) quarantined: bool,
    /// What its host tells it when it starts with an empty log.
    pub(crate) cause: Option<Cause>,
    /// Vote records in its log are damaged: it will not be opened.
    rotten: bool,
    /// Per lane: what it stored when it came back. Until all is committed it counts as faulty.
    owed: Vec<Height>,
}

/// Draws who forgets when.
pub(crate) fn draw(seed: u64, plan: &mut Plan, options: &Options) {
    let mut prng = Prng::new(seed ^ FORK);
    let room = usize::from(plan.params.f).saturating_sub(usize::from(plan.byzantine()) + plan.lost.len());
    if !options.chaos || options.beyond || !options.byzantine || room == 0 || !prng.percent(30) {
        return;
    }
    let lost: Vec<MemberId> = plan.lost.iter().map(|(member, _)| *member).collect();
    let sound: Vec<MemberId> = (0..plan.params.n)
        .filter(|member| plan.roles[usize::from(*member)] == Role::Correct && !lost.contains(member))
        .collect();
    for _ in 0..prng.range(1, 4) {
        let (at, member) = (prng.below(plan.chaos_us), prng.pick(&sound));
        let fault = DiskFault::Forget(prng.pick(&Forget::ALL));
        plan.faults.push((at, Fault::Disk { member, fault }));
    }
    if prng.percent(40) {
        plan.storage.forgets_idle = Some(prng.pick(&sound));
    }
    for role in &mut plan.roles {
        if let Role::Byzantine { habits, .. } = role
            && prng.percent(60)
        {
            habits.push(Habit::FalseMemory);
        }
    }
}

impl World<'_> {
    /// Members that are faulty for now or for good.
    fn faulty_now(&self) -> usize {
        let lost = |member: MemberId| self.plan.lost.iter().any(|(lost, _)| *lost == member);
        let faulty = |host: HostId| {
            let state = &self.hosts[host];
            state.liar.is_some() || lost(state.member) || state.memory.forgot || self.owes(host)
        };
        (0..self.plan.roles.len()).filter(|host| faulty(*host)).count()
    }

    fn owes(&self, host: HostId) -> bool {
        let owed = &self.hosts[host].memory.owed;
        let Some(replica) = &self.hosts[host].replica else {
            return !owed.is_empty();
        };
        let lanes = replica.status().lanes;
        owed.iter().zip(&lanes).any(|(owed, lane)| lane.committed < *owed)
    }

    /// A member's disk forgets, if that makes at most f faulty ones.
    pub(crate) fn forget(&mut self, host: HostId, how: Forget) {
        let state = &self.hosts[host];
        let counted = state.memory.forgot || self.owes(host);
        let room = counted || self.faulty_now() < usize::from(self.plan.params.f);
        if state.liar.is_some() || state.gone || state.replica.is_none() || !room {
            return;
        }
        self.oracle.verdict.count(how.counter());
        let rotten = how == Forget::Damaged && self.hosts[host].disk.logged().is_some_and(LoggedDisk::rot_vote);
        let down_us = 1_000 + self.prng.skewed(300_000);
        self.crash(host, down_us, false);
        match how {
            Forget::RolledBack => self.hosts[host].disk.lose_tail(&mut self.prng),
            Forget::Wiped => {
                self.empty_log(host, Cause::Missing);
                self.hosts[host].vault = Vault::default();
            }
            // Its own start finds out.
            Forget::Damaged if rotten => {}
            Forget::Damaged => self.empty_log(host, Cause::Damaged),
        }
        let state = &mut self.hosts[host];
        state.memory.forgot = true;
        state.memory.rotten |= rotten;
        (state.known, state.facts) = (0, Facts::after_loss());
        self.oracle.correct[usize::from(state.member)] = false;
    }

    /// A host gets a log with nothing in it.
    fn empty_log(&mut self, host: HostId, cause: Cause) {
        let (pace, storage) = (self.plan.disk.clone(), self.plan.storage.clone());
        let domain = self.hosts[host].domain();
        let mut disk = Disk::new(pace, &storage, host as u64 ^ self.time, domain);
        disk.crash(&mut self.prng, true);
        let state = &mut self.hosts[host];
        state.disk = disk;
        state.memory.cause = Some(cause);
        state.memory.rotten = false;
        (state.known, state.facts) = (0, Facts::after_loss());
    }

    /// A log was refused for damage: a correct member's is put aside, and it starts without one. False if it is not a
    /// correct member's, and stays down.
    pub(crate) fn put_aside(&mut self, host: HostId) -> bool {
        if !self.hosts[host].memory.rotten {
            return false;
        }
        self.oracle.verdict.count("damaged votes put aside");
        self.empty_log(host, Cause::Damaged);
        true
    }

    /// A replica signs nothing any more.
    pub(crate) fn quarantined(&mut self, host: HostId, cause: Cause) {
        if self.hosts[host].liar.is_some() {
            return;
        }
        self.oracle.verdict.count("quarantine entered");
        if matches!(cause, Cause::Shown(_)) {
            self.oracle.verdict.count("generation check fired");
        }
        let (scene, forgot) = (self.scene(host), self.hosts[host].memory.forgot);
        self.oracle.verdict.check(forgot, scene, "quarantine", || {
            format!("a replica that forgot nothing is quarantined: {}", cause.name())
        });
        self.hosts[host].memory.quarantined = true;
    }

    /// A replica left its quarantine: what it says is judged again.
    pub(crate) fn readmitted(&mut self, host: HostId) {
        if self.hosts[host].liar.is_some() {
            return;
        }
        self.oracle.verdict.count("quarantine left");
        if self.clients.iter().all(|client| client.waiting() == 0) {
            self.oracle.verdict.count("quarantine left in an idle cluster");
        }
        let state = &mut self.hosts[host];
        let lanes = state.replica.as_ref().expect("it said so").status().lanes;
        state.memory = Memory {
            owed: lanes.iter().map(|lane| lane.stored).collect(),
            ..Memory::default()
        };
        self.oracle.came_back(self.hosts[host].member);
    }
}
