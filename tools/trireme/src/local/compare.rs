//! Lost and duplicated operations, found by comparing what every replica executed with what clients saw acknowledged.
//!
//! The streams are read in passes, each over a share of the clients, so that a long run needs no more memory than a
//! short one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use trireme_load::{AcknowledgedRow, ROW_BYTES};

use crate::executed::{RECORD_BYTES, StreamReader};
use crate::unseen::Unseen;

/// Records of one pass over one stream; about 100 bytes of memory each.
const RECORDS_PER_PASS: u64 = 4_000_000;

/// What the comparison found. Everything but the counts of `executed` and `suppressed` should be zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Requests that the application executed, at each replica.
    pub(crate) executed: u64,
    /// Copies that were answered from the session, at each replica.
    pub(crate) suppressed: u64,
    /// Acknowledged requests that some replica did not execute.
    pub(crate) lost: u64,
    /// Requests that some replica's application executed more than once.
    pub(crate) duplicated: u64,
    /// Acknowledged requests that some replica executed with another result, or in another slot.
    pub(crate) different: u64,
    /// Requests that not all replicas executed equally, whether acknowledged or not.
    pub(crate) diverged: u64,
    /// Executions that a replica did not do itself: it took the state behind them from others, who did.
    pub(crate) unseen: u64,
}

/// Client and number of a request.
type Name = ([u8; 32], u64);
/// Slot and digest of the result of an execution.
type Effect = (u64, [u8; 32]);

/// What clients saw: a file of the load generator's rows, which name clients by their place in the keys.
pub(crate) struct Seen<'a> {
    pub(crate) path: &'a Path,
    pub(crate) clients: &'a [[u8; 32]],
}

/// Compares the streams of the replicas, which have executed up to the same slot, with what clients saw acknowledged.
pub(crate) fn compare(replicas: &[PathBuf], seen: &Seen<'_>) -> Result<Findings> {
    let count = |path: &Path, bytes: usize| -> Result<u64> {
        let metadata = path
            .metadata()
            .with_context(|| format!("cannot read {}", path.display()))?;
        Ok(metadata.len() / bytes as u64)
    };
    let mut longest = count(seen.path, ROW_BYTES)?;
    for path in replicas {
        longest = longest.max(count(path, RECORD_BYTES)?);
    }
    // All replicas' records of a share are in memory at once.
    let passes = (longest * replicas.len().max(1) as u64)
        .div_ceil(RECORDS_PER_PASS)
        .max(1);
    let mut findings = Findings::default();
    for pass in 0..passes {
        compare_share(replicas, seen, Share { passes, pass }, &mut findings)?;
    }
    Ok(findings)
}

/// The clients of one pass.
#[derive(Clone, Copy)]
struct Share {
    passes: u64,
    pass: u64,
}

impl Share {
    fn holds(self, client: &[u8; 32]) -> bool {
        let head = client[..8].try_into().map(u64::from_le_bytes).expect("8 bytes");
        head % self.passes == self.pass
    }
}

impl Seen<'_> {
    fn read(&self, share: Share) -> Result<BTreeMap<Name, Effect>> {
        let open = || File::open(self.path).with_context(|| format!("cannot read {}", self.path.display()));
        let mut file = BufReader::with_capacity(1 << 18, open()?);
        let rows = file.get_ref().metadata()?.len();
        ensure!(
            rows.is_multiple_of(ROW_BYTES as u64),
            "{}: its last row is incomplete",
            self.path.display()
        );
        let mut seen = BTreeMap::new();
        for _ in 0..rows / ROW_BYTES as u64 {
            let mut bytes = [0; ROW_BYTES];
            file.read_exact(&mut bytes)
                .with_context(|| format!("cannot read {}", self.path.display()))?;
            let row = AcknowledgedRow::from_bytes(&bytes);
            let client = self
                .clients
                .get(row.client as usize)
                .context("an acknowledgement of an unknown client")?;
            if share.holds(client) {
                seen.insert((*client, row.number), (row.slot, row.result.0));
            }
        }
        Ok(seen)
    }
}

/// One replica's executions of a share.
struct Executions {
    by_name: BTreeMap<Name, Effect>,
    /// Slots that it did not execute itself.
    unseen: Unseen,
    repeated: Vec<Name>,
    suppressed: u64,
}

