//! etcd as a target: a connection for each client, a call for each request (a transaction for a bundle), answers
//! gathered where the load's loop takes them. Everything runs on the load's own thread.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use bytes::Bytes;
use h2::client::SendRequest;
use http::Uri;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use trireme_client::{Accepted, Busy, Completion, Refusal, SubmitError};

use super::calls::{self, Call, Method};
use super::grpc::{self, CallError, RESOURCE_EXHAUSTED};
use super::messages::{HashKvRequest, HashKvResponse, StatusRequest, StatusResponse};
use crate::options::{LoadError, LoadOptions};

/// Requests of one client that may be outstanding: as many as a client of this engine may have.
const WINDOW: u32 = 4_096;
/// How long a first connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// From a connection's end to the next attempt.
const AGAIN: Duration = Duration::from_millis(100);

/// What tasks tell the loop.
#[derive(Default)]
struct Shared {
    done: Mutex<Vec<Completion>>,
    waker: AtomicWaker,
    connected: AtomicUsize,
}

impl Shared {
    fn finish(&self, completions: impl IntoIterator<Item = Completion>) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.extend(completions);
        drop(done);
        self.waker.wake();
    }
}

/// The connection of one client, while there is one.
type Link = Arc<Mutex<Option<SendRequest<Bytes>>>>;

struct Identity {
    link: Link,
    keeper: JoinHandle<()>,
    paths: Paths,
    outstanding: u32,
    next_number: u64,
}

/// Where the kinds of calls go.
struct Paths {
    put: Uri,
    range: Uri,
    delete: Uri,
    txn: Uri,
}

impl Paths {
    fn of(server: SocketAddr) -> Self {
        Self {
            put: grpc::uri(server, "/etcdserverpb.KV/Put"),
            range: grpc::uri(server, "/etcdserverpb.KV/Range"),
            delete: grpc::uri(server, "/etcdserverpb.KV/DeleteRange"),
            txn: grpc::uri(server, "/etcdserverpb.KV/Txn"),
        }
    }

    fn of_method(&self, method: Method) -> Uri {
        match method {
            Method::Put => &self.put,
            Method::Range => &self.range,
            Method::Delete => &self.delete,
            Method::Txn | Method::CompareAndSet => &self.txn,
        }
        .clone()
    }
}

/// The clients of a load.
pub(crate) struct Etcd {
    identities: Vec<Identity>,
    shared: Arc<Shared>,
    give_up: Duration,
    /// Tag and place of each request without an answer, by client and number.
    open: HashMap<(u32, u64), (u64, u32)>,
}

impl Etcd {
    pub(crate) async fn connect(addresses: &[SocketAddr], options: &LoadOptions) -> Result<Self, LoadError> {
        let shared = Arc::new(Shared::default());
        let mut identities = Vec::new();
        for identity in 0..options.clients {
            let place = options.first_client.wrapping_add(identity) as usize % addresses.len().max(1);
            let server = *addresses
                .get(place)
                .ok_or(LoadError::Options("etcd: at least one address"))?;
            let unreachable = |source| LoadError::Etcd { server, source };
            let first = timeout(CONNECT, grpc::connect(server)).await;
            let first = first.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
            let (send, connection) = first.map_err(unreachable)?;
            let link: Link = Arc::new(Mutex::new(Some(send)));
            let keeper = tokio::spawn(keep(server, link.clone(), shared.clone(), connection));
            identities.push(Identity {
                link,
                keeper,
                paths: Paths::of(server),
                outstanding: 0,
                next_number: 1,
            });
        }
        Ok(Self {
            identities,
            shared,
            give_up: options.give_up,
            open: HashMap::new(),
        })
    }

    pub(crate) fn identities(&self) -> u32 {
        u32::try_from(self.identities.len()).expect("as many as options.clients")
    }

    pub(crate) fn room(&self, identity: u32) -> usize {
        (WINDOW - self.identities[identity as usize].outstanding) as usize
    }

