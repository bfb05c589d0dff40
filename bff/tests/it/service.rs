//! A stand-in for a service: answers GraphQL from a fixed set of objects, exactly as selected, and records what it is
//! asked. It can be told to misbehave.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_graphql::parser::{
    parse_query,
    types::{DocumentOperations, Selection, SelectionSet},
};
use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::post,
};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{Barrier, Semaphore},
    task::JoinHandle,
};

/// Answers a root field: the whole object, whatever is selected of it.
pub(crate) type Resolver = dyn Fn(&str, &Value) -> Value + Send + Sync;

/// What the service does instead of answering.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// Another status, with a text that no client may see.
    Status(u16),
    /// This body.
    Body(Value),
    /// A body that is no JSON.
    NotJson,
    /// A body that is far too long.
    Endless,
    /// JSON that is declared as something else.
    NotDeclared,
    /// Half a body, then the connection breaks.
    Cut,
    /// This body for each call.
    Answer(fn(&Call) -> Value),
    /// Nothing, for ever.
    Silence,
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) query: String,
    pub(crate) variables: Value,
    pub(crate) headers: HeaderMap,
}

/// The service. It ends with its test.
pub(crate) struct Service {
    pub(crate) port: u16,
    state: Arc<Shared>,
    server: JoinHandle<()>,
}

struct Shared {
    resolve: Box<Resolver>,
    sdl: Mutex<String>,
    gate: Mutex<Option<Arc<Semaphore>>>,
    calls: Mutex<Vec<Call>>,
    trouble: Mutex<Option<Trouble>>,
    barrier: Mutex<Option<Arc<Barrier>>>,
}

impl Service {
    /// Starts a service with this schema.
    pub(crate) async fn start(sdl: &str, resolve: impl Fn(&str, &Value) -> Value + Send + Sync + 'static) -> Self {
        Self::start_on(0, sdl, resolve).await
    }

    /// The same, on this port.
    pub(crate) async fn start_on(
        port: u16,
        sdl: &str,
        resolve: impl Fn(&str, &Value) -> Value + Send + Sync + 'static,
    ) -> Self {
        let resolve = Box::new(resolve);
        let (sdl, gate) = (Mutex::new(sdl.to_owned()), Mutex::default());
        let state = Arc::new(Shared {
            resolve,
            sdl,
            gate,
            calls: Mutex::default(),
            trouble: Mutex::default(),
            barrier: Mutex::default(),
        });
        let routes = Router::new().route("/graphql", post(answer)).with_state(Arc::clone(&state));
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { port, state, server }
    }

    /// What arrived since the last time.
    pub(crate) fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut *lock(&self.state.calls))
    }

    /// The documents that arrived since the last time.
    pub(crate) fn take_queries(&self) -> Vec<String> {
        self.take_calls().into_iter().map(|call| call.query).collect()
    }

    pub(crate) fn misbehave(&self, trouble: Trouble) {
        *lock(&self.state.trouble) = Some(trouble);
    }

    pub(crate) fn behave(&self) {
        *lock(&self.state.trouble) = None;
    }

    /// From now on answers only when as many calls have arrived as the barrier waits for.
    pub(crate) fn meet_at(&self, barrier: &Arc<Barrier>) {
        *lock(&self.state.barrier) = Some(Arc::clone(barrier));
    }

    /// From now on shows another schema.
    pub(crate) fn show_schema(&self, sdl: &str) {
        *lock(&self.state.sdl) = sdl.to_owned();
    }

    /// From now on answers a call for each permit.
    pub(crate) fn shut(&self) -> Arc<Semaphore> {
        Arc::clone(lock(&self.state.gate).insert(Arc::new(Semaphore::new(0))))
    }

    /// How many calls arrived since they were taken.
    pub(crate) fn count_calls(&self) -> usize {
        lock(&self.state.calls).len()
    }

    /// Goes away: connections break, and new ones are refused.
    pub(crate) async fn go_down(&mut self) {
        self.server.abort();
        let _ = (&mut self.server).await;
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(State(shared): State<Arc<Shared>>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    if body["query"] == "{_service{sdl}}" {
        let sdl = lock(&shared.sdl).clone();
        return Json(json!({ "data": { "_service": { "sdl": sdl } } })).into_response();
    }
    let call =
        Call { query: body["query"].as_str().unwrap().to_owned(), variables: body["variables"].clone(), headers };
    lock(&shared.calls).push(call.clone());
    let barrier = lock(&shared.barrier).clone();
    if let Some(barrier) = barrier {
        barrier.wait().await;
    }
    let gate = lock(&shared.gate).clone();
    if let Some(gate) = gate {
        gate.acquire().await.unwrap().forget();
    }
    let trouble = lock(&shared.trouble).clone();
    match trouble {
        None => Json(execute(&*shared.resolve, &call)).into_response(),
        Some(Trouble::Status(status)) => {
            let status = StatusCode::from_u16(status).unwrap();
            (status, "connection to db-7.internal:5432 refused").into_response()
        }
        Some(Trouble::Body(body)) => Json(body).into_response(),
        Some(Trouble::Answer(answer)) => Json(answer(&call)).into_response(),
        Some(Trouble::NotJson) => ([(CONTENT_TYPE, "application/json")], "<html>it works</html>").into_response(),
        Some(Trouble::NotDeclared) => execute(&*shared.resolve, &call).to_string().into_response(),
        Some(Trouble::Endless) => {
            let megabyte = Bytes::from(vec![b' '; 1024 * 1024]);
            let body = Body::from_stream(stream::repeat_with(move || Ok::<_, std::io::Error>(megabyte.clone())));
            ([(CONTENT_TYPE, "application/json")], body).into_response()
        }
        Some(Trouble::Cut) => {
            let half = Ok(Bytes::from_static(b"{\"data\":{\"ord"));
            let chunks = stream::iter([half, Err(std::io::Error::other("cut"))]);
            ([(CONTENT_TYPE, "application/json")], Body::from_stream(chunks)).into_response()
        }
        Some(Trouble::Silence) => std::future::pending().await,
    }
}

fn execute(resolve: &Resolver, call: &Call) -> Value {
    let document = parse_query(&call.query).unwrap();
    let DocumentOperations::Single(operation) = &document.operations else { panic!("one operation") };
    let [root] = &operation.node.selection_set.node.items[..] else { panic!("one root field") };
    let Selection::Field(root) = &root.node else { panic!("a field") };
    let name = root.node.name.node.as_str();
    json!({ "data": { name: project(&resolve(name, &call.variables), &root.node.selection_set.node) } })
}

/// What `selection` selects of `value`.
fn project(value: &Value, selection: &SelectionSet) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| project(item, selection)).collect(),
        Value::Object(object) if !selection.items.is_empty() => {
            let mut selected = serde_json::Map::new();
            for item in &selection.items {
                match &item.node {
                    Selection::Field(field) => {
                        let name = field.node.name.node.as_str();
                        let value = object.get(name).unwrap_or_else(|| panic!("no field {name}"));
                        selected.insert(name.to_owned(), project(value, &field.node.selection_set.node));
                    }
                    Selection::InlineFragment(fragment) => {
                        let Value::Object(more) = project(value, &fragment.node.selection_set.node) else { continue };
                        selected.extend(more);
                    }
                    Selection::FragmentSpread(_) => panic!("no named fragments travel"),
                }
            }
            Value::Object(selected)
        }
        _ => value.clone(),
    }
}
