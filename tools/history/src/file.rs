//! The file: JSON lines, a header and then a row for each operation, in any order.

use std::io::BufRead;

use serde::{Deserialize, Serialize};

/// Name and version of the format.
pub const FORMAT: &str = "trireme.history/1";
/// The longest line that is read, in bytes.
const MAX_LINE_BYTES: u64 = 64 << 10;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`FORMAT`].
    pub history: String,
    /// The store was empty when the recording began, and nobody else wrote to it.
    pub fresh: bool,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Writes a key.
    Put,
    /// Reads it.
    Get,
    /// Removes it.
    Delete,
    /// Writes it if it has the expected version.
    Cas,
}

/// What the client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was executed once, with the result that stands in the row.
    Ok,
    /// It was certainly not executed, and never will be.
    Failed,
    /// It was executed or not, or will be.
    Unknown,
}

/// The result of an operation that was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Told {
    /// A put or compare-and-set took effect.
    Written,
    /// A get found the key.
    Value,
    /// A get or delete found no key.
    Absent,
    /// A delete took effect.
    Deleted,
    /// A compare-and-set found another version.
    Mismatch,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Who asked.
    pub client: u32,
    /// For what.
    pub op: Kind,
    /// Of which key.
    pub key: String,
    /// The value, or a hash of it: written by `put` and `cas`, read by `get`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The version that `cas` expected; 0: absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<u64>,
    /// When it was sent, in microseconds; or earlier. One clock for all rows.
    pub invoke_us: u64,
    /// When the result was known; or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_us: Option<u64>,
    /// Whether it was executed.
    pub outcome: Outcome,
    /// What the client was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Told>,
    /// The version that was written, read, deleted, or found instead (0: absent). Versions of a key ascend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

/// A history as it was read.
#[derive(Clone, Debug)]
pub struct History {
    /// The first line.
    pub header: Header,
    /// The others.
    pub rows: Vec<Row>,
}

