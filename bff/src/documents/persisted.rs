//! `extensions.persistedQuery`, by which a client sends a document's hash: Apollo's protocol of automatic persisted
//! queries, version 1, which all common clients speak.

use async_graphql::{Request, ServerError, Value};
use chassis::graphql::request_error;

use super::hash::DocumentHash;

/// What a request says of its document.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PersistedQuery {
    /// The hash of the text; in a list of trusted documents any name.
    pub(super) id: String,
}

impl PersistedQuery {
    /// What this request says, if it says anything.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` for a version or a shape that we do not know.
    pub(super) fn of(request: &Request) -> Result<Option<Self>, ServerError> {
        let extension = match request.extensions.get("persistedQuery") {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Object(extension)) => extension,
            Some(_) => return Err(bad("extensions.persistedQuery must be an object")),
        };
        if !extension.get("version").is_some_and(|version| *version == Value::from(1)) {
            return Err(bad("extensions.persistedQuery.version must be 1"));
        }
        match extension.get("sha256Hash") {
            Some(Value::String(id)) => Ok(Some(Self { id: id.clone() })),
            _ => Err(bad("extensions.persistedQuery.sha256Hash must be a string")),
        }
    }

    /// The hash, unless it is another kind of name.
    pub(super) fn hash(&self) -> Option<DocumentHash> {
        DocumentHash::parse(&self.id)
    }
}

fn bad(message: &str) -> ServerError {
    request_error("BAD_USER_INPUT", message, None)
}

/// The answer on which clients send the text. They compare the message, too, so it is exactly Apollo's.
pub(super) fn not_found() -> ServerError {
    request_error("PERSISTED_QUERY_NOT_FOUND", "PersistedQueryNotFound", None)
}

/// The text is another than the hash says.
pub(super) fn mismatch() -> ServerError {
    let message = "extensions.persistedQuery.sha256Hash is not the SHA-256 of the query";
    request_error("PERSISTED_QUERY_HASH_MISMATCH", message, None)
}
