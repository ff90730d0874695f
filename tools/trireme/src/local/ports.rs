//! Free ports on the loopback interface: UDP for peers and clients, TCP for operators.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use anyhow::{Context as _, Result};

/// Ports that nobody else can take while this value lives.
pub(crate) struct Ports {
    held: Vec<UdpSocket>,
    held_tcp: Vec<TcpListener>,
    /// For each replica where peers and where clients reach it.
    pub(crate) addresses: Vec<(SocketAddr, SocketAddr)>,
    /// For each replica where its metrics are.
    pub(crate) admin: Vec<SocketAddr>,
}

impl Ports {
    /// Three ports for each replica. They are held until [`Ports::release`], so that they are all different.
    pub(crate) fn reserve(replicas: usize) -> Result<Ports> {
        let mut held = Vec::with_capacity(2 * replicas);
        let mut take = || -> Result<SocketAddr> {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("no free UDP port on 127.0.0.1")?;
            let address = socket.local_addr().context("no address of a bound socket")?;
            held.push(socket);
            Ok(address)
        };
        let addresses = (0..replicas)
            .map(|_| Ok((take()?, take()?)))
            .collect::<Result<Vec<_>>>()?;
        let held_tcp = (0..replicas)
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free TCP port on 127.0.0.1"))
            .collect::<Result<Vec<_>>>()?;
        let admin = held_tcp
            .iter()
            .map(|held| held.local_addr().context("no address of a bound socket"));
        let admin = admin.collect::<Result<Vec<_>>>()?;
        Ok(Ports {
            held,
            held_tcp,
            addresses,
            admin,
        })
    }

    /// Lets the ports go, to be bound by the replicas at once.
    pub(crate) fn release(self) {
        drop((self.held, self.held_tcp));
    }
}
