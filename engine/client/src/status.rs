//! Asks one replica how it is, over a connection of its own.

use std::time::Duration;

use bytes::Bytes;
use trireme_config::{ClientKeys, Cluster};
use trireme_core::reply::{FromReplica, ToReplica};
use trireme_core::types::MemberId;
use trireme_transport::{CloseReason, Connection, Dialer, Identity};

use crate::driver::{any_address, transport_config};

/// Why a replica's status is not known.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] trireme_transport::ConnectError),
    /// The connection ended.
    #[error("replica {member}: {end}")]
    Ended {
        /// Which replica.
        member: MemberId,
        /// Why.
        end: String,
    },
    /// No answer in time.
    #[error("replica {member}: no answer within {timeout_ms} ms")]
    Timeout {
        /// Which replica.
        member: MemberId,
        /// How long was waited.
        timeout_ms: u128,
    },
    /// Something else than a status came back.
    #[error("replica {member}: not a status answer")]
    Unexpected {
        /// Which replica.
        member: MemberId,
    },
    /// The cluster has no such replica.
    #[error("there is no replica {member}")]
    NoSuchReplica {
        /// Which was asked for.
        member: MemberId,
    },
}

/// A connection over which one replica's status can be asked again and again.
pub struct StatusLink {
    connection: (trireme_transport::ClientSender, trireme_transport::ClientReceiver),
    member: MemberId,
    nonce: u64,
}

impl StatusLink {
    /// Connects to one replica.
    ///
    /// # Errors
    ///
    /// [`StatusError`].
    pub async fn connect(
        cluster: &Cluster,
        keys: &ClientKeys,
        member: MemberId,
        timeout: Duration,
    ) -> Result<Self, StatusError> {
        let entry = cluster
            .members
            .get(usize::from(member))
            .ok_or(StatusError::NoSuchReplica { member })?;
        let identity = Identity::from_seed(&keys.tls.seed()).map_err(trireme_transport::BindError::from);
        let identity = identity.map_err(trireme_transport::ConnectError::from)?;
        let config = transport_config(cluster);
        let dialer =
            Dialer::bind(any_address(cluster), identity, config).map_err(trireme_transport::ConnectError::from)?;
        let late = |_| StatusError::Timeout {
            member,
            timeout_ms: timeout.as_millis(),
        };
        let dial = dialer.connect(entry.client_address, entry.tls_key);
        let connection: Connection = tokio::time::timeout(timeout, dial).await.map_err(late)??;
        Ok(Self {
            connection: connection.split(),
            member,
            nonce: 0,
        })
    }

    /// Asks once; gives the JSON object that the replica answers with.
    ///
    /// # Errors
    ///
    /// [`StatusError`]; the link is of no more use then, except after `Timeout`.
    pub async fn ask(&mut self, timeout: Duration) -> Result<String, StatusError> {
        let member = self.member;
        self.nonce += 1;
        let frame = Bytes::from(ToReplica::Status { nonce: self.nonce }.to_bytes());
        let (sender, receiver) = &mut self.connection;
        sender.send(frame).map_err(|error| StatusError::Ended {
            member,
            end: error.to_string(),
        })?;
        let nonce = self.nonce;
        let answer = async {
            loop {
                let frame = receiver.recv().await;
                let frame = frame.map_err(|end| StatusError::Ended {
                    member,
                    end: end.to_string(),
                })?;
                match FromReplica::from_bytes(&frame) {
                    Ok(FromReplica::Status { nonce: got, json }) if got == nonce => return Ok(json),
                    // The answer to an earlier question that timed out.
                    Ok(FromReplica::Status { .. }) => {}
                    _ => return Err(StatusError::Unexpected { member }),
                }
            }
        };
        let late = |_| StatusError::Timeout {
            member,
            timeout_ms: timeout.as_millis(),
        };
        tokio::time::timeout(timeout, answer).await.map_err(late)?
    }
}

impl Drop for StatusLink {
    fn drop(&mut self) {
        self.connection.0.close(CloseReason::Shutdown);
    }
}

/// Connects, asks once, closes.
///
/// # Errors
///
/// [`StatusError`].
pub async fn query(
    cluster: &Cluster,
    keys: &ClientKeys,
    member: MemberId,
    timeout: Duration,
) -> Result<String, StatusError> {
    StatusLink::connect(cluster, keys, member, timeout)
        .await?
        .ask(timeout)
        .await
}
