//! What a simulated disk has in place of the event descriptor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;

use atomic_waker::AtomicWaker;

/// Raised by the disk when the log may have news; the log stage is woken by it. Copies are one signal.
#[derive(Clone, Debug, Default)]
pub struct DiskSignal(Arc<State>);

#[derive(Debug, Default)]
struct State {
    raised: AtomicBool,
    waker: AtomicWaker,
}

impl DiskSignal {
    /// The log may have news.
    pub fn raise(&self) {
        self.0.raised.store(true, Ordering::SeqCst);
        self.0.waker.wake();
    }

    /// Whether it was raised since the last call; if not, the caller is woken when it is.
    pub(crate) fn take(&self, cx: &mut Context<'_>) -> bool {
        self.0.waker.register(cx.waker());
        self.0.raised.swap(false, Ordering::SeqCst)
    }
}
