//! The second listener of a process: metrics, apart from the API, so that no gateway can publish them by accident.

use std::sync::Arc;

use anyhow::bail;
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, header},
    response::IntoResponse,
    routing::get,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Format, Metrics, of_process, render};
use crate::{
    http,
    listen::{ListenError, Listener},
};

/// Where a process serves its metrics.
#[derive(Debug, Clone, clap::Args)]
pub struct MetricsListen {
    /// Address to serve /metrics on [default: that of HOST].
    #[arg(long, env = "METRICS_HOST", value_name = "ADDR")]
    pub metrics_host: Option<String>,

    /// Port to serve /metrics on, 0 for any free one.
    #[arg(long, env = "METRICS_PORT", value_name = "PORT", default_value_t = 9464)]
    pub metrics_port: u16,

    /// Nowhere: the process around the service does that, for all that run in it.
    #[arg(skip)]
    elsewhere: bool,
}

impl MetricsListen {
    /// Nowhere of its own, as inside another process: see [`MetricsServer`].
    pub fn elsewhere() -> Self {
        Self { metrics_host: None, metrics_port: 0, elsewhere: true }
    }

    /// A given port, beside the API; 0 for any free one.
    pub fn on(port: u16) -> Self {
        Self { metrics_host: None, metrics_port: port, elsewhere: false }
    }

    /// Binds, where a service has a listener of its own; `host` is where its API listens.
    ///
    /// # Errors
    /// What is wrong, naming the setting.
    pub fn bind(&self, host: &str) -> anyhow::Result<Option<Listener>> {
        if self.elsewhere {
            return Ok(None);
        }
        match Listener::bind(self.metrics_host.as_deref().unwrap_or(host), self.metrics_port) {
            Ok(listener) => Ok(Some(listener)),
            Err(ListenError::BadHost(host)) => bail!("METRICS_HOST must be `localhost` or an IP address, not {host:?}"),
            Err(error) => bail!("METRICS_PORT: {error}"),
        }
    }
}

/// The running listener.
#[derive(Debug)]
pub struct MetricsServer {
    url: String,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

impl MetricsServer {
    /// Serves the metrics of the services in this process, and those of the process itself under the name `process`.
    pub fn start(process: &'static str, listener: Listener, services: impl IntoIterator<Item = Metrics>) -> Self {
        let all: Arc<[Metrics]> = [of_process(process)].into_iter().chain(services).collect();
        let url = listener.url();
        tracing::info!("the metrics of {process} are at {url}/metrics");
        let stop = CancellationToken::new();
        let routes = Router::new().route("/metrics", get(answer)).with_state(all);
        let server = tokio::spawn(http::serve(listener, http::guarded(routes), stop.clone()));
        Self { url, stop, server }
    }

    /// The base URL, e.g. `http://localhost:9464`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Answers what is being asked, and ends.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = self.server.await;
    }
}

async fn answer(State(all): State<Arc<[Metrics]>>, headers: HeaderMap) -> impl IntoResponse {
    let format = Format::wanted(&headers);
    ([(header::CONTENT_TYPE, format.content_type())], render(&all, format).await)
}
