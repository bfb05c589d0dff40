//! A TCP proxy between one replica and one server: it disturbs the wire without touching either end.
//!
//! The worst that a network does is silence: everything stays open and nothing arrives, which only timeouts and
//! heartbeats can notice. How long that takes is measured here, where both ends can be seen.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use rand::RngExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream, tcp},
    sync::watch,
    time::sleep,
};

/// What a silent wire keeps for better times in each direction, in bytes; after that the sender feels it.
const KEPT: usize = 32 << 20;
/// How much a trickling wire passes at once: with [`TRICKLE`], 8 kbit/s.
const DROP: usize = 100;
/// How long it takes for that.
const TRICKLE: Duration = Duration::from_millis(100);
/// How much of what is sent comes late on a wire that loses, because it has to be sent again.
const LOST: f64 = 0.05;

/// How the wire is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wire {
    /// As it should be.
    Passes,
    /// No connection survives and none is accepted.
    Refuses,
    /// Connections stay, and what is sent waits for better times.
    Swallows,
    /// So does what the replica sends; it gets what the server sends.
    SwallowsRequests,
    /// So does what the server sends; it gets what the replica sends.
    SwallowsAnswers,
    /// Everything takes 300 ± 100 ms in each direction.
    Delays,
    /// One piece in twenty comes after 0.2 to 1 s, and all that follow it wait for it, as TCP has it.
    Loses,
    /// 8 kbit/s.
    Trickles,
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    ToServer,
    ToClient,
}

impl Wire {
    /// What it does, after "the wire".
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Self::Passes => "passes",
            Self::Refuses => "refuses",
            Self::Swallows => "swallows",
            Self::SwallowsRequests => "swallows requests",
            Self::SwallowsAnswers => "swallows answers",
            Self::Delays => "delays",
            Self::Loses => "loses",
            Self::Trickles => "trickles",
        }
    }

    /// Whether connections stay open over which nothing arrives, at least one way.
    pub(crate) fn is_silent(self) -> bool {
        matches!(self, Self::Swallows | Self::SwallowsRequests | Self::SwallowsAnswers)
    }

    fn keeps(self, way: Way) -> bool {
        match self {
            Self::Swallows => true,
            Self::SwallowsRequests => way == Way::ToServer,
            Self::SwallowsAnswers => way == Way::ToClient,
            Self::Passes | Self::Refuses | Self::Delays | Self::Loses | Self::Trickles => false,
        }
    }
}

/// What became of the connections that were open when the wire fell silent.
#[derive(Debug, Default, Clone)]
pub(crate) struct Silence {
    since: Option<Instant>,
    open: usize,
    affected: usize,
    given_up: Vec<Duration>,
}

impl Silence {
    /// How long it took until all of them had been given up by either end; `None` when some have not.
    pub(crate) fn noticed(&self) -> Option<Duration> {
        let all = self.given_up.len() >= self.affected;
        all.then(|| self.given_up.iter().max().copied().unwrap_or_default())
    }
}

type Watched = Arc<Mutex<Silence>>;

/// A proxy on a port of its own. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    wire: watch::Sender<Wire>,
    silence: Watched,
}

impl Proxy {
    /// Starts to pass on from `port` to `target`.
    pub(crate) async fn start(port: u16, target: &str) -> anyhow::Result<Self> {
        let target: SocketAddr = target.parse().with_context(|| format!("no address: {target}"))?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let (wire, changes) = watch::channel(Wire::Passes);
        let silence = Watched::default();
        tokio::spawn(accept(listen(address)?, address, target, changes, Arc::clone(&silence)));
        Ok(Self { address, wire, silence })
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes how the wire is.
    pub(crate) fn set(&self, wire: Wire) {
        if wire.is_silent() {
            let mut silence = locked(&self.silence);
            *silence = Silence {
                since: Some(Instant::now()),
                open: silence.open,
                affected: silence.open,
                given_up: Vec::new(),
            };
        }
        self.wire.send_replace(wire);
    }

    /// How the last silence went.
    pub(crate) fn silence(&self) -> Silence {
        locked(&self.silence).clone()
    }
}

fn locked(silence: &Watched) -> std::sync::MutexGuard<'_, Silence> {
    silence.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address).with_context(|| format!("cannot listen on {address}"))?;
    Ok(socket.listen(1024)?)
}

/// Accepts for as long as the proxy lives; while the wire refuses there is no listener.
async fn accept(
    listener: TcpListener,
    address: SocketAddr,
    target: SocketAddr,
    mut wire: watch::Receiver<Wire>,
    silence: Watched,
) {
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
                    sleep(Duration::from_millis(50)).await;
                    None
                }
            }
        };
        tokio::select! {
            changed = wire.changed() => if changed.is_err() { return },
            accepted = accepted => if let Some((client, _)) = accepted {
                tokio::spawn(connection(client, target, wire.clone(), Arc::clone(&silence)));
            },
        }
    }
}

/// One connection, until either end closes it or the wire refuses.
async fn connection(client: TcpStream, target: SocketAddr, mut wire: watch::Receiver<Wire>, silence: Watched) {
    let mut refused = wire.clone();
    let passing = async {
        if wire.wait_for(|wire| !wire.is_silent()).await.is_err() {
            return;
        }
        let Ok(server) = TcpStream::connect(target).await else { return };
        let open = Open::new(silence);
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        // One direction that has ended ends both: neither AMQP nor PostgreSQL uses half-closed connections.
        tokio::select! {
            () = pump(Way::ToServer, from_client, to_server, wire.clone(), &open) => {}
            () = pump(Way::ToClient, from_server, to_client, wire.clone(), &open) => {}
        }
    };
    tokio::select! {
        () = passing => {}
        _ = refused.wait_for(|wire| *wire == Wire::Refuses) => {}
    }
}

