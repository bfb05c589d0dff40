//! The messages of `graphql-transport-ws` and the codes it closes with (the GraphQL over WebSocket protocol of the npm
//! package `graphql-ws`, PROTOCOL.md).

use async_graphql::{Request, Response, ServerError, Value, Variables};
use chassis::graphql;
use serde::Deserialize;
use serde_json::{Map, json};

/// The name of the subprotocol, the only one that is spoken here.
pub(super) const SUBPROTOCOL: &str = "graphql-transport-ws";

/// What a client says.
#[derive(Debug, PartialEq)]
pub(super) enum ClientMessage {
    ConnectionInit,
    Ping { payload: Option<serde_json::Value> },
    Pong,
    Subscribe { id: String, payload: Payload },
    Complete { id: String },
}

/// An operation that a client asks for.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Payload {
    #[serde(default)]
    query: String,
    #[serde(default)]
    operation_name: Option<String>,
    #[serde(default)]
    variables: Option<Map<String, serde_json::Value>>,
    #[serde(default)]
    extensions: Option<Map<String, serde_json::Value>>,
}

/// As it is on the wire. Every message is an object with a `type`; what else it has depends on that.
#[derive(Deserialize)]
struct Raw {
    r#type: String,
    id: Option<String>,
    payload: Option<serde_json::Value>,
}

impl ClientMessage {
    /// Reads a message.
    ///
    /// # Errors
    /// What is wrong with it, short enough for a close frame.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let raw: Raw = serde_json::from_str(text).map_err(|_| "a message is a JSON object with a type".to_owned())?;
        let is_object = |value: &serde_json::Value| value.is_object();
        let payload = raw.payload.filter(|payload| !payload.is_null());
        let id = || match raw.id.as_deref() {
            Some(id) if !id.is_empty() => Ok(id.to_owned()),
            _ => Err(format!("{} needs an id", raw.r#type)),
        };
        let check_payload = |payload: Option<serde_json::Value>| match payload {
            Some(payload) if !is_object(&payload) => Err(format!("the payload of {} is an object", raw.r#type)),
            payload => Ok(payload),
        };
        match raw.r#type.as_str() {
            "connection_init" => check_payload(payload).map(|_| Self::ConnectionInit),
            "ping" => Ok(Self::Ping { payload: check_payload(payload)? }),
            "pong" => check_payload(payload).map(|_| Self::Pong),
            "subscribe" => {
                let payload = payload.ok_or("subscribe needs a payload")?;
                let payload = Payload::deserialize(payload)
                    .map_err(|_| "the payload of subscribe is a GraphQL request".to_owned())?;
                Ok(Self::Subscribe { id: id()?, payload })
            }
            "complete" => Ok(Self::Complete { id: id()? }),
            _ => Err("the type of the message is not known".to_owned()),
        }
    }
}

impl From<Payload> for Request {
    fn from(payload: Payload) -> Self {
        let mut request = Self::new(payload.query);
        request.operation_name = payload.operation_name.filter(|name| !name.is_empty());
        if let Some(variables) = payload.variables {
            request.variables = Variables::from_json(serde_json::Value::Object(variables));
        }
        for (name, value) in payload.extensions.into_iter().flatten() {
            request.extensions.insert(name, Value::from_json(value).unwrap_or_default());
        }
        request
    }
}

/// The client may begin.
pub(super) fn connection_ack() -> String {
    json!({ "type": "connection_ack" }).to_string()
}

/// The answer to a ping, with what came along.
pub(super) fn pong(payload: Option<serde_json::Value>) -> String {
    match payload {
        Some(payload) => json!({ "type": "pong", "payload": payload }).to_string(),
        None => json!({ "type": "pong" }).to_string(),
    }
}

/// One answer of an operation; where nothing was executed an `error`, which is also its end.
pub(super) fn next_or_error(id: &str, mut response: Response) -> (String, bool) {
    graphql::complete_codes(&mut response);
    if graphql::is_refusal(&response) {
        return (error(id, &response.errors), true);
    }
    (json!({ "id": id, "type": "next", "payload": response }).to_string(), false)
}

/// The operation did not begin.
pub(super) fn error(id: &str, errors: &[ServerError]) -> String {
    json!({ "id": id, "type": "error", "payload": errors }).to_string()
}

/// The operation is over.
pub(super) fn complete(id: &str) -> String {
    json!({ "id": id, "type": "complete" }).to_string()
}

/// Why the server ends a connection: the code and the reason of the close frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Close {
    pub(super) code: u16,
    pub(super) reason: String,
}

impl Close {
    /// RFC 6455, section 7.4.1: the server goes away.
    pub(super) fn going_away() -> Self {
        Self::new(1001, "Going away")
    }

