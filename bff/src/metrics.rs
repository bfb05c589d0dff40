//! What is counted of the API: operations, what they cost, what is refused, what is open.
//!
//! The name of an operation is its client's to choose, so only names that we know become a label: those of our own pages,
//! and those of the trusted documents.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use async_graphql::{Response, ServerError, Value, parser::types::OperationType};
use chassis::{
    graphql::{complete_codes, is_refusal},
    label_set, label_value,
    metrics::{Counters, Histogram, Histograms, Metrics, http::BUCKETS},
};

use crate::{documents::Document, live::LiveGauges};

/// What documents ask for: selections, with each fragment counted wherever it is spread.
const SELECTIONS: &[f64] = &[1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];
/// Fields within each other.
const DEPTHS: &[f64] = &[1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 12.0, 16.0, 32.0];

/// The operations of the console and of the playground's examples.
const OUR_OPERATIONS: [&str; 6] = ["CancelOrder", "CreateOrder", "Orders", "PayInvoice", "Timeline", "WatchOrders"];
/// The most names of trusted documents that become a label; those beyond, by the alphabet, do not.
const MOST_NAMES: usize = 200;
/// For operations without a name.
const ANONYMOUS: &str = "anonymous";
/// For names that we do not know.
const OTHER: &str = "other";

label_value! {
    /// What an operation does.
    enum Kind {
        Query => "query",
        Mutation => "mutation",
        Subscription => "subscription",
    }
}

impl From<OperationType> for Kind {
    fn from(kind: OperationType) -> Self {
        match kind {
            OperationType::Query => Self::Query,
            OperationType::Mutation => Self::Mutation,
            OperationType::Subscription => Self::Subscription,
        }
    }
}

label_value! {
    /// How an operation ended.
    #[derive(PartialOrd, Ord)]
    enum Outcome {
        /// As it should.
        Ok => "ok",
        /// The request is at fault.
        ClientError => "client_error",
        /// We are, and a part of the answer is there.
        Partial => "partial",
        /// We are, and nothing is there.
        Error => "error",
        /// Nobody waited for the end.
        Canceled => "canceled",
    }
}

label_value! {
    /// The codes that our answers have.
    enum ErrorCode {
        BadCursor => "BAD_CURSOR",
        BadUserInput => "BAD_USER_INPUT",
        Forbidden => "FORBIDDEN",
        ParseFailed => "GRAPHQL_PARSE_FAILED",
        ValidationFailed => "GRAPHQL_VALIDATION_FAILED",
        Internal => "INTERNAL",
        PersistedQueryHashMismatch => "PERSISTED_QUERY_HASH_MISMATCH",
        PersistedQueryNotFound => "PERSISTED_QUERY_NOT_FOUND",
        PersistedQueryNotInList => "PERSISTED_QUERY_NOT_IN_LIST",
        PersistedQueryNotSupported => "PERSISTED_QUERY_NOT_SUPPORTED",
        QueryNotInList => "QUERY_NOT_IN_LIST",
        QueryTooComplex => "QUERY_TOO_COMPLEX",
        QueryTooLarge => "QUERY_TOO_LARGE",
        ServiceUnavailable => "SERVICE_UNAVAILABLE",
        Timeout => "TIMEOUT",
        Unauthenticated => "UNAUTHENTICATED",
        Other => "other",
    }
}

impl ErrorCode {
    fn of(error: &ServerError) -> Self {
        let code = match error.extensions.as_ref().and_then(|extensions| extensions.get("code")) {
            Some(Value::String(code)) => code.as_str(),
            _ => return Self::Other,
        };
        Self::ALL.iter().copied().find(|known| known.as_str() == code).unwrap_or(Self::Other)
    }

    /// Whether it is for us to mend.
    fn is_ours(self) -> bool {
        matches!(self, Self::Internal | Self::ServiceUnavailable | Self::Timeout)
    }
}

