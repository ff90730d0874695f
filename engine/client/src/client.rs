//! Futures over the [`Driver`]: submit a request, await its result.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use trireme_config::{ClientKeys, Cluster};
use trireme_core::types::{ClientId, MemberId};

use crate::driver::Driver;
use crate::error::{ConnectError, SubmitError};
use crate::exchange::{Accepted, Completion, Counters};
use crate::options::Options;

type Outcome = Result<Accepted, SubmitError>;

/// A submission that somebody may be waiting for.
struct Waiting {
    results: Vec<Option<Outcome>>,
    remaining: usize,
    waker: Option<Waker>,
    /// Nobody waits any more.
    abandoned: bool,
}

struct Inner {
    driver: Driver,
    waiting: HashMap<u64, Waiting>,
    next_tag: u64,
    pump: Option<Waker>,
    closed: bool,
}

/// One identity's handle. Clones and the handles of other identities ([`Client::identity`]) share the connections;
/// when the last handle is dropped they are closed.
#[derive(Clone)]
pub struct Client {
    inner: Rc<RefCell<Inner>>,
    /// Closes when the last handle goes; the pump holds only a weak reference.
    identity: u32,
}

impl Client {
    /// Connects and starts a local task that moves everything on: call it inside a [`tokio::task::LocalSet`] on a
    /// current-thread runtime. The handle is that of the first identity.
    ///
    /// # Errors
    ///
    /// [`ConnectError`].
    pub async fn connect(cluster: &Cluster, keys: &ClientKeys, options: Options) -> Result<Self, ConnectError> {
        let driver = Driver::connect(cluster, keys, options).await?;
        let inner = Inner {
            driver,
            waiting: HashMap::new(),
            next_tag: 0,
            pump: None,
            closed: false,
        };
        let inner = Rc::new(RefCell::new(inner));
        tokio::task::spawn_local(pump(Rc::downgrade(&inner)));
        Ok(Self { inner, identity: 0 })
    }

    /// The handle of another identity.
    ///
    /// # Panics
    ///
    /// If the keys given to [`Client::connect`] have no such identity.
    #[must_use]
    pub fn identity(&self, identity: u32) -> Self {
        assert!(
            identity < self.inner.borrow().driver.identities(),
            "there is such an identity"
        );
        Self {
            inner: self.inner.clone(),
            identity,
        }
    }

    /// This identity's key.
    pub fn id(&self) -> ClientId {
        self.inner.borrow().driver.client(self.identity)
    }

    /// Submits one request under a signature of its own.
    pub fn submit(&self, payload: impl AsRef<[u8]>) -> Submission {
        Submission(self.submit_bundle(&[payload]))
    }

    /// Submits requests as one bundle under one signature; they are ordered together and in this order.
    ///
    /// # Panics
    ///
    /// Without payloads.
    pub fn submit_bundle<P: AsRef<[u8]>>(&self, payloads: &[P]) -> BundleSubmission {
        let mut inner = self.inner.borrow_mut();
        let tag = inner.next_tag;
        inner.next_tag += 1;
        if inner.closed {
            return self.failed(SubmitError::Closed);
        }
        match inner.driver.submit(self.identity, payloads, tag) {
            Ok(_) => {
                let (results, remaining) = (vec![None; payloads.len()], payloads.len());
                inner.waiting.insert(
                    tag,
                    Waiting {
                        results,
                        remaining,
                        waker: None,
                        abandoned: false,
                    },
                );
                BundleSubmission {
                    inner: Rc::downgrade(&self.inner),
                    tag,
                    failed: None,
                }
            }
            Err(error) => self.failed(error),
        }
    }

    /// Reads through the log: the query is ordered like a write, so the answer is that of its place in the order.
    pub fn read_ordered(&self, query: impl AsRef<[u8]>) -> Submission {
        self.submit(query)
    }

