//! Which disks a seed has, and the fault atlas: what may go wrong with whose disk.
//!
//! Every disk may tear a tail, lose what was not acknowledged, fail a flush, a write or a read once, fill up, and lose
//! power during a recovery: the protocol promises to stand that. What destroys acknowledged records (rot, latent errors,
//! misdirection, lying flushes, restored snapshots) strikes only members that are counted as faulty, together with the
//! Byzantine ones at most f. Stored batches that rot are repaired; their members stay correct and take a place among the
//! f, because until the repair a certificate may hang on the copy that is gone. The profile `beyond` ignores the atlas: see [`STILL_PROMISED`].

use serde::{Deserialize, Serialize};
use trireme_core::MemberId;
use trireme_log::simulation::Fault as Harm;
use trireme_log::{DeviceChoice, Durability, FlushMethod, LogConfig};

use super::DiskFault;
use crate::plan::{Fault, Options, Plan, Role};
use crate::prng::Prng;

/// Seeds in a hundred that run the real log.
const LOGGED_PERCENT: u64 = 25;
/// Keeps the draws of this file apart from those of the rest of the plan.
const FORK: u64 = 0xD15C_0040;
/// And those of damaged batches from the rest of this file.
const BATCHES: u64 = 0xD15C_0041;

/// What holds in a cluster of which more than f members lost acknowledged records.
///
/// Two replicas that forget their votes may vote again for something else: two blocks may then be committed at one slot,
/// views and certificates go back, evidence names the honest, clients see replies vanish, and nothing need ever be
/// committed again. So agreement (1, 2, 4 to 14, 16 to 19) and liveness (22 to 25) are not judged. What each log promises
/// for itself (R-DURABLE) rests on no other member: no wrong record is given for a good one, no damage that a sound group
/// witnesses is cut off, what recovery gives is a prefix of what was appended. And a request that nobody signed (15) is
/// executed by no correct replica, as checking a signature needs no memory.
pub(crate) const STILL_PROMISED: &[&str] = &["R-DURABLE", "15"];

/// The disks of a seed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Storage {
    /// The real log, or the abstract one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) log: Option<LogShape>,
    /// Whose log is wiped once everything is done: an idle cluster has to bring it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) forgets_idle: Option<MemberId>,
}

/// How logs are set up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogShape {
    #[serde(with = "crate::scenario::text::big")]
    pub(crate) seed: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) buffer_bytes: usize,
    pub(crate) in_flight: u32,
    /// Writes bypass the page cache.
    pub(crate) direct: bool,
    /// Making a segment takes at most this long.
    pub(crate) prepare_us: u64,
    /// A scenario names them for the whole run.
    #[serde(skip)]
    pub(crate) bugs: trireme_log::bugs::Bugs,
}

impl LogShape {
    /// The log's settings.
    pub(crate) fn config(&self) -> LogConfig {
        LogConfig {
            dir: "simulated".into(),
            fingerprint: [7; 32],
            segment_bytes: self.segment_bytes,
            max_log_bytes: 1 << 30,
            max_record_bytes: u32::try_from(self.segment_bytes - (16 << 10)).expect("small segments"),
            durability: Durability::Sync,
            device: DeviceChoice::Auto,
            flush: FlushMethod::Linked,
            buffer_bytes: self.buffer_bytes,
            in_flight: self.in_flight,
            reserve_bytes: 64 << 10,
            max_keys: 1 << 20,
        }
    }
}

/// Draws the disks of a seed, and adds what happens to them to its faults. Members whose disk destroys what was
/// acknowledged become faulty ones without a habit.
pub(crate) fn draw(seed: u64, plan: &mut Plan, options: &Options) {
    let mut prng = Prng::new(seed ^ FORK);
    let drawn = prng.percent(LOGGED_PERCENT);
    if !options.real_log.unwrap_or(drawn || options.beyond) {
        return;
    }
    plan.storage.log = Some(LogShape {
        seed: prng.next(),
        segment_bytes: if plan.params.max_batch_bytes > 64 << 10 {
            1 << 20
        } else {
            prng.pick(&[128 << 10, 256 << 10])
        },
        buffer_bytes: prng.pick(&[8 << 10, 32 << 10]),
        in_flight: u32::try_from(prng.range(1, 4)).expect("small"),
        direct: prng.percent(50),
        prepare_us: prng.pick(&[1_000, 50_000, 400_000]),
        bugs: options.log_bugs.clone(),
    });
    if !options.chaos {
        return;
    }
    let all: Vec<usize> = (0..plan.roles.len()).collect();
    for _ in 0..prng.below(6) {
        let member = prng.pick(&all);
        ordinary(&mut prng, plan, member);
    }
    for member in victims(&mut prng, plan, options) {
        for _ in 0..prng.range(1, 4) {
            harmful(&mut prng, plan, member);
        }
    }
    damage_batches(&mut Prng::new(seed ^ BATCHES), plan);
}