fn executions(path: &Path, share: Share) -> Result<Executions> {
    let mut all = Executions {
        by_name: BTreeMap::new(),
        unseen: Unseen::of(path)?,
        repeated: Vec::new(),
        suppressed: 0,
    };
    for record in StreamReader::open(path)? {
        let record = record?;
        if !share.holds(&record.client) {
            continue;
        }
        let name = (record.client, record.number);
        if record.duplicate {
            all.suppressed += 1;
        } else if all.by_name.insert(name, (record.slot, record.result)).is_some() {
            all.repeated.push(name);
        }
    }
    Ok(all)
}

fn compare_share(replicas: &[PathBuf], seen: &Seen<'_>, share: Share, findings: &mut Findings) -> Result<()> {
    let (mut lost, mut duplicated, mut different) = (Vec::new(), Vec::new(), Vec::new());
    let seen = seen.read(share)?;
    let all: Vec<Executions> = replicas
        .iter()
        .map(|path| executions(path, share))
        .collect::<Result<_>>()?;
    for own in &all {
        duplicated.extend(&own.repeated);
        for (name, effect) in &seen {
            match own.by_name.get(name) {
                None if all.iter().any(|other| own.is_excused(other.by_name.get(name))) => findings.unseen += 1,
                None => lost.push(*name),
                Some(executed) if !agrees(executed, effect) => different.push(*name),
                Some(_) => {}
            }
        }
    }
    if let Some((first, others)) = all.split_first() {
        findings.diverged += others.iter().map(|other| differences(first, other)).sum::<u64>();
    }
    findings.executed += all.iter().map(|own| own.by_name.len() as u64).max().unwrap_or(0);
    findings.suppressed += all.first().map_or(0, |first| first.suppressed);
    findings.lost += distinct(lost);
    findings.duplicated += distinct(duplicated);
    findings.different += distinct(different);
    Ok(())
}

impl Executions {
    /// Whether what another replica executed lies in a slot that this one did not execute itself.
    fn is_excused(&self, elsewhere: Option<&Effect>) -> bool {
        elsewhere.is_some_and(|(slot, _)| self.unseen.holds(*slot))
    }
}

/// An acknowledgement may name a later slot: the one whose copy was answered from the session.
fn agrees(executed: &Effect, acknowledged: &Effect) -> bool {
    executed.1 == acknowledged.1 && executed.0 <= acknowledged.0
}

fn differences(a: &Executions, b: &Executions) -> u64 {
    let differs = |(name, effect): &(&Name, &Effect)| match b.by_name.get(*name) {
        None => !b.is_excused(Some(effect)),
        Some(other) => other != *effect,
    };
    let changed = a.by_name.iter().filter(differs).count();
    let added = b
        .by_name
        .iter()
        .filter(|(name, effect)| !a.by_name.contains_key(*name) && !a.is_excused(Some(effect)))
        .count();
    (changed + added) as u64
}