    /// Requests that this identity may submit now without [`SubmitError::Busy`].
    pub fn room(&self) -> usize {
        self.inner.borrow().driver.room(self.identity)
    }

    /// The replica that this identity's requests go to now.
    pub fn home(&self) -> MemberId {
        self.inner.borrow().driver.home(self.identity)
    }

    /// Counts since the start.
    pub fn counters(&self) -> Counters {
        self.inner.borrow().driver.counters()
    }

    /// Ends all outstanding requests with an error and closes the connections, for all handles.
    pub fn close(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.closed = true;
        inner.driver.close();
        inner.deliver();
        if let Some(waker) = inner.pump.take() {
            waker.wake();
        }
    }

    fn failed(&self, error: SubmitError) -> BundleSubmission {
        BundleSubmission {
            inner: Rc::downgrade(&self.inner),
            tag: 0,
            failed: Some(error),
        }
    }
}

impl Inner {
    /// Gives the completions to those who wait.
    fn deliver(&mut self) {
        let Self { driver, waiting, .. } = self;
        for Completion {
            tag, position, result, ..
        } in driver.completions()
        {
            let Some(entry) = waiting.get_mut(&tag) else { continue };
            entry.results[position as usize] = Some(result);
            entry.remaining -= 1;
            if entry.remaining > 0 {
                continue;
            }
            if entry.abandoned {
                waiting.remove(&tag);
            } else if let Some(waker) = entry.waker.take() {
                waker.wake();
            }
        }
    }
}

/// Runs until the client is closed or nobody holds it.
async fn pump(inner: Weak<RefCell<Inner>>) {
    poll_fn(|cx| {
        let Some(inner) = inner.upgrade() else {
            return Poll::Ready(());
        };
        let mut inner = inner.borrow_mut();
        if inner.closed {
            return Poll::Ready(());
        }
        while inner.driver.poll(cx).is_ready() {
            inner.driver.take_answers();
            inner.deliver();
        }
        inner.pump = Some(cx.waker().clone());
        Poll::Pending
    })
    .await;
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(waker) = self.pump.take() {
            waker.wake();
        }
    }
}

/// The results of a bundle, in the order of its payloads. Dropping it does not take the requests back.
#[must_use = "without awaiting it nothing is known of the outcome"]
pub struct BundleSubmission {
    inner: Weak<RefCell<Inner>>,
    tag: u64,
    failed: Option<SubmitError>,
}

impl Future for BundleSubmission {
    /// An error of the whole: nothing was submitted, or the client was closed.
    type Output = Result<Vec<Outcome>, SubmitError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(error) = self.failed {
            return Poll::Ready(Err(error));
        }
        let Some(inner) = self.inner.upgrade() else {
            return Poll::Ready(Err(SubmitError::Closed));
        };
        let mut inner = inner.borrow_mut();
        let Some(entry) = inner.waiting.get_mut(&self.tag) else {
            return Poll::Ready(Err(SubmitError::Closed));
        };
        if entry.remaining > 0 {
            entry.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let entry = inner.waiting.remove(&self.tag).expect("just seen");
        Poll::Ready(Ok(entry
            .results
            .into_iter()
            .map(|result| result.expect("none remains"))
            .collect()))
    }
}

impl Drop for BundleSubmission {
    fn drop(&mut self) {
        let Some(inner) = self.inner.upgrade().filter(|_| self.failed.is_none()) else {
            return;
        };
        let Ok(mut inner) = inner.try_borrow_mut() else { return };
        match inner.waiting.get_mut(&self.tag) {
            Some(entry) if entry.remaining > 0 => entry.abandoned = true,
            Some(_) => drop(inner.waiting.remove(&self.tag)),
            None => {}
        }
    }
}

/// The result of one request.
#[must_use = "without awaiting it nothing is known of the outcome"]
pub struct Submission(BundleSubmission);

impl Future for Submission {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(cx)
            .map(|done| done.and_then(|mut results| results.remove(0)))
    }
}
