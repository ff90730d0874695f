//! Requests of the key-value store as calls of etcd's API, and its answers as results of the store.
//!
//! | store | etcd |
//! |---|---|
//! | put, get, delete | Put, Range (linearizable), DeleteRange |
//! | compare-and-set | Txn: put if the key's last change has this revision, else a get |
//! | a bundle | one Txn of up to 128 operations; a key that comes twice begins another one |
//!
//! The version of a key is the revision of its last change.

use std::collections::BTreeSet;

use bytes::Bytes;
use trireme_state::kv::{Op, OpResult};

use super::grpc::frame;
use super::messages::{
    Answer, Ask, Compare, DeleteRangeRequest, DeleteRangeResponse, Header, KeyValue, PutRequest, PutResponse,
    RangeRequest, RangeResponse, RequestOp, ResponseOp, TARGET_MOD, TxnRequest, TxnResponse,
};

/// Operations of one transaction: etcd's default for `--max-txn-ops`.
const MAX_TXN_OPS: usize = 128;

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Put,
    Range,
    Delete,
    Txn,
    CompareAndSet,
}

/// One call, and the places of its requests in the submission.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) message: Bytes,
    pub(crate) positions: Vec<u32>,
}

/// The calls of a submission; none if a request is none of the store's, or a scan, for which there is no call here.
pub(crate) fn calls(requests: &[Vec<u8>]) -> Option<Vec<Call>> {
    let ops = requests.iter().map(|bytes| Op::decode(bytes).ok());
    let ops: Vec<Op<'_>> = ops.collect::<Option<_>>()?;
    if ops.iter().any(|op| matches!(op, Op::Scan { .. })) {
        return None;
    }
    if let [op] = ops[..] {
        return Some(vec![single(op, 0)]);
    }
    let mut out = Vec::new();
    let mut open: Vec<(u32, Op<'_>)> = Vec::new();
    let mut keys = BTreeSet::new();
    for (place, op) in (0u32..).zip(ops) {
        if matches!(op, Op::CompareAndSet { .. }) {
            // Its condition would be that of the whole transaction.
            out.push(single(op, place));
            continue;
        }
        if open.len() == MAX_TXN_OPS || keys.contains(key(&op)) {
            out.push(transaction(&open));
            open.clear();
            keys.clear();
        }
        keys.insert(key(&op));
        open.push((place, op));
    }
    if !open.is_empty() {
        out.push(transaction(&open));
    }
    Some(out)
}

fn key<'a>(op: &Op<'a>) -> &'a [u8] {
    match *op {
        Op::Put { key, .. } | Op::Get { key } | Op::Delete { key } | Op::CompareAndSet { key, .. } => key,
        Op::Scan { start, .. } => start,
    }
}

fn put(key: &[u8], value: &[u8]) -> PutRequest {
    PutRequest {
        key: key.to_vec(),
        value: value.to_vec(),
    }
}

fn get(key: &[u8]) -> RangeRequest {
    RangeRequest {
        key: key.to_vec(),
        range_end: Vec::new(),
    }
}

fn delete(key: &[u8]) -> DeleteRangeRequest {
    DeleteRangeRequest {
        key: key.to_vec(),
        prev_kv: true,
    }
}

fn single(op: Op<'_>, place: u32) -> Call {
    let (method, message) = match op {
        Op::Put { key, value } => (Method::Put, frame(&put(key, value))),
        // Scans were turned away.
        Op::Get { key } | Op::Scan { start: key, .. } => (Method::Range, frame(&get(key))),
        Op::Delete { key } => (Method::Delete, frame(&delete(key))),
        Op::CompareAndSet { key, expected, value } => {
            let compare = Compare {
                result: 0,
                target: TARGET_MOD,
                key: key.to_vec(),
                mod_revision: Some(i64::try_from(expected).unwrap_or(i64::MAX)),
            };
            let of = |ask| vec![RequestOp { request: Some(ask) }];
            let txn = TxnRequest {
                compare: vec![compare],
                success: of(Ask::Put(put(key, value))),
                failure: of(Ask::Range(get(key))),
            };
            (Method::CompareAndSet, frame(&txn))
        }
    };
    Call {
        method,
        message,
        positions: vec![place],
    }
}

