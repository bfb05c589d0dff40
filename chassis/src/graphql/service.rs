//! What the endpoint needs of a schema: a request is admitted first, and runs then.
//!
//! Two steps, because a transport may have to look at what would run before it does: a mutation must not come by GET,
//! also not where the request carries only the hash of its document.

use std::future::Future;

use async_graphql::{
    ObjectType, Request, Response, Schema, ServerError, SubscriptionType, parser::types::OperationType,
};

use super::{
    operation::{complete_variables, operation, operation_name, parse, request_error},
    placeholder::{add_placeholders, remove_placeholders},
    span::in_operation_span,
};

/// A schema as it is served.
pub trait GraphqlService: Clone + Send + Sync + 'static {
    /// A request that may run.
    type Admitted: Send;

    /// Checks everything that can be checked before execution by looking at the request alone.
    ///
    /// # Errors
    /// What is wrong with the request: the one error of an answer without data.
    fn admit(&self, request: Request) -> Result<Self::Admitted, ServerError>;

    /// What kind of operation an admitted request is.
    fn operation_type(admitted: &Self::Admitted) -> OperationType;

    /// Runs a query or a mutation.
    fn run(&self, admitted: Self::Admitted) -> impl Future<Output = Response> + Send;
}

/// A schema on its own, for callers that we trust not to be malicious: there is no limit but the library's.
impl<Query, Mutation, Subscription> GraphqlService for Schema<Query, Mutation, Subscription>
where
    Query: ObjectType + 'static,
    Mutation: ObjectType + 'static,
    Subscription: SubscriptionType + 'static,
{
    type Admitted = Admitted;

    fn admit(&self, mut request: Request) -> Result<Admitted, ServerError> {
        // It carries a hash instead, and we keep no documents. Clients compare the message.
        if request.query.is_empty() {
            let message = "PersistedQueryNotSupported";
            return Err(request_error("PERSISTED_QUERY_NOT_SUPPORTED", message, None));
        }
        let mut document = parse(&request.query)?;
        let operation = operation(&document, request.operation_name.as_deref())?;
        complete_variables(operation, &mut request.variables)?;
        let kind = operation.ty;
        let name = operation_name(&document, request.operation_name.as_deref()).map(str::to_owned);
        let has_placeholders = add_placeholders(&mut document);
        request.set_parsed_query(document);
        Ok(Admitted { request, kind, name, has_placeholders })
    }

    fn operation_type(admitted: &Admitted) -> OperationType {
        admitted.kind
    }

    async fn run(&self, Admitted { request, kind, name, has_placeholders }: Admitted) -> Response {
        let mut response = in_operation_span(kind, name.as_deref(), self.execute(request)).await;
        if has_placeholders {
            remove_placeholders(&mut response.data);
        }
        response
    }
}

/// A request that may run.
#[derive(Debug)]
pub struct Admitted {
    request: Request,
    kind: OperationType,
    name: Option<String>,
    has_placeholders: bool,
}
