//! The physical floor of a placement (PROTOCOL.md, section 10): when an ideal implementation, without any cost of
//! processing, has f+1 replies at a client. Only distances count.

use trireme_core::quorum::Quorums;
use trireme_core::types::MemberId;

/// One-way delays in microseconds.
pub trait Distances {
    /// From one replica to another; 0 from a replica to itself.
    fn between(&self, from: MemberId, to: MemberId) -> u64;
    /// From the client to a replica.
    fn there(&self, replica: MemberId) -> u64;
    /// From a replica to the client.
    fn back(&self, replica: MemberId) -> u64;
}

/// Microseconds from the sending of a request until the client has the (f+1)-th reply, with this leader, in the best
/// case: the request goes to the replica for which that is earliest, whose batch goes to all at once; the leader names
/// the batch in a block as soon as it has it; whoever has both votes to all; a replica replies when it has `fast` votes
/// (one step), or q votes and then q locks (two steps), whichever comes first.
pub fn floor_us(quorums: &Quorums, distances: &impl Distances, leader: MemberId) -> u64 {
    let owners = quorums
        .members()
        .map(|owner| through(quorums, distances, leader, owner));
    owners.min().expect("a cluster has members")
}

/// The same for a request that goes to the lane of `owner`.
pub fn through(quorums: &Quorums, distances: &impl Distances, leader: MemberId, owner: MemberId) -> u64 {
    let members = || quorums.members();
    let sent = distances.there(owner);
    let votes: Vec<u64> = members()
        .map(|replica| {
            let batch = sent + distances.between(owner, replica);
            let block = sent + distances.between(owner, leader) + distances.between(leader, replica);
            batch.max(block)
        })
        .collect();
    // When a replica has so many messages of those that were sent to all at these times.
    let gathered = |sent: &[u64], count: usize, at: MemberId| {
        let arrivals = members()
            .zip(sent)
            .map(|(from, time)| time + distances.between(from, at));
        nth(arrivals.collect(), count)
    };
    let locks: Vec<u64> = members().map(|at| gathered(&votes, quorums.quorum(), at)).collect();
    let replies = members().map(|at| {
        let fast = gathered(&votes, quorums.fast(), at);
        let slow = gathered(&locks, quorums.quorum(), at);
        fast.min(slow) + distances.back(at)
    });
    nth(replies.collect(), quorums.one_honest())
}

/// The `count`-th smallest, from 1.
fn nth(mut times: Vec<u64>, count: usize) -> u64 {
    times.sort_unstable();
    times[count - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Replicas and the client on a line, with their distances in microseconds.
    struct Line {
        replicas: Vec<u64>,
        client: u64,
    }

    impl Distances for Line {
        fn between(&self, from: MemberId, to: MemberId) -> u64 {
            self.replicas[usize::from(from)].abs_diff(self.replicas[usize::from(to)])
        }
        fn there(&self, replica: MemberId) -> u64 {
            self.replicas[usize::from(replica)].abs_diff(self.client)
        }
        fn back(&self, replica: MemberId) -> u64 {
            self.there(replica)
        }
    }

    /// All replicas as far from each other, the client beside one.
    struct Even {
        apart: u64,
        beside: u64,
        home: MemberId,
    }

    impl Distances for Even {
        fn between(&self, from: MemberId, to: MemberId) -> u64 {
            if from == to { 0 } else { self.apart }
        }
        fn there(&self, replica: MemberId) -> u64 {
            if replica == self.home { self.beside } else { self.apart }
        }
        fn back(&self, replica: MemberId) -> u64 {
            self.there(replica)
        }
    }

    #[test]
    fn the_steps_of_the_protocol_are_counted() {
        let quorums = Quorums::new(4, 1).unwrap();
        let even = Even {
            apart: 1_000,
            beside: 10,
            home: 0,
        };
        // Beside the leader: batch and block at 1 step, all votes at 2, f+1 = 2 replies, of which one is a step away.
        assert_eq!(through(&quorums, &even, 0, 0), 10 + 3_000);
        // Leader elsewhere: the block is at 2 steps, all votes at 3, and the second reply needs one more.
        assert_eq!(through(&quorums, &even, 1, 0), 10 + 4_000);
        // To the leader at once instead: it is there at 1 step, all votes at 3, and one more for the second reply.
        assert_eq!(through(&quorums, &even, 1, 1), 4_000);
        assert_eq!(floor_us(&quorums, &even, 1), 4_000);
        assert_eq!(floor_us(&quorums, &even, 0), 3_010);
    }

    #[test]
    fn a_far_replica_is_not_waited_for() {
        let quorums = Quorums::new(4, 1).unwrap();
        let line = Line {
            replicas: vec![0, 1_000, 2_000, 1_000_000],
            client: 0,
        };
        // Two steps among the three near ones, instead of one over the far one.
        assert!(
            floor_us(&quorums, &line, 0) < 20_000,
            "{}",
            floor_us(&quorums, &line, 0)
        );
        // n = 6, f = 1, p = 1: one far replica is not needed on the fast path either.
        let quorums = Quorums::new(6, 1).unwrap();
        let even = Line {
            replicas: vec![0, 0, 0, 0, 0, 1_000_000],
            client: 500,
        };
        assert_eq!(floor_us(&quorums, &even, 0), 1_000, "there and back");
    }

    #[test]
    fn a_cluster_of_one_replies_at_once() {
        let quorums = Quorums::new(1, 0).unwrap();
        assert_eq!(
            floor_us(
                &quorums,
                &Line {
                    replicas: vec![70],
                    client: 0
                },
                0
            ),
            140
        );
    }
}