label_set! {
    struct Operation { operation_type: Kind, operation_name: Arc<str>, outcome: Outcome }
}
label_set! {
    struct OfCode { code: ErrorCode }
}
label_set! {
    struct Rejected { reason: ErrorCode }
}
label_set! {
    struct OfField { parent_type: &'static str, field: Arc<str> }
}

/// What is counted of operations. Clones are the same.
#[derive(Clone)]
pub(crate) struct GraphqlMetrics {
    names: Arc<BTreeSet<Arc<str>>>,
    duration: Histograms<Operation>,
    errors: Counters<OfCode>,
    rejected: Counters<Rejected>,
    complexity: Histogram,
    depth: Histogram,
}

impl GraphqlMetrics {
    /// With these names of operations as labels, beside our own.
    pub(crate) fn register(metrics: &Metrics, names: BTreeSet<String>) -> Self {
        let (known, more) = (names.len().min(MOST_NAMES), names.len().saturating_sub(MOST_NAMES));
        if more > 0 {
            tracing::warn!("{more} operations of the trusted documents are measured as {OTHER:?}, beyond {MOST_NAMES}");
        }
        let names = names.into_iter().take(known).map(Arc::from);
        Self {
            names: Arc::new(names.chain(OUR_OPERATIONS.map(Arc::from)).collect()),
            duration: metrics.histograms(
                "graphql_operation_duration_seconds",
                "Time of a query or a mutation. The outcome is partial or error where the fault is ours",
                BUCKETS,
            ),
            errors: metrics.counters("graphql_errors_total", "Errors in answers, by their code"),
            rejected: metrics.counters(
                "graphql_rejected_total",
                "Requests of which nothing was executed, by the code of the refusal",
            ),
            complexity: metrics.histogram(
                "graphql_query_complexity",
                "Selections of the documents that were let in, fragments counted wherever they are spread",
                SELECTIONS,
            ),
            depth: metrics.histogram(
                "graphql_query_depth",
                "Fields within each other, in the documents that were let in",
                DEPTHS,
            ),
        }
    }

    /// Counts a document that was let in.
    pub(crate) fn admitted(&self, document: &Document) {
        self.complexity.observe(document.size.selections as f64);
        self.depth.observe(document.size.depth as f64);
    }

    /// Counts a request that was not.
    pub(crate) fn refused(&self, error: &ServerError) {
        let code = ErrorCode::of(error);
        self.errors.get_or_create(&OfCode { code }).inc();
        self.rejected.get_or_create(&Rejected { reason: code }).inc();
    }

    /// Counts the errors of an answer, each of which has its code then.
    pub(crate) fn answered(&self, response: &mut Response) {
        complete_codes(response);
        for error in &response.errors {
            self.errors.get_or_create(&OfCode { code: ErrorCode::of(error) }).inc();
        }
        if let Some(first) = response.errors.first().filter(|_| is_refusal(response)) {
            self.rejected.get_or_create(&Rejected { reason: ErrorCode::of(first) }).inc();
        }
    }

    /// Begins to measure an operation, which is told how it ended.
    pub(crate) fn begin(&self, kind: OperationType, name: Option<&str>) -> Running {
        let operation_name = match name {
            None => ANONYMOUS.into(),
            Some(name) => self.names.get(name).map_or_else(|| OTHER.into(), Arc::clone),
        };
        let labels = Operation { operation_type: kind.into(), operation_name, outcome: Outcome::Canceled };
        Running { began: Instant::now(), labels, metrics: self.clone() }
    }
}

/// An operation that runs.
pub(crate) struct Running {
    began: Instant,
    labels: Operation,
    metrics: GraphqlMetrics,
}

impl Running {
    /// It has come to this answer.
    pub(crate) fn ended(mut self, response: &mut Response) {
        self.metrics.answered(response);
        self.labels.outcome = outcome(response);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.metrics.duration.get_or_create(&self.labels).observe(self.began.elapsed().as_secs_f64());
    }
}

fn outcome(response: &Response) -> Outcome {
    let of = |error: &ServerError| match ErrorCode::of(error).is_ours() {
        true if has_something(&response.data) => Outcome::Partial,
        true => Outcome::Error,
        false => Outcome::ClientError,
    };
    response.errors.iter().map(of).max().unwrap_or(Outcome::Ok)
}

/// Whether any root field has a value.
fn has_something(data: &Value) -> bool {
    matches!(data, Value::Object(fields) if fields.values().any(|value| *value != Value::Null))
}

/// How long fields take that wait for a service. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct FieldMetrics(Histograms<OfField>);

impl FieldMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        Self(metrics.histograms(
            "graphql_field_duration_seconds",
            "Time of the fields that wait for a service, everything below them included",
            BUCKETS,
        ))
    }

    /// Measures a field of our schema.
    pub(crate) async fn measure<T>(
        &self,
        parent_type: &'static str,
        field: &str,
        resolve: impl Future<Output = T>,
    ) -> T {
        let began = Instant::now();
        let value = resolve.await;
        let labels = OfField { parent_type, field: field.into() };
        self.0.get_or_create(&labels).observe(began.elapsed().as_secs_f64());
        value
    }
}

