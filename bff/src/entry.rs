//! The one way in, whatever the transport: what holds for a request as a whole is done here, around the schema.
//!
//! [`Entry::admit`] looks at a request before anything runs; every transport goes through it. [`Entry::run`] gives a
//! request its deadline and the state that its root fields share, and its answer the shape that the specification asks
//! for where the library's differs. [`Entry::stream`] does it for transports that go on, and knows subscriptions.

use std::{sync::Arc, time::Duration};

use async_graphql::{
    Name, PathSegment, Request, Response, ServerError, Value,
    parser::types::{ExecutableDocument, OperationDefinition, OperationType},
};
use chassis::{
    graphql::{
        GraphqlService, complete_variables, in_operation_span, is_refusal, operation, operation_name,
        remove_placeholders, request_error,
    },
    identity::caller_of_request,
    metrics::Metrics,
};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::time::Instant;

use crate::{
    compose::{Composer, Subgraphs},
    documents::Documents,
    guard::Guard,
    live::Live,
    metrics::GraphqlMetrics,
    schema::{ApiSchema, RequestState},
    selection::collect_fields,
};

/// How many errors a document is told of. Validation finds one at almost every token of a document made for that, and
/// some of them once for each level around it.
const MAX_REQUEST_ERRORS: usize = 50;

/// Executes requests.
#[derive(Clone)]
pub(crate) struct Entry {
    schema: ApiSchema,
    subgraphs: Arc<Subgraphs>,
    live: Live,
    documents: Arc<Documents>,
    guard: Guard,
    metrics: GraphqlMetrics,
    request_timeout: Duration,
}

/// A request that may run: its document is parsed and checked, its variables are complete.
pub(crate) struct Admitted {
    request: Request,
    kind: OperationType,
    name: Option<String>,
    /// The response keys of the root fields, in the order of the document.
    keys: Vec<Name>,
    has_placeholders: bool,
}

impl Entry {
    /// An entry to `schema`, which answers from `subgraphs`, and for live updates from `live`.
    pub(crate) fn new(
        schema: ApiSchema,
        subgraphs: Arc<Subgraphs>,
        live: Live,
        documents: Documents,
        guard: Guard,
        metrics: &Metrics,
        request_timeout: Duration,
    ) -> Self {
        let metrics = GraphqlMetrics::register(metrics, documents.operation_names());
        Self { schema, subgraphs, live, documents: Arc::new(documents), guard, metrics, request_timeout }
    }

    /// Runs any operation: one answer of a query or a mutation, those of a subscription until it ends. A first answer
    /// that [is a refusal](is_refusal) is the only one.
    pub(crate) fn stream(&self, admitted: Admitted) -> BoxStream<'static, Response> {
        if admitted.kind != OperationType::Subscription {
            let entry = self.clone();
            return stream::once(async move { entry.run(admitted).await }).boxed();
        }
        let Admitted { request, has_placeholders, .. } = admitted;
        let answers = self.schema.execute_stream(request.data(self.live.clone()));
        let metrics = self.metrics.clone();
        let finish = move |response| {
            let mut response = finish(response, has_placeholders);
            metrics.answered(&mut response);
            response
        };
        answers.map(finish).boxed()
    }

    fn look_at(&self, mut request: Request) -> Result<Admitted, ServerError> {
        self.guard.variables(&request.variables)?;
        let document = self.documents.find(&request)?;
        let executable = &document.executable;
        let operation = operation(executable, request.operation_name.as_deref())?;
        complete_variables(operation, &mut request.variables)?;
        let (kind, keys) = (operation.ty, root_keys(operation, executable));
        let name = operation_name(executable, request.operation_name.as_deref()).map(str::to_owned);
        if kind == OperationType::Subscription && keys.len() != 1 {
            return Err(single_root_field());
        }
        self.metrics.admitted(&document);
        request.set_parsed_query(executable.clone());
        Ok(Admitted { request, kind, name, keys, has_placeholders: document.has_placeholders })
    }
}

impl GraphqlService for Entry {
    type Admitted = Admitted;