fn distinct(mut names: Vec<Name>) -> u64 {
    names.sort_unstable();
    names.dedup();
    names.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executed::{Record, StreamWriter};

    fn record(client: u8, number: u64, slot: u64) -> Record {
        Record {
            client: [client; 32],
            number,
            slot,
            result: [slot.to_le_bytes()[0]; 32],
            duplicate: false,
        }
    }

    fn history() -> Vec<Record> {
        (0..40).map(|i| record((i % 4) as u8, 1 + i / 4, 10 + i / 8)).collect()
    }

    fn found(change: impl Fn(usize, &mut Vec<Record>)) -> Findings {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: String, records: &[Record]| {
            let path = dir.path().join(name);
            let mut writer = StreamWriter::create(&path).unwrap();
            records.iter().for_each(|record| writer.push(*record).unwrap());
            writer.flush().unwrap();
            path
        };
        let streams: Vec<PathBuf> = (0..3)
            .map(|index| {
                let mut records = history();
                change(index, &mut records);
                write(index.to_string(), &records)
            })
            .collect();
        // Index 3 stands for the clients' view.
        let mut rows = history();
        change(3, &mut rows);
        let path = dir.path().join("seen");
        let row = |record: &Record| AcknowledgedRow {
            client: u32::from(record.client[0]),
            number: record.number,
            slot: record.slot,
            result: record.result.into(),
        };
        std::fs::write(
            &path,
            rows.iter()
                .flat_map(|record| row(record).to_bytes())
                .collect::<Vec<u8>>(),
        )
        .unwrap();
        let seen = Seen {
            path: &path,
            clients: &[[0; 32], [1; 32], [2; 32], [3; 32]],
        };
        let whole = compare(&streams, &seen).unwrap();
        let mut parts = Findings::default();
        for pass in 0..3 {
            compare_share(&streams, &seen, Share { passes: 3, pass }, &mut parts).unwrap();
        }
        assert_eq!(whole, parts, "the number of passes does not matter");
        whole
    }

    fn lose(records: &mut Vec<Record>, wanted: bool) {
        if wanted {
            records.remove(7);
        }
    }

    #[test]
    fn equal_streams_find_nothing() {
        assert_eq!(
            found(|_, _| ()),
            Findings {
                executed: 40,
                ..Findings::default()
            }
        );
    }

    #[test]
    fn an_acknowledged_request_that_one_replica_lacks_is_lost() {
        let findings = found(|index, records| lose(records, index == 1));
        assert_eq!((findings.lost, findings.diverged), (1, 1));
        let findings = found(|index, records| lose(records, index != 3));
        assert_eq!((findings.lost, findings.diverged), (1, 0), "lost by all is lost once");
    }

    #[test]
    fn a_request_that_nobody_acknowledged_may_be_executed() {
        let findings = found(|index, records| lose(records, index == 3));
        assert_eq!(
            findings,
            Findings {
                executed: 40,
                ..Findings::default()
            }
        );
    }

    #[test]
    fn a_second_execution_is_a_duplicate_and_an_answered_copy_is_not() {
        let again = |duplicate| {
            move |index: usize, records: &mut Vec<Record>| {
                if index != 3 {
                    records.push(Record {
                        slot: 99,
                        duplicate,
                        ..records[0]
                    });
                }
            }
        };
        assert_eq!(
            found(again(true)),
            Findings {
                executed: 40,
                suppressed: 1,
                ..Findings::default()
            }
        );
        assert_eq!(found(again(false)).duplicated, 1, "once, however many replicas did it");
    }

    #[test]
    fn other_results_are_different() {
        let findings = found(|index, records| {
            if index == 3 {
                records[5].result = [0xee; 32];
                records[6].slot += 3;
            }
        });
        assert_eq!((findings.different, findings.lost), (1, 0), "a later slot is a copy's");
        let findings = found(|index, records| {
            if index == 2 {
                records[5].result = [0xee; 32];
            }
        });
        assert_eq!((findings.different, findings.diverged), (1, 1));
    }

    #[test]
    fn what_others_executed_before_a_state_was_taken_from_them_is_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, records: &[Record]| {
            let path = dir.path().join(name);
            let mut writer = StreamWriter::create(&path).unwrap();
            records.iter().for_each(|record| writer.push(*record).unwrap());
            writer.flush().unwrap();
            path
        };
        let whole = history();
        let part: Vec<Record> = whole.iter().filter(|record| record.slot != 12).copied().collect();
        let streams = [write("a", &whole), write("b", &part)];
        std::fs::write(dir.path().join("seen"), []).unwrap();
        let path = dir.path().join("seen");
        let rows = whole.iter().map(|record| AcknowledgedRow {
            client: u32::from(record.client[0]),
            number: record.number,
            slot: record.slot,
            result: record.result.into(),
        });
        std::fs::write(&path, rows.flat_map(|row| row.to_bytes()).collect::<Vec<u8>>()).unwrap();
        let seen = Seen {
            path: &path,
            clients: &[[0; 32], [1; 32], [2; 32], [3; 32]],
        };
        let found = compare(&streams, &seen).unwrap();
        assert_eq!((found.lost, found.diverged, found.unseen), (8, 8, 0));
        Unseen::of(&streams[1]).unwrap().add(11, 12).unwrap();
        let found = compare(&streams, &seen).unwrap();
        assert_eq!((found.lost, found.diverged, found.unseen), (0, 0, 8));
        // Only those slots.
        Unseen::of(&streams[1]).unwrap().cut(11).unwrap();
        assert_eq!(compare(&streams, &seen).unwrap().lost, 8);
    }
}
