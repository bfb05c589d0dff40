//! One WebSocket: a session of `graphql-transport-ws` from its first message to its close frame.
//!
//! Three parts that meet in one bounded queue: the reader takes messages and starts operations, each operation is a task
//! that puts its answers into the queue, and the writer sends them. A client that does not read fills the queue, and
//! then its own operations wait, nobody else's; one that takes nothing at all for [`WRITE`] is dropped. Whatever way a
//! session ends, its operations end with it.

use std::{collections::HashMap, future::ready, pin::pin, sync::Arc, time::Duration};

use async_graphql::{Request, Response, parser::types::OperationType};
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use chassis::{
    graphql::{GraphqlService, request_error},
    identity::{Caller, Refusal},
    propagation,
};
use futures_util::{
    SinkExt, StreamExt,
    stream::{self, SplitSink, SplitStream},
};
use tokio::{
    sync::mpsc::{self, Receiver, Sender},
    task::{AbortHandle, JoinSet},
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};
use tracing::{Instrument, info_span};

use super::{
    Transports,
    gate::expired,
    protocol::{self, ClientMessage, Close, SUBPROTOCOL},
};
use crate::entry::Entry;

/// How many messages wait for a client.
const QUEUE: usize = 16;

/// How long a client may take for one message.
const WRITE: Duration = Duration::from_secs(30);

/// How long a client may take to answer a close frame.
const GOODBYE: Duration = Duration::from_secs(2);

/// Why a session is over.
enum End {
    /// We end it, and say why.
    Close(Close),
    /// The client is gone, or silent.
    Gone,
}

/// Serves `socket` to its end. Its opener may have shown a token.
pub(super) async fn serve(socket: WebSocket, transports: Transports, opened_by: Option<Caller>) {
    let spoken = socket.protocol().and_then(|name| name.to_str().ok()) == Some(SUBPROTOCOL);
    let (mut sink, stream) = socket.split();
    let (out, mut queue) = mpsc::channel(QUEUE);
    let stop = transports.0.stop.clone();
    let mut session = Session::new(transports, out, opened_by);
    let end = if spoken {
        tokio::select! {
            biased;
            () = stop.cancelled() => End::Close(Close::going_away()),
            end = session.listen(stream) => end,
            () = write(&mut sink, &mut queue) => End::Gone,
        }
    } else {
        End::Close(Close::subprotocol_not_acceptable())
    };
    session.operations.shutdown().await;
    // With the last sender gone, the queue ends after what is in it.
    drop(session);
    if let End::Close(Close { code, reason }) = end {
        let goodbye = async {
            write(&mut sink, &mut queue).await;
            let frame = CloseFrame { code, reason: reason.into() };
            let _ = sink.send(Message::Close(Some(frame))).await;
        };
        let _ = timeout(GOODBYE, goodbye).await;
    }
    let _ = timeout(GOODBYE, sink.close()).await;
}

