//! Before the load: every key is written once, as fast as a short closed loop does it.

use crate::making::Load;
use crate::options::LoadError;
use crate::run::Stop;
use crate::sending::Content;

/// Keys under one signature.
pub(crate) const BUNDLE: u32 = 64;
/// Outstanding keys: enough to fill batches, too few to overload a small cluster.
const DEPTH: u64 = 1_024;
/// Overloaded replicas are left alone for this long.
const PAUSE_NS: u64 = 50_000_000;

impl Load<'_> {
    /// Writes this part's share of the keys. What fails is written again.
    pub(crate) async fn fill_store(&mut self, stop: &Stop) -> Result<(), LoadError> {
        self.filling = true;
        let parts = u64::from(self.options.parts);
        let keys = u64::from(self.options.workload.keys);
        let mut next = u64::from(self.options.part);
        while !stop.is_set() {
            self.take_completions()?;
            if next >= keys && self.in_flight == 0 && self.refill.is_empty() {
                break;
            }
            let mut wake_at = u64::MAX;
            while self.in_flight + u64::from(BUNDLE) <= DEPTH {
                let left = keys.saturating_sub(next).div_ceil(parts);
                let (count, content) = if left > 0 {
                    (left.min(u64::from(BUNDLE)), Content::Fill { from: next })
                } else {
                    ((self.refill.len() as u64).min(u64::from(BUNDLE)), Content::Refill)
                };
                // Refused keys come back at once; the replicas need time.
                if count == 0 || content == Content::Refill && self.in_flight > 0 {
                    break;
                }
                if content == Content::Refill {
                    self.wait(self.now_ns() + PAUSE_NS).await;
                }
                let flight = self.take_flight();
                let count_here = usize::try_from(count).expect("at most a bundle");
                self.flights[flight].intended_ns.resize(count_here, 0);
                if !self.submit(flight, content)? {
                    wake_at = self.now_ns() + PAUSE_NS;
                    break;
                }
                if let Content::Fill { .. } = content {
                    next += count * parts;
                }
            }
            self.wait(wake_at).await;
        }
        self.filling = false;
        Ok(())
    }
}
