//! A root field runs once for each response key, however often a document selects it.
//!
//! `{ order(id: 1) { id } ...More } fragment More on Query { order(id: 1) { amount } }` selects one field in two
//! places. GraphQL merges the two selections and executes the field once; the library executes it twice and merges
//! the answers, which for a mutation means that it happens twice, and for a list that objects of two different
//! answers are mixed. Here the first to come fetches what all of them selected, and the others share its answer.

use std::{
    any::Any,
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use async_graphql::{Context, ErrorExtensions, Name, Result, parser::types::OperationType};
use chassis::graphql::ApiError;
use tokio::sync::OnceCell;
use tracing::{Instrument, Span, field::Empty, info_span};

use crate::{
    compose::Composer,
    selection::{Selection, collect_fields},
    subgraph::SubgraphError,
};

/// What a root field answers, shared by all places that select it.
type Answer<T> = OnceCell<Result<Option<Arc<T>>, SubgraphError>>;

/// What the root fields of one request share.
pub(crate) struct RequestState {
    compose: Composer,
    answers: Mutex<HashMap<Name, Arc<dyn Any + Send + Sync>>>,
}

impl RequestState {
    /// The state of a new request.
    pub(crate) fn new(compose: Composer) -> Self {
        Self { compose, answers: Mutex::default() }
    }

    /// The answer under `key`. `None` if another type is stored there, which [`crate::overlap`] rules out: fields with
    /// the same key are the same field with the same arguments.
    fn answer<T: Send + Sync + 'static>(&self, key: &Name) -> Option<Arc<Answer<T>>> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = answers.entry(key.clone()).or_insert_with(|| Arc::new(Answer::<T>::new()));
        Arc::clone(answer).downcast().ok()
    }
}

/// Answers a root field: with `fetch` for all that the request selects of it, or with what was fetched already.
pub(crate) async fn once<T, F, Fut>(ctx: &Context<'_>, fetch: F) -> Option<Result<Arc<T>>>
where
    T: Send + Sync + 'static,
    F: FnOnce(Composer, Selection) -> Fut,
    Fut: Future<Output = Result<Option<T>, SubgraphError>>,
{
    let state = match ctx.data::<RequestState>() {
        Ok(state) => state,
        Err(error) => return Some(Err(error)),
    };
    let key = &ctx.item.node.response_key().node;
    let Some(answer) = state.answer::<T>(key) else {
        return Some(Err(ApiError::internal(&format_args!("{key} stands for two different fields")).extend()));
    };
    let fetched = answer.get_or_init(|| {
        // Fields that wait for a service are the ones worth a span, and a number.
        let (root, field) = (root_of(ctx), &ctx.item.node.name.node);
        let span = info_span!("resolve", otel.name = format!("{root}.{field}"), otel.status_code = Empty,);
        async move {
            let fetching = fetch(state.compose.clone(), whole_selection(ctx, key));
            let found = state.compose.fields().measure(root, field, fetching).await;
            if found.is_err() {
                Span::current().record("otel.status_code", "ERROR");
            }
            found.map(|object| object.map(Arc::new))
        }
        .instrument(span)
    });
    match fetched.await {
        Ok(object) => object.clone().map(Ok),
        Err(error) => Some(Err(error.to_client())),
    }
}

/// The type that root fields are fields of.
fn root_of(ctx: &Context<'_>) -> &'static str {
    match ctx.query_env.operation.node.ty {
        OperationType::Query => "Query",
        OperationType::Mutation => "Mutation",
        OperationType::Subscription => "Subscription",
    }
}

/// All that the operation selects under the key of the field that is resolved.
pub(super) fn selection_of_item(ctx: &Context<'_>) -> Selection {
    whole_selection(ctx, &ctx.item.node.response_key().node)
}

/// All that the operation selects under `key`. The library has removed by now what `@skip` and `@include` leave out.
fn whole_selection(ctx: &Context<'_>, key: &Name) -> Selection {
    let fragments = &ctx.query_env.fragments;
    let root = &ctx.query_env.operation.node.selection_set.node;
    let fields = collect_fields([root], fragments);
    Selection::of(fields.into_iter().filter(|field| field.response_key().node == *key), fragments)
}
