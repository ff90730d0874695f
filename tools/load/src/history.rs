//! The history of a load on the key-value store: each operation with its times and its result, as rows of
//! `trireme-history`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use trireme_client::SubmitError;
use trireme_crypto::{context, hash};
use trireme_history::{FORMAT, Header, Kind, Outcome, Row, Told};
use trireme_state::kv;

use crate::options::LoadError;
use crate::payload::{Asked, key_name};

/// Where the history of a run is written.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HistoryFile {
    /// Made anew.
    pub path: PathBuf,
    /// Whether the store is empty when the run begins, and nobody else writes to it: reads of what was never written
    /// are found out only then.
    pub fresh: bool,
}

/// Writes rows as their operations end.
pub(crate) struct Historian {
    path: PathBuf,
    file: BufWriter<File>,
}

/// One operation that ended.
pub(crate) struct Ended<'a> {
    pub(crate) client: u32,
    pub(crate) asked: &'a Asked,
    pub(crate) sent_ns: u64,
    pub(crate) now_ns: u64,
    pub(crate) result: Result<&'a [u8], &'a SubmitError>,
}

impl Historian {
    pub(crate) fn new(options: &HistoryFile) -> Result<Self, LoadError> {
        let path = options.path.clone();
        let file = File::create(&path).map_err(|source| failed("create", &path, source))?;
        let mut historian = Self {
            path,
            file: BufWriter::with_capacity(1 << 20, file),
        };
        historian.write(&Header {
            history: FORMAT.to_owned(),
            fresh: options.fresh,
        })?;
        Ok(historian)
    }

    pub(crate) fn record(&mut self, ended: &Ended<'_>) -> Result<(), LoadError> {
        row(ended).map_or(Ok(()), |row| self.write(&row))
    }

    pub(crate) fn finish(mut self) -> Result<(), LoadError> {
        self.file.flush().map_err(|source| failed("write", &self.path, source))
    }

    fn write(&mut self, line: &impl serde::Serialize) -> Result<(), LoadError> {
        let mut text = serde_json::to_vec(line).expect("rows have an encoding");
        text.push(b'\n');
        self.file
            .write_all(&text)
            .map_err(|source| failed("write", &self.path, source))
    }
}

fn failed(operation: &'static str, path: &std::path::Path, source: std::io::Error) -> LoadError {
    LoadError::Record {
        operation,
        path: path.to_owned(),
        source,
    }
}

/// The first 64 bits of a value's digest, in hexadecimal.
pub(crate) fn value_name(value: &[u8]) -> String {
    let digest = hash(context::RESULT, value);
    digest.0[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Nothing for an operation that histories have no word for.
fn row(ended: &Ended<'_>) -> Option<Row> {
    let asked = ended.asked;
    let op = asked.kind.recorded()?;
    let key = key_name(asked.key);
    let mut row = Row {
        client: ended.client,
        op,
        key: String::from_utf8_lossy(&key).into_owned(),
        value: asked.value.clone(),
        expected: (op == Kind::Cas).then_some(asked.expected),
        // Rounded so that the operation seems to take longer: an overlap too many excuses, one too few would accuse.
        invoke_us: ended.sent_ns / 1_000,
        return_us: Some(ended.now_ns.div_ceil(1_000)),
        outcome: Outcome::Ok,
        result: None,
        version: None,
    };
    match ended.result.map(kv::OpResult::decode) {
        Ok(Ok(result)) => tell(&mut row, &result),
        // f+1 replicas agree on something that cannot be read: nothing is known.
        Ok(Err(_)) => leave_open(&mut row, Outcome::Unknown),
        Err(error) if error.outcome_unknown() => leave_open(&mut row, Outcome::Unknown),
        Err(_) => leave_open(&mut row, Outcome::Failed),
    }
    Some(row)
}

fn leave_open(row: &mut Row, outcome: Outcome) {
    (row.outcome, row.return_us) = (outcome, None);
}

fn tell(row: &mut Row, result: &kv::OpResult<'_>) {
    let (told, version) = match *result {
        kv::OpResult::Written { version } => (Told::Written, Some(version)),
        kv::OpResult::Value { version, value } => {
            row.value = Some(value_name(value));
            (Told::Value, Some(version))
        }
        kv::OpResult::Absent => (Told::Absent, None),
        kv::OpResult::Deleted { version } => (Told::Deleted, Some(version)),
        kv::OpResult::Mismatch { version } => (Told::Mismatch, Some(version)),
        // The store says that nothing changed.
        kv::OpResult::Full | kv::OpResult::Malformed(_) | kv::OpResult::Found(_) => {
            return leave_open(row, Outcome::Failed);
        }
    };
    (row.result, row.version) = (Some(told), version);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Kind as Ask;

    fn ended<'a>(asked: &'a Asked, result: Result<&'a [u8], &'a SubmitError>) -> Row {
        row(&Ended {
            client: 7,
            asked,
            sent_ns: 1_999,
            now_ns: 5_001,
            result,
        })
        .expect("histories have a word for it")
    }

    #[test]
    fn rows_say_what_clients_were_told() {
        let asked = |kind| Asked {
            operation: crate::workload::Operation::Update,
            kind,
            key: 3,
            bytes: 0,
            value: (kind != Ask::Get).then(|| "v".to_owned()),
            expected: 4,
        };
        let value = kv::OpResult::Value {
            version: 6,
            value: b"hello",
        }
        .encode();
        let get = asked(Ask::Get);
        let row = ended(&get, Ok(&value));
        assert_eq!((row.invoke_us, row.return_us, row.version), (1, Some(6), Some(6)));
        assert_eq!(
            (row.value, row.key.as_str()),
            (Some(value_name(b"hello")), "key-000000000003")
        );
        let mismatch = kv::OpResult::Mismatch { version: 9 }.encode();
        let cas = asked(Ask::Cas);
        let row = ended(&cas, Ok(&mismatch));
        assert_eq!(
            (row.expected, row.version, row.result),
            (Some(4), Some(9), Some(Told::Mismatch))
        );
        let put = asked(Ask::Put);
        let cases = [
            (Err(&SubmitError::TimedOut), Outcome::Unknown),
            (Err(&SubmitError::Overloaded), Outcome::Failed),
            (Ok(&[99u8][..]), Outcome::Unknown),
            (Ok(&[6u8][..]), Outcome::Failed),
        ];
        for (result, outcome) in cases {
            let row = ended(&put, result);
            assert_eq!((row.outcome, row.result, row.return_us), (outcome, None, None));
        }
    }
}
