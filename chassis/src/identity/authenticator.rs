//! From a token to the one who asks.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock, Weak},
    time::{Duration, SystemTime},
};

use contracts::CustomerId;
use jsonwebtoken::{Validation, decode, decode_header, errors::ErrorKind};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use super::{Caller, Identity, OPERATOR, Refusal, Token, keys::Keys};

/// How often a key file is looked at. A key that was taken out of it opens nothing after that.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// The longest token that is looked at, in bytes. What issuers make has a few hundred to two thousand.
const LONGEST_TOKEN: usize = 8 * 1024;

/// Says who asks. Cheap to clone.
#[derive(Clone)]
pub struct Authenticator(Option<Arc<Verifier>>);

/// What tokens have to satisfy.
pub(super) struct Requirements {
    pub(super) issuer: String,
    pub(super) audience: String,
    /// How far the clocks of the issuer and of this process may differ.
    pub(super) leeway: Duration,
}

struct Verifier {
    keys: RwLock<Arc<Keys>>,
    requirements: Requirements,
}

impl Authenticator {
    /// Asks nobody.
    pub const OPEN: Self = Self(None);

    /// Verifies with `keys`.
    pub(super) fn new(keys: Keys, requirements: Requirements) -> Self {
        Self(Some(Arc::new(Verifier { keys: RwLock::new(Arc::new(keys)), requirements })))
    }

    /// Whether everybody is let in.
    pub fn is_open(&self) -> bool {
        self.0.is_none()
    }

    /// Who shows this token, if any is shown.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn caller(&self, token: Option<&str>) -> Result<Caller, Refusal> {
        match &self.0 {
            None => Ok(Caller::ANYONE),
            Some(verifier) => verifier.verify(token.ok_or(Refusal::Missing)?),
        }
    }

    /// Takes the keys from `path` again whenever it has changed, for as long as anybody authenticates.
    pub(super) fn follow(&self, path: PathBuf, text: Vec<u8>) {
        let Some(verifier) = &self.0 else { return };
        tokio::spawn(follow(Arc::downgrade(verifier), path, text));
    }
}

async fn follow(verifier: Weak<Verifier>, path: PathBuf, mut known: Vec<u8>) {
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        let Some(verifier) = verifier.upgrade() else { return };
        verifier.read_again(&path, &mut known).await;
    }
}

impl Verifier {
    /// Takes the keys that are in the file now, unless they are no keys: then those from before stay.
    async fn read_again(&self, path: &Path, known: &mut Vec<u8>) {
        let path_text = path.display();
        // Missing for a moment while it is replaced, or for longer: the keys stay.
        let Ok(text) = tokio::fs::read(path).await else { return };
        if text == *known {
            return;
        }
        match Keys::from_jwks(&text) {
            Ok(keys) => {
                tracing::info!(keys = keys.len(), "read the keys in {path_text} again");
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
            }
            Err(error) => tracing::error!("JWT_JWKS_FILE {path_text} {error}; the keys from before stay in use"),
        }
        *known = text;
    }

    fn verify(&self, token: &str) -> Result<Caller, Refusal> {
        if token.len() > LONGEST_TOKEN {
            return Err(Refusal::Untrusted);
        }
        let header = decode_header(token).map_err(|_| Refusal::Untrusted)?;
        // What must be understood (RFC 7515, section 4.1.11) is nothing that we know.
        if header.crit.is_some() {
            return Err(Refusal::Untrusted);
        }
        let keys = Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner));
        let key = keys.named(header.kid.as_deref()).ok_or(Refusal::Untrusted)?;
        let mut validation = Validation::new(key.algorithm);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[&self.requirements.issuer]);
        validation.set_audience(&[&self.requirements.audience]);
        validation.leeway = self.requirements.leeway.as_secs();
        validation.validate_nbf = true;
        let claims: Claims = decode(token, &key.decoding, &validation).map_err(|error| refusal(error.kind()))?.claims;
        let valid_until = claims.valid_until(self.requirements.leeway);
        let token = Token { text: Arc::new(SecretString::from(token)), valid_until };
        Ok(Caller { identity: claims.identity()?, token: Some(token) })
    }
}

/// What is read of a token once it is known to be good. Of any type, so that the library judges the standard ones.
#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    sub: Value,
    #[serde(default)]
    exp: Value,
    #[serde(default)]
    roles: Value,
}

impl Claims {
    fn identity(&self) -> Result<Identity, Refusal> {
        let subject = self.sub.as_str().ok_or(Refusal::Claim("sub"))?;
        // RFC 9068, section 2.2.3.1. Some issuers write a single one without the list.
        let operator = match &self.roles {
            Value::Null => false,
            Value::String(role) => role == OPERATOR,
            Value::Array(roles) => roles.iter().any(|role| role == OPERATOR),
            _ => return Err(Refusal::Claim("roles")),
        };
        let customer: CustomerId = subject.parse().map_err(|_| Refusal::Claim("sub"))?;
        Ok(if operator { Identity::Operator(subject.to_owned()) } else { Identity::Customer(customer) })
    }

    /// The library refuses a token once `exp` is more than the leeway past, in whole seconds.
    fn valid_until(&self, leeway: Duration) -> SystemTime {
        // Far enough for everybody, and what no clock can hold is that far.
        let seconds = self.exp.as_f64().unwrap_or_default().clamp(0.0, f64::from(u32::MAX));
        SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds) + leeway + Duration::from_secs(1)
    }
}

fn refusal(kind: &ErrorKind) -> Refusal {
    match kind {
        ErrorKind::ExpiredSignature => Refusal::Expired,
        ErrorKind::ImmatureSignature => Refusal::NotYetValid,
        ErrorKind::InvalidIssuer => Refusal::OtherIssuer,
        ErrorKind::InvalidAudience => Refusal::OtherAudience,
        ErrorKind::MissingRequiredClaim(claim) | ErrorKind::InvalidClaimFormat(claim) => {
            let known = ["exp", "nbf", "iss", "aud", "sub"].into_iter().find(|known| known == claim);
            known.map_or(Refusal::Untrusted, Refusal::Claim)
        }
        _ => Refusal::Untrusted,
    }
}
