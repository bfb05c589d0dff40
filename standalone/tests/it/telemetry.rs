//! What a process tells of itself as the environment has it: each variable of OpenTelemetry, one collector that is away and
//! one that hangs, the lines of the log.

use std::{collections::BTreeSet, time::Duration};

use reqwest::Client;
use serde_json::{Value, json};
use testkit::{
    PATIENCE, eventually,
    otlp::{OtlpReceiver, ReceivedSpan},
};
use tokio::{
    io::AsyncReadExt,
    net::TcpListener,
    process::Command,
    time::{Instant, timeout},
};
use uuid::Uuid;

use crate::process::{ANY_PORTS, Running, tandem};

/// What a caller upstream says of its trace.
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A run of the whole program with some variables, one order placed in it, and what came of it.
struct Run {
    receiver: OtlpReceiver,
    /// Where the order says it comes from.
    trace_ids: Vec<Value>,
    stdout: String,
    log: Vec<Value>,
}

impl Run {
    /// `extra` may name variables again, and so take the place of the usual ones; `{endpoint}` in a value is the receiver's.
    async fn with(extra: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let receiver = OtlpReceiver::start().await;
        let arguments = [&ANY_PORTS[..], &["--no-seed", "--quiet"]].concat();
        let mut command = patient(tandem(folder.path(), &arguments));
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint());
        command.env("LOG_FORMAT", "json").env("RUST_LOG", "info,opentelemetry=off");
        for (name, value) in extra {
            command.env(name, value.replace("{endpoint}", receiver.endpoint()));
        }
        let mut running = Running::start(command).await;
        let mut errors = running.child.stderr.take().unwrap();
        let log = tokio::spawn(async move {
            let mut log = String::new();
            errors.read_to_string(&mut log).await.unwrap();
            log
        });
        let trace_ids = place(&running.url()).await;
        crate::process::send(&running.child, "-TERM").await;
        let mut stdout = running.banner.clone();
        timeout(PATIENCE, async {
            while let Some(line) = running.lines.next_line().await.unwrap() {
                stdout += &line;
                stdout.push('\n');
            }
            assert!(running.child.wait().await.unwrap().success());
        })
        .await
        .unwrap();
        let log = log.await.unwrap().lines().map(|line| serde_json::from_str(line).unwrap_or_default()).collect();
        Self { receiver, trace_ids, stdout, log }
    }

    fn spans(&self) -> Vec<ReceivedSpan> {
        self.receiver.spans()
    }

    fn services(&self) -> BTreeSet<String> {
        self.spans().into_iter().map(|span| span.service).collect()
    }
}

/// A machine that is busy must not make a service look slow.
fn patient(mut command: Command) -> Command {
    command.env("SUBGRAPH_TIMEOUT_MS", "30000").env("REQUEST_TIMEOUT_MS", "30000");
    command
}

/// Places an order in the caller's trace, waits for its invoice, and answers the trace ids of its timeline.
async fn place(url: &str) -> Vec<Value> {
    let http = Client::builder().no_proxy().build().unwrap();
    let ask = async |query: &str, variables: Value| -> Value {
        let request = http.post(format!("{url}/graphql")).header("traceparent", TRACEPARENT);
        let request = request.header("baggage", "tenant=seven");
        request.json(&json!({ "query": query, "variables": variables })).send().await.unwrap().json().await.unwrap()
    };
    let placed = ask("mutation { createOrder(input: { amount: 5 }) { order { id } } }", json!({})).await;
    let id = &placed["data"]["createOrder"]["order"]["id"];
    eventually("the invoice is in the timeline", || async {
        let answer = ask("query($id: ID!) { order(id: $id) { timeline { traceId } } }", json!({ "id": id })).await;
        let timeline = answer["data"]["order"]["timeline"].as_array().unwrap().clone();
        (timeline.len() == 2).then(|| timeline.into_iter().map(|event| event["traceId"].clone()).collect())
    })
    .await
}

/// Batches leave after a minute; only the flush at the end can have sent them.
#[tokio::test]
async fn the_last_spans_leave_with_the_process() {
    let run = Run::with(&[("OTEL_BSP_SCHEDULE_DELAY", "60000")]).await;
    let trace = run.receiver.trace(TRACE_ID);
    let names: BTreeSet<&str> = trace.iter().map(|span| span.span.name.as_str()).collect();
    for expected in ["POST /graphql", "create tandem.events:order.created", "INSERT invoices", "INSERT order_history"] {
        assert!(names.contains(expected), "{expected} is not in {names:?}");
    }
}