    fn admit(&self, request: Request) -> Result<Admitted, ServerError> {
        self.look_at(request).inspect_err(|error| self.metrics.refused(error))
    }

    fn operation_type(admitted: &Admitted) -> OperationType {
        admitted.kind
    }

    async fn run(&self, Admitted { request, kind, name, keys, has_placeholders }: Admitted) -> Response {
        let running = self.metrics.begin(kind, name.as_deref());
        let caller = match caller_of_request(&request) {
            Ok(caller) => caller.clone(),
            Err(error) => return Response::from_errors(vec![error]),
        };
        let compose = Composer::new(Arc::clone(&self.subgraphs), Instant::now() + self.request_timeout, caller);
        let execution = self.schema.execute(request.data(RequestState::new(compose)));
        let response = in_operation_span(kind, name.as_deref(), execution).await;
        let mut response = finish(complete(response, &keys), has_placeholders);
        running.ended(&mut response);
        response
    }
}

/// GraphQL specification, "Single Root Field"; the library does not check it.
fn single_root_field() -> ServerError {
    request_error("GRAPHQL_VALIDATION_FAILED", "a subscription selects exactly one field", None)
}

/// What holds for each answer: a refusal is not endless, and what we put into the document is not in it.
fn finish(mut response: Response, has_placeholders: bool) -> Response {
    if is_refusal(&response) {
        response.errors.truncate(MAX_REQUEST_ERRORS);
    }
    if has_placeholders {
        remove_placeholders(&mut response.data);
    }
    response
}

/// The response keys of the root fields, in the order of the document.
fn root_keys(operation: &OperationDefinition, document: &ExecutableDocument) -> Vec<Name> {
    let fields = collect_fields([&operation.selection_set.node], &document.fragments);
    fields.into_iter().map(|field| field.response_key().node.clone()).collect()
}

/// Puts the root fields in the order in which they were asked for, and a null where one failed before it could answer.
///
/// The library orders them by the time of their answer, leaves out a field whose argument it cannot read, and says
/// `data: null` where all were skipped.
fn complete(mut response: Response, keys: &[Name]) -> Response {
    let failed: Vec<Name> = response
        .errors
        .iter()
        .filter_map(|error| match error.path.first() {
            Some(PathSegment::Field(key)) => Some(Name::new(key)),
            _ => None,
        })
        .collect();
    let mut fields = match std::mem::take(&mut response.data) {
        Value::Object(fields) => fields,
        // A request error: nothing was executed, so there is no data.
        Value::Null if !response.errors.is_empty() && failed.is_empty() => return response,
        _ => Default::default(),
    };
    for key in failed {
        fields.entry(key).or_insert(Value::Null);
    }
    fields.sort_by_cached_key(|name, _| keys.iter().position(|key| key == name));
    response.data = Value::Object(fields);
    response
}

#[cfg(test)]
mod tests {
    use async_graphql::{ServerError, value};

    use super::*;

    fn check(data: Value, failed: &[&str], expected: Value) {
        let keys = ["a", "b", "c"].map(Name::new);
        let mut response = Response::new(data);
        for key in failed {
            let mut error = ServerError::new("broken", None);
            error.path = vec![PathSegment::Field((*key).to_owned())];
            response.errors.push(error);
        }
        let order = |data: &Value| serde_json::to_string(data).unwrap();
        assert_eq!(order(&complete(response, &keys).data), order(&expected));
    }

    #[test]
    fn root_fields_are_all_there_in_the_order_of_the_document() {
        check(value!({ "c": 3, "a": 1 }), &[], value!({ "a": 1, "c": 3 }));
        check(value!({ "c": 3 }), &["b"], value!({ "b": null, "c": 3 }));
        check(Value::Null, &["b", "a"], value!({ "a": null, "b": null }));
        check(Value::Null, &[], value!({}));
    }

    #[test]
    fn a_request_error_has_no_data() {
        let response = Response::from_errors(vec![ServerError::new("not valid", None)]);
        assert_eq!(complete(response, &[]).data, Value::Null);
    }
}