    pub(crate) fn connected(&self) -> usize {
        self.shared.connected.load(Ordering::Relaxed)
    }

    pub(crate) fn submit(&mut self, identity: u32, requests: &[Vec<u8>], tag: u64) -> Result<(), SubmitError> {
        let Some(calls) = calls::calls(requests) else {
            return Err(SubmitError::Refused(Refusal::Malformed));
        };
        let own = &mut self.identities[identity as usize];
        let count = u32::try_from(requests.len()).expect("a bundle");
        if own.outstanding + count > WINDOW {
            return Err(SubmitError::Busy(Busy::Window));
        }
        let first_number = own.next_number;
        own.next_number += u64::from(count);
        own.outstanding += count;
        let numbers = (0..count).map(|position| ((identity, first_number + u64::from(position)), (tag, position)));
        self.open.extend(numbers);
        let link = own.link.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for call in calls {
            let name = Name {
                identity,
                tag,
                first_number,
            };
            let uri = own.paths.of_method(call.method);
            let Some(link) = link.clone() else {
                self.shared
                    .finish(name.failed(&call.positions, &CallError::NotConnected));
                continue;
            };
            let (shared, give_up) = (self.shared.clone(), self.give_up);
            tokio::spawn(async move {
                let answer = timeout(give_up, ask(link, uri, &call)).await;
                match answer.unwrap_or_else(|_| Err(CallError::Broken("no answer in time".to_owned()))) {
                    Ok(results) => shared.finish(name.accepted(&call.positions, results)),
                    Err(error) => {
                        tracing::debug!(%error, "a call failed");
                        shared.finish(name.failed(&call.positions, &error));
                    }
                }
            });
        }
        Ok(())
    }

