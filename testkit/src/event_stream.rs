//! A client of event streams: the answers of one operation, one after the other.

use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::PATIENCE;

/// An open event stream. Dropping it closes the connection.
#[derive(Debug)]
pub struct EventStream {
    response: Response,
    unread: String,
}

/// What came.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamEvent {
    /// An answer.
    Next(Value),
    /// The last word of the server.
    Complete,
    /// The connection ended without it.
    Cut,
}

impl EventStream {
    /// Asks the API at `url` for the answers to `query`.
    pub async fn open(url: &str, query: &str, variables: Value) -> Self {
        Self::of(url, &json!({ "query": query, "variables": variables })).await
    }

    /// Sends a whole request to the API at `url`.
    pub async fn of(url: &str, body: &Value) -> Self {
        Self::try_of(url, body, None).await.unwrap_or_else(|refused| panic!("refused: {}", refused.status()))
    }

    /// Sends a whole request, with a token, to the API at `url`, which may refuse it.
    pub async fn try_of(url: &str, body: &Value, token: Option<&str>) -> Result<Self, Response> {
        // A client of its own, so that the connection is closed with the stream.
        let client = Client::builder().no_proxy().build().unwrap();
        let mut request = client.post(format!("{url}/graphql")).header("accept", "text/event-stream").json(body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.unwrap();
        if response.status() == 200 { Ok(Self { response, unread: String::new() }) } else { Err(response) }
    }

    /// The response itself, for its headers.
    pub fn response(&self) -> &Response {
        &self.response
    }

    /// What comes next, comments aside.
    pub async fn next(&mut self) -> StreamEvent {
        timeout(PATIENCE, self.read()).await.unwrap_or_else(|_| panic!("nothing came within {PATIENCE:?}"))
    }

    /// The next answer.
    pub async fn answer(&mut self) -> Value {
        match self.next().await {
            StreamEvent::Next(answer) => answer,
            other => panic!("an answer was expected, not {other:?}"),
        }
    }

    async fn read(&mut self) -> StreamEvent {
        loop {
            if let Some((event, rest)) = self.unread.split_once("\n\n") {
                let line = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                let (kind, data) = (line("event:").map(str::to_owned), line("data:").unwrap_or_default().to_owned());
                self.unread = rest.to_owned();
                match kind.as_deref() {
                    Some("next") => return StreamEvent::Next(serde_json::from_str(&data).unwrap()),
                    Some("complete") => return StreamEvent::Complete,
                    _ => continue,
                }
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.unread.push_str(std::str::from_utf8(&chunk).unwrap()),
                Ok(None) | Err(_) => return StreamEvent::Cut,
            }
        }
    }
}
