//! Secrets stay secret: canaries in every credential of a running process, and none of them in what it says, exports,
//! measures or answers. At `trace`, so that also what libraries say is looked at. What is personal is answered to whom it
//! belongs, and is nowhere else.

use std::process::Stdio;

use reqwest::{Client, Response};
use serde_json::{Value, json};
use testkit::{PATIENCE, Socket, otlp::OtlpReceiver, socket::opening};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::Command,
    time::timeout,
};

const SECRET: &str = "canary-secret-of-thirty-two-bytes-and-more";
const PORTS: [&str; 10] =
    ["--port", "0", "--orders-port", "0", "--invoices-port", "0", "--bff-port", "0", "--metrics-port", "0"];

/// What was said somewhere, by its place.
#[derive(Default)]
struct Heard(Vec<(String, String)>);

impl Heard {
    fn hear(&mut self, place: &str, text: impl Into<String>) {
        self.0.push((place.to_owned(), text.into()));
    }

    async fn hear_response(&mut self, place: &str, response: Response) {
        let head = format!("{:?}", response.headers());
        let body = response.text().await.unwrap();
        self.hear(place, format!("{head}\n{body}"));
    }

    fn assert_without(&self, canaries: &[&str]) {
        self.assert_without_in(|_| true, canaries);
    }

    fn assert_without_in(&self, of: impl Fn(&str) -> bool, canaries: &[&str]) {
        for (place, text) in self.0.iter().filter(|(place, _)| of(place)) {
            for canary in canaries {
                if let Some(at) = text.find(canary) {
                    let from = text[..at].rfind('\n').map_or(0, |end| end + 1);
                    let line: String = text[from..].chars().take(600).collect();
                    panic!("{canary} is in {place}: {line}");
                }
            }
        }
    }
}

fn tandem(folder: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    command.current_dir(folder).args(arguments).kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_clear().env("JWT_SECRET", SECRET).env("JWT_ISSUER", "https://issuer.test");
    command
}

async fn output(mut command: Command) -> (bool, String, String) {
    let output = timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn no_credential_is_in_any_log_span_metric_or_answer() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = OtlpReceiver::start().await;
    let (made, token, said) = output(tandem(folder.path(), &["token", "--customer", "personal-ada"])).await;
    assert!(made, "{said}");
    let token = token.trim();

    let mut command = tandem(folder.path(), &PORTS);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint()).env("RUST_LOG", "trace").env("LOG_FORMAT", "json");
    command.env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=canary-collector");
    let mut child = command.spawn().unwrap();
    // A pipe that nobody empties would stop the process.
    let mut errors = child.stderr.take().unwrap();
    let log = tokio::spawn(async move {
        let mut log = String::new();
        errors.read_to_string(&mut log).await.unwrap();
        log
    });
    let mut banner = String::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while !banner.contains("Ready in ") {
        banner += &timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().expect("it ended before it was ready");
        banner.push('\n');
    }
    let url_that_ends = |end: &str| {
        let url = banner.split_whitespace().find(|word| word.starts_with("http://") && word.ends_with(end)).unwrap();
        url.trim_end_matches(end).to_owned()
    };
    let (url, metrics) = (url_that_ends("/graphql"), url_that_ends("/metrics"));
    // The samples were made in protected mode, with a token that the process made for itself.
    assert!(banner.contains("6 sample orders"), "{banner}");

    let http = Client::builder().no_proxy().build().unwrap();
    let mut heard = Heard::default();
    let forged = format!("{}canary-forged", &token[..token.len() - 13]);
    for bearer in [token, forged.as_str(), "canary-no-token"] {
        for (method, path) in [("GET", "/orders"), ("GET", "/invoices"), ("POST", "/orders"), ("GET", "/nothing")] {
            let request = http.request(method.parse().unwrap(), format!("{url}{path}")).bearer_auth(bearer);
            let request = request.header("idempotency-key", "canary-key").json(&json!({ "amount": 100 }));
            heard.hear_response(path, request.send().await.unwrap()).await;
        }
        for query in ["{ orders { nodes { id invoice { id } } } }", "{ nonsense }", "{"] {
            let request = http.post(format!("{url}/graphql")).bearer_auth(bearer).json(&json!({ "query": query }));
            heard.hear_response(query, request.send().await.unwrap()).await;
        }
        let mut socket = Socket::open(&url).await;
        let payload = json!({ "Authorization": format!("Bearer {bearer}") });
        socket.say(json!({ "type": "connection_init", "payload": payload })).await;
        if bearer == token {
            heard.hear("the acknowledgement", socket.hear().await.to_string());
            socket.subscribe("1", "{ orders { nodes { id } } }").await;
            heard.hear("an answer over WebSocket", socket.hear().await.to_string());
        } else {
            heard.hear("a close frame", format!("{:?}", socket.closed().await));
            let authorization = format!("Bearer {bearer}");
            let headers =
                [("sec-websocket-protocol", "graphql-transport-ws"), ("authorization", authorization.as_str())];
            heard.hear(
                "a refused upgrade",
                format!("{:?}", Socket::with(opening(&url, "/graphql/ws", &headers)).await.err()),
            );
        }
    }
    // What a client may say of itself and of others.
    for path in ["orders?customerId=personal-query", "orders/personal-path", "invoices/personal-path", "personal-path"]
    {
        let request = http.get(format!("{url}/{path}")).bearer_auth(token).header("baggage", "of=personal-baggage");
        let request = request.header("user-agent", "personal-agent").header("x-forwarded-for", "personal-address");
        heard.hear_response(path, request.send().await.unwrap()).await;
    }
    for (query, variables) in [
        (
            "mutation { createOrder(input: { amount: 7, customerId: \"personal-literal\" }) { order { id } } }",
            json!({}),
        ),
        (
            "mutation($of: ID) { createOrder(input: { amount: 7, customerId: $of }) { order { id } } }",
            json!({ "of": "personal-variable" }),
        ),
        ("{ order(id: \"personal-id\") { id } }", json!({})),
        ("{ orders { personalField } }", json!({})),
    ] {
        let request = http.post(format!("{url}/graphql")).bearer_auth(token);
        let request = request.json(&json!({ "query": query, "variables": variables }));
        heard.hear_response(query, request.send().await.unwrap()).await;
    }
    for credentials in ["Basic canary-basic", "Bearer canary-one canary-two", "canary-bare"] {
        let request = http.get(format!("{url}/orders")).header("authorization", credentials);
        heard.hear_response(credentials.split(' ').next().unwrap(), request.send().await.unwrap()).await;
    }
    heard.hear_response("/metrics", http.get(format!("{metrics}/metrics")).send().await.unwrap()).await;

    let pid = child.id().unwrap().to_string();
    let killed = Command::new("sh").args(["-c", &format!("kill -TERM {pid}")]).status().await.unwrap();
    assert!(killed.success() && timeout(PATIENCE, child.wait()).await.unwrap().unwrap().success());
    heard.hear("the banner", banner);
    heard.hear("the log", log.await.unwrap());
    heard.hear("the spans", format!("{:?}", receiver.spans()));

    let (_, log) = heard.0.iter().find(|(place, _)| place == "the log").unwrap();
    let (_, spans) = heard.0.iter().find(|(place, _)| place == "the spans").unwrap();
    assert!(log.len() > 100_000 && spans.contains("POST /orders"), "there is nothing to look at");
    // The signature is what makes a token good; its parts before are looked for with it.
    let signature = token.rsplit('.').next().unwrap();
    heard.assert_without(&["canary", signature]);
    let told = |place: &str| matches!(place, "the log" | "the spans" | "/metrics" | "the banner");
    heard.assert_without_in(told, &["personal", "createOrder(", "orders {"]);
    // Each request has its line, also one that nobody answered well.
    let access = log.lines().filter(|line| line.contains("\"target\":\"access\"")).count();
    assert!(access > 30, "{access} access lines");
}

