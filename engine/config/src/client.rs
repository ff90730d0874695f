//! `client.toml`: what a client process needs.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{ConfigError, Fault};
use crate::keys::MAX_IDENTITIES;
use crate::source::Source;

/// Settings of one client process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientConfig {
    /// The cluster file.
    pub cluster_file: PathBuf,
    /// The key file, mode 0600.
    pub key_file: PathBuf,
    /// How many client identities the key file stands for.
    pub identities: u32,
}

impl ClientConfig {
    /// Reads the text of a `client.toml`. Paths stay as they are written: see [`ClientConfig::relative_to`].
    ///
    /// # Errors
    ///
    /// [`ConfigError`]: unknown or missing keys with their line, no or too many identities.
    pub fn from_toml(text: &str) -> Result<ClientConfig, ConfigError> {
        let config: ClientConfig = Source(text).parse()?;
        if !(1..=MAX_IDENTITIES).contains(&config.identities) {
            let why = format!("must be 1 to {MAX_IDENTITIES}");
            return Err(ConfigError::new(None, Fault::Value { key: "identities", why }));
        }
        Ok(config)
    }

    /// The text of this client's file.
    pub fn to_toml(&self) -> String {
        let body = toml::to_string(self).expect("every value of a client's settings has a TOML form");
        format!("# Settings of a client of a Trireme cluster. Paths are relative to this file.\n{body}")
    }

    /// The same settings with its paths taken from `base`, the directory of the file.
    #[must_use]
    pub fn relative_to(mut self, base: &Path) -> ClientConfig {
        self.cluster_file = base.join(&self.cluster_file);
        self.key_file = base.join(&self.key_file);
        self
    }
}
