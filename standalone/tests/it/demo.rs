//! `tandem demo`: with the system it starts, and on one that runs.

use std::{process::Stdio, time::Duration};

use reqwest::Client;
use serde_json::{Value, json};
use testkit::{PATIENCE, eventually, proxy::Proxy};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::TcpListener,
    time::timeout,
};

use crate::process::{ANY_PORTS, Running, orders, send, tandem};

/// Orders and invoices by their states, in the order of the alphabet.
async fn pairs(url: &str) -> Vec<String> {
    let query = json!({ "query": "{ orders(first: 100) { nodes { status invoice { status } } } }" });
    let request = Client::new().post(format!("{url}/graphql")).json(&query);
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    let orders = answer["data"]["orders"]["nodes"].as_array().unwrap();
    let pair = |order: &Value| {
        format!("{} {}", order["status"].as_str().unwrap(), order["invoice"]["status"].as_str().unwrap_or("-"))
    };
    let mut pairs: Vec<String> = orders.iter().map(pair).collect();
    pairs.sort();
    pairs
}

#[tokio::test]
async fn customers_order_pay_and_cancel_and_then_it_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [&["demo", "--rate", "600", "--orders", "8"], &ANY_PORTS[..], &["--no-seed"]].concat();
    let mut running = Running::start(tandem(folder.path(), &arguments)).await;
    let mut errors = BufReader::new(running.child.stderr.take().unwrap()).lines();
    let end = timeout(PATIENCE, errors.next_line()).await.unwrap().unwrap().unwrap();
    assert_eq!(end, "demo: these were all 8 orders; --orders asks for more");
    let expected = [
        "CANCELED REFUNDED",
        "CANCELED VOIDED",
        "PAID PAID",
        "PAID PAID",
        "PAID PAID",
        "PAID PAID",
        "PAID PAID",
        "PENDING ISSUED",
    ];
    let url = running.url();
    eventually("everything has arrived", || async { (pairs(&url).await == expected).then_some(()) }).await;
    assert!(running.stop("-INT").await.success());
}

#[tokio::test]
async fn it_stops_at_once_in_the_middle() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [&["demo", "--rate", "600"], &ANY_PORTS[..], &["--no-seed"]].concat();
    let mut running = Running::start(tandem(folder.path(), &arguments)).await;
    let line = loop {
        let line = timeout(PATIENCE, running.lines.next_line()).await.unwrap().unwrap().unwrap();
        if line.contains("order created") {
            break line;
        }
    };
    assert!(line.contains("  trace "), "{line}");
    let mut errors = running.child.stderr.take().unwrap();
    assert!(running.stop("-INT").await.success());
    let mut error = String::new();
    errors.read_to_string(&mut error).await.unwrap();
    // Nobody calls a closed shop. (What a service says of events that now wait for the next start is another matter.)
    assert!(!error.contains("demo:"), "{error}");
}

#[tokio::test]
async fn on_a_system_that_runs_it_lives_through_an_interruption_and_orders_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [&ANY_PORTS[..], &["--no-seed"]].concat();
    let running = Running::start(tandem(folder.path(), &arguments)).await;
    let proxy = Proxy::to(running.url().trim_start_matches("http://")).await;
    let url = format!("http://{}", proxy.address());
    let mut demo = tandem(folder.path(), &["demo", "--url", &url, "--rate", "120", "--orders", "20"]).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut errors = BufReader::new(demo.stderr.take().unwrap()).lines();
    let first = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
    assert!(first.contains("  order created     ") && first.contains("  trace "), "{first}");
    proxy.cut().await;
    let error = timeout(PATIENCE, errors.next_line()).await.unwrap().unwrap().unwrap();
    assert!(error.starts_with("demo: no order could be placed: ") && error.contains("trying again in 1 s"), "{error}");
    proxy.restore().await;

    let mut told = vec![first];
    timeout(PATIENCE * 2, async {
        while let Some(line) = lines.next_line().await.unwrap() {
            told.push(line);
        }
    })
    .await
    .unwrap();
    let ended = timeout(PATIENCE, demo.wait()).await.unwrap().unwrap();
    assert!(ended.success(), "{ended}");
    let count = |what: &str| told.iter().filter(|line| line.contains(what)).count();
    assert_eq!((count("order created"), orders(&running.url()).await), (20, 20), "{told:#?}");
    assert_eq!((count("invoice paid"), count("order canceled")), (15, 5), "{told:#?}");
    assert!(running.stop("-TERM").await.success());
}

#[tokio::test]
async fn without_a_system_it_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    // Nobody listens on a port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let output = tandem(folder.path(), &["demo", "--url", &url]).output().await.unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    let expected = format!(
        "error: the API does not answer at {url}/graphql: Connection refused (os error 111)
Start it in another terminal (cargo run), or say where it is:  cargo run -- demo --url http://HOST:PORT
"
    );
    assert_eq!(error, expected);
    assert!(output.stdout.is_empty());
}

#[tokio::test]
async fn on_a_system_that_runs_it_stops_by_ctrl_c() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [&ANY_PORTS[..], &["--no-seed"]].concat();
    let running = Running::start(tandem(folder.path(), &arguments)).await;
    let mut command = tandem(folder.path(), &["demo", "--url", &running.url()]);
    let mut demo = command.stderr(Stdio::inherit()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
    send(&demo, "-INT").await;
    let ended = timeout(Duration::from_secs(30), demo.wait()).await.unwrap().unwrap();
    assert!(ended.success(), "{ended}");
    assert!(running.stop("-TERM").await.success());
}
