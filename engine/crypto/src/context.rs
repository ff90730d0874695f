//! The contexts under which the protocol hashes: one for each kind of value, with a version.
//!
//! A context is spent once: a change of what a statement means, or of its encoding, takes a new version here, so that
//! old signatures cannot be read the new way. [`ALL`] lists them all, and a test holds them apart and pins them.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

macro_rules! contexts {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = concat!("trireme 2026-11 ", $text);)*

        /// Every context above, in the order of this page.
        pub const ALL: &[&str] = &[$($name),*];

        /// The BLAKE3 key of a context: the compression of the context string is done once a process for those of
        /// this page, and each time for a foreign one.
        #[inline]
        pub(crate) fn key(context: &str) -> [u8; 32] {
            match context {
                $($name => {
                    static CACHED: CachedKey = CachedKey::new();
                    CACHED.get(context)
                })*
                _ => blake3::hazmat::hash_derive_key_context(context),
            }
        }
    };
}

contexts! {
    /// A batch header, signed by the lane's owner.
    BATCH_HEADER = "batch-header v1";
    /// The body of a batch: leaves of `body_root`.
    BATCH_BODY = "batch-body v1";
    /// An availability acknowledgement of a batch.
    ACK = "ack v1";
    /// A block without its signature: what its digest and its leader's signature cover.
    BLOCK = "block v1";
    /// A vote with its two watermarks.
    VOTE = "vote v1";
    /// A timeout: the wish to leave a view.
    TIMEOUT = "timeout v1";
    /// A vote on executed state at a slot.
    STATE_VOTE = "state-vote v1";
    /// A client's bundle of requests.
    BUNDLE = "bundle v1";
    /// One request: the digest by which replies name it.
    REQUEST = "request v2";
    /// The receipts of a block: leaves of `receipts_root`.
    RECEIPTS = "receipts v1";
    /// A piece of application state: leaves of `state_root`.
    STATE = "state v1";
    /// The result of executing a request.
    RESULT = "result v1";
    /// A reply that a replica signs for its client.
    REPLY = "reply v1";
    /// An order, a sequence of blocks or batches, folded into one digest.
    ORDER = "order v1";
    /// Several acks and votes of one turn under one signature (R-FRAME).
    FRAME = "frame v1";
    /// A certificate's statement, where one is hashed itself.
    CERTIFICATE = "certificate v1";
    /// A checkpoint or snapshot manifest.
    CHECKPOINT = "checkpoint v1";
    /// The description of an epoch: members, parameters.
    EPOCH = "epoch v1";
    /// The genesis description of a cluster: gives `cluster_id`.
    CLUSTER = "cluster v1";
    /// A durable record of the log: its checksum chain.
    LOG = "log v1";
    /// A signed answer of one replica to another outside of agreement (recovery, quarantine, fetch).
    PEER_ANSWER = "peer-answer v1";
    /// The key of a replica's TLS identity, derived from its vote key.
    TLS = "tls-key v1";
    /// Other keys derived from a seed, for simulated and generated clusters.
    SEED = "seed v1";
    /// A leaf of a Merkle tree.
    MERKLE_LEAF = "merkle-leaf v1";
    /// An inner place of a Merkle tree.
    MERKLE_INNER = "merkle-inner v1";
    /// The number of leaves of a Merkle tree, joined with its top.
    MERKLE_ROOT = "merkle-root v1";
    /// The transcript from which a batch equation draws its coefficients.
    BATCH_EQUATION = "batch-equation v1";
}

/// A context's key, computed when first needed.
///
/// Several threads may fill it at once: they write the same words, so it does not matter whose writes land.
struct CachedKey {
    filled: AtomicBool,
    words: [AtomicU32; 8],
}

impl CachedKey {
    const fn new() -> CachedKey {
        CachedKey {
            filled: AtomicBool::new(false),
            words: [const { AtomicU32::new(0) }; 8],
        }
    }

    #[inline]
    fn get(&self, context: &str) -> [u8; 32] {
        if self.filled.load(Ordering::Acquire) {
            self.read()
        } else {
            self.fill(context)
        }
    }

    #[inline]
    fn read(&self) -> [u8; 32] {
        let mut key = [0; 32];
        for (bytes, word) in key.chunks_exact_mut(4).zip(&self.words) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        key
    }

    #[cold]
    fn fill(&self, context: &str) -> [u8; 32] {
        let key = blake3::hazmat::hash_derive_key_context(context);
        for (bytes, word) in key.chunks_exact(4).zip(&self.words) {
            let bytes = bytes.try_into().expect("chunks of 4 bytes");
            word.store(u32::from_le_bytes(bytes), Ordering::Relaxed);
        }
        self.filled.store(true, Ordering::Release);
        key
    }
}
