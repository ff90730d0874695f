//! What goes wrong: faults that strike at once, and faults that wait for an operation.

use super::fault::Fault;
use super::state::State;
use super::surface::SECTOR_BYTES;

impl State {
    pub(super) fn strike(&mut self, fault: Fault) {
        *self.struck.entry(fault.name()).or_default() += 1;
        self.injuries += u64::from(fault.harmful());
    }

    pub(super) fn inject(&mut self, fault: Fault) {
        match fault {
            Fault::NoSpace { us } => {
                self.strike(fault);
                self.no_space_until_us = self.now_us + us;
            }
            Fault::Rot | Fault::Latent => self.damage(fault),
            _ => self.armed.push(fault),
        }
    }

    pub(super) fn mend(&mut self) {
        self.armed.clear();
        self.no_space_until_us = 0;
    }

    /// Takes an armed fault of these.
    pub(super) fn armed(&mut self, kinds: &[Fault]) -> Option<Fault> {
        let at = self.armed.iter().position(|fault| kinds.contains(fault))?;
        let fault = self.armed.remove(at);
        self.strike(fault);
        Some(fault)
    }

    /// Hurts a random sector of a random group that the log was told of.
    pub(super) fn damage(&mut self, fault: Fault) {
        let Some(number) = self.dice.pick(&self.ledger.acknowledged()) else {
            return;
        };
        let group = self.ledger.get(number).expect("just listed");
        let (segment, start, sectors) = (group.segment, group.offset, group.bytes / SECTOR_BYTES as u64);
        let first = self.dice.below(sectors);
        // The padding holds nothing: the next sector that does.
        for sector in (first..sectors).chain(0..first) {
            let offset = start + sector * SECTOR_BYTES as u64;
            let hurt = match fault {
                Fault::Rot => {
                    let (at, bit) = (self.dice.below(SECTOR_BYTES as u64), self.dice.roll() as u8);
                    self.surface.flip(segment, offset + at, bit)
                }
                _ => self.surface.spoil(segment, offset),
            };
            if hurt {
                return self.strike(fault);
            }
        }
    }

    pub(super) fn roll_back(&mut self) {
        let known = self.ledger.acknowledged();
        let kept = self.dice.below(known.len() as u64 + 1) as usize;
        let number = if kept == 0 { 0 } else { known[kept - 1] };
        self.cache.clear();
        for group in self.ledger.forget_after(number) {
            // What a release removed since does not come back.
            if self.surface.segments().any(|file| file.number == group.segment) {
                let zeroes = vec![0; group.bytes as usize];
                self.surface.write(group.segment, group.offset, &zeroes);
            }
        }
        *self.struck.entry("disk: rolled back").or_default() += 1;
        self.injuries += 1;
    }
}