/// Why a file is no history.
#[derive(Debug, thiserror::Error)]
pub enum BadHistory {
    /// The system gives no more of it.
    #[error("cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// The first line is another one.
    #[error("line 1: no header of the format {FORMAT}")]
    Header,
    /// A line is no row.
    #[error("line {line}: {why}")]
    Row {
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// There are more rows than may be held.
    #[error("more than {limit} operations")]
    TooLong {
        /// How many may be.
        limit: usize,
    },
}

/// Reads a history of at most `limit` rows.
///
/// # Errors
///
/// [`BadHistory`].
pub fn read(mut input: impl BufRead, limit: usize) -> Result<History, BadHistory> {
    let mut line = String::new();
    next_line(&mut input, &mut line, 1)?;
    let header: Header = serde_json::from_str(&line).map_err(|_| BadHistory::Header)?;
    if header.history != FORMAT {
        return Err(BadHistory::Header);
    }
    let mut rows = Vec::new();
    let mut number = 1;
    while next_line(&mut input, &mut line, number + 1)? {
        number += 1;
        let row: Row = serde_json::from_str(&line).map_err(|error| BadHistory::Row {
            line: number,
            why: error.to_string(),
        })?;
        row.check().map_err(|why| BadHistory::Row {
            line: number,
            why: why.to_owned(),
        })?;
        if rows.len() == limit {
            return Err(BadHistory::TooLong { limit });
        }
        rows.push(row);
    }
    Ok(History { header, rows })
}

/// Reads a line of bounded length. False: there is none.
fn next_line(input: &mut impl BufRead, line: &mut String, number: usize) -> Result<bool, BadHistory> {
    line.clear();
    let read = std::io::Read::take(&mut *input, MAX_LINE_BYTES).read_line(line)?;
    if read as u64 == MAX_LINE_BYTES {
        return Err(BadHistory::Row {
            line: number,
            why: "too long".to_owned(),
        });
    }
    Ok(read > 0)
}

impl Row {
    /// Whether the fields belong together.
    fn check(&self) -> Result<(), &'static str> {
        let writes = matches!(self.op, Kind::Put | Kind::Cas);
        if writes && self.value.is_none() {
            return Err("a write has a value");
        }
        if (self.op == Kind::Cas) != self.expected.is_some() {
            return Err("cas, and nothing else, has an expected version");
        }
        if self.outcome != Outcome::Ok {
            return match self.result {
                Some(_) => Err("a result of something that was not, or not surely, executed"),
                None => Ok(()),
            };
        }
        if self.return_us.is_none_or(|at| at < self.invoke_us) {
            return Err("a result comes back, and not before it was asked for");
        }
        match (self.op, self.result) {
            (Kind::Get, Some(Told::Value)) if self.value.is_none() => Err("a value was read, but not which"),
            (Kind::Put | Kind::Cas, Some(Told::Written))
            | (Kind::Get, Some(Told::Value | Told::Absent))
            | (Kind::Delete, Some(Told::Deleted | Told::Absent))
            | (Kind::Cas, Some(Told::Mismatch)) => Ok(()),
            _ => Err("a result that the operation does not have"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = r#"{"history":"trireme.history/1","fresh":true}"#;

    #[test]
    fn rows_come_back_as_they_were_written() {
        let row = Row {
            client: 3,
            op: Kind::Cas,
            key: "k".to_owned(),
            value: Some("v".to_owned()),
            expected: Some(0),
            invoke_us: 5,
            return_us: Some(9),
            outcome: Outcome::Ok,
            result: Some(Told::Mismatch),
            version: Some(7),
        };
        let text = format!("{HEAD}\n{}\n", serde_json::to_string(&row).unwrap());
        let history = read(text.as_bytes(), 10).unwrap();
        assert_eq!((history.header.fresh, history.rows), (true, vec![row]));
    }

    #[test]
    fn what_is_no_history_is_refused_with_its_line() {
        let bad = [
            r#"{"client":1,"op":"put","key":"k","invoke_us":1,"return_us":2,"outcome":"ok","result":"written"}"#,
            r#"{"client":1,"op":"get","key":"k","invoke_us":3,"return_us":2,"outcome":"ok","result":"absent"}"#,
            r#"{"client":1,"op":"get","key":"k","invoke_us":3,"outcome":"ok","result":"absent"}"#,
            r#"{"client":1,"op":"get","key":"k","invoke_us":1,"return_us":2,"outcome":"ok","result":"written"}"#,
            r#"{"client":1,"op":"get","key":"k","invoke_us":1,"return_us":2,"outcome":"ok","result":"value"}"#,
            r#"{"client":1,"op":"get","key":"k","invoke_us":1,"outcome":"unknown","result":"absent"}"#,
            r#"{"client":1,"op":"cas","key":"k","value":"v","invoke_us":1,"outcome":"unknown"}"#,
            r#"{"client":1,"op":"get","key":"k","invoke_us":1,"outcome":"unknown","more":1}"#,
            "not JSON",
        ];
        for row in bad {
            let text = format!("{HEAD}\n{row}\n");
            let error = read(text.as_bytes(), 10).err();
            assert!(
                matches!(error, Some(BadHistory::Row { line: 2, .. })),
                "{row}: {error:?}"
            );
        }
        for text in ["", "{}", r#"{"history":"other/1","fresh":true}"#] {
            assert!(matches!(read(text.as_bytes(), 10), Err(BadHistory::Header)), "{text}");
        }
        let good = r#"{"client":1,"op":"get","key":"k","invoke_us":1,"outcome":"failed"}"#;
        let text = format!("{HEAD}\n{good}\n{good}\n");
        assert!(matches!(
            read(text.as_bytes(), 1),
            Err(BadHistory::TooLong { limit: 1 })
        ));
        let long = format!("{HEAD}\n{}", "x".repeat(100_000));
        assert!(matches!(read(long.as_bytes(), 1), Err(BadHistory::Row { line: 2, .. })));
    }
}
