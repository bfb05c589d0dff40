//! A client of WebSockets that says exactly what a test wants said.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{self, Message, client::IntoClientRequest, http::Request},
};

use crate::PATIENCE;

/// An open WebSocket.
#[derive(Debug)]
pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

/// The request that opens a socket at `url`, with these headers.
pub fn opening(url: &str, path: &str, headers: &[(&'static str, &str)]) -> Request<()> {
    let mut request = format!("{}{path}", url.replacen("http", "ws", 1)).into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    request
}

impl Socket {
    /// Opens a socket with the right subprotocol, and says nothing.
    pub async fn open(url: &str) -> Self {
        let request = opening(url, "/graphql/ws", &[("sec-websocket-protocol", "graphql-transport-ws")]);
        Self::with(request).await.unwrap()
    }

    /// Opens a socket.
    pub async fn with(request: Request<()>) -> Result<Self, tungstenite::Error> {
        tokio_tungstenite::connect_async(request).await.map(|(socket, _)| Self(socket))
    }

    /// A socket that is acknowledged.
    pub async fn start(url: &str) -> Self {
        let mut socket = Self::open(url).await;
        socket.say(json!({ "type": "connection_init" })).await;
        assert_eq!(socket.hear().await, json!({ "type": "connection_ack" }));
        socket
    }

    /// Sends a message of the protocol.
    pub async fn say(&mut self, message: Value) {
        self.send(Message::text(message.to_string())).await;
    }

    /// Sends any message.
    pub async fn send(&mut self, message: Message) {
        self.0.send(message).await.unwrap();
    }

    /// Starts an operation.
    pub async fn subscribe(&mut self, id: &str, query: &str) {
        self.say(json!({ "id": id, "type": "subscribe", "payload": { "query": query } })).await;
    }

    /// The next message of the protocol.
    pub async fn hear(&mut self) -> Value {
        match self.frame().await {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("a message was expected, not {other:?}"),
        }
    }

    /// The code and the reason that the server closes with.
    pub async fn closed(&mut self) -> (u16, String) {
        match self.frame().await {
            Message::Close(Some(frame)) => (frame.code.into(), frame.reason.to_string()),
            other => panic!("a close frame was expected, not {other:?}"),
        }
    }

    /// Whether the connection ends, with or without a word.
    pub async fn ends(&mut self) {
        let end = async { while let Some(Ok(_)) = self.0.next().await {} };
        timeout(PATIENCE, end).await.unwrap();
    }

    async fn frame(&mut self) -> Message {
        loop {
            match timeout(PATIENCE, self.0.next()).await.unwrap().unwrap().unwrap() {
                Message::Ping(_) | Message::Pong(_) => {}
                other => return other,
            }
        }
    }
}
