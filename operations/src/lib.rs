//! What an operator does from the command line of a service: set up its broker, look after what was set aside.
//!
//! The same commands in every service: a service adds [`Operation`] to its subcommands and says in [`Service`] what
//! is its own. Nothing here starts a service, and nothing here acts on messages without having been told `--yes`.

mod broker_setup;
mod dead_letters;

use std::io::Write;

use contracts::topology::Queue;
use outbox::DatabaseUrl;
use secrecy::SecretString;

/// A command.
#[derive(Debug, clap::Subcommand)]
pub enum Operation {
    /// Set the broker's virtual host up: queues, bindings and policies.
    BrokerSetup(broker_setup::BrokerSetup),
    /// Look after what could not be processed: dead letters, and events that the relay parked.
    DeadLetters(dead_letters::DeadLetters),
}

/// What belongs to a service.
#[derive(Debug)]
pub struct Service {
    /// Its name.
    pub name: &'static str,
    /// The queues that it consumes.
    pub queues: &'static [&'static Queue],
    /// Its broker, if it is known.
    pub broker_url: Option<SecretString>,
    /// Its database, if it is known.
    pub database_url: Option<DatabaseUrl>,
}

/// Does it and writes to `out` what there is to say.
///
/// # Errors
/// When a setting is missing, a server does not answer, or the answer is no.
pub async fn run(operation: Operation, service: Service, out: &mut (dyn Write + Send)) -> anyhow::Result<()> {
    match operation {
        Operation::BrokerSetup(setup) => setup.run(out).await,
        Operation::DeadLetters(dead_letters) => dead_letters.run(service, out).await,
    }
}
