//! Switches that break one clause each, so that a test can show that the clause matters (FAULTS.md, bug bank).
//!
//! Without the feature `bugs` every switch is a constant `false`: a release binary holds none of this.

use alloc::vec::Vec;

use trireme_crypto::{Domain, Signed};

use crate::types::{MemberId, View};

macro_rules! switches {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Which clauses are broken.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Bugs {
            $(#[cfg(feature = "bugs")] $(#[$doc])* pub $name: bool,)*
            /// Who leads the first views, instead of the members in turn.
            #[cfg(feature = "bugs")]
            leaders: alloc::sync::Arc<[MemberId]>,
        }

        impl Bugs {
            $(
                $(#[$doc])*
                #[cfg(feature = "bugs")]
                pub(crate) fn $name(&self) -> bool { self.$name }
                $(#[$doc])*
                #[cfg(not(feature = "bugs"))]
                #[allow(clippy::unused_self)]
                pub(crate) const fn $name(&self) -> bool { false }
            )*

            /// The names of all switches.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            /// Whether a switch is on.
            pub fn is_on(&self, name: &str) -> bool {
                match name {
                    $(stringify!($name) => self.$name(),)*
                    _ => false,
                }
            }

            /// Whether this build has the switches. A release has not.
            pub const AVAILABLE: bool = cfg!(feature = "bugs");

            /// Sets a switch by name; false if there is none, as there is none in a build without them.
            pub fn set(&mut self, name: &str) -> bool {
                match name {
                    $(#[cfg(feature = "bugs")] stringify!($name) => { self.$name = true; true })*
                    _ => false,
                }
            }
        }
    };
}

impl Bugs {
    /// The leader of a view: the members take turns in order, unless a scripted run says otherwise.
    pub(crate) fn leader(&self, view: View, n: usize) -> MemberId {
        #[cfg(feature = "bugs")]
        if let Some(leader) = usize::try_from(view).ok().and_then(|view| self.leaders.get(view)) {
            return *leader;
        }
        crate::check::leader(view, n)
    }

    /// Scripts the leaders of views 0, 1, ...; after the script the members take turns. Equal at all members of a
    /// cluster, like the rotation. False in a build without the switches: there a script cannot be had.
    pub fn script_leaders(&mut self, leaders: &[MemberId]) -> bool {
        #[cfg(feature = "bugs")]
        {
            self.leaders = leaders.into();
        }
        #[cfg(not(feature = "bugs"))]
        let _ = leaders;
        cfg!(feature = "bugs")
    }

    /// The domain that statements are made in: cluster and epoch (R-STATEMENT).
    pub fn domain(&self, domain: Domain) -> Domain {
        Domain {
            epoch: if self.epoch_unsigned() { 0 } else { domain.epoch },
            ..domain
        }
    }

    /// Positions of the invalid signatures (R-SIG).
    pub fn invalid(&self, items: &[Signed<'_>]) -> Vec<usize> {
        #[cfg(feature = "bugs")]
        if self.uncofactored_batch {
            return trireme_crypto::bugs::invalid_without_cofactor(items);
        }
        trireme_crypto::invalid_in_batch(items)
    }
}

switches! {
    /// 1: slow commit at f+1 locks.
    commit_at_one_honest,
    /// 2: the gate lets a certificate name a signer twice.
    count_signer_twice,
    /// 3: a Timeout reports genesis instead of the highest Qc.
    forget_lock_at_view_change,
    /// 4: votes leave before their record is durable.
    send_before_write,
    /// 5: recovery drops acceptances, locks and Timeouts.
    drop_vote_state_on_restart,
    /// 6: safe_tip takes the lowest Qc of a Tc.
    lowest_qc,
    /// 7: a Tc is made with t-1 Timeouts.
    short_tc,
    /// 8: safe_tip counts reporters of other branches (history "branch").
    no_branch_condition,
    /// 9: the accepted list keeps only the newest view (history "split").
    report_last_view_only,
    /// 10: the epoch is not under the signatures, so what was said in an epoch before counts in this one.
    epoch_unsigned,
    /// 11: a Qc whose votes were signed in the epoch before is valid.
    old_epoch_quorum,
    /// 12: slots execute out of order.
    execute_out_of_order,
    /// 13: what a fetch of blocks lets commit is given to execution, and given once more by the commit.
    sync_delivers_too,
    /// 14: images, and the roots that cover them, leave the session table out.
    image_without_sessions,
    /// 15: a session keeps its newest reply only and forgets that the others were ever executed.
    forget_replies,
    /// 16: a checkpoint is stable with the signatures of f members.
    stable_with_f,
    /// 19: what lies below an own checkpoint is released after a while by the own clock, stable or not.
    release_by_clock,
    /// 20: an ack leaves before the batch is stored.
    ack_before_storage,
    /// 21: signatures are judged without the factor 8, several at once by one equation (history: torsion).
    uncofactored_batch,
    /// 22: joins a view change at one Timeout.
    join_at_one,
    /// 23: the view timer doubles and never comes down.
    timer_never_resets,
    /// 25: fast commit at q.
    fast_at_quorum,
    /// 26: tau is one too large.
    tau_off_by_one,
    /// 27: locks of an older view count in a newer one (history "old lock").
    old_locks_count,
    /// 28: a child of a handoff block is accepted in its own view (history "handoff child").
    handoff_child,
    /// 29: a Tc of view v-2 justifies a block of v.
    stale_tc,
    /// 30: a Timeout with a Qc of a later view is accepted (history "future QC").
    future_qc,
    /// 31: acceptance records are released by a commit instead of a Qc (history "release").
    release_by_commit,
    /// 31, too: a checkpoint releases them.
    release_by_checkpoint,
    /// 32: quarantine ends with any certificate and the state below it, as at a checkpoint.
    quarantine_until_checkpoint,
    /// 33: `witnessed` looks at the batch alone, not at its ancestors.
    witness_not_cumulative,
    /// 34: entry certificates go to the next leader only (history "parked").
    entry_to_leader_only,
    /// 35: a new view without new tips proposes nothing.
    no_empty_first_block,
    /// 36: the timestamp bound has no escape.
    timestamp_no_escape,
    /// 37: the window bounds apply before a view's first Qc (history "full window").
    window_on_first_blocks,
    /// 39: the view timer comes down after commits under one leader, who may be faulty.
    decay_on_one_leader,
    /// 40: an owner's signed header stands as its entry in an Ac, before the batch is durable there.
    header_as_ack,

    // Faults that this engine had (engine/sim/README.md, Faults of our own).
    /// A request for batches goes on asking for what an image covers.
    fetch_floor_stays,
    /// A replica that left a view is not told what the others commit in it.
    commits_not_told,
    /// A leader proposes although nothing of its log is durable yet.
    leads_on_empty_log,
}
