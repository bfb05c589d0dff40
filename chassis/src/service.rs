//! A service that runs: it knows its address, and it can be stopped.
//!
//! The order of stopping is the point: unready, no new connections, the requests in flight, then what the service
//! runs beside them (consumers, relay, pool). What is not finished is safe: unacknowledged messages come again, and
//! outbox rows wait.

use std::{future::Future, io::Write, pin::Pin, process::ExitCode, sync::Arc, time::Duration};

use axum::Router;
use tokio::{
    signal::unix::SignalKind,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    health::Readiness,
    http,
    listen::Listener,
    metrics::{Metrics, MetricsServer},
};

/// How long stopping may take in all. Orchestrators give 30 s before they kill.
const STOP: Duration = Duration::from_secs(20);

/// How long after its start a service is looked at, for the log.
const FIRST_LOOK: Duration = Duration::from_secs(5);

type StopHook = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// A service that accepts requests. Dropping it leaves it running; [`RunningService::stop`] ends it.
pub struct RunningService {
    name: &'static str,
    url: String,
    routes: Router,
    readiness: Arc<Readiness>,
    stop: CancellationToken,
    server: JoinHandle<()>,
    ends: Vec<Box<dyn FnOnce() + Send>>,
    hooks: Vec<StopHook>,
    metrics: Option<Metrics>,
    metrics_server: Option<MetricsServer>,
}

impl RunningService {
    /// Serves `routes`, with the common layers around them, on `listener`. The service has the name that it is measured
    /// under.
    pub fn start(metrics: &Metrics, listener: Listener, routes: Router, readiness: Arc<Readiness>) -> Self {
        let routes = http::finish(routes, metrics);
        Self { metrics: Some(metrics.clone()), ..Self::start_bare(metrics.service(), listener, routes, readiness) }
    }

    /// Serves `routes` as they are: for a front that hands requests to services which have the common layers.
    pub fn start_bare(name: &'static str, listener: Listener, routes: Router, readiness: Arc<Readiness>) -> Self {
        let url = listener.url();
        let stop = CancellationToken::new();
        let server = tokio::spawn(http::serve(listener, routes.clone(), stop.clone()));
        tracing::info!("{name} listens on {url}");
        // What is missing is told also where nobody asks for the readiness; but not what only begins, too.
        let (looking, stopped) = (Arc::clone(&readiness), stop.clone());
        tokio::spawn(async move {
            let look = async {
                sleep(FIRST_LOOK).await;
                looking.look().await;
            };
            // What a service that stops has let go of is not missing.
            stopped.run_until_cancelled(look).await;
        });
        let (ends, hooks) = (Vec::new(), Vec::new());
        Self { name, url, routes, readiness, stop, server, ends, hooks, metrics: None, metrics_server: None }
    }

    /// Serves its metrics on `listener`, if there is one, until the service has stopped: what it does last is seen as well.
    pub fn with_metrics_on(mut self, listener: Option<Listener>) -> Self {
        self.metrics_server = listener.map(|listener| MetricsServer::start(self.name, listener, self.metrics.clone()));
        self
    }

    /// Adds what has to be stopped after the server; the hooks run in the order they were added.
    pub fn on_stop<F, Fut>(mut self, hook: F) -> Self
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.hooks.push(Box::new(move || Box::pin(hook())));
        self
    }

    /// Adds what ends answers that would go on for ever, e.g. streams: it runs as soon as the service stops, before the
    /// requests in flight are waited for.
    pub fn on_drain(mut self, end: impl FnOnce() + Send + 'static) -> Self {
        self.ends.push(Box::new(end));
        self
    }

    /// The base URL, e.g. `http://localhost:3333`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What is measured of it, for a listener in the same process.
    pub fn metrics(&self) -> Option<Metrics> {
        self.metrics.clone()
    }

    /// The base URL of its metrics, where it serves them itself.
    pub fn metrics_url(&self) -> Option<&str> {
        self.metrics_server.as_ref().map(MetricsServer::url)
    }

    /// What it serves, for a front in the same process.
    pub fn routes(&self) -> Router {
        self.routes.clone()
    }

    /// Unready, but serving: for as long as load balancers take to notice before [`RunningService::stop`].
    pub fn announce_stop(&self) {
        self.readiness.stopping();
    }

    /// Stops in order and returns when everything has ended, or after [`STOP`]. What is cut off then is safe as it is
    /// after a crash: nothing was acknowledged before it was committed.
    pub async fn stop(self) {
        let name = self.name;
        if timeout(STOP, self.stop_in_order()).await.is_err() {
            tracing::error!("{name} did not stop within {STOP:?}; what was left is cut off");
        }
    }

    async fn stop_in_order(self) {
        self.announce_stop();
        self.stop.cancel();
        self.ends.into_iter().for_each(|end| end());
        if let Err(error) = self.server.await {
            tracing::error!(%error, "the server of {} ended badly: {error}", self.name);
        }
        for hook in self.hooks {
            hook().await;
        }
        if let Some(metrics) = self.metrics_server {
            metrics.stop().await;
        }
        tracing::info!("{} stopped", self.name);
    }

    /// Runs until SIGINT or SIGTERM, stays for `delay` so that load balancers see that it is unready, then stops. A
    /// second signal ends it at once.
    pub async fn run_until_signal(self, delay: StopDelay) {
        termination().await;
        self.announce_stop();
        unless_signalled_again(async {
            sleep(delay.duration()).await;
            self.stop().await;
        })
        .await;
    }
}

