//! What a disk's faults do to the process above it: what `engine/pipeline` does in a real one.

use trireme_core::record::Record;
use trireme_log::LogError;

use crate::disk::{Disk, DiskFault, Finding, Restart};
use crate::event::Event;
use crate::network::HostId;
use crate::world::World;

impl World<'_> {
    /// Something goes wrong with a host's disk.
    pub(crate) fn strike_disk(&mut self, host: HostId, fault: DiskFault) {
        if let DiskFault::Forget(how) = fault {
            self.forget(host, how);
        } else if fault == DiskFault::RollBack && self.hosts[host].replica.is_some() {
            self.crash_and_roll_back(host);
        } else if let Some(disk) = self.hosts[host].disk.logged() {
            disk.strike(fault);
        }
    }

    /// The machine is brought back to a snapshot of its disk.
    fn crash_and_roll_back(&mut self, host: HostId) {
        let down_us = 1_000 + self.prng.skewed(300_000);
        self.crash(host, down_us, false);
        if self.hosts[host].replica.is_none() {
            self.hosts[host].disk.lose_tail(&mut self.prng);
        }
    }

    /// A failed write or flush ends the process; somebody starts it again on the same machine (R-DURABLE).
    pub(crate) fn end_process(&mut self, host: HostId, error: &LogError) {
        self.oracle.verdict.count("fsync error ended a process");
        let name = self.name(host);
        self.line(|| format!("{name} ends: {error}"));
        let down_us = 1_000 + self.prng.skewed(300_000);
        self.crash(host, down_us, true);
    }

    /// Opens a host's log. None if it stays down for now.
    pub(crate) fn open_log(&mut self, host: HostId) -> Option<Vec<Record>> {
        let opened = self.hosts[host].disk.restart(self.time, &mut self.prng);
        self.collect_findings(host);
        let error = match opened {
            Restart::Up(records) => return Some(records),
            Restart::Refused(error) => Some(error),
            Restart::Died => None,
        };
        let name = self.name(host);
        self.line(|| match &error {
            Some(error) => format!("{name} does not start: {error}"),
            None => format!("{name} dies while it recovers"),
        });
        if matches!(error, Some(LogError::Damaged { .. })) && self.put_aside(host) {
            return self.open_log(host);
        }
        // A start that was refused for damage is refused for good. Anything else is tried again, though not for ever: a
        // sector that cannot be read stays so.
        if !matches!(error, Some(LogError::Damaged { .. })) && (error.is_none() || self.prng.percent(70)) {
            let at = self.time + 1_000 + self.prng.skewed(300_000);
            self.at(at, Event::Restart { host });
        }
        None
    }

    /// Takes down what a disk has to tell.
    pub(crate) fn collect_findings(&mut self, host: HostId) {
        let scene = self.scene(host);
        let findings = self.hosts[host].disk.logged().map(|disk| disk.findings());
        for finding in findings.unwrap_or_default() {
            match finding {
                Finding::Seen(what) => self.oracle.verdict.count(what),
                Finding::Broken(what) => self.oracle.verdict.fail(scene, "R-DURABLE", what),
            }
        }
    }

    /// At the end of a run.
    pub(crate) fn count_disk_faults(&mut self) {
        for host in 0..self.hosts.len() {
            self.collect_findings(host);
            let Disk::Logged(disk) = &self.hosts[host].disk else {
                continue;
            };
            self.oracle.verdict.count("real log");
            for (name, times) in disk.struck() {
                self.oracle.verdict.add(name, times);
            }
        }
    }
}
