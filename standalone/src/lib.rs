//! The whole system in one process: the same services, started by the same functions, on SQLite files and the
//! in-process bus. The executable map of the system, and what `cargo run` starts.
//!
//! Order matters: every port is bound before anything is created, so that a start that cannot succeed leaves nothing
//! behind; the banner comes when everything answers.

mod banner;
pub mod browser;
mod config;
mod data;
mod gateway;
mod metrics;
mod samples;
mod token;

use std::{sync::Arc, time::Instant};

use anyhow::{Context, Result, bail};
use chassis::{
    identity::IdentityConfig,
    listen::{Listen, ListenError, Listener},
    service::RunningService,
};
use messaging::{EventBus, in_process::InProcessBus};

pub use config::{Command, Config};

use crate::data::DataFolder;

/// The running system. Dropping it leaves it running; [`Tandem::stop`] ends it.
pub struct Tandem {
    orders: RunningService,
    invoices: RunningService,
    bff: RunningService,
    gateway: RunningService,
    metrics: RunningService,
    bus: Arc<dyn EventBus>,
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
    let authenticator = config.identity.authenticator()?;
    let identity = IdentityConfig::shared(authenticator.clone());
    let data = DataFolder::open(&config.data, config.reset)?;

    for (url, schema) in
        [(data.orders_url(), migration::Schema::Orders), (data.invoices_url(), migration::Schema::Invoices)]
    {
        let db = outbox::connect(&url, "tandem").await.with_context(|| format!("cannot open {url}"))?;
        migration::up(&db, schema).await.with_context(|| format!("cannot migrate {url}"))?;
        db.close().await?;
    }
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
    bff.live.origins = config.origins.clone();
    bff.pages = config.pages.clone();
    let bff = bff::start(bff, Arc::clone(&bus)).await?;
    let gateway = gateway::start(ports.gateway, &orders, &invoices, &bff);
    let metrics = metrics::start(ports.metrics);

    // Where tokens are asked for, the samples need one: without a secret to sign it with there are none.
    let token = token::for_samples(&config.identity);
    let may_seed = authenticator.is_open() || token.is_some();
    let samples = match data.is_new() && !config.no_seed && may_seed {
        true => samples::create(gateway.url(), token.as_ref()).await?,
        false => 0,
    };
    let banner = banner::text(&banner::Facts {
        gateway: gateway.url(),
        orders: orders.url(),
        invoices: invoices.url(),
        bff: bff.url(),
        metrics: metrics.url(),
        data: &config.data,
        samples,
        took: began.elapsed(),
    });
    Ok(Tandem { orders, invoices, bff, gateway, metrics, bus, banner, _data: data })
}

impl Tandem {
    /// What to tell the user.
    pub fn banner(&self) -> &str {
        &self.banner
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
        self.bus.close().await;
    }
}

/// All sockets of the system.
struct Ports {
    gateway: Listener,
    orders: Listener,
    invoices: Listener,
    bff: Listener,
    metrics: Listener,
}

impl Ports {
    fn bind(config: &Config) -> Result<Self> {
        let bind = |port| Listener::bind(&config.host, port);
        let all = [config.port, config.orders_port, config.invoices_port, config.bff_port, config.metrics_port];
        let (bound, failed): (Vec<_>, Vec<_>) = all.map(bind).into_iter().partition(Result::is_ok);
        let failed: Vec<ListenError> = failed.into_iter().filter_map(Result::err).collect();
        if !failed.is_empty() {
            bail!(explain(&failed));
        }
        let mut bound = bound.into_iter().filter_map(Result::ok);
        let mut next = || bound.next().context("a listener is missing");
        Ok(Self { gateway: next()?, orders: next()?, invoices: next()?, bff: next()?, metrics: next()? })
    }
}

fn on(listener: Listener) -> Listen {
    Listen { bound: Some(listener), ..Listen::anywhere() }
}

/// All that is in the way, in one message.
fn explain(failed: &[ListenError]) -> String {
    let lines: Vec<String> = failed.iter().map(ToString::to_string).collect();
    // The hint belongs to ports; a bad address has its own.
    let hint = match failed.first() {
        Some(ListenError::BadHost(_)) => "",
        _ => {
            "\nStop what uses them, or choose other ports:  cargo run -- --port 8100 --orders-port 4333  (0: any free one)"
        }
    };
    // Each line names an address, but a bad HOST would be said five times.
    let mut unique = Vec::new();
    for line in lines {
        if !unique.contains(&line) {
            unique.push(line);
        }
    }
    format!("{}{hint}", unique.join("\n       "))
}
