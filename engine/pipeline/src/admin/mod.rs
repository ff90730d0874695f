//! The admin port: metrics for Prometheus, the status of this replica and of the cluster, and a page for people.
//!
//! A thread of its own with a listener of its own; what it shows is what the stages hang on the board when they are
//! asked, so that nothing is collected while nobody looks and no stage ever waits for it. It reads only. Every limit is
//! a constant below.

mod answers;
mod cluster;
mod page;
mod process;
mod server;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;
use trireme_config::AdminConfig;

use crate::board::Board;
use crate::error::ReplicaError;
use answers::Answers;

/// The admin port of a running replica. Dropped, it closes.
pub(crate) struct Admin {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// Opens the port, and answers on a thread of its own from then on.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::PortInUse`], or what the system refused.
    pub(crate) fn open(config: &AdminConfig, member: u16, n: usize, board: Arc<Board>) -> Result<Self, ReplicaError> {
        if !config.members.is_empty() && config.members.len() != n {
            return Err(ReplicaError::Config(format!(
                "admin.members lists {} addresses, but the cluster has {n} members: list all in their order, or none",
                config.members.len()
            )));
        }
        let listener = listen(config.listen)?;
        let answers = Arc::new(Answers::new(board, member, config.members.clone()));
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(ReplicaError::system("start the runtime of the admin port"))?;
        let thread = std::thread::Builder::new()
            .name(format!("replica-{member}.admin"))
            .spawn(move || runtime.block_on(server::serve(listener, answers, stopped)))
            .map_err(ReplicaError::system("start a thread"))?;
        tracing::info!(address = %config.listen, "admin port: http://{}/", config.listen);
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of that thread has been told already; the replica does not hang on it.
            let _ = thread.join();
        }
    }
}

fn listen(addr: SocketAddr) -> Result<std::net::TcpListener, ReplicaError> {
    let listener = std::net::TcpListener::bind(addr).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => ReplicaError::PortInUse { what: "admin", addr },
        _ => ReplicaError::system("open the admin port")(error),
    })?;
    listener
        .set_nonblocking(true)
        .map_err(ReplicaError::system("open the admin port"))?;
    Ok(listener)
}
