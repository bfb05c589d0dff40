//! The whole system in one process: the same services, started by the same functions, on SQLite files and the
//! in-process bus. The executable map of the system, and what `cargo run` starts.
//!
//! Order matters: every port is bound before anything is created, so that a start that cannot succeed leaves nothing
//! behind; the banner comes when everything answers.

mod banner;
pub mod browser;
mod config;
mod data;
pub mod demo;
mod gateway;
mod obstacle;
mod port_owner;
mod ports;
mod samples;
mod steps;
mod token;

use std::{io::Write, sync::Arc, time::Instant};

use anyhow::Result;
use chassis::{
    identity::IdentityConfig,
    listen::{Listen, Listener},
    metrics::MetricsServer,
    service::RunningService,
};
use messaging::{EventBus, in_process::InProcessBus};

pub use config::{Command, CommandLine, Config, style};
pub use steps::Style;
pub use token::{Token, for_ourselves as token_for_ourselves};

use crate::{data::DataFolder, ports::Ports, steps::Steps};

/// The running system. Dropping it leaves it running; [`Tandem::stop`] ends it.
pub struct Tandem {
    orders: RunningService,
    invoices: RunningService,
    bff: RunningService,
    gateway: RunningService,
    metrics: MetricsServer,
    bus: Arc<dyn EventBus>,
    steps: Steps,
    banner: String,
    // Held as long as the databases are open: they may have one process only.
    _data: DataFolder,
}

/// Starts everything and answers when all of it accepts requests.
///
/// # Errors
/// One message that names everything that is in the way, e.g. every port that is taken.
pub async fn start(config: Config) -> Result<Tandem> {
    let began = Instant::now();
    let ports = Ports::bind(&config)?;
    let authenticator = config.identity.read()?;
    let identity = IdentityConfig::shared(authenticator.clone());
    let data = DataFolder::open(&config.data, config.reset)?;

    data.migrate().await?;
    let bus: Arc<dyn EventBus> = Arc::new(InProcessBus::new());
    let mut orders = orders::Config::embedded(on(ports.orders), &data.orders_url());
    orders.identity = identity.clone();
    orders.default_customer_id = config.default_customer_id.clone();
    let orders = orders::start(orders, Arc::clone(&bus)).await?;
    let mut invoices = invoices::Config::embedded(on(ports.invoices), &data.invoices_url(), config.amount_limit);
    invoices.identity = identity.clone();
    let invoices = invoices::start(invoices, Arc::clone(&bus)).await?;
    let mut bff = bff::Config::new(on(ports.bff), orders.url().parse()?, invoices.url().parse()?);
    bff.identity = identity;
    bff.api = config.api.clone();
    let bff = bff::start(bff, Arc::clone(&bus)).await?;
    let gateway = gateway::start(ports.gateway, &orders, &invoices, &bff);
    let measured = [&orders, &invoices, &bff].into_iter().filter_map(|service| service.metrics());
    let metrics = MetricsServer::start("tandem", ports.metrics, measured);

    // The BFF looks first whether the services are those it knows; until then it calls itself unready.
    samples::await_ready(gateway.url()).await?;
    // Where tokens are asked for, the samples need one: without a secret to sign it with there are none.
    let token = token::for_ourselves(&config.identity);
    let may_seed = authenticator.is_open() || token.is_some();
    let samples = match data.is_new() && !config.no_seed && may_seed {
        true => samples::create(gateway.url(), token.as_ref()).await?,
        false => 0,
    };
    let steps = Steps::of(&*bus);
    let banner = banner::text(&banner::Facts {
        gateway: gateway.url(),
        orders: orders.url(),
        invoices: invoices.url(),
        bff: bff.url(),
        metrics: metrics.url(),
        data: &config.data,
        samples,
        is_open: authenticator.is_open(),
        took: began.elapsed(),
    });
    Ok(Tandem { orders, invoices, bff, gateway, metrics, bus, steps, banner, _data: data })
}

impl Tandem {
    /// What to tell the user.
    pub fn banner(&self) -> &str {
        &self.banner
    }

    /// Tells each step of each order from now on, in a line on `out`. For as long as nobody takes the lines, new ones are
    /// left out: nothing waits for them.
    pub fn tell_steps(&mut self, out: impl Write + Send + 'static, style: Style) {
        self.steps.tell(out, style);
    }

    /// The base URL of everything, as Kong would serve it.
    pub fn url(&self) -> &str {
        self.gateway.url()
    }

    /// Stops. Everything at the same time: the relay of one service waits for the consumers of the other, and one slow
    /// client must not hold up the rest one after the other.
    pub async fn stop(self) {
        tokio::join!(
            self.gateway.stop(),
            self.bff.stop(),
            self.orders.stop(),
            self.invoices.stop(),
            self.metrics.stop(),
        );
        self.steps.stop().await;
        self.bus.close().await;
    }
}

fn on(listener: Listener) -> Listen {
    Listen { bound: Some(listener), ..Listen::anywhere() }
}