    /// RFC 6455, section 7.4.1: a message above the limit.
    pub(super) fn too_big(limit: usize) -> Self {
        Self::new(1009, format!("A message may have {limit} bytes"))
    }

    /// What the client sent is not of the protocol.
    pub(super) fn invalid_message(what: &str) -> Self {
        Self::new(4400, format!("Invalid message: {what}"))
    }

    /// An operation before the connection was acknowledged.
    pub(super) fn unauthorized() -> Self {
        Self::new(4401, "Unauthorized")
    }

    /// The client speaks another language.
    pub(super) fn subprotocol_not_acceptable() -> Self {
        Self::new(4406, "Subprotocol not acceptable")
    }

    /// No `connection_init` in time.
    pub(super) fn init_timeout() -> Self {
        Self::new(4408, "Connection initialisation timeout")
    }

    /// Two operations with one id.
    pub(super) fn subscriber_exists(id: &str) -> Self {
        Self::new(4409, format!("Subscriber for {id} already exists"))
    }

    /// More than one `connection_init`.
    pub(super) fn too_many_initialisation_requests() -> Self {
        Self::new(4429, "Too many initialisation requests")
    }

    fn new(code: u16, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        // A close frame has 125 bytes, two of them the code (RFC 6455, section 5.5).
        let mut end = reason.len().min(123);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        reason.truncate(end);
        Self { code, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_the_protocol_are_read() {
        let subscribe =
            r#"{"id":"1","type":"subscribe","payload":{"query":"{a}","variables":null,"operationName":null}}"#;
        let ClientMessage::Subscribe { id, payload } = ClientMessage::read(subscribe).unwrap() else { panic!() };
        assert_eq!((id.as_str(), payload.query.as_str()), ("1", "{a}"));
        for (text, expected) in [
            (r#"{"type":"connection_init"}"#, ClientMessage::ConnectionInit),
            (r#"{"type":"connection_init","payload":{"token":"t"}}"#, ClientMessage::ConnectionInit),
            (r#"{"type":"ping","payload":null}"#, ClientMessage::Ping { payload: None }),
            (r#"{"type":"ping","payload":{"a":1}}"#, ClientMessage::Ping { payload: Some(json!({ "a": 1 })) }),
            (r#"{"type":"pong","more":1}"#, ClientMessage::Pong),
            (r#"{"type":"complete","id":"x"}"#, ClientMessage::Complete { id: "x".to_owned() }),
        ] {
            assert_eq!(ClientMessage::read(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_not() {
        for text in [
            "",
            "1",
            "[]",
            "{}",
            r#"{"type":1}"#,
            r#"{"type":"start","id":"1"}"#,
            r#"{"type":"connection_ack"}"#,
            r#"{"type":"subscribe","payload":{"query":"{a}"}}"#,
            r#"{"type":"subscribe","id":"","payload":{}}"#,
            r#"{"type":"subscribe","id":"1"}"#,
            r#"{"type":"subscribe","id":"1","payload":{"query":1}}"#,
            r#"{"type":"subscribe","id":"1","payload":{"query":"{a}","variables":[]}}"#,
            r#"{"type":"connection_init","payload":1}"#,
            r#"{"type":"ping","payload":"x"}"#,
            r#"{"type":"complete"}"#,
        ] {
            assert!(ClientMessage::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_reason_of_a_close_frame_fits() {
        let close = Close::subscriber_exists(&"ü".repeat(200));
        assert!(close.reason.len() <= 123 && close.reason.starts_with("Subscriber for ü"));
    }
}
