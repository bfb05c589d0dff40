//! `broker-setup`: what `infra/rabbitmq/definitions.json` says, for a broker that did not load it.

use std::io::{self, Write};

use contracts::broker::{Definitions, VIRTUAL_HOST};
use messaging::rabbitmq::setup;
use secrecy::{ExposeSecret, SecretString};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct BrokerSetup {
    /// The management API: http://user:password@host:15672. The user needs the tag administrator.
    #[arg(long, env = "BROKER_ADMIN_URL", hide_env_values = true)]
    admin_url: SecretString,

    /// The virtual host to set up.
    #[arg(long, default_value = VIRTUAL_HOST)]
    vhost: String,
}

impl BrokerSetup {
    pub(crate) async fn run(&self, out: &mut (dyn Write + Send)) -> anyhow::Result<()> {
        let mut written: io::Result<()> = Ok(());
        let report = |step| {
            if written.is_ok() {
                written = writeln!(out, "{step}");
            }
        };
        setup::apply(self.admin_url.expose_secret(), &Definitions::of(&self.vhost), report).await?;
        written?;
        Ok(writeln!(out, "the virtual host {} is set up", self.vhost)?)
    }
}
