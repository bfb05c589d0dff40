//! The messages of `graphql-transport-ws` and the codes it closes with (the GraphQL over WebSocket protocol of the npm
//! package `graphql-ws`, PROTOCOL.md).

use async_graphql::{Request, Response, ServerError};
use chassis::{graphql, identity::Refusal, problem::Problem};
use serde::Deserialize;
use serde_json::{Value, json};

use super::gate::Credentials;

/// The name of the subprotocol, the only one that is spoken here.
pub(super) const SUBPROTOCOL: &str = "graphql-transport-ws";

/// What a client says.
#[derive(Debug)]
pub(super) enum ClientMessage {
    ConnectionInit(Credentials),
    Ping { payload: Option<Value> },
    Pong,
    Subscribe { id: String, request: Box<Request> },
    Complete { id: String },
}

/// As it is on the wire. Every message is an object with a `type`; what else it has depends on that.
#[derive(Deserialize)]
struct Raw {
    r#type: String,
    id: Option<String>,
    payload: Option<Value>,
}

impl ClientMessage {
    /// Reads a message.
    ///
    /// # Errors
    /// What is wrong with it, short enough for a close frame.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let message = graphql::read_json("a message", text.as_bytes()).map_err(what)?;
        let raw = Raw::deserialize(message).map_err(|_| "a message is a JSON object with a type".to_owned())?;
        let payload = raw.payload.filter(|payload| !payload.is_null());
        let id = || match raw.id.as_deref() {
            Some(id) if !id.is_empty() => Ok(id.to_owned()),
            _ => Err(format!("{} needs an id", raw.r#type)),
        };
        let check_payload = |payload: Option<Value>| match payload {
            Some(payload) if !payload.is_object() => Err(format!("the payload of {} is an object", raw.r#type)),
            payload => Ok(payload),
        };
        match raw.r#type.as_str() {
            "connection_init" => Ok(Self::ConnectionInit(Credentials::from_payload(check_payload(payload)?))),
            "ping" => Ok(Self::Ping { payload: check_payload(payload)? }),
            "pong" => check_payload(payload).map(|_| Self::Pong),
            "subscribe" => {
                let id = id()?;
                let Some(Value::Object(parameters)) = check_payload(payload)? else {
                    return Err("subscribe needs a payload".to_owned());
                };
                let request = graphql::request_from(parameters).map_err(what)?;
                Ok(Self::Subscribe { id, request: Box::new(request) })
            }
            "complete" => Ok(Self::Complete { id: id()? }),
            _ => Err("the type of the message is not known".to_owned()),
        }
    }
}

/// What plain HTTP says of it in a problem.
fn what(problem: Problem) -> String {
    problem.detail.unwrap_or_default()
}

/// The client may begin.
pub(super) fn connection_ack() -> String {
    json!({ "type": "connection_ack" }).to_string()
}

/// The answer to a ping, with what came along.
pub(super) fn pong(payload: Option<Value>) -> String {
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

    /// The client is not let in, or not any more. By the protocol a client may come again with another token.
    pub(super) fn forbidden(why: Refusal) -> Self {
        Self::new(4403, format!("Forbidden: {why}"))
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
        let ClientMessage::Subscribe { id, request } = ClientMessage::read(subscribe).unwrap() else { panic!() };
        assert_eq!((id.as_str(), request.query.as_str()), ("1", "{a}"));
        for (text, expected) in [
            (r#"{"type":"connection_init"}"#, ClientMessage::ConnectionInit(Credentials::default())),
            (r#"{"type":"connection_init","payload":{"a":1}}"#, ClientMessage::ConnectionInit(Credentials::default())),
            (r#"{"type":"ping","payload":null}"#, ClientMessage::Ping { payload: None }),
            (r#"{"type":"ping","payload":{"a":1}}"#, ClientMessage::Ping { payload: Some(json!({ "a": 1 })) }),
            (r#"{"type":"pong","more":1}"#, ClientMessage::Pong),
            (r#"{"type":"complete","id":"x"}"#, ClientMessage::Complete { id: "x".to_owned() }),
        ] {
            let read = ClientMessage::read(text).unwrap();
            assert_eq!(format!("{read:?}"), format!("{expected:?}"), "{text}");
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
            r#"{"type":"subscribe","id":"1","payload":{}}"#,
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
    fn an_operation_is_read_as_plain_http_reads_it() {
        let subscribe = |payload: &str| format!(r#"{{"id":"1","type":"subscribe","payload":{payload}}}"#);
        let hash = subscribe(r#"{"extensions":{"persistedQuery":{"version":1}}}"#);
        let ClientMessage::Subscribe { request, .. } = ClientMessage::read(&hash).unwrap() else { panic!() };
        assert!(request.query.is_empty() && request.extensions.contains_key("persistedQuery"));
        let many = subscribe(&format!(r#"{{"query":"{{a}}","variables":{{"v":[0{}]}}}}"#, ",0".repeat(2_500)));
        for (text, expected) in [
            (subscribe(r#"{"query":1}"#), "query must be a string, not a number"),
            (subscribe(r#"{"query":"{a}","variables":[]}"#), "variables must be an object, not an array"),
            (many, "a message may have 2500 values at most, not 2507"),
        ] {
            assert_eq!(ClientMessage::read(&text).unwrap_err(), expected);
        }
    }

    #[test]
    fn the_reason_of_a_close_frame_fits() {
        let close = Close::subscriber_exists(&"ü".repeat(200));
        assert!(close.reason.len() <= 123 && close.reason.starts_with("Subscriber for ü"));
    }
}
