//! The UDP socket as quinn sees it, registered for what is waited for and nothing else.
//!
//! Tokio's own socket is registered for reading and writing, edge-triggered. Each datagram that leaves a socket frees room in
//! its buffer a moment later, which is an edge, too: the thread is woken for every datagram that it sent, to find that it may
//! go on sending. At low load that was half of all wake-ups of a replica. Here writing is waited for only after a send
//! has found the buffer full.

use quinn::udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, UdpPoller};
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Datagrams {
    io: AsyncFd<UdpSocket>,
    state: UdpSocketState,
    /// The last send found no room in the buffer.
    full: AtomicBool,
}

impl Datagrams {
    /// Takes over a bound socket; inside the runtime of its thread.
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Arc<Self>> {
        let state = UdpSocketState::new((&socket).into())?;
        socket.set_nonblocking(true)?;
        Ok(Arc::new(Self {
            io: register(socket, Interest::READABLE)?,
            state,
            full: AtomicBool::new(false),
        }))
    }
}

/// Tokio calls this way unsound because a type's `as_raw_fd` may give another descriptor later; a `UdpSocket`'s gives the one
/// that it owns until it is dropped, which is after the registration.
#[allow(deprecated)]
fn register(socket: UdpSocket, interest: Interest) -> io::Result<AsyncFd<UdpSocket>> {
    AsyncFd::with_interest(socket, interest)
}

impl AsyncUdpSocket for Datagrams {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Room {
            socket: self,
            waiting: None,
        })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = self.state.send(self.io.get_ref().into(), transmit);
        if sent
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        {
            self.full.store(true, Relaxed);
        }
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.io.poll_read_ready(cx))?;
            let received = ready.try_io(|io| self.state.recv(io.get_ref().into(), buffers, meta));
            let Ok(received) = received else { continue };
            // Fewer than asked for: there are no more, and the next one is an edge. Asking again would cost a system call.
            if received.as_ref().is_ok_and(|count| *count < BATCH_SIZE.min(meta.len())) {
                ready.clear_ready();
            }
            return Poll::Ready(received);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

/// Waits for room in the socket's buffer, for one connection.
#[derive(Debug)]
struct Room {
    socket: Arc<Datagrams>,
    /// A second descriptor of the socket, registered for writing as long as this connection waits.
    waiting: Option<AsyncFd<UdpSocket>>,
}

impl UdpPoller for Room {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.socket.full.load(Relaxed) {
            self.waiting = None;
            return Poll::Ready(Ok(()));
        }
        if self.waiting.is_none() {
            let socket = self.socket.io.get_ref().try_clone()?;
            self.waiting = Some(register(socket, Interest::WRITABLE)?);
        }
        let waiting = self.waiting.as_ref().expect("just made");
        let writable = ready!(waiting.poll_write_ready(cx)).map(drop);
        self.waiting = None;
        self.socket.full.store(false, Relaxed);
        Poll::Ready(writable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Duration;

    fn to(destination: SocketAddr, contents: &[u8]) -> Transmit<'_> {
        Transmit {
            destination,
            ecn: None,
            contents,
            segment_size: None,
            src_ip: None,
        }
    }

    fn socket() -> (Arc<Datagrams>, SocketAddr) {
        let socket = Datagrams::new(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        let addr = socket.local_addr().unwrap();
        (socket, addr)
    }

    async fn receive(socket: &Datagrams) -> usize {
        let mut buffer = [0; 2_048];
        let mut meta = [RecvMeta::default()];
        poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(&mut buffer)], &mut meta))
            .await
            .unwrap();
        meta[0].len
    }

    #[tokio::test]
    async fn datagrams_arrive_one_after_another() {
        let ((a, _), (b, address)) = (socket(), socket());
        for length in [1, 700, 3] {
            a.try_send(&to(address, &vec![7; length])).unwrap();
            assert_eq!(receive(&b).await, length);
        }
        // More than one wait in the socket.
        a.try_send(&to(address, &[1; 10])).unwrap();
        a.try_send(&to(address, &[1; 11])).unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!((receive(&b).await, receive(&b).await), (10, 11));
    }

    #[tokio::test]
    async fn whoever_found_no_room_is_woken_when_there_is_some() {
        let (a, _) = socket();
        let mut room = a.clone().create_io_poller();
        assert!(poll_fn(|cx| room.as_mut().poll_writable(cx)).await.is_ok());
        a.full.store(true, Relaxed);
        // The descriptor is writable in truth: the wait ends by itself, and leaves nothing registered.
        assert!(poll_fn(|cx| room.as_mut().poll_writable(cx)).await.is_ok());
        assert!(!a.full.load(Relaxed));
    }
}
