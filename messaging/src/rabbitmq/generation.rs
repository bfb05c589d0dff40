//! One generation: a connection, the channels on it, and the moment it is over.
//!
//! Whoever meets an error on a channel ends the generation with [`Generation::fail`]; the supervisor in
//! [`link`](super::link) closes it and starts the next. A channel never outlives its generation, so a delivery tag or
//! a confirm can never be taken for one of another connection.

use std::{
    future::Future,
    io,
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

use async_compat::Compat;
use lapin::{AsyncTcpStream, Channel, Connection, ConnectionProperties, runtime::default_runtime, uri::AMQPScheme};
use tokio::{net::TcpStream, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{topology::Topology, uri::Broker, wire::Wire};

/// For the TCP connection and the handshake together; the library has no limit of its own.
const CONNECT: Duration = Duration::from_secs(10);
/// For closing. A peer that is gone never answers.
const CLOSE: Duration = Duration::from_secs(3);
/// For one question and answer on a channel.
const CALL: Duration = Duration::from_secs(10);

/// Why a generation cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The broker or the connection said no.
    #[error("{0}")]
    Amqp(#[from] lapin::Error),
    /// No answer in time.
    #[error("no answer to {0} within {1:?}")]
    Silent(&'static str, Duration),
}

/// A connection with its topology declared.
#[derive(Debug)]
pub(super) struct Generation {
    connection: Connection,
    wire: Wire,
    differences: Vec<String>,
    over: CancellationToken,
    reason: OnceLock<String>,
}

impl Generation {
    /// Connects, and declares the topology.
    pub(super) async fn start(broker: &Broker, name: &str, topology: &Topology) -> Result<Self, Broken> {
        let (connection, wire) = match timeout(CONNECT, connect(broker, name)).await {
            Ok(connected) => connected?,
            Err(_) => return Err(Broken::Silent("connecting", CONNECT)),
        };
        let differences = match topology.declare(&connection).await {
            Ok(differences) => differences,
            Err(broken) => {
                close(&connection).await;
                return Err(broken);
            }
        };
        Ok(Self { connection, wire, differences, over: CancellationToken::new(), reason: OnceLock::new() })
    }

    /// The connection itself.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// In what the broker's topology differs from ours.
    pub(super) fn differences(&self) -> &[String] {
        &self.differences
    }

    /// Ends it. The first reason counts.
    pub(super) fn fail(&self, reason: impl ToString) {
        let _ = self.reason.set(reason.to_string());
        self.over.cancel();
    }

    /// True once it has ended.
    pub(super) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Resolves, with the reason, once it has ended.
    pub(super) async fn over(&self) -> String {
        self.over.cancelled().await;
        self.reason.get().cloned().unwrap_or_else(|| "the connection was closed".to_owned())
    }

    /// Closes the connection, politely if the peer still answers. What was not acknowledged goes back to its queue.
    pub(super) async fn close(&self) {
        close(&self.connection).await;
        // Others may hold this generation for a while.
        self.wire.cut();
    }
}

/// Connects by TCP and, where the URL says so, TLS; then the library takes over.
async fn connect(broker: &Broker, name: &str) -> Result<(Connection, Wire), lapin::Error> {
    let authority = &broker.uri.authority;
    let stream = TcpStream::connect((authority.host.as_str(), authority.port)).await?;
    stream.set_nodelay(true)?;
    // From here on a cut ends whatever waits on it, also when this future is dropped.
    let wire = Wire::of(&stream)?;
    let stream = AsyncTcpStream::Plain(Compat::new(stream));
    let stream = match broker.uri.scheme {
        AMQPScheme::AMQP => stream,
        AMQPScheme::AMQPS => stream.into_tls(&authority.host, broker.tls().as_ref()).await?,
    };
    let stream = Mutex::new(Some(stream));
    // It asks once: without auto-recovery, see the head of the module.
    let hand_over = async move |_, _| {
        let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected).into())
    };
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let connection = Connection::connector(broker.uri.clone(), default_runtime()?, hand_over, properties).await?;
    Ok((connection, wire))
}

async fn close(connection: &Connection) {
    // An error here means that it is closed already.
    let _ = timeout(CLOSE, connection.close(200, "goodbye".into())).await;
}

/// Opens a channel.
pub(super) async fn open_channel(connection: &Connection) -> Result<Channel, Broken> {
    within("opening a channel", connection.create_channel()).await
}

/// Awaits one answer of the broker, but not for ever.
pub(super) async fn within<T>(
    what: &'static str,
    call: impl Future<Output = Result<T, lapin::Error>>,
) -> Result<T, Broken> {
    match timeout(CALL, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Broken::Silent(what, CALL)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt, net::TcpListener};

    use super::*;
    use crate::rabbitmq::uri;

    /// As long as a test may wait for what happens at once.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_attempt_that_is_given_up_leaves_no_socket_behind() {
        let hangs = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let broker = uri::parse(&format!("amqp://{}", hangs.local_addr().unwrap())).unwrap();
        let greeted = async {
            let (mut socket, _) = hangs.accept().await.unwrap();
            let mut greeting = [0; 8];
            socket.read_exact(&mut greeting).await.unwrap();
            socket
        };
        let mut socket = tokio::select! {
            connected = connect(&broker, "test") => panic!("nobody answered: {connected:?}"),
            socket = greeted => socket,
        };
        let end = timeout(PATIENCE, socket.read(&mut [0; 8])).await;
        assert_eq!(end.expect("the socket is still open").unwrap(), 0);
    }
}