fn transaction(ops: &[(u32, Op<'_>)]) -> Call {
    if let [(place, op)] = ops {
        return single(*op, *place);
    }
    let ask = |(_, op): &(u32, Op<'_>)| {
        let ask = match *op {
            Op::Put { key, value } | Op::CompareAndSet { key, value, .. } => Ask::Put(put(key, value)),
            Op::Get { key } | Op::Scan { start: key, .. } => Ask::Range(get(key)),
            Op::Delete { key } => Ask::Delete(delete(key)),
        };
        RequestOp { request: Some(ask) }
    };
    let txn = TxnRequest {
        compare: Vec::new(),
        success: ops.iter().map(ask).collect(),
        failure: Vec::new(),
    };
    Call {
        method: Method::Txn,
        message: frame(&txn),
        positions: ops.iter().map(|(place, _)| *place).collect(),
    }
}

fn number(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or(0)
}

fn written(header: Option<&Header>) -> Bytes {
    let version = header.map_or(0, |header| number(header.revision));
    OpResult::Written { version }.encode().into()
}

/// The result of a put.
pub(crate) fn of_put(answer: &PutResponse) -> Bytes {
    written(answer.header.as_ref())
}

/// The result of a get.
pub(crate) fn of_range(answer: &RangeResponse) -> Bytes {
    let result = match answer.kvs.first() {
        Some(KeyValue {
            mod_revision, value, ..
        }) => OpResult::Value {
            version: number(*mod_revision),
            value,
        },
        None => OpResult::Absent,
    };
    result.encode().into()
}

/// The result of a delete.
pub(crate) fn of_delete(answer: &DeleteRangeResponse) -> Bytes {
    let result = match answer.prev_kvs.first() {
        Some(removed) => OpResult::Deleted {
            version: number(removed.mod_revision),
        },
        None => OpResult::Absent,
    };
    result.encode().into()
}

/// The results of a transaction, in the order of its operations; none if they are not those.
pub(crate) fn of_txn(answer: &TxnResponse, count: usize) -> Option<Vec<Bytes>> {
    let one = |response: &ResponseOp| {
        Some(match response.response.as_ref()? {
            // A put's own header is empty here; the transaction has one revision.
            Answer::Put(_) => written(answer.header.as_ref()),
            Answer::Range(range) => of_range(range),
            Answer::Delete(delete) => of_delete(delete),
        })
    };
    let results: Vec<Bytes> = answer.responses.iter().map(one).collect::<Option<_>>()?;
    (answer.succeeded && results.len() == count).then_some(results)
}

/// The result of a compare-and-set.
pub(crate) fn of_compare_and_set(answer: &TxnResponse) -> Option<Bytes> {
    match (answer.succeeded, answer.responses.first()?.response.as_ref()?) {
        (true, Answer::Put(_)) => Some(written(answer.header.as_ref())),
        (false, Answer::Range(range)) => {
            let version = range.kvs.first().map_or(0, |found| number(found.mod_revision));
            Some(OpResult::Mismatch { version }.encode().into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;

    fn op(key: u8, kind: u8) -> Vec<u8> {
        let name = [b'k', key];
        let op = match kind {
            0 => Op::Put {
                key: &name,
                value: b"v",
            },
            1 => Op::Get { key: &name },
            _ => Op::CompareAndSet {
                key: &name,
                expected: 4,
                value: b"v",
            },
        };
        op.encode()
    }

    fn places(calls: &[Call]) -> Vec<(Method, Vec<u32>)> {
        calls.iter().map(|call| (call.method, call.positions.clone())).collect()
    }

    #[test]
    fn a_bundle_is_one_transaction_unless_a_key_comes_twice() {
        let bundle: Vec<Vec<u8>> = [(1, 0), (2, 1), (3, 2), (1, 0), (4, 0)]
            .map(|(key, kind)| op(key, kind))
            .into();
        assert_eq!(
            places(&calls(&bundle).unwrap()),
            [
                (Method::CompareAndSet, vec![2]),
                (Method::Txn, vec![0, 1]),
                (Method::Txn, vec![3, 4])
            ]
        );
        assert_eq!(places(&calls(&bundle[..1]).unwrap()), [(Method::Put, vec![0])]);
        assert!(calls(&[b"nothing".to_vec()]).is_none());
        assert!(calls(&[Op::Scan { start: b"k", limit: 3 }.encode()]).is_none());
        let many: Vec<Vec<u8>> = (0..130).map(|key| op(key, 0)).collect();
        let lengths: Vec<usize> = calls(&many).unwrap().iter().map(|call| call.positions.len()).collect();
        assert_eq!(lengths, [128, 2]);
    }

    #[test]
    fn messages_say_what_the_requests_said() {
        let bundle = [op(1, 0), op(2, 1)];
        let call = &calls(&bundle).unwrap()[0];
        let txn = TxnRequest::decode(&call.message[5..]).unwrap();
        let asks: Vec<_> = txn.success.into_iter().map(|op| op.request.unwrap()).collect();
        assert_eq!(asks, [Ask::Put(put(&[b'k', 1], b"v")), Ask::Range(get(&[b'k', 2]))]);
    }

    #[test]
    fn answers_become_results() {
        let decode = |bytes: &Bytes| format!("{:?}", OpResult::decode(bytes).unwrap());
        let header = Some(Header {
            member_id: 1,
            revision: 9,
        });
        let found = RangeResponse {
            header: None,
            kvs: vec![KeyValue {
                key: b"k".to_vec(),
                mod_revision: 5,
                value: b"v".to_vec(),
            }],
        };
        assert!(decode(&of_range(&found)).contains("version: 5"));
        assert_eq!(decode(&of_range(&RangeResponse::default())), "Absent");
        let mut txn = TxnResponse {
            header,
            succeeded: false,
            responses: vec![ResponseOp {
                response: Some(Answer::Range(found)),
            }],
        };
        assert_eq!(decode(&of_compare_and_set(&txn).unwrap()), "Mismatch { version: 5 }");
        assert!(of_txn(&txn, 1).is_none(), "a transaction without a condition succeeds");
        txn.succeeded = true;
        txn.responses[0].response = Some(Answer::Put(PutResponse::default()));
        assert_eq!(decode(&of_txn(&txn, 1).unwrap()[0]), "Written { version: 9 }");
        assert_eq!(decode(&of_compare_and_set(&txn).unwrap()), "Written { version: 9 }");
        assert!(of_txn(&txn, 2).is_none());
    }
}