/// Stored batches of correct members rot: they are repaired. Until they are, such a member may be the one on whose copy a
/// certificate counts, so it takes a place among the f.
fn damage_batches(prng: &mut Prng, plan: &mut Plan) {
    let used = usize::from(plan.byzantine()) + plan.lost.len();
    let room = usize::from(plan.params.f).saturating_sub(used);
    let is_lost = |member: usize| plan.lost.iter().any(|(lost, _)| usize::from(*lost) == member);
    let sound = |member: &usize| !matches!(plan.roles[*member], Role::Byzantine { .. }) && !is_lost(*member);
    let mut sound: Vec<usize> = (0..plan.roles.len()).filter(sound).collect();
    for _ in 0..room {
        if sound.is_empty() || !prng.percent(50) {
            continue;
        }
        let member = sound.swap_remove(prng.index(sound.len()));
        for _ in 0..prng.range(1, 4) {
            let at = prng.below(plan.chaos_us);
            add(plan, at, member, DiskFault::RotBatch);
            let later = at + prng.skewed(300_000);
            crash(prng, plan, later, member);
        }
    }
}

/// Whose disk destroys what was acknowledged.
fn victims(prng: &mut Prng, plan: &mut Plan, options: &Options) -> Vec<usize> {
    let n = plan.roles.len();
    if options.beyond {
        return (0..n).filter(|_| prng.percent(60)).collect();
    }
    let faulty = |role: &Role| matches!(role, Role::Byzantine { .. });
    let mut bad: Vec<usize> = (0..n).filter(|member| faulty(&plan.roles[*member])).collect();
    bad.retain(|_| prng.percent(50));
    let room = u64::from(plan.params.f - plan.byzantine());
    if options.byzantine && prng.percent(70) {
        for _ in 0..prng.range(0, room) {
            let sound: Vec<usize> = (0..n).filter(|member| !faulty(&plan.roles[*member])).collect();
            let member = prng.pick(&sound);
            plan.roles[member] = Role::Byzantine {
                habits: Vec::new(),
                twin: false,
            };
            bad.push(member);
        }
    }
    // Those that are lost for good count, too.
    let room = usize::from(plan.params.f - plan.byzantine());
    let Plan { lost, roles, .. } = plan;
    lost.retain(|(member, _)| !faulty(&roles[usize::from(*member)]));
    lost.truncate(room);
    bad
}

fn add(plan: &mut Plan, at: u64, member: usize, fault: DiskFault) {
    let member = MemberId::try_from(member).expect("few members");
    plan.faults.push((at, Fault::Disk { member, fault }));
}

fn crash(prng: &mut Prng, plan: &mut Plan, at: u64, member: usize) {
    let fault = Fault::Crash {
        member: MemberId::try_from(member).expect("few members"),
        down_us: 1_000 + prng.skewed(500_000),
    };
    plan.faults.push((at, fault));
}

/// Something that every replica has to stand.
fn ordinary(prng: &mut Prng, plan: &mut Plan, member: usize) {
    let at = prng.below(plan.chaos_us);
    let room = Harm::NoSpace {
        us: prng.range(10_000, 2_000_000),
    };
    let fault = match prng.below(8) {
        0 | 1 => DiskFault::Strike(Harm::FailFlush),
        2 => DiskFault::Strike(Harm::ShortWrite),
        3 => DiskFault::Strike(Harm::FailRead),
        4 | 5 => DiskFault::Strike(room),
        _ => DiskFault::DieInRecovery,
    };
    add(plan, at, member, fault);
    // A recovery dies once or several times; what a restart finds after a failure is worth a look soon.
    if fault == DiskFault::DieInRecovery {
        for _ in 0..prng.below(3) {
            add(plan, at, member, fault);
        }
    }
    let strikes_at_start = matches!(fault, DiskFault::DieInRecovery | DiskFault::Strike(Harm::FailRead));
    if strikes_at_start || prng.percent(50) {
        let later = at + prng.skewed(300_000);
        crash(prng, plan, later, member);
    }
}

/// Something that destroys acknowledged records, and a crash to find it.
fn harmful(prng: &mut Prng, plan: &mut Plan, member: usize) {
    let at = prng.below(plan.chaos_us);
    let fault = match prng.below(7) {
        0 => DiskFault::Strike(Harm::MisdirectRead),
        1 | 2 => DiskFault::Strike(Harm::MisdirectWrite),
        3 => DiskFault::Strike(Harm::LoseFlush),
        4 => DiskFault::Strike(Harm::Rot),
        5 => DiskFault::Strike(Harm::Latent),
        _ => DiskFault::RollBack,
    };
    add(plan, at, member, fault);
    match fault {
        // The next read may be a look-up.
        DiskFault::Strike(Harm::MisdirectRead) if prng.percent(50) => {}
        // What is lost last has no witness yet.
        DiskFault::Strike(Harm::LoseFlush) => {
            let later = at + prng.skewed(10_000);
            crash(prng, plan, later, member);
        }
        _ => {
            let later = at + prng.skewed(500_000);
            crash(prng, plan, later, member);
        }
    }
}