/// A connection from its beginning until the replica has given it up.
struct Open {
    began: Instant,
    over: AtomicBool,
    silence: Watched,
}

impl Open {
    fn new(silence: Watched) -> Self {
        locked(&silence).open += 1;
        Self { began: Instant::now(), over: AtomicBool::new(false), silence }
    }

    fn end(&self) {
        if self.over.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut silence = locked(&self.silence);
        silence.open -= 1;
        if let Some(since) = silence.since.filter(|since| self.began < *since) {
            silence.given_up.push(since.elapsed());
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.end();
    }
}

async fn pump(
    way: Way,
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    mut wire: watch::Receiver<Wire>,
    open: &Open,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        let (mut kept, mut ended) = (buffer[..read].to_vec(), read == 0);
        // Also the news that the peer has closed does not arrive.
        while wire.borrow().keeps(way) {
            if ended && way == Way::ToServer {
                open.end();
            }
            tokio::select! {
                changed = wire.changed() => if changed.is_err() { return },
                read = from.read(&mut buffer), if !ended && kept.len() < KEPT => {
                    let read = read.unwrap_or(0);
                    ended = read == 0;
                    kept.extend_from_slice(&buffer[..read]);
                }
            }
        }
        if !pass(&kept, &mut to, &mut wire).await || ended {
            return;
        }
    }
}

/// Passes a piece on, in the manner of the wire. False when the other end is gone.
async fn pass(piece: &[u8], to: &mut tcp::OwnedWriteHalf, wire: &mut watch::Receiver<Wire>) -> bool {
    let manner = *wire.borrow_and_update();
    let late = match manner {
        Wire::Delays => rand::rng().random_range(200..400),
        Wire::Loses if rand::rng().random_bool(LOST) => rand::rng().random_range(200..1000),
        Wire::Trickles => {
            let mut rest = piece;
            while *wire.borrow() == Wire::Trickles && !rest.is_empty() {
                let (first, others) = rest.split_at(rest.len().min(DROP));
                if to.write_all(first).await.is_err() {
                    return false;
                }
                rest = others;
                better(wire, TRICKLE).await;
            }
            return to.write_all(rest).await.is_ok();
        }
        _ => 0,
    };
    if late > 0 {
        better(wire, Duration::from_millis(late)).await;
    }
    to.write_all(piece).await.is_ok()
}

/// Waits, unless the wire changes meanwhile.
async fn better(wire: &mut watch::Receiver<Wire>, time: Duration) {
    tokio::select! {
        _ = wire.changed() => {}
        () = sleep(time) => {}
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// A proxy in front of a server, and both ends of a connection through it.
    async fn connected() -> (Proxy, TcpStream, TcpStream) {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let proxy = Proxy::start(port, &server.local_addr().unwrap().to_string()).await.unwrap();
        let client = TcpStream::connect(proxy.address()).await.unwrap();
        let (accepted, _) = timeout(SOON, server.accept()).await.unwrap().unwrap();
        let open = async {
            while locked(&proxy.silence).open == 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(SOON, open).await.unwrap();
        (proxy, client, accepted)
    }

    /// Whether nothing arrives. What was on its way has had time enough: it is one machine.
    async fn is_silent(stream: &mut TcpStream) -> bool {
        timeout(Duration::from_millis(100), stream.read_u8()).await.is_err()
    }

    async fn read(from: &mut TcpStream, length: usize) -> Vec<u8> {
        let mut read = vec![0; length];
        timeout(SOON, from.read_exact(&mut read)).await.unwrap().unwrap();
        read
    }

    #[tokio::test]
    async fn each_manner_delivers_everything_in_order_in_the_end() {
        let sent: Vec<u8> = (0..3000_u32).map(|n| n as u8).collect();
        for wire in [Wire::Passes, Wire::Delays, Wire::Loses, Wire::Trickles, Wire::Swallows] {
            let (proxy, mut client, mut server) = connected().await;
            proxy.set(wire);
            client.write_all(&sent[..1500]).await.unwrap();
            if wire != Wire::Swallows {
                assert_eq!(read(&mut server, 100).await, sent[..100], "{wire:?}");
            } else {
                assert!(is_silent(&mut server).await);
            }
            proxy.set(Wire::Passes);
            client.write_all(&sent[1500..]).await.unwrap();
            let begin = if wire == Wire::Swallows { 0 } else { 100 };
            assert_eq!(read(&mut server, sent.len() - begin).await, sent[begin..], "{wire:?}");
        }
    }

    #[tokio::test]
    async fn one_way_may_be_silent_and_the_other_not() {
        let (proxy, mut client, mut server) = connected().await;
        proxy.set(Wire::SwallowsRequests);
        client.write_all(b"asked").await.unwrap();
        server.write_all(b"told").await.unwrap();
        assert_eq!(read(&mut client, 4).await, b"told");
        assert!(is_silent(&mut server).await);
        proxy.set(Wire::SwallowsAnswers);
        assert_eq!(read(&mut server, 5).await, b"asked");
        server.write_all(b"more").await.unwrap();
        assert!(is_silent(&mut client).await);
    }

    #[tokio::test]
    async fn it_knows_when_a_silent_connection_was_given_up() {
        let (proxy, client, _server) = connected().await;
        proxy.set(Wire::Swallows);
        assert_eq!(proxy.silence().noticed(), None);
        drop(client);
        let noticed = async {
            while proxy.silence().noticed().is_none() {
                tokio::task::yield_now().await;
            }
        };
        timeout(SOON, noticed).await.unwrap();
    }
}
