//! The one way in, whatever the transport: what holds for a request as a whole is done here, around the schema.
//!
//! [`Entry::admit`] looks at a request before anything runs; every transport goes through it. [`Entry::run`] gives a
//! request its deadline and the state that its root fields share, and its answer the shape that the specification asks
//! for where the library's differs.

use std::{sync::Arc, time::Duration};

use async_graphql::{
    Data, Executor, Name, PathSegment, Request, Response, ServerError, Value,
    parser::types::{ExecutableDocument, OperationDefinition, OperationType},
};
use chassis::graphql::{GraphqlService, complete_variables, operation, remove_placeholders};
use futures_util::{
    StreamExt,
    future::{Either, ready},
    stream::{self, BoxStream},
};
use tokio::time::Instant;

use crate::{
    compose::{Composer, Subgraphs},
    documents::Documents,
    guard::Guard,
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
    documents: Arc<Documents>,
    guard: Guard,
    request_timeout: Duration,
}

/// A request that may run: its document is parsed and checked, its variables are complete.
pub(crate) struct Admitted {
    request: Request,
    kind: OperationType,
    /// The response keys of the root fields, in the order of the document.
    keys: Vec<Name>,
    has_placeholders: bool,
}

impl Entry {
    /// An entry to `schema`, which answers from `subgraphs`.
    pub(crate) fn new(
        schema: ApiSchema,
        subgraphs: Arc<Subgraphs>,
        documents: Documents,
        guard: Guard,
        request_timeout: Duration,
    ) -> Self {
        Self { schema, subgraphs, documents: Arc::new(documents), guard, request_timeout }
    }
}

impl GraphqlService for Entry {
    type Admitted = Admitted;

    fn admit(&self, mut request: Request) -> Result<Admitted, ServerError> {
        self.guard.variables(&request.variables)?;
        let document = self.documents.find(&request)?;
        let executable = &document.executable;
        let operation = operation(executable, request.operation_name.as_deref())?;
        complete_variables(operation, &mut request.variables)?;
        let (kind, keys) = (operation.ty, root_keys(operation, executable));
        request.set_parsed_query(executable.clone());
        Ok(Admitted { request, kind, keys, has_placeholders: document.has_placeholders })
    }

    fn operation_type(admitted: &Admitted) -> OperationType {
        admitted.kind
    }

    async fn run(&self, Admitted { request, keys, has_placeholders, .. }: Admitted) -> Response {
        let compose = Composer::new(Arc::clone(&self.subgraphs), Instant::now() + self.request_timeout);
        let response = self.schema.execute(request.data(RequestState::new(compose))).await;
        let mut response = complete(response, &keys);
        if has_placeholders {
            remove_placeholders(&mut response.data);
        }
        response
    }
}

/// For transports that know the library's interface only.
impl Executor for Entry {
    async fn execute(&self, request: Request) -> Response {
        match self.admit(request) {
            Ok(admitted) => self.run(admitted).await,
            Err(refusal) => Response::from_errors(vec![refusal]),
        }
    }

    fn execute_stream(&self, request: Request, _session: Option<Arc<Data>>) -> BoxStream<'static, Response> {
        let entry = self.clone();
        let answer = match self.admit(request) {
            Ok(admitted) => Either::Left(async move { entry.run(admitted).await }),
            Err(refusal) => Either::Right(ready(Response::from_errors(vec![refusal]))),
        };
        stream::once(answer).boxed()
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
        Value::Null if !response.errors.is_empty() && failed.is_empty() => {
            response.errors.truncate(MAX_REQUEST_ERRORS);
            return response;
        }
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
