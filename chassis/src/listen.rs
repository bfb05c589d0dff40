//! Where a service listens. `localhost` means both loopback addresses: browsers try `::1` first, and a port that is
//! free on one address may belong to another program on the other.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::net::{TcpListener, TcpSocket};

/// Address and port of a service.
#[derive(Debug, Default, clap::Args)]
pub struct Listen {
    /// Address to listen on: `localhost` (both loopback addresses) or an IP address.
    #[arg(long, env = "HOST", default_value = "localhost")]
    pub host: String,

    /// Port to listen on, 0 for any free one.
    #[arg(short, long, env = "PORT", default_value_t = 0)]
    pub port: u16,

    /// Sockets that are bound already, by a host process that wants to know all its ports before it starts anything.
    #[arg(skip)]
    pub bound: Option<Listener>,
}

/// Bound sockets, accepting since they exist.
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<TcpListener>,
    host: String,
    port: u16,
}

/// A port that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The text names no address.
    #[error("HOST must be `localhost` or an IP address, not {0:?}")]
    BadHost(String),
    /// Another program has the port.
    #[error("cannot listen on {address}: another program is using the port")]
    InUse {
        /// The address that is taken.
        address: SocketAddr,
    },
    /// The system refused for another reason.
    #[error("cannot listen on {address}: {source}")]
    Refused {
        /// The address that was asked for.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
}

impl Listen {
    /// A given host and port.
    pub fn on(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port, bound: None }
    }

    /// Any free port of the loopback: what tests use.
    pub fn anywhere() -> Self {
        Self::on("localhost", 0)
    }

    /// Binds, or hands over what is bound already.
    ///
    /// # Errors
    /// [`ListenError`] names the address that cannot be had.
    pub fn bind(self) -> Result<Listener, ListenError> {
        match self.bound {
            Some(listener) => Ok(listener),
            None => Listener::bind(&self.host, self.port),
        }
    }
}

impl Listener {
    /// Binds `host`; for `localhost` both loopback addresses, with the same port.
    ///
    /// # Errors
    /// [`ListenError`] names the address that cannot be had.
    pub fn bind(host: &str, port: u16) -> Result<Self, ListenError> {
        if host != "localhost" {
            let ip: IpAddr = host.parse().map_err(|_| ListenError::BadHost(host.to_owned()))?;
            let socket = bind_one(SocketAddr::new(ip, port))?;
            return Ok(Self::new(vec![socket], host, port));
        }
        // A free port of one family may be taken in the other; another one is soon found.
        const TRIES: usize = 20;
        let mut attempt = 1;
        loop {
            let v4 = bind_one(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))?;
            let chosen = v4.local_addr().map_or(port, |address| address.port());
            match bind_one(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), chosen)) {
                Ok(v6) => return Ok(Self::new(vec![v4, v6], host, port)),
                // A machine without IPv6 has no second loopback.
                Err(ListenError::Refused { .. }) => return Ok(Self::new(vec![v4], host, port)),
                Err(_) if port == 0 && attempt < TRIES => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    fn new(sockets: Vec<TcpListener>, host: &str, asked: u16) -> Self {
        let port = sockets.first().and_then(|s| s.local_addr().ok()).map_or(asked, |address| address.port());
        Self { sockets, host: host.to_owned(), port }
    }

    /// The port, also where any free one was asked for.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The base URL for a client on this machine, e.g. `http://localhost:3333`.
    pub fn url(&self) -> String {
        match self.host.parse::<IpAddr>() {
            Ok(ip) if ip.is_unspecified() => format!("http://localhost:{}", self.port),
            Ok(ip) => format!("http://{}", SocketAddr::new(ip, self.port)),
            Err(_) => format!("http://{}:{}", self.host, self.port),
        }
    }

    pub(crate) fn into_sockets(self) -> Vec<TcpListener> {
        self.sockets
    }
}

fn bind_one(address: SocketAddr) -> Result<TcpListener, ListenError> {
    const BACKLOG: u32 = 1024;
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restart must not wait for the old connections' TIME_WAIT.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bind().map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { address },
        _ => ListenError::Refused { address, source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn localhost_takes_the_same_port_on_both_loopback_addresses() {
        let listener = Listener::bind("localhost", 0).unwrap();
        for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
            let second = Listener::bind(&ip.to_string(), listener.port());
            assert!(matches!(second, Err(ListenError::InUse { .. } | ListenError::Refused { .. })), "{second:?}");
        }
        assert_eq!(listener.url(), format!("http://localhost:{}", listener.port()));
    }

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let first = Listener::bind("127.0.0.1", 0).unwrap();
        let error = Listener::bind("localhost", first.port()).unwrap_err().to_string();
        assert_eq!(error, format!("cannot listen on 127.0.0.1:{}: another program is using the port", first.port()));
        assert!(matches!(Listener::bind("example.org", 0), Err(ListenError::BadHost(_))));
    }
}
