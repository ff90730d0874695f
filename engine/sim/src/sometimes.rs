//! What has to happen now and then: a simulator that never gets there does not reach where bugs live.

/// Counters of [`Report::counters`](crate::Report::counters) that have to fire in some seed of a run of at least
/// [`ENOUGH_SEEDS`] of the swarm (faults, liars, random sizes). The suite fails if one does not; `trireme simulate` says
/// which. Whoever adds a fault, a strategy or a way of the protocol adds the counter that shows it.
pub const SOMETIMES: &[&str] = &[
    "a correct leader cannot lead",
    "a correct leader is out of reach",
    "a correct leader is too slow",
    "a correct member is deaf or mute for good",
    "a correct member is down for good",
    "a laggard is told who voted",
    "a faulty lane owner equivocates",
    "a faulty leader equivocates",
    "a faulty member falls silent",
    "a faulty member votes twice",
    "amnesia",
    "availability certificate sent",
    "block with a certified tip",
    "bundle refused",
    "certified tip accepted",
    "channel closed for misbehaviour",
    "connection broken",
    "copy of a request",
    "crash",
    "crash during recovery",
    "damaged middle refused",
    "disk full refused intake",
    "disk: acknowledged flush lost",
    "disk: bit rot",
    "disk: flush failed",
    "disk: latent sector error",
    "disk: misdirected read",
    "disk: misdirected write",
    "disk: read failed",
    "disk: rolled back",
    "disk: short write",
    "evidence of two blocks",
    "evidence of two headers",
    "evidence of two votes",
    "fast commit",
    "fetch of batches",
    "fetch of blocks",
    "forged body refused",
    "fsync error ended a process",
    "log busy",
    "log full to the last byte",
    "message refused",
    "request acknowledged",
    "restart",
    "result checked",
    "retry",
    "safe tip above the Qc",
    "slow commit",
    "spoilt frame",
    "spoilt frame that can be read",
    "state certificate sent",
    "torn tail truncated",
    "unacknowledged records survive a crash",
    "unreadable log refused",
    "view change with open pipeline",
    "view entered",
];

/// So many seeds make every counter of [`SOMETIMES`] fire.
pub const ENOUGH_SEEDS: u64 = 1_000;

/// What has to happen in some seed of twenty without faults and without liars, too. A part of [`SOMETIMES`].
pub const ALWAYS: &[&str] = &[
    "fast commit",
    "request acknowledged",
    "slow commit",
    "state certificate sent",
];
