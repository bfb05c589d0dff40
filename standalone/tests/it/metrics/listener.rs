//! Metrics over the real listener of real programs.

use std::process::Stdio;

use chassis::{listen::Listen, metrics::MetricsListen};
use messaging::in_process::InProcessBus;
use migration::Schema;
use reqwest::{StatusCode, header};
use serde_json::json;
use testkit::{PATIENCE, Scrape, TestDatabase, eventually};
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};
use uuid::Uuid;

use crate::process::{ANY_PORTS, Running, tandem};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0";

#[tokio::test]
async fn one_scrape_of_tandem_has_all_services_and_the_trace_of_a_slow_request() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(tandem(folder.path(), &[&ANY_PORTS[..], &["--no-seed"]].concat())).await;
    let metrics = running.urls().into_iter().find(|url| url.ends_with("/metrics")).unwrap();
    let api = running.url();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let trace_id = Uuid::new_v4().simple().to_string();
    let order = http
        .post(format!("{api}/orders"))
        .header("traceparent", format!("00-{trace_id}-00f067aa0ba902b7-01"))
        .json(&json!({ "amount": 5 }));
    assert_eq!(order.send().await.unwrap().status(), StatusCode::CREATED);

    // The request, the wait in the outbox, both transactions and the whole way carry the trace of the request.
    let with_exemplars = [
        ("http_server_request_duration_seconds", "orders"),
        ("outbox_publish_lag_seconds", "orders"),
        ("messaging_process_duration_seconds", "invoices"),
        ("db_client_operation_duration_seconds", "orders"),
        ("order_to_invoice_seconds", "orders"),
    ];
    let text = eventually("every step has the trace", || async {
        let scrape = http.get(&metrics).header(header::ACCEPT, OPEN_METRICS).send().await.unwrap();
        assert_eq!(
            scrape.headers()[header::CONTENT_TYPE],
            "application/openmetrics-text; version=1.0.0; charset=utf-8"
        );
        let text = scrape.text().await.unwrap();
        let has = |(name, service): &(&str, &str)| {
            let series = format!("{name}_bucket{{service=\"{service}\"");
            let exemplar = format!(" # {{trace_id=\"{trace_id}\"}} ");
            text.lines().any(|line| line.starts_with(&series) && line.contains(&exemplar))
        };
        with_exemplars.iter().all(has).then_some(text)
    })
    .await;
    assert!(text.ends_with("# EOF\n"), "{text}");

    // Without asking for them there are none, and the rest is the same.
    let scrape = http.get(&metrics).send().await.unwrap();
    assert_eq!(scrape.headers()[header::CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
    let scrape = Scrape::read(scrape.text().await.unwrap());
    assert!(!scrape.text.contains(&trace_id), "{}", scrape.text);
    assert_eq!(scrape.value("orders_created_total", &[("service", "orders")]), Some(1.0));
    assert_eq!(scrape.sum("build_info", &[("service", "tandem"), ("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    assert!(scrape.value("process_resident_memory_bytes", &[("service", "tandem")]).unwrap() > 1e6);
    assert!(scrape.value("tokio_alive_tasks", &[]).unwrap() > 5.0);
    assert_eq!(scrape.value("db_client_connection_max", &[("service", "invoices")]), Some(4.0));
    promtool_approves(&scrape.text).await;

    // On no other port.
    let direct = running.urls().into_iter().filter(|url| url.ends_with("/orders") || url.ends_with("/graphql"));
    for url in direct.map(|url| url.rsplit_once('/').unwrap().0.to_owned()) {
        let status = http.get(format!("{url}/metrics")).send().await.unwrap().status();
        assert_eq!(status, StatusCode::NOT_FOUND, "{url}");
    }
    running.stop("-INT").await;
}

/// What Prometheus' own tool says, where it is there (Debian: `prometheus`).
async fn promtool_approves(text: &str) {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut promtool) = command.spawn() else { return };
    let mut input = promtool.stdin.take().unwrap();
    input.write_all(text.as_bytes()).await.unwrap();
    drop(input);
    let output = timeout(PATIENCE, promtool.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}

#[tokio::test]
async fn a_service_of_its_own_serves_its_metrics_until_it_has_stopped_and_says_which_port_is_taken() {
    let database = TestDatabase::create(Schema::Orders).await;
    let start = async |port| {
        let mut config = orders::Config::embedded(Listen::anywhere(), &database.url());
        config.metrics = MetricsListen::on(port);
        orders::start(config, std::sync::Arc::new(InProcessBus::new())).await
    };
    let service = start(0).await.unwrap();
    let url = service.metrics_url().unwrap().to_owned();
    let scrape = Scrape::read(reqwest::get(format!("{url}/metrics")).await.unwrap().text().await.unwrap());
    assert_eq!(scrape.value("orders_created_total", &[("service", "orders")]), Some(0.0));
    assert_eq!(scrape.label_values("build_info", "service"), ["orders"]);
    assert_eq!(reqwest::get(format!("{url}/orders")).await.unwrap().status(), StatusCode::NOT_FOUND);

    let port = reqwest::Url::parse(&url).unwrap().port().unwrap();
    let error = start(port).await.err().unwrap().to_string();
    assert_eq!(error, format!("METRICS_PORT: cannot listen on 127.0.0.1:{port}: another program is using the port"));
    service.stop().await;
    assert!(reqwest::get(format!("{url}/metrics")).await.is_err(), "it still answers");
}