/// One process, three services: a trace shows which of them did what.
#[tokio::test]
async fn the_spans_of_each_service_carry_its_name_in_one_process_too() {
    let run = Run::with(&[]).await;
    assert_eq!(run.services(), ["bff", "invoices", "orders"].map(str::to_owned).into());
    for span in run.receiver.trace(TRACE_ID) {
        let name = span.span.name.as_str();
        let expected: &[&str] = match name {
            "mutation" | "POST /graphql" | "query" => &["bff", "orders"],
            "Mutation.createOrder" => &["bff"],
            "INSERT orders" | "INSERT order_history" | "create tandem.events:order.created" => &["orders"],
            "publish tandem.events:order.created" => &["orders"],
            "INSERT invoices" | "create tandem.events:invoice.issued" => &["invoices"],
            "process tandem.events:order.created:orders" => &["invoices"],
            "process tandem.events:invoice.issued:orders.invoice-events" => &["orders"],
            _ => &["bff", "orders", "invoices"],
        };
        assert!(expected.contains(&span.service.as_str()), "{name} is of {}", span.service);
        assert_eq!(span.resource_attribute("service.version").as_deref(), Some(env!("CARGO_PKG_VERSION")));
        let instance = span.resource_attribute("service.instance.id").unwrap();
        assert!(Uuid::try_parse(&instance).is_ok(), "{instance}");
    }
}

#[tokio::test]
async fn otel_service_name_is_the_name_of_all() {
    let run = Run::with(&[("OTEL_SERVICE_NAME", "shop")]).await;
    assert_eq!(run.services(), ["shop".to_owned()].into());
    assert!(run.log.iter().all(|line| line["service.name"] == "shop"), "{:?}", run.log);
}

#[tokio::test]
async fn otel_resource_attributes_are_on_every_span_and_have_the_last_word() {
    let attributes = "deployment.environment.name=staging,service.version=9.9,service.instance.id=seven";
    let run = Run::with(&[("OTEL_RESOURCE_ATTRIBUTES", attributes)]).await;
    assert_eq!(run.services().len(), 3);
    for span in run.spans() {
        for (key, value) in attributes.split(',').map(|pair| pair.split_once('=').unwrap()) {
            assert_eq!(span.resource_attribute(key).as_deref(), Some(value));
        }
    }
}

#[tokio::test]
async fn otel_traces_exporter_none_sends_nothing_and_traces_go_on() {
    let run = Run::with(&[("OTEL_TRACES_EXPORTER", "none")]).await;
    assert!(run.receiver.requests().is_empty());
    assert_eq!(run.trace_ids, [TRACE_ID, TRACE_ID]);
}

#[tokio::test]
async fn otel_traces_exporter_console_writes_lines() {
    let run = Run::with(&[("OTEL_TRACES_EXPORTER", "console")]).await;
    assert!(run.receiver.requests().is_empty());
    let lines: Vec<&str> = run.stdout.lines().filter(|line| line.starts_with(TRACE_ID)).collect();
    assert!(lines.iter().any(|line| line.contains("orders Client \"INSERT orders\"")), "{}", run.stdout);
}

#[tokio::test]
async fn otel_sdk_disabled_makes_no_spans_and_passes_the_callers_trace_on() {
    let run = Run::with(&[("OTEL_SDK_DISABLED", "true")]).await;
    assert!(run.receiver.requests().is_empty());
    assert_eq!(run.trace_ids, [TRACE_ID, TRACE_ID]);
}

#[tokio::test]
async fn otel_propagators_says_which_headers_are_read() {
    for (propagators, continued) in
        [("tracecontext", true), ("baggage,tracecontext", true), ("baggage", false), ("none", false)]
    {
        let run = Run::with(&[("OTEL_PROPAGATORS", propagators)]).await;
        assert_eq!(!run.receiver.trace(TRACE_ID).is_empty(), continued, "{propagators}");
        assert!(!run.spans().is_empty());
    }
}

#[tokio::test]
async fn otel_exporter_otlp_endpoint_is_a_base_and_that_of_traces_is_not() {
    let run = Run::with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "{endpoint}/base")]).await;
    assert!(run.receiver.requests().iter().all(|request| request.path == "/base/v1/traces"));
    assert!(!run.spans().is_empty());
    let run = Run::with(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "{endpoint}/exactly/here"),
    ])
    .await;
    assert!(run.receiver.requests().iter().all(|request| request.path == "/exactly/here"));
    assert!(!run.spans().is_empty());
}

#[tokio::test]
async fn otel_exporter_otlp_headers_are_sent() {
    let run = Run::with(&[("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20abc,x-tenant=seven")]).await;
    let requests = run.receiver.requests();
    assert!(!requests.is_empty());
    for request in requests {
        assert_eq!(request.headers["authorization"], "Basic abc");
        assert_eq!(request.headers["x-tenant"], "seven");
    }
}

