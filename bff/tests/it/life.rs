//! Start, readiness, traces, stop.

use std::{process::Command, time::Duration};

use chassis::{listen::Listen, telemetry::TelemetryConfig};
use contracts::schemas::{INVOICES, ORDERS};
use serde_json::{Value, json};
use testkit::eventually;

use crate::{
    service::{Service, Trouble},
    world::{World, bus, errors},
};

/// Asks `/readyz` until it answers `status`.
async fn until_ready_is(client: &reqwest::Client, url: &str, status: u16) -> Value {
    let asked = async {
        loop {
            let answer = client.get(format!("{url}/readyz")).send().await.unwrap();
            if answer.status() == status {
                return serde_json::from_str(&answer.text().await.unwrap()).unwrap();
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), asked).await.unwrap()
}

#[tokio::test]
async fn ready_once_each_service_was_seen_and_from_then_on() {
    let mut world = World::start().await;
    let ready = until_ready_is(&world.client, world.bff.url(), 200).await;
    assert_eq!(ready, json!({ "status": "ok", "checks": { "broker": "ok", "orders": "ok", "invoices": "ok" } }));

    world.orders.go_down().await;
    let answer = world.ask("{ orders { nodes { id } } }").await;
    assert_eq!(errors(&answer), ["orders: SERVICE_UNAVAILABLE of orders"]);
    until_ready_is(&world.client, world.bff.url(), 200).await;
}

#[tokio::test]
async fn not_ready_while_a_service_was_never_seen() {
    let world = World::start().await;
    let orders = format!("http://127.0.0.1:{}", world.orders.port).parse().unwrap();
    // Port 9 (discard) belongs to nobody here.
    let config = bff::Config::new(Listen::anywhere(), orders, "http://127.0.0.1:9".parse().unwrap());
    let bff = bff::start(config, bus()).await.unwrap();
    let report = until_ready_is(&world.client, bff.url(), 503).await;
    assert_eq!(report["checks"]["invoices"], "no answer yet");
    for path in ["/health", "/livez"] {
        let answer = world.client.get(format!("{}{path}", bff.url())).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    // The task that waits for invoices ends with the service.
    tokio::time::timeout(Duration::from_secs(30), bff.stop()).await.unwrap();
}

#[tokio::test]
async fn not_ready_with_a_service_of_another_schema_until_it_has_ours() {
    let orders = Service::start("type Query { nothing: Int }", |_, _| json!(null)).await;
    let invoices = Service::start(INVOICES, |_, _| json!(null)).await;
    let url = |service: &Service| format!("http://127.0.0.1:{}", service.port).parse().unwrap();
    let config = bff::Config::new(Listen::anywhere(), url(&orders), url(&invoices));
    let bff = bff::start(config, bus()).await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    eventually("the difference is seen", || async {
        let report = until_ready_is(&client, bff.url(), 503).await;
        (report["checks"] == json!({ "broker": "ok", "orders": "incompatible schema", "invoices": "ok" })).then_some(())
    })
    .await;

    orders.show_schema(ORDERS);
    until_ready_is(&client, bff.url(), 200).await;
}

#[tokio::test]
async fn a_service_below_a_path_is_found() {
    let world = World::start().await;
    let orders = Service::start(ORDERS, |_, _| json!(null)).await;
    let invoices = Service::start(INVOICES, |_, _| json!(null)).await;
    let below = |service: &Service, path: &str| format!("http://127.0.0.1:{}{path}", service.port).parse().unwrap();
    let config = bff::Config::new(Listen::anywhere(), below(&orders, ""), below(&invoices, "/"));
    let bff = bff::start(config, bus()).await.unwrap();
    until_ready_is(&world.client, bff.url(), 200).await;
}

#[tokio::test]
async fn the_callers_trace_goes_on_to_the_service() {
    // The only test that sets up telemetry: it is one for the process.
    let telemetry = chassis::telemetry::init_services("bff", &[], &TelemetryConfig::default(), "off").unwrap();
    let world = World::start().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    world
        .client
        .post(format!("{}/graphql", world.bff.url()))
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
        .json(&json!({ "query": r#"{ order(id: "o1") { id invoice { id } } }"# }))
        .send()
        .await
        .unwrap();
    let sent = [world.orders.take_calls(), world.invoices.take_calls()].map(|calls| {
        let header = calls[0].headers["traceparent"].to_str().unwrap().to_owned();
        assert_eq!(header.split('-').nth(1), Some(trace), "{header}");
        header
    });
    assert_ne!(sent[0], sent[1], "each call is a span of its own");

    world.orders.misbehave(Trouble::Status(500));
    let answer = world.ask(r#"{ order(id: "o1") { id } }"#).await;
    assert_eq!(answer["errors"][0]["extensions"]["traceId"].as_str().map(str::len), Some(32));
    telemetry.shutdown().await;
}

#[tokio::test]
async fn a_stopped_api_refuses_connections() {
    let world = World::start().await;
    let url = format!("{}/health", world.bff.url());
    world.bff.stop().await;
    assert!(reqwest::Client::builder().no_proxy().build().unwrap().get(url).send().await.unwrap_err().is_connect());
}

/// Runs the binary; its exit code, what it printed, and what it complained about.
fn run(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_bff"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A broker that nobody has to be.
const BROKER: (&str, &str) = ("BROKER_URL", "amqp://127.0.0.1:9");

#[test]
fn the_binary_prints_the_schema() {
    let others = [("METRICS_PORT", "9464"), ("BROKER_URL", "amqp://nobody")];
    assert_eq!(run(&["schema"], &others), (Some(0), bff::sdl(), String::new()));
}

/// As an orchestrator starts it: beside the API, with the same settings, and with nothing but its exit code to go by.
#[tokio::test]
async fn the_binary_looks_after_the_health_of_the_api_beside_it() {
    let world = World::start().await;
    until_ready_is(&world.client, world.bff.url(), 200).await;
    let port = world.bff.url().rsplit(':').next().unwrap().to_owned();
    let ask = |arguments: &'static [&'static str]| {
        let port = port.clone();
        tokio::task::spawn_blocking(move || run(arguments, &[("HOST", "0.0.0.0"), ("PORT", &port), BROKER]))
    };
    for arguments in [&["healthcheck"][..], &["healthcheck", "--ready"]] {
        assert_eq!(ask(arguments).await.unwrap(), (Some(0), String::new(), String::new()));
    }

    world.bff.announce_stop();
    assert_eq!(ask(&["healthcheck"]).await.unwrap().0, Some(0));
    let (code, said, complaint) = ask(&["healthcheck", "--ready"]).await.unwrap();
    assert_eq!((code, said.as_str()), (Some(1), ""));
    assert_eq!(complaint, format!("error: http://127.0.0.1:{port}/readyz answers 503\n"));

    world.bff.stop().await;
    let (code, _, complaint) = ask(&["healthcheck"]).await.unwrap();
    assert!(code == Some(1) && complaint.contains("cannot connect"), "{complaint}");
}

#[test]
fn a_setting_that_is_not_allowed_is_named_with_what_is() {
    for (name, value, allowed) in [
        ("ORDERS_URL", "ftp://orders", "must be an http or https URL like http://localhost:3333, not ftp"),
        ("INVOICES_URL", "nonsense", "must be an http or https URL"),
        ("SUBGRAPH_TIMEOUT_MS", "0", "must be a whole number from 1 to 60000"),
        ("SUBGRAPH_TIMEOUT_MS", "soon", "must be a whole number from 1 to 60000"),
        ("SUBGRAPH_MAX_CALLS", "0", "0 is not in 1..=4294967295"),
        ("REQUEST_TIMEOUT_MS", "60001", "must be a whole number from 1 to 60000"),
        ("CORS_ORIGINS", "shop.example", "origins look like https://shop.example or http://localhost:5173"),
        ("WS_MAX_SOCKETS", "0", "0 is not in 1..=4294967295"),
        ("WS_INIT_TIMEOUT_MS", "0", "must be a whole number from 1 to 60000"),
    ] {
        let (code, _, stderr) = run(&[], &[(name, value), BROKER]);
        assert_eq!(code, Some(2), "{stderr}");
        for part in ["error: ", name, value, allowed] {
            assert!(stderr.contains(part), "no {part} in: {stderr}");
        }
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, stderr) = run(&[], &[("PORT", &taken.local_addr().unwrap().port().to_string()), BROKER]);
    assert_eq!(code, Some(1));
    let expected = format!("error: cannot listen on {address}: another program is using the port\n");
    assert!(stderr.ends_with(&expected), "{stderr}");
}
