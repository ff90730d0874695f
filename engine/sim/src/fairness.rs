//! Whether correct replicas are fair to correct leaders (invariant 25), and keep what certificates promise (invariant
//! 16).

use std::collections::BTreeMap;

use trireme_core::MemberId;
use trireme_core::api::Stored;
use trireme_core::record::Record;
use trireme_crypto::Digest;

use crate::network::HostId;
use crate::world::World;

impl World<'_> {
    /// A correct replica speaks against a view for the first time. If the leader is correct, too, it must have had its
    /// time, measured at this replica: the timer's floor in this view. Or its channel is dead, or it said itself that
    /// it cannot lead. A Timeout takes f+1 such voices, so one of them is a correct replica's.
    pub(crate) fn judge_suspicion(&mut self, host: HostId, view: u64) {
        let scene = self.scene(host);
        let leader = usize::try_from(view).expect("a view") % self.plan.roles.len();
        let leader = MemberId::try_from(leader).expect("few members");
        // A quarantined member may ask for it: its way out is a certificate of a later view.
        let asked = self.oracle.asked_to_leave.contains(&view);
        if asked || !self.oracle.is_correct(leader) || self.oracle.has_suspected(scene.member, view) {
            return;
        }
        let since = self.hosts[host].entered_at;
        let passed = self.hosts[host]
            .clock
            .now(self.time)
            .tick
            .since(self.hosts[host].clock.now(since).tick);
        let itself = leader == scene.member || self.oracle.has_suspected(leader, view);
        let dead = leader != scene.member && self.channel_to(host, leader).is_none();
        let floor = self.plan.params.timer_floor_us;
        self.oracle
            .verdict
            .check(itself || dead || passed >= floor, scene, "25", || {
                format!("suspects view {view} of correct {leader} after {passed} us, a leader has at least {floor}")
            });
        self.oracle.verdict.count(if dead {
            "a correct leader is out of reach"
        } else if itself {
            "a correct leader cannot lead"
        } else {
            "a correct leader is too slow"
        });
    }

    /// At the end: what availability certificates named, and no checkpoint made needless, is in the log of a correct replica, and can be read there.
    pub(crate) fn judge_certified(&mut self) {
        let certified = self.oracle.take_owed();
        let holders = self.holders();
        for digest in certified {
            let hosts = holders.get(&digest).map_or(&[][..], Vec::as_slice);
            if !hosts.iter().any(|host| self.can_read(*host, &digest)) {
                let text = format!("no correct replica holds the certified batch {digest}");
                self.oracle.verdict.fail_cluster(self.time, "16", text);
            }
        }
    }

    /// The correct hosts that once wrote each batch and never lost it.
    fn holders(&self) -> BTreeMap<Digest, Vec<HostId>> {
        let domain = self.ring.domain();
        let mut holders: BTreeMap<Digest, Vec<HostId>> = BTreeMap::new();
        for (index, host) in self.hosts.iter().enumerate().filter(|(_, host)| host.correct) {
            for record in host.disk.range(0, host.disk.durable()) {
                if let Record::Batch(batch) = record {
                    holders
                        .entry(batch.head.header.digest(&domain))
                        .or_default()
                        .push(index);
                }
            }
        }
        holders
    }

    /// Whether the batch comes back from the disk. A replica that is down is believed.
    fn can_read(&mut self, host: HostId, digest: &Digest) -> bool {
        let domain = self.ring.domain();
        let host = &mut self.hosts[host];
        let simulated = host.replica.is_some() && host.disk.logged().is_some();
        !simulated || host.disk.look_up(Stored::Batches, digest, &domain).is_some()
    }
}