#[tokio::test]
async fn a_development_token_is_made_from_the_settings_or_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, (name, value), expected) in [
        (&["token", "--operator"][..], ("APP_ENV", "production"), "APP_ENV=production: tokens are made by the issuer"),
        (&["token", "--operator"], ("JWT_SECRET", "canary-short"), "JWT_SECRET must have at least 32 bytes, not 12"),
        (&["token", "--operator"], ("JWT_ISSUER", ""), "JWT_ISSUER is not set"),
        (&["token", "--operator", "--expires", "1y"], ("A", ""), "like 30s, 15m, 1h or 7d; 30d at most"),
        (&["token", "--customer", ""], ("A", ""), "1 to 255 printable characters"),
        (&["token", "--customer", "a", "--operator"], ("A", ""), "cannot be used with"),
        (&["token"], ("A", ""), "--customer"),
        (&PORTS, ("JWT_SECRET", "canary-short"), "JWT_SECRET must have at least 32 bytes, not 12"),
        (&PORTS, ("JWT_LEEWAY_SECONDS", "301"), "--jwt-leeway-seconds <SECONDS>': 301 is not in 0..=300"),
        (&PORTS, ("JWT_JWKS_FILE", "/nowhere"), "JWT_SECRET and JWT_JWKS_FILE are set"),
        (&PORTS, ("JWT_AUDIENCE", ""), "JWT_AUDIENCE is empty"),
    ] {
        let mut command = tandem(folder.path(), arguments);
        command.env(name, value);
        let (made, token, error) = output(command).await;
        assert!(!made && token.is_empty() && error.contains(expected), "{name} {arguments:?}: {error}");
        assert!(!error.contains("canary"), "{error}");
    }
    let mut command = tandem(folder.path(), &PORTS);
    command.env_clear().env("APP_ENV", "production");
    let (started, _, error) = output(command).await;
    assert!(!started && error.contains("APP_ENV=production needs JWT_SECRET"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it began something before it refused");
    let claims = |token: &str| {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        let payload = URL_SAFE_NO_PAD.decode(token.trim().split('.').nth(1).unwrap()).unwrap();
        serde_json::from_slice::<Value>(&payload).unwrap()
    };
    let (_, token, _) = output(tandem(folder.path(), &["token", "--operator", "--expires", "15m"])).await;
    let claims = claims(&token);
    assert_eq!((&claims["roles"], &claims["iss"]), (&json!(["operator"]), &json!("https://issuer.test")));
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 900);
}

/// Nobody overlooks that everybody is let in.
#[tokio::test]
async fn an_open_process_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tandem(folder.path(), &[&PORTS[..], &["--no-seed"]].concat());
    let mut child = command.env_clear().spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut banner = String::new();
    while !banner.contains("Ready in") {
        banner += &timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
    }
    assert!(banner.contains("Access       open: whoever reaches a port may read and change everything"), "{banner}");
    child.kill().await.unwrap();
}
