//! R-SAFETIP, written from the page a second time. The production function is not used here; a test compares them.

/// A block as certificates and lists name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ref {
    /// View of the block.
    pub view: u8,
    /// Its slot.
    pub slot: u8,
    /// Which one of that view and slot: stands for the digest.
    pub block: u8,
}

impl Ref {
    fn rank(self) -> (u8, u8) {
        (self.view, self.slot)
    }
}

/// One Timeout of a Tc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its high_qc.
    pub high: Ref,
    /// Its list.
    pub accepted: Vec<Ref>,
}

/// The parts of the rule that a broken clause changes.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Listings that make a block the tip.
    pub tau: u8,
    /// Bug 6: start from the lowest Qc.
    pub lowest: bool,
    /// Bug 8: count reporters of other branches.
    pub any_branch: bool,
}

/// Adds the safe tips of a Tc with these reports: more than one where the rule decides by digest, which is arbitrary.
pub fn safe_tips(reports: &[&Report], rule: Rule, tips: &mut Vec<Ref>) {
    let ranks = reports.iter().map(|report| report.high.rank());
    let rank = if rule.lowest { ranks.min() } else { ranks.max() };
    for (at, report) in reports.iter().enumerate() {
        let named_before = reports[..at].iter().any(|earlier| earlier.high == report.high);
        if Some(report.high.rank()) == rank && !named_before {
            tips_above(reports, report.high, rule, tips);
        }
    }
}

/// The tips with `qc` as the greatest Qc.
fn tips_above(reports: &[&Report], qc: Ref, rule: Rule, tips: &mut Vec<Ref>) {
    let counts = |report: &Report, entry: Ref| {
        let on_branch = || report.high == qc || report.accepted.contains(&qc);
        report.accepted.contains(&entry) && (entry.view != qc.view || rule.any_branch || on_branch())
    };
    let mut best = qc.rank();
    let start = tips.len();
    for entry in reports.iter().flat_map(|report| report.accepted.iter().copied()) {
        if entry.rank() < best || entry.rank() <= qc.rank() || tips[start..].contains(&entry) {
            continue;
        }
        let listed = reports.iter().filter(|report| counts(report, entry)).count();
        if listed >= usize::from(rule.tau) {
            if entry.rank() > best {
                tips.truncate(start);
                best = entry.rank();
            }
            tips.push(entry);
        }
    }
    if tips.len() == start {
        tips.push(qc);
    }
}
