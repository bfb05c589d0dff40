//! Who asks: bearer tokens (RFC 6750) that are JSON Web Tokens (RFC 7519), verified by every process for itself.
//!
//! Nobody trusts a header that another process could have set. `keys.rs` holds what signatures are verified with,
//! `authenticator.rs` turns a token into a [`Caller`] or a [`Refusal`], `gate.rs` does so for each request before
//! anything of it is read, and puts the caller where handlers find it. Whose orders and invoices a caller may see is
//! one question, [`Identity::scope`], and each service asks it in its statements: what is out of scope is not found.
//!
//! Without a key the process is *open*: everybody is [`Identity::Anyone`]. That is for work on one's own machine; it is
//! said loudly at start, and refused in production.

mod authenticator;
mod config;
mod development;
mod gate;
mod keys;
mod refusal;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::SystemTime};

use async_graphql::{Context, Request};
use axum::http::HeaderValue;
use contracts::CustomerId;
use secrecy::{ExposeSecret, SecretString};

pub use authenticator::Authenticator;
pub use config::{AppEnv, IdentityConfig};
pub use development::development_token;
pub use gate::bearer;
pub use refusal::Refusal;

/// The role that sees and changes everything.
pub const OPERATOR: &str = "operator";

/// On whose behalf something is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Identity {
    /// Nobody is asked who they are: the process is open.
    Anyone,
    /// A customer: the subject of the token.
    Customer(CustomerId),
    /// Somebody with the role [`OPERATOR`], under this subject.
    Operator(String),
}

impl Identity {
    /// Whose orders and invoices it may see and change; `None` means everybody's.
    pub fn scope(&self) -> Option<&CustomerId> {
        match self {
            Self::Customer(customer) => Some(customer),
            Self::Anyone | Self::Operator(_) => None,
        }
    }
}

/// Who asks, and the token that proves it. Two callers are the same when their tokens are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Caller {
    /// On whose behalf.
    pub identity: Identity,
    /// What proved it; none where the process is open.
    pub token: Option<Token>,
}

impl Caller {
    /// Anybody, in a process that is open.
    pub const ANYONE: Self = Self { identity: Identity::Anyone, token: None };
}

/// A verified token, to be shown to the next process. `Debug` does not show it.
#[derive(Clone)]
pub struct Token {
    text: Arc<SecretString>,
    valid_until: SystemTime,
}

impl Token {
    /// The token itself: for a request to the next process, never for a message.
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }

    /// As the header `Authorization` of a request, marked so that nobody logs it.
    pub fn to_header(&self) -> HeaderValue {
        // A token that was verified has the characters of base64 and dots only.
        let header = HeaderValue::from_str(&format!("Bearer {}", self.expose()));
        let mut header = header.unwrap_or(HeaderValue::from_static("Bearer"));
        header.set_sensitive(true);
        header
    }

    /// From when on it would be refused.
    pub fn valid_until(&self) -> SystemTime {
        self.valid_until
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Token {}

impl std::hash::Hash for Token {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.expose().hash(state);
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The caller of a GraphQL request, for its resolvers.
///
/// # Errors
/// When the request came by a way that asked nobody: then nothing that belongs to somebody is answered.
pub fn caller_of<'a>(ctx: &Context<'a>) -> async_graphql::Result<&'a Caller> {
    use async_graphql::ErrorExtensions;
    ctx.data_opt::<Caller>().ok_or_else(|| crate::graphql::ApiError::internal(&UNKNOWN_CALLER).extend())
}

/// The caller of a GraphQL request that has not begun.
///
/// # Errors
/// As [`caller_of`].
pub fn caller_of_request(request: &Request) -> Result<&Caller, async_graphql::ServerError> {
    let found = request.data.get(&std::any::TypeId::of::<Caller>()).and_then(|caller| caller.downcast_ref());
    found.ok_or_else(|| {
        crate::graphql::ApiError::internal(&UNKNOWN_CALLER);
        crate::graphql::request_error("INTERNAL", "something went wrong on our side", None)
    })
}

const UNKNOWN_CALLER: &str = "a request came past the gate";