#[tokio::test]
async fn otel_exporter_otlp_compression_and_protocol_are_kept_to() {
    let run =
        Run::with(&[("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")])
            .await;
    let requests = run.receiver.requests();
    assert!(!requests.is_empty() && !run.spans().is_empty());
    for request in requests {
        assert_eq!(request.headers["content-encoding"], "gzip");
        assert_eq!(request.headers["content-type"], "application/x-protobuf");
    }
}

#[tokio::test]
async fn otel_traces_sampler_decides_and_its_argument_is_the_share() {
    // The caller has decided that its trace is recorded; `always_off` does not care.
    for (sampler, argument, recorded) in [
        ("always_off", "", false),
        ("parentbased_always_off", "", true),
        ("traceidratio", "0", false),
        ("traceidratio", "1", true),
    ] {
        let run = Run::with(&[("OTEL_TRACES_SAMPLER", sampler), ("OTEL_TRACES_SAMPLER_ARG", argument)]).await;
        assert_eq!(!run.receiver.trace(TRACE_ID).is_empty(), recorded, "{sampler} {argument}");
        // Recorded or not, it is one trace.
        assert_eq!(run.trace_ids, [TRACE_ID, TRACE_ID], "{sampler}");
    }
}

#[tokio::test]
async fn otel_bsp_max_export_batch_size_bounds_a_batch() {
    let run = Run::with(&[("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "3"), ("OTEL_BSP_SCHEDULE_DELAY", "60000")]).await;
    let requests = run.receiver.requests();
    assert!(requests.len() > 3 && requests.iter().all(|request| request.spans <= 3), "{requests:?}");
}

#[tokio::test]
async fn otel_bsp_schedule_delay_sends_spans_while_the_process_runs() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = OtlpReceiver::start().await;
    let mut command = patient(tandem(folder.path(), &[&ANY_PORTS[..], &["--no-seed", "--quiet"]].concat()));
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint()).env("OTEL_BSP_SCHEDULE_DELAY", "20");
    let running = Running::start(command).await;
    place(&running.url()).await;
    eventually("spans have come", || async { receiver.spans().pop() }).await;
    assert!(running.stop("-TERM").await.success());
}

#[tokio::test]
async fn otel_span_limits_are_kept() {
    let run = Run::with(&[("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "2"), ("OTEL_SPAN_LINK_COUNT_LIMIT", "0")]).await;
    let spans = run.spans();
    assert!(!spans.is_empty());
    for span in &spans {
        assert!(span.span.attributes.len() <= 2 && span.span.links.is_empty(), "{span:?}");
    }
    // What belongs to whom is no attribute.
    assert_eq!(run.services().len(), 3);
}

#[tokio::test]
async fn otel_log_level_lets_the_exporter_speak() {
    let speaks =
        |log: &[Value]| log.iter().any(|line| line["target"].as_str().is_some_and(|t| t.starts_with("opentelemetry")));
    let quiet = Run::with(&[("RUST_LOG", "")]).await;
    assert!(!speaks(&quiet.log), "{:?}", quiet.log);
    let run = Run::with(&[("RUST_LOG", ""), ("OTEL_LOG_LEVEL", "debug")]).await;
    assert!(speaks(&run.log), "{:?}", run.log);
}

#[tokio::test]
async fn a_wrong_variable_is_refused_by_name_and_says_what_is_allowed() {
    for (name, value, expected) in [
        (
            "OTEL_TRACES_EXPORTER",
            "zipkin",
            "OTEL_TRACES_EXPORTER may list otlp and console, or be none, not \"zipkin\"",
        ),
        ("OTEL_PROPAGATORS", "b3", "OTEL_PROPAGATORS may list tracecontext and baggage, or be none, not \"b3\""),
        ("OTEL_SDK_DISABLED", "1", "OTEL_SDK_DISABLED must be true or false, not \"1\""),
        ("OTEL_TRACES_SAMPLER", "xray", "OTEL_TRACES_SAMPLER must be one of always_on, always_off, traceidratio"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf, not \"grpc\""),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "OTEL_EXPORTER_OTLP_COMPRESSION must be gzip or not set"),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "collector:4318",
            "OTEL_EXPORTER_OTLP_ENDPOINT must be an http:// or https:// URL",
        ),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "OTEL_EXPORTER_OTLP_TIMEOUT must be a whole number from 1, not \"10s\""),
        ("OTEL_BSP_SCHEDULE_DELAY", "0", "OTEL_BSP_SCHEDULE_DELAY must be a whole number from 1, not \"0\""),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "-1", "OTEL_SPAN_LINK_COUNT_LIMIT must be a whole number from 0, not \"-1\""),
        ("OTEL_LOG_LEVEL", "loud", "OTEL_LOG_LEVEL must be none, error, warn, info, debug or trace, not \"loud\""),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "canary",
            "OTEL_EXPORTER_OTLP_HEADERS must be a list like name=value,name=value",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let output = tandem(folder.path(), &ANY_PORTS).env(name, value).output().await.unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(expected), "{name}={value}: {error}");
        assert!(!error.contains("canary"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it began something before it refused");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = tandem(folder.path(), &ANY_PORTS);
    command.env("OTEL_TRACES_SAMPLER", "traceidratio").env("OTEL_TRACES_SAMPLER_ARG", "50%");
    let error = String::from_utf8(command.output().await.unwrap().stderr).unwrap();
    assert!(error.contains("OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1, not \"50%\""), "{error}");
}

#[tokio::test]
async fn otel_exporter_otlp_timeout_is_how_long_a_collector_may_take() {
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", hanging.local_addr().unwrap());
    let waited = tokio::spawn(async move {
        let (mut stream, _) = hanging.accept().await.unwrap();
        let began = Instant::now();
        // Until the process has had enough.
        while stream.read(&mut [0; 4096]).await.is_ok_and(|length| length > 0) {}
        began.elapsed()
    });
    Run::with(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "300"),
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
    ])
    .await;
    let waited = timeout(PATIENCE, waited).await.unwrap().unwrap();
    // The default is ten seconds.
    assert!((Duration::from_millis(250)..Duration::from_secs(8)).contains(&waited), "{waited:?}");
}

