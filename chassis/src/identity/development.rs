//! Tokens for work on one's own machine, signed with the secret that the process verifies with. In production only the
//! issuer makes tokens.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::{AppEnv, Identity, IdentityConfig, OPERATOR, keys::Keys};

/// Makes a token for `identity` that is valid for `lifetime`.
///
/// # Errors
/// In production, without a secret, and for [`Identity::Anyone`], who needs none.
pub fn development_token(config: &IdentityConfig, identity: &Identity, lifetime: Duration) -> Result<SecretString> {
    if config.app_env == AppEnv::Production {
        bail!("APP_ENV=production: tokens are made by the issuer (JWT_ISSUER) only");
    }
    let Some(secret) = &config.jwt_secret else {
        bail!("JWT_SECRET is not set: it is what development tokens are signed with; public keys only verify");
    };
    Keys::from_secret(secret).map_err(|error| anyhow::anyhow!("JWT_SECRET {error}"))?;
    let requirements = config.requirements()?;
    let (subject, roles) = match identity {
        Identity::Anyone => bail!("anybody needs no token"),
        Identity::Customer(customer) => (customer.as_str(), Vec::new()),
        Identity::Operator(subject) => (subject.as_str(), vec![OPERATOR]),
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let claims = json!({
        "iss": requirements.issuer,
        "aud": requirements.audience,
        "sub": subject,
        "roles": roles,
        "iat": now.as_secs(),
        "exp": (now + lifetime).as_secs(),
    });
    let key = EncodingKey::from_secret(secret.expose_secret().as_bytes());
    let token = encode(&Header::new(Algorithm::HS256), &claims, &key).context("cannot sign a token")?;
    Ok(SecretString::from(token))
}
