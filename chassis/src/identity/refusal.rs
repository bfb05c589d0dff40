//! Why somebody is not let in, in the words of RFC 6750, section 3: the status, the challenge, and a sentence that says
//! what to do. What it says of a token's claims is told only to those whose signature was right.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::problem::Problem;

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no token.
    #[error("a token is needed: Authorization: Bearer <token>")]
    Missing,
    /// There is something in its place.
    #[error("the request must have one header Authorization: Bearer <token>")]
    Malformed,
    /// It is no token, or none that a key of ours has signed with the algorithm of that key.
    #[error("the token is not signed by a key that is trusted here")]
    Untrusted,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not begun.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Somebody else has issued it.
    #[error("the token is of another issuer")]
    OtherIssuer,
    /// It was issued for somebody else.
    #[error("the token is for another audience")]
    OtherAudience,
    /// This claim is missing, or not what it may be.
    #[error("the claim {0} of the token is missing or not what it may be")]
    Claim(&'static str),
}

impl Refusal {
    fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            _ => StatusCode::UNAUTHORIZED,
        }
    }

    /// For programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed => "BAD_AUTHORIZATION",
            _ => "UNAUTHENTICATED",
        }
    }

    /// The header `WWW-Authenticate`. Without credentials it names no error (RFC 6750, section 3.1).
    fn challenge(self) -> HeaderValue {
        let error = match self {
            Self::Missing => return HeaderValue::from_static("Bearer realm=\"tandem\""),
            Self::Malformed => "invalid_request",
            _ => "invalid_token",
        };
        let challenge = format!("Bearer realm=\"tandem\", error=\"{error}\", error_description=\"{self}\"");
        HeaderValue::from_str(&challenge).unwrap_or(HeaderValue::from_static("Bearer realm=\"tandem\""))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        tracing::debug!("refused: {self}");
        let problem = Problem::new(self.status()).code(self.code()).detail(self.to_string());
        ([(header::WWW_AUTHENTICATE, self.challenge())], problem).into_response()
    }
}