/// Nobody is there, or somebody who takes the connection and never answers: requests do not notice, the process ends, and
/// the log says once what was lost.
#[tokio::test]
async fn a_collector_that_is_away_or_hangs_costs_requests_nothing() {
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = hanging.local_addr().unwrap();
    let held = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = hanging.accept().await {
            held.push(stream);
        }
    });
    for endpoint in ["http://127.0.0.1:9".to_owned(), format!("http://{address}")] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = patient(tandem(folder.path(), &[&ANY_PORTS[..], &["--no-seed", "--quiet"]].concat()));
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint).env("OTEL_EXPORTER_OTLP_TIMEOUT", "2000");
        command.env("OTEL_BSP_SCHEDULE_DELAY", "20").env("OTEL_BSP_MAX_QUEUE_SIZE", "20").env("LOG_FORMAT", "json");
        let mut running = Running::start(command).await;
        let mut errors = running.child.stderr.take().unwrap();
        let log = tokio::spawn(async move {
            let mut log = String::new();
            errors.read_to_string(&mut log).await.unwrap();
            log
        });
        // Far more spans than the queue takes.
        for _ in 0..20 {
            let began = Instant::now();
            place(&running.url()).await;
            assert!(began.elapsed() < PATIENCE / 4, "{endpoint}: {:?}", began.elapsed());
        }
        let began = Instant::now();
        assert!(running.stop("-TERM").await.success());
        assert!(began.elapsed() < Duration::from_secs(30), "{endpoint}: {:?}", began.elapsed());
        let log = log.await.unwrap();
        let lost: Vec<&str> = log.lines().filter(|line| line.contains("spans") && line.contains("dropped")).collect();
        // Each of the three services has its own way out.
        assert!((1..=3).contains(&lost.len()), "{endpoint}: {log}");
        // `OTEL_BSP_MAX_QUEUE_SIZE`.
        assert!(lost.iter().all(|line| line.contains("\"queue.size\":20")), "{lost:?}");
    }
    held.abort();
}

/// OpenTelemetry, "Trace Context in non-OTLP Log Formats"; the rest is what whoever reads it asks for.
#[tokio::test]
async fn every_line_of_the_log_is_an_object_with_the_same_fields() {
    let run = Run::with(&[]).await;
    assert!(run.log.len() > 10, "{:?}", run.log);
    for line in &run.log {
        for field in ["timestamp", "level", "target", "message", "service.name", "service.version"] {
            assert!(line[field].is_string(), "{field} is not in {line}");
        }
        let time = line["timestamp"].as_str().unwrap();
        assert!(time.ends_with('Z'), "{time}");
    }
    let access: Vec<&Value> = run.log.iter().filter(|line| line["target"] == "access").collect();
    let posted = access.iter().find(|line| line["service.name"] == "bff").unwrap();
    assert_eq!(posted["message"], "POST /graphql 200");
    assert_eq!(posted["http.route"], "/graphql");
    assert_eq!(posted["http.response.status_code"], 200);
    assert!(posted["duration_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(posted["trace_id"], TRACE_ID);
    assert_eq!(posted["span_id"].as_str().unwrap().len(), 16);
    let outcomes: Vec<&Value> = run.log.iter().filter(|line| line["target"] == "outcome").collect();
    let services: Vec<&Value> = outcomes.iter().map(|line| &line["service.name"]).collect();
    assert_eq!(services, ["invoices", "orders"], "{outcomes:?}");
    for outcome in outcomes {
        assert_eq!((&outcome["outcome"], &outcome["trace_id"]), (&json!("ack"), &json!(TRACE_ID)));
    }
}
