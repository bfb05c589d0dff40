//! The one way in, whatever the transport: what holds for a request as a whole is done here, around the schema.
//!
//! Here a request gets its deadline and the state that its root fields share, and its answer the shape that the
//! specification asks for where the library's differs.

use std::{sync::Arc, time::Duration};

use async_graphql::{
    Data, Executor, Name, PathSegment, Request, Response, ServerError, Value, Variables,
    parser::types::{DocumentOperations, ExecutableDocument, OperationDefinition, OperationType},
};
use chassis::graphql;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::time::Instant;

use crate::{
    compose::{Composer, Subgraphs},
    live::Live,
    overlap,
    schema::{ApiSchema, RequestState},
    selection::collect_fields,
};

/// Executes requests.
#[derive(Clone)]
pub(crate) struct Entry {
    schema: ApiSchema,
    subgraphs: Arc<Subgraphs>,
    live: Live,
    request_timeout: Duration,
}

/// A request that may run.
pub(crate) struct Admitted {
    request: Request,
    kind: OperationType,
    /// The response keys of the root fields, in the order of the document.
    keys: Vec<Name>,
}

impl Admitted {
    /// What kind of operation it is.
    pub(crate) fn kind(&self) -> OperationType {
        self.kind
    }
}

impl Entry {
    /// An entry to `schema`, which answers from `subgraphs`, and for live updates from `live`.
    pub(crate) fn new(schema: ApiSchema, subgraphs: Arc<Subgraphs>, live: Live, request_timeout: Duration) -> Self {
        Self { schema, subgraphs, live, request_timeout }
    }

    /// What every request passes first, over each transport.
    ///
    /// # Errors
    /// The answer that says what is wrong: request errors, without data.
    pub(crate) fn admit(&self, mut request: Request) -> Result<Admitted, Box<Response>> {
        let refuse = |error: ServerError| Box::new(Response::from_errors(vec![error]));
        let name = request.operation_name.clone();
        let document = request.parsed_query().map_err(|error| refuse(graphql::syntax_error(&error)))?;
        let (mut kind, mut keys) = (OperationType::Query, Vec::new());
        if let Some(operation) = operation(document, name.as_deref()) {
            overlap::check(operation, document).map_err(refuse)?;
            kind = operation.ty;
            keys = root_keys(operation, document);
            let defaults = defaults(operation);
            fill_in(&mut request.variables, defaults);
        }
        if kind == OperationType::Subscription && keys.len() != 1 {
            return Err(refuse(single_root_field()));
        }
        Ok(Admitted { request, kind, keys })
    }

    /// Runs a query or a mutation.
    pub(crate) async fn run(&self, Admitted { request, keys, .. }: Admitted) -> Response {
        let compose = Composer::new(Arc::clone(&self.subgraphs), Instant::now() + self.request_timeout);
        let response = self.schema.execute(request.data(RequestState::new(compose))).await;
        complete(response, &keys)
    }

    /// Runs any operation: one answer of a query or a mutation, those of a subscription until it ends. A first answer
    /// that [is a refusal](graphql::is_refusal) is the only one.
    pub(crate) fn stream(&self, admitted: Admitted) -> BoxStream<'static, Response> {
        match admitted.kind {
            OperationType::Subscription => self.schema.execute_stream(admitted.request.data(self.live.clone())).boxed(),
            OperationType::Query | OperationType::Mutation => {
                let entry = self.clone();
                stream::once(async move { entry.run(admitted).await }).boxed()
            }
        }
    }
}

impl Executor for Entry {
    async fn execute(&self, request: Request) -> Response {
        match self.admit(request) {
            Ok(admitted) => self.run(admitted).await,
            Err(refusal) => *refusal,
        }
    }

    fn execute_stream(&self, request: Request, _session: Option<Arc<Data>>) -> BoxStream<'static, Response> {
        match self.admit(request) {
            Ok(admitted) => self.stream(admitted),
            Err(refusal) => stream::once(std::future::ready(*refusal)).boxed(),
        }
    }
}

/// GraphQL specification, "Single Root Field"; the library does not check it.
fn single_root_field() -> ServerError {
    let mut error = ServerError::new("a subscription selects exactly one field", None);
    error.extensions.get_or_insert_default().set("code", "GRAPHQL_VALIDATION_FAILED");
    error
}

/// The operation that will run; `None` where the name decides for none, which execution then reports.
fn operation<'a>(document: &'a ExecutableDocument, name: Option<&str>) -> Option<&'a OperationDefinition> {
    match (&document.operations, name) {
        (DocumentOperations::Single(operation), None) => Some(&operation.node),
        (DocumentOperations::Multiple(all), Some(name)) => all.get(name).map(|operation| &operation.node),
        (DocumentOperations::Multiple(all), None) if all.len() == 1 => {
            all.values().next().map(|operation| &operation.node)
        }
        _ => None,
    }
}

/// The defaults of the operation's variables. The library knows them in arguments, but not in `@skip` and `@include`.
fn defaults(operation: &OperationDefinition) -> Vec<(Name, Value)> {
    let definitions = operation.variable_definitions.iter().map(|definition| &definition.node);
    definitions
        .filter_map(|definition| Some((definition.name.node.clone(), definition.default_value.as_ref()?.node.clone())))
        .collect()
}

fn fill_in(variables: &mut Variables, defaults: Vec<(Name, Value)>) {
    for (name, value) in defaults {
        variables.entry(name).or_insert(value);
    }
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
