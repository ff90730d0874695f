//! Which connections the replies to a client go to.

use std::collections::HashMap;

use trireme_core::types::ClientId;
use trireme_transport::ConnId;

/// Connections of one client: its process, and perhaps its former one.
const MAX_ROUTES: usize = 8;
/// Clients that replies are routed to.
const MAX_CLIENTS: usize = 262_144;

/// One way to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) conn: ConnId,
    /// Whether it wants the entries, or their digest only.
    pub(super) full: bool,
}

/// The ways to all clients.
#[derive(Debug, Default)]
pub(super) struct Routes {
    by_client: HashMap<ClientId, Vec<Route>>,
    by_conn: HashMap<ConnId, Vec<ClientId>>,
}

impl Routes {
    /// Notes a subscription; a later one replaces an earlier one of the same connection. False: there are too many.
    pub(super) fn add(&mut self, client: ClientId, conn: ConnId, full: bool) -> bool {
        if self.by_client.len() >= MAX_CLIENTS && !self.by_client.contains_key(&client) {
            return false;
        }
        let routes = self.by_client.entry(client).or_default();
        if let Some(route) = routes.iter_mut().find(|route| route.conn == conn) {
            route.full = full;
            return true;
        }
        if routes.len() >= MAX_ROUTES {
            return false;
        }
        routes.push(Route { conn, full });
        self.by_conn.entry(conn).or_default().push(client);
        true
    }

    /// Forgets a connection.
    pub(super) fn remove(&mut self, conn: ConnId) {
        for client in self.by_conn.remove(&conn).unwrap_or_default() {
            if let Some(routes) = self.by_client.get_mut(&client) {
                routes.retain(|route| route.conn != conn);
                if routes.is_empty() {
                    self.by_client.remove(&client);
                }
            }
        }
    }

    /// The ways to a client, if there are any.
    pub(super) fn of(&self, client: &ClientId) -> Option<&[Route]> {
        self.by_client.get(client).map(Vec::as_slice)
    }

    /// Clients with a way to them.
    pub(super) fn len(&self) -> usize {
        self.by_client.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_crypto::PublicKey;

    #[test]
    fn routes_follow_their_connections() {
        let (a, b) = (PublicKey([1; 32]), PublicKey([2; 32]));
        let mut routes = Routes::default();
        assert!(routes.add(a, ConnId(1), false));
        assert!(routes.add(a, ConnId(1), true));
        assert!(routes.add(b, ConnId(1), false));
        assert!(routes.add(a, ConnId(2), false));
        let expected = [
            Route {
                conn: ConnId(1),
                full: true,
            },
            Route {
                conn: ConnId(2),
                full: false,
            },
        ];
        assert_eq!(routes.of(&a), Some(expected.as_slice()));
        routes.remove(ConnId(1));
        assert_eq!(
            routes.of(&a),
            Some(
                [Route {
                    conn: ConnId(2),
                    full: false
                }]
                .as_slice()
            )
        );
        assert_eq!(routes.of(&b), None);
        assert_eq!(routes.len(), 1);
        (3..3 + MAX_ROUTES as u64 - 1).for_each(|conn| assert!(routes.add(a, ConnId(conn), false)));
        assert!(!routes.add(a, ConnId(99), false), "a client has few connections");
    }
}
