//! The 40 bugs of FAULTS.md, in its order. One that can be had in two ways has two rows.

/// One bug of the list.
#[derive(Debug)]
pub struct Bug {
    /// Its number in FAULTS.md; 0: one of [`OWN`].
    pub number: u8,
    /// What is wrong, in words.
    pub name: &'static str,
    /// How it can be had.
    pub state: State,
}

/// How a bug can be had.
#[derive(Debug, PartialEq, Eq)]
pub enum State {
    /// By switching this clause of the protocol or of the log off.
    Switch(&'static str),
    /// Not yet: the engine lacks what could be wrong.
    Waits(&'static str),
}

impl Bug {
    /// The clause that is switched off.
    pub fn switch(&self) -> Option<&'static str> {
        match self.state {
            State::Switch(name) => Some(name),
            State::Waits(_) => None,
        }
    }

    /// The bug of a clause.
    pub fn of(clause: &str) -> Option<&'static Bug> {
        Self::all().find(|bug| bug.switch() == Some(clause))
    }

    /// Those of the list, then our own.
    pub fn all() -> impl Iterator<Item = &'static Bug> {
        BUGS.iter().chain(OWN)
    }
}

macro_rules! bugs {
    ($($number:literal $name:literal $state:ident($what:literal),)*) => {
        /// All bugs.
        pub const BUGS: &[Bug] = &[$(Bug { number: $number, name: $name, state: State::$state($what) }),*];
    };
}

bugs! {
    1 "commit at f+1" Switch("commit_at_one_honest"),
    2 "count a signer twice" Switch("count_signer_twice"),
    3 "forget the lock at a view change" Switch("forget_lock_at_view_change"),
    4 "send before the write" Switch("send_before_write"),
    5 "drop vote state on restart" Switch("drop_vote_state_on_restart"),
    6 "safe_tip takes the lowest Qc" Switch("lowest_qc"),
    7 "Tc with too few Timeouts" Switch("short_tc"),
    8 "safe_tip without the branch condition" Switch("no_branch_condition"),
    9 "accepted list keeps only the last view" Switch("report_last_view_only"),
    10 "epoch left out of the signed bytes" Switch("epoch_unsigned"),
    11 "old epoch's quorum accepted" Switch("old_epoch_quorum"),
    12 "execute out of order" Switch("execute_out_of_order"),
    13 "sync and commit both deliver" Switch("sync_delivers_too"),
    14 "session table not in the checkpoint" Switch("image_without_sessions"),
    15 "reply cache evicted before a retry" Switch("forget_replies"),
    16 "snapshot accepted with f signatures" Switch("stable_with_f"),
    17 "damaged middle treated as a torn tail" Switch("damage_is_torn_tail"),
    18 "fsync error retried" Switch("retry_failed_flush"),
    19 "release by local clock" Switch("release_by_clock"),
    20 "ack before storage" Switch("ack_before_storage"),
    21 "uncofactored batch accepted" Switch("uncofactored_batch"),
    22 "join a view change at 1" Switch("join_at_one"),
    23 "timer never resets" Switch("timer_never_resets"),
    24 "read proof without freshness" Waits("reads with proofs"),
    25 "fast commit at q" Switch("fast_at_quorum"),
    26 "tau off by one" Switch("tau_off_by_one"),
    27 "locks of an older view counted in a newer one" Switch("old_locks_count"),
    28 "child of a handoff block accepted in its own view" Switch("handoff_child"),
    29 "Tc of v-2 accepted" Switch("stale_tc"),
    30 "Timeout with a Qc of a later view accepted" Switch("future_qc"),
    31 "acceptance records released by a commit" Switch("release_by_commit"),
    31 "acceptance records released by a checkpoint" Switch("release_by_checkpoint"),
    32 "quarantine ends at a checkpoint" Switch("quarantine_until_checkpoint"),
    33 "witnessed not cumulative over ancestors" Switch("witness_not_cumulative"),
    34 "entry certificate sent to the next leader only" Switch("entry_to_leader_only"),
    35 "a new view without new tips proposes nothing" Switch("no_empty_first_block"),
    36 "timestamp bound without its escape" Switch("timestamp_no_escape"),
    37 "window bounds applied to a view's first blocks" Switch("window_on_first_blocks"),
    38 "acceptance stops at the epoch's last block" Waits("epoch changes"),
    39 "timer decays on one leader's commits" Switch("decay_on_one_leader"),
    40 "an Ac entry made from a header" Switch("header_as_ack"),
}

/// Faults that this engine had itself, brought back: a file of `engine/sim/scenarios` shows each.
pub const OWN: &[Bug] = &[
    own("a fetch goes on asking for what an image covers", "fetch_floor_stays"),
    own("a replica that left a view is not told its commits", "commits_not_told"),
    own("a leader proposes on an empty log", "leads_on_empty_log"),
];

const fn own(name: &'static str, switch: &'static str) -> Bug {
    Bug {
        number: 0,
        name,
        state: State::Switch(switch),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_core::bugs::Bugs;

    #[test]
    fn forty_rows_and_every_switch_in_one() {
        let mut numbers: Vec<u8> = BUGS.iter().map(|bug| bug.number).collect();
        numbers.dedup();
        assert_eq!(numbers, (1..=40).collect::<Vec<u8>>());
        let mut switches: Vec<&str> = Bug::all().filter_map(Bug::switch).collect();
        switches.sort_unstable();
        let mut known = [Bugs::NAMES, trireme_log::bugs::Bugs::NAMES].concat();
        known.sort_unstable();
        assert_eq!(switches, known, "each switch has a row");
    }
}
