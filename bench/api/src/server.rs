//! The BFF on a thread of its own, between two stand-ins on another.

use std::{future::Future, sync::Arc, thread, time::Duration};

use anyhow::Context;
use axum::{Router, body::Bytes, http::header::CONTENT_TYPE, routing::post};
use bff::Config;
use chassis::listen::Listen;
use contracts::schemas;
use messaging::in_process::InProcessBus;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::oneshot};

/// How many orders a page has.
pub(crate) const PAGE: usize = 20;

/// The running BFF.
pub(crate) struct Server {
    /// `host:port`.
    pub(crate) address: String,
    /// Where Linux counts the time of its thread.
    clock: String,
}

impl Server {
    /// Starts it, and waits until it is ready.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let (address, orders) = oneshot::channel();
        on_a_thread(stand_in(schemas::ORDERS, page(), address));
        let (address, invoices) = oneshot::channel();
        on_a_thread(stand_in(schemas::INVOICES, invoices_of_the_page(), address));
        let (orders, invoices) = (orders.await?, invoices.await?);

        let (started, server) = oneshot::channel();
        on_a_thread(async move {
            let config = Config::new(Listen::anywhere(), orders.parse()?, invoices.parse()?);
            let service = bff::start(config, Arc::new(InProcessBus::new())).await?;
            let address = service.url().trim_start_matches("http://").to_owned();
            // A link to `self/task/<number>` of the thread that looks.
            let thread = std::fs::read_link("/proc/thread-self")?;
            let clock = format!("/proc/{}/schedstat", thread.display());
            let _ = started.send(Self { address, clock });
            std::future::pending().await
        });
        let server = server.await.context("the BFF did not start")?;
        let mut client = crate::client::Client::open(&server.address).await?;
        while client.get("/readyz").await?.0 != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(server)
    }

    /// How long its thread has run so far. The kernel's counter, in nanoseconds.
    pub(crate) fn worked(&self) -> anyhow::Result<Duration> {
        let text = std::fs::read_to_string(&self.clock).context(self.clock.clone())?;
        let nanoseconds = text.split_whitespace().next().and_then(|first| first.parse().ok());
        nanoseconds.map(Duration::from_nanos).with_context(|| format!("{} is {text:?}", self.clock))
    }
}

fn on_a_thread(work: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
    thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(work)
    });
}

/// A service that has its schema, and one answer to everything else.
async fn stand_in(sdl: &'static str, answer: Value, address: oneshot::Sender<String>) -> anyhow::Result<()> {
    const JSON: [(axum::http::HeaderName, &str); 1] = [(CONTENT_TYPE, "application/json")];
    let answer = Bytes::from(answer.to_string());
    let schema = Bytes::from(json!({ "data": { "_service": { "sdl": sdl } } }).to_string());
    let reply = move |question: Bytes| {
        let is_schema = question.windows(8).any(|part| part == b"_service");
        let answer = if is_schema { schema.clone() } else { answer.clone() };
        async move { (JSON, answer) }
    };
    let routes = Router::new().route("/graphql", post(reply));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let _ = address.send(format!("http://{}", listener.local_addr()?));
    Ok(axum::serve(listener, routes).await?)
}

fn page() -> Value {
    let nodes: Vec<Value> = (0..PAGE).map(|n| json!({ "amount": 1999, "id": id(n) })).collect();
    json!({ "data": { "orders": { "nodes": nodes } } })
}

fn invoices_of_the_page() -> Value {
    let invoice = |n| json!({ "invoice": { "number": format!("INV-{n:08}"), "status": "ISSUED" } });
    json!({ "data": { "_entities": (0..PAGE).map(invoice).collect::<Vec<_>>() } })
}

fn id(n: usize) -> String {
    format!("01999999-0000-7000-8000-{n:012}")
}
