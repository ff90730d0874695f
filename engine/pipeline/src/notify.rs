//! Tells the service manager how the replica is: the protocol of `sd_notify`, one datagram to `$NOTIFY_SOCKET`.
//!
//! A unit of `Type=notify` counts as started when its process says so: here, when the log was replayed and the replica
//! takes part. Without a manager nothing is sent.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The replica takes part.
pub(crate) const READY: &str = "READY=1";
/// It was told to stop.
pub(crate) const STOPPING: &str = "STOPPING=1";

/// Says it to the manager that started this process, if one did. That it cannot be told is worth a line, no more.
pub(crate) fn tell(state: &str) {
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET")
        && let Err(error) = send(&socket, state)
    {
        tracing::warn!(%error, "the service manager cannot be told: {state}");
    }
}

/// A path, or behind an `@` a name without a file.
fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_sockets_hear_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("trireme-notify-{}", std::process::id());
        let sockets = [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (
                UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap(),
                format!("@{name}").into(),
            ),
        ];
        for (socket, address) in sockets {
            send(&address, READY).unwrap();
            let mut bytes = [0; 32];
            let length = socket.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..length], b"READY=1");
        }
        assert!(send(OsStr::new("/nowhere/at/all"), READY).is_err());
    }
}
