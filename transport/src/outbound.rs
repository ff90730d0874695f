//! Frames on their way out: a bounded queue, and the task that writes it to its streams.

use crate::frame::encode;
use crate::{Frame, SendError};
use bytes::{Bytes, BytesMut};
use quinn::SendStream;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;

/// What a writer takes at once: enough for few writes, little enough that the queue's bound means something.
const TAKE_BYTES: usize = 256 << 10;

/// What goes to one bulk stream before the next one has its turn.
const BULK_TURN_BYTES: usize = 64 << 10;

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Frame>,
    bytes: usize,
    closed: bool,
    writer: Option<Waker>,
    /// Senders that wait for room.
    waiting: usize,
}

/// A bounded queue of frames with one writer.
#[derive(Debug)]
pub(crate) struct Outbound {
    state: Mutex<State>,
    room: Notify,
    frame_limit: usize,
    bytes_limit: usize,
    frames_limit: usize,
}

impl Outbound {
    /// Frames up to `frame_limit` bytes; up to `bytes_limit` bytes in up to `frames_limit` frames.
    pub(crate) fn new(frame_limit: usize, bytes_limit: usize, frames_limit: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            room: Notify::new(),
            frame_limit,
            bytes_limit,
            frames_limit,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the queue is held")
    }

    pub(crate) fn push(&self, frame: Frame) -> Result<(), SendError> {
        let bytes = frame.len();
        if bytes == 0 || bytes > self.frame_limit {
            let limit = self.frame_limit;
            return Err(SendError::FrameLength { bytes, limit });
        }
        let mut state = self.lock();
        if state.closed {
            return Err(SendError::NotConnected);
        }
        // An empty queue takes any frame, so that one of the longest always fits.
        let full = state.frames.len() >= self.frames_limit
            || (!state.frames.is_empty() && state.bytes + bytes > self.bytes_limit);
        if full {
            return Err(SendError::Full);
        }
        state.bytes += bytes;
        state.frames.push_back(frame);
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        Ok(())
    }

    /// Like [`Outbound::push`], but waits while the queue is full.
    pub(crate) async fn push_wait(&self, frame: Frame) -> Result<(), SendError> {
        loop {
            let mut room = std::pin::pin!(self.room.notified());
            room.as_mut().enable();
            match self.push(frame.clone()) {
                Err(SendError::Full) => {}
                other => return other,
            }
            self.lock().waiting += 1;
            room.await;
        }
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Ends the queue: what is in it is dropped, its writer stops.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.frames = VecDeque::new();
        state.bytes = 0;
        let writer = state.writer.take();
        drop(state);
        self.room.notify_waiters();
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    /// Moves frames to `out`, at least one, more up to `budget_bytes`. False when the queue is closed.
    fn poll_take(&self, cx: &mut Context<'_>, budget_bytes: usize, out: &mut Vec<Frame>) -> Poll<bool> {
        let mut state = self.lock();
        if state.closed {
            return Poll::Ready(false);
        }
        let mut taken = 0;
        while let Some(frame) = state.frames.front()
            && (taken == 0 || taken + frame.len() <= budget_bytes)
        {
            taken += frame.len();
            out.extend(state.frames.pop_front());
        }
        if taken == 0 {
            if !state.writer.as_ref().is_some_and(|old| old.will_wake(cx.waker())) {
                state.writer = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        state.bytes -= taken;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        if waiting > 0 {
            self.room.notify_waiters();
        }
        Poll::Ready(true)
    }
}

/// Writes `first` (encoded already), then the queue to one stream, all that is waiting in one go, until either of
/// them is closed.
pub(crate) async fn write_stream(queue: Arc<Outbound>, mut stream: SendStream, first: Bytes) {
    let mut frames = Vec::new();
    let mut scratch = BytesMut::new();
    let mut pieces: Vec<Bytes> = Vec::new();
    if !first.is_empty() && stream.write_chunk(first).await.is_err() {
        queue.close();
    }
    while poll_fn(|cx| queue.poll_take(cx, TAKE_BYTES, &mut frames)).await {
        encode(&mut frames, &mut scratch, &mut pieces);
        if stream.write_all_chunks(&mut pieces).await.is_err() {
            break;
        }
        pieces.clear();
    }
    queue.close();
    // Dropping the stream would finish it in order, as if the frame under way were complete.
    let _ = stream.reset(quinn::VarInt::from_u32(0));
}

/// Writes the queue to `count` streams in turn, which are opened as they are needed.
pub(crate) async fn write_bulk(queue: Arc<Outbound>, connection: quinn::Connection, count: usize) {
    let mut streams: Vec<SendStream> = Vec::with_capacity(count);
    let mut frames = Vec::new();
    let mut scratch = BytesMut::new();
    let mut pieces: Vec<Bytes> = Vec::new();
    let mut turn = 0;
    while poll_fn(|cx| queue.poll_take(cx, BULK_TURN_BYTES, &mut frames)).await {
        encode(&mut frames, &mut scratch, &mut pieces);
        if streams.len() < count {
            let Ok(stream) = connection.open_uni().await else {
                break;
            };
            turn = streams.len();
            streams.push(stream);
        }
        if streams[turn].write_all_chunks(&mut pieces).await.is_err() {
            break;
        }
        turn = (turn + 1) % count;
        pieces.clear();
    }
    queue.close();
    for mut stream in streams {
        let _ = stream.reset(quinn::VarInt::from_u32(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(queue: &Outbound, budget: usize) -> Vec<Frame> {
        let mut out = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        let _ = queue.poll_take(&mut cx, budget, &mut out);
        out
    }

    fn frame(len: usize) -> Frame {
        vec![1; len].into()
    }

    #[test]
    fn bounds_hold_and_one_longest_frame_always_fits() {
        let queue = Outbound::new(100, 150, 3);
        assert_eq!(queue.push(frame(100)), Ok(()));
        assert_eq!(queue.push(frame(51)), Err(SendError::Full));
        assert_eq!(queue.push(frame(25)), Ok(()));
        assert_eq!(queue.push(frame(20)), Ok(()));
        assert_eq!(queue.push(frame(1)), Err(SendError::Full));
        assert_eq!(queue.queued_bytes(), 145);
        assert_eq!(take(&queue, 125).len(), 2);
        assert_eq!(take(&queue, 125).len(), 1);
        assert_eq!(queue.queued_bytes(), 0);
        let long = SendError::FrameLength { bytes: 101, limit: 100 };
        assert_eq!(queue.push(frame(101)), Err(long));
        queue.close();
        assert_eq!(queue.push(frame(1)), Err(SendError::NotConnected));
    }
}
