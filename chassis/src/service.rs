//! A service that runs: it knows its address, and it can be stopped.
//!
//! The order of stopping is the point: unready, no new connections, the requests in flight, then what the service
//! runs beside them (consumers, relay, pool). What is not finished is safe: unacknowledged messages come again, and
//! outbox rows wait.

use std::{future::Future, io::Write, pin::Pin, process::ExitCode, sync::Arc};

use axum::Router;
use tokio::{signal::unix::SignalKind, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{health::Readiness, http, listen::Listener};

type StopHook = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// A service that accepts requests. Dropping it leaves it running; [`RunningService::stop`] ends it.
pub struct RunningService {
    name: &'static str,
    url: String,
    port: u16,
    routes: Router,
    readiness: Arc<Readiness>,
    stop: CancellationToken,
    server: JoinHandle<()>,
    hooks: Vec<StopHook>,
}

impl RunningService {
    /// Serves `routes`, with the common layers around them, on `listener`.
    pub fn start(name: &'static str, listener: Listener, routes: Router, readiness: Arc<Readiness>) -> Self {
        Self::start_bare(name, listener, http::finish(routes), readiness)
    }

    /// Serves `routes` as they are: for a front that hands requests to services which have the common layers.
    pub fn start_bare(name: &'static str, listener: Listener, routes: Router, readiness: Arc<Readiness>) -> Self {
        let (url, port) = (listener.url(), listener.port());
        let stop = CancellationToken::new();
        let server = tokio::spawn(http::serve(listener, routes.clone(), stop.clone()));
        tracing::info!("{name} listens on {url}");
        Self { name, url, port, routes, readiness, stop, server, hooks: Vec::new() }
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

    /// The base URL, e.g. `http://localhost:3333`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The port, also where any free one was asked for.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it serves, for a front in the same process.
    pub fn routes(&self) -> Router {
        self.routes.clone()
    }

    /// Stops in order and returns when everything has ended.
    pub async fn stop(self) {
        self.readiness.stopping();
        self.stop.cancel();
        if let Err(error) = self.server.await {
            tracing::error!(%error, "the server of {} ended badly: {error}", self.name);
        }
        for hook in self.hooks {
            hook().await;
        }
        tracing::info!("{} stopped", self.name);
    }

    /// Runs until SIGINT or SIGTERM, then stops.
    pub async fn run_until_signal(self) {
        termination().await;
        self.stop().await;
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

/// Resolves at the first SIGINT or SIGTERM.
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
