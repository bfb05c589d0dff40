//! A TCP proxy between one replica and one server: it cuts the wire without touching either end.
//!
//! Three ways a network behaves: it passes, it refuses (every connection is reset and new ones are refused), or it
//! swallows: everything stays open and nothing arrives, which only timeouts and heartbeats can notice.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream, tcp},
    sync::watch,
};

/// How the wire is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// As it should be.
    Passes,
    /// No connection survives and none is accepted.
    Refuses,
    /// Connections stay, and what is sent waits for better times.
    Swallows,
}

/// A proxy on a port of its own. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    wire: watch::Sender<Wire>,
}

impl Proxy {
    /// Starts to pass on from `port` to `target`.
    pub(crate) async fn start(port: u16, target: &str) -> anyhow::Result<Self> {
        let target: SocketAddr = target.parse().with_context(|| format!("no address: {target}"))?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let (wire, changes) = watch::channel(Wire::Passes);
        tokio::spawn(accept(listen(address)?, address, target, changes));
        Ok(Self { address, wire })
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes how the wire is.
    pub(crate) fn set(&self, wire: Wire) {
        self.wire.send_replace(wire);
    }
}

fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address).with_context(|| format!("cannot listen on {address}"))?;
    Ok(socket.listen(1024)?)
}

/// Accepts for as long as the proxy lives; while the wire refuses there is no listener.
async fn accept(listener: TcpListener, address: SocketAddr, target: SocketAddr, mut wire: watch::Receiver<Wire>) {
    let mut listener = Some(listener);
    loop {
        let refuses = *wire.borrow_and_update() == Wire::Refuses;
        if refuses {
            listener = None;
        } else if listener.is_none() {
            listener = listen(address).ok();
        }
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await.ok(),
                None if refuses => std::future::pending().await,
                None => {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    None
                }
            }
        };
        tokio::select! {
            changed = wire.changed() => if changed.is_err() { return },
            accepted = accepted => if let Some((client, _)) = accepted {
                tokio::spawn(connection(client, target, wire.clone()));
            },
        }
    }
}

/// One connection, until either end closes it or the wire refuses.
async fn connection(client: TcpStream, target: SocketAddr, mut wire: watch::Receiver<Wire>) {
    let mut refused = wire.clone();
    let passing = async {
        if wire.wait_for(|wire| *wire == Wire::Passes).await.is_err() {
            return;
        }
        let Ok(server) = TcpStream::connect(target).await else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        // One direction that has ended ends both: neither AMQP nor PostgreSQL uses half-closed connections.
        tokio::select! {
            () = pump(from_client, to_server, wire.clone()) => {}
            () = pump(from_server, to_client, wire.clone()) => {}
        }
    };
    tokio::select! {
        () = passing => {}
        _ = refused.wait_for(|wire| *wire == Wire::Refuses) => {}
    }
}

async fn pump(mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf, mut wire: watch::Receiver<Wire>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        // Also the news that the peer has closed does not arrive.
        if wire.wait_for(|wire| *wire == Wire::Passes).await.is_err() {
            return;
        }
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
