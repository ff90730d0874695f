//! The part of etcd's v3 API that a load needs, as messages written by hand after `etcdserver/etcdserverpb/rpc.proto`
//! and `mvcc/mvccpb/kv.proto` of etcd 3.4 (field numbers and types; fields that are not used are left out, decoding
//! skips them). No compiler of protocol buffers is needed.

use prost::{Message, Oneof};

/// In front of every answer.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Header {
    #[prost(uint64, tag = "2")]
    pub(crate) member_id: u64,
    #[prost(int64, tag = "3")]
    pub(crate) revision: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct KeyValue {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) key: Vec<u8>,
    #[prost(int64, tag = "3")]
    pub(crate) mod_revision: i64,
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) range_end: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RangeResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<Header>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PutResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<Header>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DeleteRangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) key: Vec<u8>,
    #[prost(bool, tag = "3")]
    pub(crate) prev_kv: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DeleteRangeResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<Header>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) prev_kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RequestOp {
    #[prost(oneof = "Ask", tags = "1, 2, 3")]
    pub(crate) request: Option<Ask>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Ask {
    #[prost(message, tag = "1")]
    Range(RangeRequest),
    #[prost(message, tag = "2")]
    Put(PutRequest),
    #[prost(message, tag = "3")]
    Delete(DeleteRangeRequest),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResponseOp {
    #[prost(oneof = "Answer", tags = "1, 2, 3")]
    pub(crate) response: Option<Answer>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Answer {
    #[prost(message, tag = "1")]
    Range(RangeResponse),
    #[prost(message, tag = "2")]
    Put(PutResponse),
    #[prost(message, tag = "3")]
    Delete(DeleteRangeResponse),
}

/// `result` 0: equal; `target` 2: the revision of the key's last change.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Compare {
    #[prost(int32, tag = "1")]
    pub(crate) result: i32,
    #[prost(int32, tag = "2")]
    pub(crate) target: i32,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) key: Vec<u8>,
    /// In a oneof: written even if it is zero.
    #[prost(int64, optional, tag = "6")]
    pub(crate) mod_revision: Option<i64>,
}

/// [`Compare::target`]: the revision of the last change.
pub(crate) const TARGET_MOD: i32 = 2;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TxnRequest {
    #[prost(message, repeated, tag = "1")]
    pub(crate) compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) success: Vec<RequestOp>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) failure: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TxnResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<Header>,
    #[prost(bool, tag = "2")]
    pub(crate) succeeded: bool,
    #[prost(message, repeated, tag = "3")]
    pub(crate) responses: Vec<ResponseOp>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StatusRequest {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<Header>,
    #[prost(string, tag = "2")]
    pub(crate) version: String,
    #[prost(uint64, tag = "4")]
    pub(crate) leader: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct HashKvRequest {
    #[prost(int64, tag = "1")]
    pub(crate) revision: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct HashKvResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<Header>,
    #[prost(uint32, tag = "2")]
    pub(crate) hash: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes written by hand after the encoding's own rules: tag = field << 3 | type, then length or number.
    #[test]
    fn requests_are_encoded_as_the_api_says() {
        let put = PutRequest {
            key: b"k".to_vec(),
            value: b"vw".to_vec(),
        };
        assert_eq!(put.encode_to_vec(), [0x0a, 1, b'k', 0x12, 2, b'v', b'w']);
        let range = RangeRequest {
            key: b"k".to_vec(),
            range_end: Vec::new(),
        };
        assert_eq!(range.encode_to_vec(), [0x0a, 1, b'k']);
        let compare = Compare {
            result: 0,
            target: TARGET_MOD,
            key: b"k".to_vec(),
            mod_revision: Some(0),
        };
        // Equal is left out as the default; a zero in the oneof is not.
        assert_eq!(compare.encode_to_vec(), [0x10, 2, 0x1a, 1, b'k', 0x30, 0]);
        let txn = TxnRequest {
            compare: vec![compare],
            success: vec![RequestOp {
                request: Some(Ask::Put(put)),
            }],
            failure: vec![RequestOp {
                request: Some(Ask::Range(range)),
            }],
        };
        let bytes = txn.encode_to_vec();
        assert_eq!(
            bytes,
            [
                &[0x0a, 7][..],
                &[0x10, 2, 0x1a, 1, b'k', 0x30, 0],
                &[0x12, 9, 0x12, 7, 0x0a, 1, b'k', 0x12, 2, b'v', b'w'],
                &[0x1a, 5, 0x0a, 3, 0x0a, 1, b'k'],
            ]
            .concat()
        );
    }

    #[test]
    fn answers_are_read_and_unknown_fields_are_skipped() {
        // Cluster id, member id, revision, and Raft's number of the election, which nobody asks for.
        let header = [0x08, 9, 0x10, 7, 0x18, 0x96, 1, 0x20, 2];
        let put = [&[0x0a, 9][..], &header].concat();
        let put = PutResponse::decode(&put[..]).unwrap();
        assert_eq!(
            put.header.map(|header| (header.member_id, header.revision)),
            Some((7, 150))
        );
        // Key, creation, last change, version, value.
        let kv = [0x0a, 1, b'k', 0x10, 3, 0x18, 5, 0x20, 2, 0x2a, 1, b'v'];
        let range = [&[0x12, 12][..], &kv, &[0x20, 1]].concat();
        let range = RangeResponse::decode(&range[..]).unwrap();
        assert_eq!(range.kvs.len(), 1);
        assert_eq!((range.kvs[0].mod_revision, &range.kvs[0].value[..]), (5, &b"v"[..]));
        assert!(RangeResponse::decode(&[0x12, 200][..]).is_err(), "cut off");
    }
}