    pub(crate) fn take_completions(&mut self, into: &mut Vec<Completion>) {
        let from = into.len();
        into.append(&mut self.shared.done.lock().unwrap_or_else(PoisonError::into_inner));
        for completion in &into[from..] {
            self.open.remove(&(completion.identity, completion.number));
            let own = &mut self.identities[completion.identity as usize];
            own.outstanding = own.outstanding.saturating_sub(1);
        }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.waker.register(cx.waker());
        let done = self.shared.done.lock().unwrap_or_else(PoisonError::into_inner);
        if done.is_empty() {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }

    /// Ends everything: what has no answer yet is closed.
    pub(crate) fn close(&mut self) {
        for identity in &self.identities {
            identity.keeper.abort();
            *identity.link.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        let mut done = std::mem::take(&mut *self.shared.done.lock().unwrap_or_else(PoisonError::into_inner));
        for completion in &done {
            self.open.remove(&(completion.identity, completion.number));
        }
        done.extend(
            self.open
                .drain()
                .map(|((identity, number), (tag, position))| Completion {
                    identity,
                    number,
                    tag,
                    position,
                    result: Err(SubmitError::Closed),
                }),
        );
        // Tasks that still end find nobody: what they leave is not taken.
        self.shared = Arc::new(Shared::default());
        self.shared.finish(done);
    }
}

/// Whose requests a call has.
#[derive(Clone, Copy)]
struct Name {
    identity: u32,
    tag: u64,
    first_number: u64,
}

impl Name {
    fn completion(self, position: u32, result: Result<Accepted, SubmitError>) -> Completion {
        Completion {
            identity: self.identity,
            number: self.first_number + u64::from(position),
            tag: self.tag,
            position,
            result,
        }
    }

    fn accepted(self, positions: &[u32], results: Vec<Bytes>) -> impl Iterator<Item = Completion> {
        positions.iter().zip(results).map(move |(position, result)| {
            let accepted = Accepted {
                slot: 0,
                view: 0,
                result,
            };
            self.completion(*position, Ok(accepted))
        })
    }

    fn failed(self, positions: &[u32], error: &CallError) -> impl Iterator<Item = Completion> {
        let error = match error {
            CallError::NotConnected => SubmitError::Unreachable,
            CallError::Status { code, .. } if *code == RESOURCE_EXHAUSTED => SubmitError::Overloaded,
            // A leader that changes, a server that stops: it may have been done.
            CallError::Broken(_) | CallError::Status { .. } => SubmitError::TimedOut,
        };
        positions
            .iter()
            .map(move |position| self.completion(*position, Err(error)))
    }
}

async fn ask(link: SendRequest<Bytes>, uri: Uri, call: &Call) -> Result<Vec<Bytes>, CallError> {
    let message = call.message.clone();
    let senseless = || CallError::Broken("an answer to something else".to_owned());
    Ok(match call.method {
        Method::Put => vec![calls::of_put(&grpc::call(link, uri, message).await?)],
        Method::Range => vec![calls::of_range(&grpc::call(link, uri, message).await?)],
        Method::Delete => vec![calls::of_delete(&grpc::call(link, uri, message).await?)],
        Method::Txn => {
            let answer = grpc::call(link, uri, message).await?;
            calls::of_txn(&answer, call.positions.len()).ok_or_else(senseless)?
        }
        Method::CompareAndSet => {
            let answer = grpc::call(link, uri, message).await?;
            vec![calls::of_compare_and_set(&answer).ok_or_else(senseless)?]
        }
    })
}

/// Drives a connection, and makes a new one when it ends.
async fn keep(
    server: SocketAddr,
    link: Link,
    shared: Arc<Shared>,
    first: impl Future<Output = Result<(), h2::Error>> + Send,
) {
    let set = |send| *link.lock().unwrap_or_else(PoisonError::into_inner) = send;
    let drive = async |connection: &mut (dyn Future<Output = Result<(), h2::Error>> + Send + Unpin)| {
        shared.connected.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = connection.await {
            tracing::debug!(%server, %error, "a connection ended");
        }
        shared.connected.fetch_sub(1, Ordering::Relaxed);
    };
    drive(&mut Box::pin(first)).await;
    loop {
        set(None);
        tokio::time::sleep(AGAIN).await;
        if let Ok(Ok((send, connection))) = timeout(CONNECT, grpc::connect(server)).await {
            set(Some(send));
            drive(&mut Box::pin(connection)).await;
        }
    }
}

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdServer {
    /// Its version.
    pub version: String,
    /// Its identity.
    pub member: u64,
    /// The leader's identity, as it believes; 0: none.
    pub leader: u64,
}

/// A store's contents at a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EtcdState {
    /// Which.
    pub revision: i64,
    /// Over all keys up to it.
    pub hash: u32,
}

/// Asks one server how it is.
///
/// # Errors
///
/// In words.
pub async fn etcd_state(server: SocketAddr) -> Result<EtcdServer, String> {
    let answer: StatusResponse = once(server, "/etcdserverpb.Maintenance/Status", &StatusRequest {}).await?;
    Ok(EtcdServer {
        version: answer.version,
        member: answer.header.map_or(0, |header| header.member_id),
        leader: answer.leader,
    })
}

/// Asks one server for the hash of its store, at this revision (0: its newest).
///
/// # Errors
///
/// In words.
pub async fn etcd_hash(server: SocketAddr, revision: i64) -> Result<EtcdState, String> {
    let request = HashKvRequest { revision };
    let answer: HashKvResponse = once(server, "/etcdserverpb.Maintenance/HashKV", &request).await?;
    Ok(EtcdState {
        revision: answer.header.map_or(0, |header| header.revision),
        hash: answer.hash,
    })
}

async fn once<M: prost::Message + Default>(
    server: SocketAddr,
    path: &str,
    request: &impl prost::Message,
) -> Result<M, String> {
    let ask = async {
        let (send, connection) = grpc::connect(server).await.map_err(|error| error.to_string())?;
        let driver = tokio::spawn(connection);
        let answer = grpc::call(send, grpc::uri(server, path), grpc::frame(request)).await;
        driver.abort();
        answer.map_err(|error| error.to_string())
    };
    timeout(CONNECT, ask)
        .await
        .unwrap_or_else(|_| Err("no answer in time".to_owned()))
}
