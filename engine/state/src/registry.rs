//! Who may be a client.

use std::collections::BTreeSet;

use trireme_core::types::ClientId;

/// The registered clients. Judged at execution, where all members agree; an ingress may judge earlier to save work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientRegistry {
    /// Any key is a client.
    Open,
    /// These are.
    Known(BTreeSet<ClientId>),
}

impl ClientRegistry {
    /// Whether this client's requests execute.
    pub fn admits(&self, client: &ClientId) -> bool {
        match self {
            Self::Open => true,
            Self::Known(clients) => clients.contains(client),
        }
    }
}
