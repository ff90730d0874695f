//! A text on its way to a value: parsing with line numbers, and the checks that several files share.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use toml::Spanned;
use trireme_crypto::{PublicKey, VerifyingKey};

use crate::error::{ConfigError, Fault};

/// A configuration text.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a>(pub(crate) &'a str);

impl Source<'_> {
    pub(crate) fn parse<T: DeserializeOwned>(self) -> Result<T, ConfigError> {
        toml::from_str(self.0).map_err(|error| {
            let line = error.span().map(|span| self.line(span.start));
            ConfigError::new(line, Fault::Syntax(error.message().trim().to_owned()))
        })
    }

    /// Line, from 1, of a byte offset.
    pub(crate) fn line(self, offset: usize) -> usize {
        self.0.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
    }

    pub(crate) fn error<T>(self, at: &Spanned<T>, fault: Fault) -> ConfigError {
        ConfigError::new(Some(self.line(at.span().start)), fault)
    }

    /// A public key in hex that signatures can be checked with.
    pub(crate) fn public_key(self, name: &'static str, text: &Spanned<String>) -> Result<PublicKey, ConfigError> {
        let refuse = |why: String| self.error(text, Fault::Key { key: name, why });
        let key: PublicKey = text
            .get_ref()
            .parse()
            .map_err(|e: trireme_crypto::HexError| refuse(e.to_string()))?;
        VerifyingKey::from_public(&key).map_err(|e| refuse(e.to_string()))?;
        Ok(key)
    }
}

/// Values that must differ, each with the line of its first use.
pub(crate) struct Distinct<T> {
    name: &'static str,
    first: BTreeMap<T, usize>,
}

impl<T: Ord> Distinct<T> {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            first: BTreeMap::new(),
        }
    }

    /// Notes a value; an error if it was noted before.
    pub(crate) fn add<S>(&mut self, source: Source<'_>, at: &Spanned<S>, value: T) -> Result<(), ConfigError> {
        let line = source.line(at.span().start);
        match self.first.insert(value, line) {
            None => Ok(()),
            Some(first_line) => Err(source.error(
                at,
                Fault::Duplicate {
                    key: self.name,
                    first_line,
                },
            )),
        }
    }
}

/// A text as a TOML string, quoted and escaped.
pub(crate) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
