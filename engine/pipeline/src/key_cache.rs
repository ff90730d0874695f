//! Decompressed keys of clients. Checking a key costs as much as several signatures, so each is checked once.

use std::collections::HashMap;

use trireme_core::types::ClientId;
use trireme_crypto::VerifyingKey;

/// Keys that were used lately, at most twice `capacity` of them: when the young generation is full it becomes the old
/// one, and what was not used since then is forgotten.
#[derive(Debug)]
pub(crate) struct KeyCache {
    young: HashMap<ClientId, Option<VerifyingKey>>,
    old: HashMap<ClientId, Option<VerifyingKey>>,
    capacity: usize,
}

impl KeyCache {
    pub(crate) fn new(capacity: usize) -> Self {
        assert!(capacity > 0);
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            capacity,
        }
    }

    /// The key of a client; `None` if its bytes are not a key that signatures can be checked with.
    pub(crate) fn get(&mut self, client: &ClientId) -> Option<VerifyingKey> {
        if let Some(key) = self.young.get(client) {
            return *key;
        }
        let key = match self.old.get(client) {
            Some(key) => *key,
            None => VerifyingKey::from_public(client).ok(),
        };
        if self.young.len() == self.capacity {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(*client, key);
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_crypto::{PublicKey, SecretKey};

    #[test]
    fn keys_are_found_again_and_their_number_is_bounded() {
        let mut cache = KeyCache::new(4);
        let clients: Vec<ClientId> = (0..20).map(|seed| SecretKey::from_seed([seed; 32]).public()).collect();
        for client in &clients {
            assert_eq!(cache.get(client).unwrap().public(), *client);
            assert_eq!(cache.get(&clients[0]).unwrap().public(), clients[0]);
            assert!(cache.young.len() <= 4 && cache.old.len() <= 4);
        }
        assert!(
            cache.young.contains_key(&clients[0]) || cache.old.contains_key(&clients[0]),
            "used all the time"
        );
        assert_eq!(cache.get(&PublicKey([0; 32])), None, "a weak key");
        assert_eq!(cache.young.get(&PublicKey([0; 32])), Some(&None), "remembered as one");
    }
}
