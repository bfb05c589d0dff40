//! `tandem` as a user starts it: the real binary, its output, its exit codes.

use std::{
    path::Path,
    process::{ExitStatus, Stdio},
};

use reqwest::Client;
use serde_json::{Value, json};
use testkit::{PATIENCE, eventually};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStdout, Command},
    time::timeout,
};

pub(crate) const ANY_PORTS: [&str; 10] =
    ["--port", "0", "--orders-port", "0", "--invoices-port", "0", "--bff-port", "0", "--metrics-port", "0"];

pub(crate) fn tandem(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    command.current_dir(folder).args(arguments).kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_clear();
    command
}

pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) banner: String,
    /// What it says after the banner.
    pub(crate) lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    pub(crate) async fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut banner = String::new();
        timeout(PATIENCE, async {
            while let Some(line) = lines.next_line().await.unwrap() {
                banner += &line;
                banner.push('\n');
                if line.starts_with("Ready in ") {
                    return;
                }
            }
            let mut error = String::new();
            child.stderr.take().unwrap().read_to_string(&mut error).await.unwrap();
            panic!("it ended before it was ready: {banner}{error}");
        })
        .await
        .unwrap();
        Self { child, banner, lines }
    }

    /// Every URL of the banner.
    pub(crate) fn urls(&self) -> Vec<String> {
        let words = self.banner.split_whitespace();
        words.filter(|word| word.starts_with("http://")).map(str::to_owned).collect()
    }

    /// The address of the gateway.
    pub(crate) fn url(&self) -> String {
        let graphql = self.urls().into_iter().find(|url| url.ends_with("/graphql")).unwrap();
        graphql.trim_end_matches("/graphql").to_owned()
    }

    pub(crate) async fn stop(mut self, signal: &str) -> ExitStatus {
        send(&self.child, signal).await;
        timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap()
    }
}

/// Sends a signal, e.g. `-INT`, by the shell's own `kill`: a small system has no program of that name.
pub(crate) async fn send(child: &Child, signal: &str) {
    let pid = child.id().unwrap().to_string();
    let sent = Command::new("sh").args(["-c", "kill \"$0\" \"$1\"", signal, &pid]).status().await.unwrap();
    assert!(sent.success());
}

pub(crate) async fn orders(url: &str) -> usize {
    let page: Value = Client::new().get(format!("{url}/orders?limit=100")).send().await.unwrap().json().await.unwrap();
    page["items"].as_array().unwrap().len()
}

#[tokio::test]
async fn every_url_of_the_banner_answers_and_the_samples_are_real() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(tandem(folder.path(), &ANY_PORTS)).await;
    let http = Client::new();
    // Ready is what it says it is.
    let ready = http.get(format!("{}/readyz", running.url())).send().await.unwrap().status();
    assert_eq!(ready.as_u16(), 200);
    for url in running.urls() {
        // A GraphQL endpoint wants a query.
        let url = if url.ends_with("/graphql") { format!("{url}?query={{__typename}}") } else { url };
        let status = http.get(&url).send().await.unwrap().status();
        assert_eq!(status.as_u16(), 200, "{url}");
    }
    let url = running.url();
    for path in ["/orders/health", "/invoices/health", "/health"] {
        let text = http.get(format!("{url}{path}")).send().await.unwrap().text().await.unwrap();
        assert_eq!(text, r#"{"status":"ok"}"#, "{path}");
    }
    let query = json!({ "query": "{ orders(sort: CREATED_AT_ASC) { nodes { status invoice { status } } } }" });
    let answer: Value = http.post(format!("{url}/graphql")).json(&query).send().await.unwrap().json().await.unwrap();
    let mut pairs: Vec<String> = answer["data"]["orders"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|order| format!("{} {}", order["status"].as_str().unwrap(), order["invoice"]["status"].as_str().unwrap()))
        .collect();
    pairs.sort();
    let expected = ["CANCELED VOIDED", "PAID PAID", "PAID PAID", "PAID PAID", "PENDING ISSUED", "PENDING ISSUED"];
    assert_eq!(pairs, expected);

    // The path of clients that were written for a gateway which strips the first segment.
    let placed = http.post(format!("{url}/orders/orders")).json(&json!({ "amount": 100 })).send().await.unwrap();
    assert_eq!(placed.status(), 201);
    let order: Value = placed.json().await.unwrap();
    eventually("the order has its invoice", || async {
        let url = format!("{url}/invoices?orderId={}", order["id"].as_str().unwrap());
        let page: Value = http.get(url).send().await.unwrap().json().await.unwrap();
        page["items"].get(0).cloned()
    })
    .await;
    assert!(running.stop("-INT").await.success());
}

