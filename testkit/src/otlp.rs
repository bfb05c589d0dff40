//! An OTLP/HTTP receiver: what a process exports arrives here, over the real transport.

use std::{
    io::Read,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
};
use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value},
    trace::v1::Span,
};
use prost::Message;
use tokio::net::TcpListener;

/// A collector that keeps what it is sent.
#[derive(Debug, Clone)]
pub struct OtlpReceiver {
    endpoint: String,
    received: Arc<Mutex<Received>>,
}

#[derive(Debug, Default)]
struct Received {
    spans: Vec<ReceivedSpan>,
    requests: Vec<ReceivedRequest>,
}

/// A span and the service it came from.
#[derive(Debug, Clone)]
pub struct ReceivedSpan {
    /// `service.name` of its resource.
    pub service: String,
    /// All attributes of its resource.
    pub resource: Vec<KeyValue>,
    /// The span.
    pub span: Span,
}

/// A batch of spans on its way here.
#[derive(Debug, Clone)]
pub struct ReceivedRequest {
    /// Where to.
    pub path: String,
    /// All headers.
    pub headers: HeaderMap,
    /// How many spans it brought.
    pub spans: usize,
}

impl ReceivedSpan {
    /// The trace id in hexadecimal.
    pub fn trace_id(&self) -> String {
        hex(&self.span.trace_id)
    }

    /// An attribute of the span as text.
    pub fn attribute(&self, key: &str) -> Option<String> {
        value_of(&self.span.attributes, key)
    }

    /// An attribute of its resource as text.
    pub fn resource_attribute(&self, key: &str) -> Option<String> {
        value_of(&self.resource, key)
    }
}

fn value_of(attributes: &[KeyValue], key: &str) -> Option<String> {
    attributes.iter().find(|attribute| attribute.key == key).map(|attribute| text(attribute.value.as_ref()))
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl OtlpReceiver {
    /// Starts one on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let receiver = Self { endpoint, received: Arc::default() };
        // Whatever the path: it is one of the things that a process may be told.
        let routes = Router::new().fallback(receive).with_state(Arc::clone(&receiver.received));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        receiver
    }

    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What has arrived so far.
    pub fn spans(&self) -> Vec<ReceivedSpan> {
        self.received.lock().unwrap().spans.clone()
    }

    /// What has arrived so far of one trace.
    pub fn trace(&self, trace_id: &str) -> Vec<ReceivedSpan> {
        let mut spans = self.spans();
        spans.retain(|span| span.trace_id() == trace_id);
        spans
    }

    /// The batches that have arrived so far.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.received.lock().unwrap().requests.clone()
    }
}

/// Turns tracing on in this test process, once: spans exist and their context travels, as in production.
pub fn trace_this_process() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let config = chassis::telemetry::TelemetryConfig::default();
        // For as long as the process lives: nothing is exported, so nothing is lost without a shutdown.
        std::mem::forget(chassis::telemetry::init_services("test", &[], &config, "off").unwrap());
    });
}

async fn receive(State(received): State<Arc<Mutex<Received>>>, request: Request) -> StatusCode {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, 64 * 1024 * 1024).await else { return StatusCode::BAD_REQUEST };
    let body = match head.headers.get(header::CONTENT_ENCODING) {
        Some(encoding) if encoding == "gzip" => {
            let mut plain = Vec::new();
            if GzDecoder::new(&body[..]).read_to_end(&mut plain).is_err() {
                return StatusCode::BAD_REQUEST;
            }
            plain.into()
        }
        _ => body,
    };
    let Ok(request) = ExportTraceServiceRequest::decode(body) else { return StatusCode::BAD_REQUEST };
    let mut spans = Vec::new();
    for resource in request.resource_spans {
        let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
        let service = value_of(&attributes, "service.name").unwrap_or_default();
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.push(ReceivedSpan { service: service.clone(), resource: attributes.clone(), span });
        }
    }
    let mut received = received.lock().unwrap();
    received.requests.push(ReceivedRequest {
        path: head.uri.path().to_owned(),
        headers: head.headers,
        spans: spans.len(),
    });
    received.spans.append(&mut spans);
    StatusCode::OK
}