/// The end of a `main`: a failure is one line on stderr, for people; a start that fails is not an event to log.
pub fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// How long a service goes on after it was told to stop.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct StopDelay {
    /// Seconds to stay, unready but serving, after SIGTERM, so that load balancers notice first; 5 suits most.
    #[arg(long, env = "STOP_DELAY_SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=20))]
    stop_delay_seconds: u64,
}

impl StopDelay {
    fn duration(self) -> Duration {
        Duration::from_secs(self.stop_delay_seconds)
    }
}

/// Waits for a stop, but not for one that somebody has lost patience with.
pub async fn unless_signalled_again(stopping: impl Future<Output = ()>) {
    tokio::select! {
        () = stopping => {}
        () = termination() => tracing::warn!("a second signal: what was left is cut off"),
    }
}

/// Resolves at the next SIGINT or SIGTERM.
pub async fn termination() {
    let wait_for = |kind: SignalKind| async move {
        match tokio::signal::unix::signal(kind) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            // Without a handler the default action ends the process, which is what the signal asks for.
            Err(error) => {
                tracing::error!(%error, "cannot listen for signals: {error}");
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = wait_for(SignalKind::interrupt()) => {}
        () = wait_for(SignalKind::terminate()) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::health;

    async fn service() -> (RunningService, tokio::net::TcpStream) {
        let readiness = Arc::new(Readiness::default());
        let listener = Listener::bind("127.0.0.1", 0).unwrap();
        let address = listener.url().trim_start_matches("http://").to_owned();
        let routes = health::routes(Arc::clone(&readiness));
        let service = RunningService::start(&Metrics::new("test"), listener, routes, readiness);
        let client = tokio::net::TcpStream::connect(address).await.unwrap();
        (service, client)
    }

    async fn ask(client: &mut tokio::net::TcpStream) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        client.write_all(b"GET /readyz HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 4096];
        let length = client.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }

    #[tokio::test]
    async fn a_service_that_is_about_to_stop_says_so_while_it_still_serves() {
        let (service, mut client) = service().await;
        assert!(ask(&mut client).await.starts_with("HTTP/1.1 200"));
        service.announce_stop();
        let answer = ask(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("stopping"), "{answer}");
        service.stop().await;
    }

    #[tokio::test]
    async fn an_idle_connection_does_not_hold_up_the_stop() {
        let (service, mut client) = service().await;
        ask(&mut client).await;
        let began = std::time::Instant::now();
        service.stop().await;
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }

    /// A client that sends half a line and then nothing is let go.
    #[tokio::test(start_paused = true)]
    async fn an_unfinished_request_head_is_not_awaited_for_ever() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (service, mut client) = service().await;
        client.write_all(b"GET /live").await.unwrap();
        let mut rest = Vec::new();
        timeout(Duration::from_secs(120), client.read_to_end(&mut rest)).await.unwrap().unwrap();
        service.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_ends_although_a_hook_does_not() {
        let (service, _client) = service().await;
        let earlier = Arc::new(AtomicBool::new(false));
        let ran = Arc::clone(&earlier);
        let service = service
            .on_stop(move || async move { ran.store(true, Ordering::SeqCst) })
            .on_stop(std::future::pending::<()>);
        service.stop().await;
        assert!(earlier.load(Ordering::SeqCst));
    }
}