#[tokio::test]
async fn data_survives_a_restart_and_a_reset_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(tandem(folder.path(), &ANY_PORTS)).await;
    assert_eq!(orders(&running.url()).await, 6);
    // A second one on the same folder is told so.
    let second = tandem(folder.path(), &ANY_PORTS).output().await.unwrap();
    let error = String::from_utf8(second.stderr).unwrap();
    assert!(second.status.code() == Some(1) && error.contains("in use by another tandem"), "{error}");
    assert!(running.stop("-TERM").await.success());

    let running = Running::start(tandem(folder.path(), &ANY_PORTS)).await;
    assert_eq!(orders(&running.url()).await, 6);
    assert!(!running.banner.contains("sample orders"), "{}", running.banner);
    assert!(running.stop("-TERM").await.success());

    let arguments = [&ANY_PORTS[..], &["--reset", "--no-seed"]].concat();
    let running = Running::start(tandem(folder.path(), &arguments)).await;
    assert_eq!(orders(&running.url()).await, 0);
    assert!(running.stop("-INT").await.success());
}

#[tokio::test]
async fn all_busy_ports_are_named_in_one_message_and_nothing_is_created() {
    let folder = tempfile::tempdir().unwrap();
    // One on each loopback address: `localhost` means both.
    let others = (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("[::1]:0").await.unwrap());
    let (first, second) = (others.0.local_addr().unwrap(), others.1.local_addr().unwrap());
    let (port, bff_port) = (first.port().to_string(), second.port().to_string());
    let arguments =
        ["--port", &port, "--orders-port", "0", "--invoices-port", "0", "--bff-port", &bff_port, "--metrics-port", "0"];
    let output = tandem(folder.path(), &arguments).output().await.unwrap();
    drop(others);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    let us = match std::fs::read_to_string("/proc/self/comm") {
        Ok(name) => format!(" ({}, pid {})", name.trim_end(), std::process::id()),
        Err(_) => String::new(),
    };
    let expected = format!(
        "error: cannot listen on {first}: another program is using the port{us}
       cannot listen on {second}: another program is using the port{us}
Stop them, or choose other ports:  cargo run -- --port {} --bff-port {}
",
        first.port().checked_add(100).unwrap_or(0),
        second.port().checked_add(100).unwrap_or(0),
    );
    assert_eq!(error, expected);
    assert!(output.stdout.is_empty());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_wrong_argument_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (vec!["--host", "example.org"], "HOST must be `localhost` or an IP address, not \"example.org\""),
        (vec!["--amount-limit", "0"], "must be a whole number from 1 to 2147483647"),
        (vec!["--prot", "1"], "--port"),
        (vec!["--rate", "5"], "--rate"),
        (vec!["demo", "--rate", "0"], "1..=600"),
    ] {
        let ports: &[&str] = if arguments[0] == "demo" { &[] } else { &ANY_PORTS };
        let arguments = [ports, &arguments].concat();
        let output = tandem(folder.path(), &arguments).output().await.unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(expected), "{arguments:?}: {error}");
        assert!(!error.contains("panicked") && !error.contains("backtrace"), "{error}");
    }
}

#[tokio::test]
async fn the_settings_of_the_bff_hold_here_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let trusted = json!({ "known": "{ orders { nodes { id } } }" });
    std::fs::write(folder.path().join("trusted.json"), trusted.to_string()).unwrap();
    let arguments = [&ANY_PORTS[..], &["--no-seed", "--graphql-max-variable-values", "1"]].concat();
    let mut command = tandem(folder.path(), &arguments);
    command.env("TRUSTED_DOCUMENTS", "trusted.json").env("CORS_ORIGINS", "http://localhost:5173");
    let running = Running::start(command).await;
    let ask = async |body: Value| {
        let request =
            Client::new().post(format!("{}/graphql", running.url())).header("origin", "http://localhost:5173");
        let answer = request.json(&body).send().await.unwrap();
        assert_eq!(answer.headers()["access-control-allow-origin"], "http://localhost:5173");
        let answer: Value = answer.json().await.unwrap();
        answer["errors"][0]["extensions"]["code"].as_str().map(str::to_owned)
    };
    assert_eq!(ask(json!({ "query": trusted["known"] })).await, None);
    assert_eq!(ask(json!({ "query": "{ __typename }" })).await.as_deref(), Some("QUERY_NOT_IN_LIST"));
    let two = json!({ "query": trusted["known"], "variables": { "a": 1, "b": 2 } });
    assert_eq!(ask(two).await.as_deref(), Some("QUERY_TOO_LARGE"));
    assert!(running.stop("-TERM").await.success());

    let wrong = [&ANY_PORTS[..], &["--graphql-max-depth", "33"]].concat();
    let error = String::from_utf8(tandem(folder.path(), &wrong).output().await.unwrap().stderr).unwrap();
    assert!(error.contains("33 is not in 1..=32"), "{error}");
}
