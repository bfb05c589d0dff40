//! One generation: a connection, the channels on it, and the moment it is over.
//!
//! Whoever meets an error on a channel ends the generation with [`Generation::fail`]; the supervisor in
//! [`link`](super::link) closes it and starts the next. A channel never outlives its generation, so a delivery tag or
//! a confirm can never be taken for one of another connection.

use std::{future::Future, sync::OnceLock, time::Duration};

use lapin::{Channel, Connection, ConnectionBuilder, ConnectionProperties};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{topology::Topology, uri::Broker};

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
    differences: Vec<String>,
    over: CancellationToken,
    reason: OnceLock<String>,
}

impl Generation {
    /// Connects, and declares the topology.
    pub(super) async fn start(broker: &Broker, name: &str, topology: &Topology) -> Result<Self, Broken> {
        // Without auto-recovery: see the head of the module.
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let builder = ConnectionBuilder::new()?
            .with_uri(broker.uri.clone())
            .with_tls_config(broker.tls())
            .with_properties(properties);
        let connection = match timeout(CONNECT, builder.connect()).await {
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
        Ok(Self { connection, differences, over: CancellationToken::new(), reason: OnceLock::new() })
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
    }
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