/// Has what live transports hold looked up.
pub(crate) fn look_at_live(gauges: &LiveGauges, metrics: &Metrics) {
    let all = [
        ("graphql_subscriptions_active", "Subscriptions that run", &gauges.subscriptions),
        ("graphql_websockets_active", "WebSockets that are open", &gauges.sockets),
        ("graphql_websocket_operations_active", "Operations that run over WebSockets", &gauges.operations),
        ("graphql_event_streams_active", "Event streams (SSE) that are open", &gauges.event_streams),
    ];
    for (name, help, gauge) in all {
        let gauge = gauge.clone();
        metrics.observed(name, help, move || Some(gauge.get() as f64));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use async_graphql::{ErrorExtensionValues, value};

    use super::*;

    fn response(data: Value, codes: &[&str]) -> Response {
        let mut response = Response::new(data);
        for code in codes {
            let mut error = ServerError::new("broken", None);
            let extensions: &mut ErrorExtensionValues = error.extensions.get_or_insert_default();
            extensions.set("code", *code);
            response.errors.push(error);
        }
        response
    }

    #[test]
    fn an_outcome_is_an_error_only_where_the_fault_is_ours() {
        let some = || value!({ "order": { "id": "1" }, "invoice": null });
        let none = || value!({ "order": null });
        for (data, codes, expected) in [
            (some(), &[][..], Outcome::Ok),
            (none(), &[], Outcome::Ok),
            (none(), &["BAD_CURSOR"], Outcome::ClientError),
            (Value::Null, &["GRAPHQL_VALIDATION_FAILED"], Outcome::ClientError),
            (some(), &["BAD_USER_INPUT", "TIMEOUT"], Outcome::Partial),
            (none(), &["SERVICE_UNAVAILABLE"], Outcome::Error),
            (Value::Null, &["INTERNAL"], Outcome::Error),
        ] {
            assert_eq!(outcome(&response(data, codes)), expected, "{codes:?}");
        }
    }

    #[test]
    fn a_code_that_we_do_not_have_is_another() {
        let response = response(Value::Null, &["MADE_UP", "TIMEOUT"]);
        assert_eq!(
            response.errors.iter().map(ErrorCode::of).collect::<Vec<_>>(),
            [ErrorCode::Other, ErrorCode::Timeout]
        );
        assert_eq!(ErrorCode::of(&ServerError::new("no code", None)), ErrorCode::Other);
    }

    /// Their names are the only ones that are labels where any document may run.
    #[test]
    fn our_operations_are_those_of_our_pages() {
        let mut names = BTreeSet::new();
        for file in ["web/console/api.js", "web/playground/src/examples.js"] {
            let text = fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
            for keyword in ["query ", "mutation ", "subscription "] {
                for (at, _) in text.match_indices(keyword) {
                    let rest = &text[at + keyword.len()..];
                    let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap();
                    // A definition, not a sentence about one.
                    if rest[end..].starts_with(['(', ' ']) && rest.starts_with(|c: char| c.is_ascii_uppercase()) {
                        names.insert(rest[..end].to_owned());
                    }
                }
            }
        }
        assert_eq!(names.into_iter().collect::<Vec<_>>(), OUR_OPERATIONS);
    }

    #[test]
    fn only_known_names_are_labels() {
        let metrics = GraphqlMetrics::register(&Metrics::new("test"), BTreeSet::from(["Trusted".to_owned()]));
        let label = |name| metrics.begin(OperationType::Query, name).labels.operation_name.to_string();
        assert_eq!(
            [Some("Trusted"), Some("Orders"), Some("Strange"), None].map(label),
            ["Trusted", "Orders", OTHER, ANONYMOUS]
        );
    }
}