/// Sends what is in the queue. Ends when the client takes nothing any more.
async fn write(sink: &mut SplitSink<WebSocket, Message>, queue: &mut Receiver<Message>) {
    while let Some(message) = queue.recv().await {
        if !matches!(timeout(WRITE, sink.send(message)).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// What a session knows.
struct Session {
    transports: Transports,
    out: Sender<Message>,
    opened_by: Option<Caller>,
    /// Who was let in: then the connection is acknowledged.
    caller: Option<Caller>,
    /// The running operations. Ended ones stay here until the next one begins.
    running: HashMap<String, AbortHandle>,
    operations: JoinSet<()>,
}

impl Session {
    fn new(transports: Transports, out: Sender<Message>, opened_by: Option<Caller>) -> Self {
        let (running, operations) = (HashMap::new(), JoinSet::new());
        Self { transports, out, opened_by, caller: None, running, operations }
    }

    /// Follows what the client says, until there is a reason to end.
    async fn listen(&mut self, mut stream: SplitStream<WebSocket>) -> End {
        let shared = Arc::clone(&self.transports.0);
        let limits = &shared.limits;
        let mut init_timeout = pin!(sleep(limits.init_timeout));
        let mut pings = interval_at(Instant::now() + limits.ping_interval, limits.ping_interval);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Anything that the client sends says that it is there.
        let mut heard_since_ping = true;
        loop {
            let caller = self.caller.clone();
            tokio::select! {
                () = expired(caller.as_ref()) => return End::Close(Close::forbidden(Refusal::Expired)),
                () = &mut init_timeout, if caller.is_none() => return End::Close(Close::init_timeout()),
                _ = pings.tick() => {
                    if !std::mem::replace(&mut heard_since_ping, false) {
                        return End::Gone;
                    }
                    if self.out.send(Message::Ping(Default::default())).await.is_err() {
                        return End::Gone;
                    }
                }
                Some(_) = self.operations.join_next() => {}
                message = stream.next() => {
                    heard_since_ping = true;
                    let text = match message {
                        Some(Ok(Message::Text(text))) => text,
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                        Some(Ok(Message::Binary(_))) => {
                            return End::Close(Close::invalid_message("messages are text"));
                        }
                        Some(Ok(Message::Close(_))) | None => return End::Gone,
                        Some(Err(error)) if is_too_big(&error) => {
                            return End::Close(Close::too_big(limits.max_message_bytes));
                        }
                        Some(Err(_)) => return End::Gone,
                    };
                    if let Err(end) = self.follow(&text).await {
                        return end;
                    }
                }
            }
        }
    }

    /// Does what one message says.
    async fn follow(&mut self, text: &str) -> Result<(), End> {
        let message = ClientMessage::read(text).map_err(|what| End::Close(Close::invalid_message(&what)))?;
        match message {
            ClientMessage::ConnectionInit(_) if self.caller.is_some() => {
                Err(End::Close(Close::too_many_initialisation_requests()))
            }
            ClientMessage::ConnectionInit(credentials) => {
                let caller = credentials.caller(&self.transports.0.authenticator, self.opened_by.as_ref());
                let caller = caller.map_err(|refusal| End::Close(Close::forbidden(refusal)))?;
                self.caller = Some(caller);
                self.say(protocol::connection_ack()).await
            }
            ClientMessage::Ping { payload } => self.say(protocol::pong(payload)).await,
            ClientMessage::Pong => Ok(()),
            ClientMessage::Subscribe { id, request } => match self.caller.clone() {
                Some(caller) => self.subscribe(id, request.data(caller)).await,
                None => Err(End::Close(Close::unauthorized())),
            },
            ClientMessage::Complete { id } => {
                if let Some(operation) = self.running.remove(&id) {
                    operation.abort();
                }
                Ok(())
            }
        }
    }

    async fn subscribe(&mut self, id: String, request: Request) -> Result<(), End> {
        let limits = &self.transports.0.limits;
        self.running.retain(|_, operation| !operation.is_finished());
        if self.running.contains_key(&id) {
            return Err(End::Close(Close::subscriber_exists(&id)));
        }
        if self.running.len() >= limits.max_operations {
            let message = format!("a WebSocket runs {} operations at a time", limits.max_operations);
            let error = request_error("TOO_MANY_OPERATIONS", message, None);
            return self.say(protocol::error(&id, &[error])).await;
        }
        let counted = limits.gauges.operations.count();
        let (entry, out) = (self.transports.0.entry.clone(), self.out.clone());
        let key = id.clone();
        let operation = self.operations.spawn(async move {
            let _counted = counted;
            let mut answers = match entry.admit(request) {
                Ok(admitted) if Entry::operation_type(&admitted) == OperationType::Subscription => {
                    entry.stream(admitted)
                }
                // What has one answer is a request of its own, with its own trace.
                Ok(admitted) => {
                    let span = info_span!(parent: None, "request", otel.name = "websocket operation");
                    propagation::set_root(&span, crate::NAME);
                    stream::once(async move { entry.run(admitted).await }.instrument(span)).boxed()
                }
                Err(refusal) => stream::once(ready(Response::from_errors(vec![refusal]))).boxed(),
            };
            while let Some(answer) = answers.next().await {
                let (message, over) = protocol::next_or_error(&id, answer);
                if out.send(Message::Text(message.into())).await.is_err() || over {
                    return;
                }
            }
            let _ = out.send(Message::Text(protocol::complete(&id).into())).await;
        });
        self.running.insert(key, operation);
        Ok(())
    }

    async fn say(&self, message: String) -> Result<(), End> {
        self.out.send(Message::Text(message.into())).await.map_err(|_| End::Gone)
    }
}

/// Whether a message was above the limit. The library says so in words only: its error type is not one of ours to name.
fn is_too_big(error: &axum::Error) -> bool {
    error.to_string().contains("too large") || error.to_string().contains("too long")
}
