//! Declares the exchange, all queues and the bindings, on every new connection.
//!
//! So nothing depends on who started first, and a queue that somebody deleted comes back. Queues are plain and
//! durable: type, limits and dead-lettering are the virtual host's policies. Where the broker already has one with
//! other properties, ours to use it is better than ours to insist: it is used as it is, and reported. Where our user
//! may not declare at all, the topology is the operator's: then everything is only looked for (see `infra/rabbitmq`).

use std::{
    collections::HashSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use contracts::topology::{EXCHANGE, QUEUES};
use lapin::{
    Channel, Connection, ErrorKind, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};
use tracing::{info, warn};

use super::generation::{Broken, open_channel, within};

/// `PRECONDITION_FAILED` (AMQP 0-9-1, section 1.2): it exists and is not what was declared.
const PRECONDITION_FAILED: u16 = 406;
/// `NOT_FOUND`: there is no such thing.
const NOT_FOUND: u16 = 404;
/// `RESOURCE_LOCKED`: it belongs to another connection.
const RESOURCE_LOCKED: u16 = 405;
/// `ACCESS_REFUSED`: our user has no `configure` permission on it.
const ACCESS_REFUSED: u16 = 403;

/// What a process expects of its broker, and which differences it has already complained about.
#[derive(Debug, Default)]
pub(super) struct Topology {
    known_differences: Mutex<HashSet<String>>,
    known_to_be_given: AtomicBool,
}

impl Topology {
    /// Declares everything. Answers the differences between what we want and what the broker has.
    pub(super) async fn declare(&self, connection: &Connection) -> Result<Vec<String>, Broken> {
        let channel = open_channel(connection).await?;
        let mut declaration = Declaration { connection, channel, differences: Vec::new(), may_declare: true };
        declaration.exchange().await?;
        for queue in QUEUES {
            for name in queue.names() {
                declaration.queue(&name).await?;
            }
            for event_type in queue.events {
                declaration.binding(queue.name, event_type.as_str()).await?;
            }
        }
        let Declaration { channel, differences, may_declare, .. } = declaration;
        within("closing a channel", channel.close(200, "declared".into())).await?;
        self.report(&differences);
        if !may_declare && !self.known_to_be_given.swap(true, Ordering::Relaxed) {
            info!("our user may not declare: the broker's topology is used as it is");
        }
        Ok(differences)
    }

    /// A warning for each difference, once in the life of the process: it is there on every reconnect.
    fn report(&self, differences: &[String]) {
        let mut known = self.known_differences.lock().unwrap_or_else(PoisonError::into_inner);
        for difference in differences {
            if known.insert(difference.clone()) {
                warn!("the broker's topology differs from ours and is used as it is: {difference}");
            }
        }
    }
}

/// One pass over the topology. The broker answers a refused declaration by closing the channel, so the channel is
/// replaced on the way.
struct Declaration<'a> {
    connection: &'a Connection,
    channel: Channel,
    differences: Vec<String>,
    /// Until the broker says otherwise. Each refusal costs a channel, so one is enough.
    may_declare: bool,
}

impl Declaration<'_> {
    async fn exchange(&mut self) -> Result<(), Broken> {
        let declare = |channel: Channel, passive| async move {
            let options = ExchangeDeclareOptions { durable: true, passive, ..Default::default() };
            channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, options, FieldTable::default()).await
        };
        if self.may_declare {
            let declared = within("declaring the exchange", declare(self.channel.clone(), false)).await;
            if self.is_accepted(declared).await? {
                return Ok(());
            }
        }
        within("looking for the exchange", declare(self.channel.clone(), true)).await
    }

    async fn queue(&mut self, name: &str) -> Result<(), Broken> {
        let declare = |channel: Channel, passive| async move {
            let options = QueueDeclareOptions { durable: true, passive, ..Default::default() };
            channel.queue_declare(name.into(), options, FieldTable::default()).await.map(drop)
        };
        if self.may_declare {
            let declared = within("declaring a queue", declare(self.channel.clone(), false)).await;
            if self.is_accepted(declared).await? {
                return Ok(());
            }
        }
        within("looking for a queue", declare(self.channel.clone(), true)).await
    }

    /// A binding cannot be looked for. If one is missing in a topology that is not ours, mandatory messages come back.
    async fn binding(&mut self, queue: &str, routing_key: &str) -> Result<(), Broken> {
        if !self.may_declare {
            return Ok(());
        }
        let bind = self.channel.queue_bind(
            queue.into(),
            EXCHANGE.into(),
            routing_key.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        within("binding a queue", bind).await
    }

    /// True when a declaration passed; false, and a new channel, when the broker has the thing in another form or
    /// does not let us declare it.
    async fn is_accepted(&mut self, declared: Result<(), Broken>) -> Result<bool, Broken> {
        match declared {
            Ok(()) => Ok(true),
            Err(Broken::Amqp(error)) => {
                match reply_code(&error) {
                    Some(PRECONDITION_FAILED) => self.differences.push(error.to_string()),
                    Some(ACCESS_REFUSED) => self.may_declare = false,
                    _ => return Err(error.into()),
                }
                self.channel = open_channel(self.connection).await?;
                Ok(false)
            }
            Err(broken) => Err(broken),
        }
    }
}

/// Whether the broker has closed the channel over what was asked on it, and the connection is well.
pub(super) fn is_refused(error: &lapin::Error) -> bool {
    matches!(reply_code(error), Some(NOT_FOUND | ACCESS_REFUSED | RESOURCE_LOCKED))
}

/// The broker's reason for closing a channel, if that is the error.
fn reply_code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}
