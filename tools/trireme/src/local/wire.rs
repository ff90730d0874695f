//! Bytes on the wire: what the loopback interface carried during a load.
//!
//! The kernel counts them, for every system in the same way: peers, clients and their acknowledgements, with the heads
//! of IP and of what is above it. Segments are counted as they pass the loopback, up to 64 KiB with one head, so that a
//! network with packets of 1,500 bytes carries some per cent more. The count is of the network name space that the
//! process is in: it means something only if nothing else runs there.

use anyhow::{Context as _, Result};

use crate::local::report::ratio;

const FILE: &str = "/proc/self/net/dev";

/// A count that began, or none.
pub(crate) struct Wire(Option<u64>);

impl Wire {
    /// Begins to count if that is wanted.
    pub(crate) fn begin(wanted: bool) -> Result<Wire> {
        Ok(Wire(wanted.then(now).transpose()?))
    }

    /// Bytes since then, for each of so many operations.
    pub(crate) fn per_op(&self, ops: u64) -> Result<Option<f64>> {
        let Some(before) = self.0 else { return Ok(None) };
        Ok(ratio(now()?.saturating_sub(before), ops))
    }
}

fn now() -> Result<u64> {
    let text = std::fs::read_to_string(FILE).with_context(|| format!("cannot read {FILE}"))?;
    sent(&text).with_context(|| format!("{FILE}: no loopback interface"))
}

/// Behind the name: eight fields of what was received, then bytes sent.
fn sent(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix("lo:"))?;
    line.split_whitespace().nth(8)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_read_wherever_it_stands() {
        let text = "Inter-|   Receive\n face |bytes\n  eth0: 1 2 3 4 5 6 7 8 9 10\n    lo: 10 2 0 0 0 0 0 0 4711 2 0 0 0 0 0 0\n";
        assert_eq!(sent(text), Some(4711));
        assert_eq!(sent("nothing"), None);
        assert!(now().is_ok());
        assert_eq!(Wire(None).per_op(3).unwrap(), None);
    }
}
