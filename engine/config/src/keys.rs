//! Key files, and the keys that are derived from them.

use serde::{Deserialize, Serialize};
use trireme_crypto::{Digest, SecretKey, context, hash_parts};

use crate::error::{ConfigError, Fault};
use crate::source::Source;

/// The most client identities that one key file stands for.
pub const MAX_IDENTITIES: u32 = 65_536;

/// Whose key file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyOwner {
    /// A replica's.
    Replica,
    /// A client's.
    Client,
}

/// A secret of 32 bytes in a file of its own; whoever reads it is its owner.
pub struct KeyFile {
    /// Whose it is.
    pub owner: KeyOwner,
    secret: SecretKey,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    owner: KeyOwner,
    seed: toml::Spanned<String>,
}

impl KeyFile {
    /// A key file of a seed, which comes from the operating system's random source.
    pub fn new(owner: KeyOwner, seed: [u8; 32]) -> KeyFile {
        KeyFile {
            owner,
            secret: SecretKey::from_seed(seed),
        }
    }

    /// Reads the text of a key file. That only its owner may read the file is for the caller to check.
    ///
    /// # Errors
    ///
    /// [`ConfigError`]: not TOML, unknown keys, a seed that is not 64 hex characters. The seed is never repeated.
    pub fn from_toml(text: &str) -> Result<KeyFile, ConfigError> {
        let source = Source(text);
        let raw: Text = source.parse()?;
        let seed: Digest = raw.seed.get_ref().parse().map_err(|e: trireme_crypto::HexError| {
            source.error(
                &raw.seed,
                Fault::Key {
                    key: "seed",
                    why: e.to_string(),
                },
            )
        })?;
        Ok(KeyFile::new(raw.owner, seed.0))
    }

    /// The text of this key file.
    pub fn to_toml(&self) -> String {
        let owner = match self.owner {
            KeyOwner::Replica => "replica",
            KeyOwner::Client => "client",
        };
        format!(
            "# Secret. Mode 0600, no copies.\nowner = \"{owner}\"\nseed = \"{}\"\n",
            Digest(self.secret.seed())
        )
    }

    /// The keys of a replica; none if this is a client's file.
    pub fn replica(&self) -> Option<ReplicaKeys> {
        (self.owner == KeyOwner::Replica).then(|| ReplicaKeys {
            vote: self.secret.clone(),
            tls: self.secret.derive(context::TLS),
        })
    }

    /// The keys of `identities` clients in one process; none if this is a replica's file.
    ///
    /// # Panics
    ///
    /// If `identities` exceeds [`MAX_IDENTITIES`].
    pub fn clients(&self, identities: u32) -> Option<ClientKeys> {
        assert!(identities <= MAX_IDENTITIES);
        let identity = |index: u32| {
            let seed = self.secret.seed();
            SecretKey::from_seed(hash_parts(context::SEED, &[b"client", &seed, &index.to_le_bytes()]).0)
        };
        (self.owner == KeyOwner::Client).then(|| ClientKeys {
            clients: (0..identities).map(identity).collect(),
            tls: self.secret.derive(context::TLS),
        })
    }
}

/// The keys of one replica.
#[derive(Clone, Debug)]
pub struct ReplicaKeys {
    /// Signs votes, headers and blocks.
    pub vote: SecretKey,
    /// Its connections; derived from `vote`, so that no handshake signs what could be a vote.
    pub tls: SecretKey,
}

/// The keys of one client process.
#[derive(Clone, Debug)]
pub struct ClientKeys {
    /// One for each client identity; signs bundles.
    pub clients: Vec<SecretKey>,
    /// Its connections, shared by all the identities.
    pub tls: SecretKey,
}
