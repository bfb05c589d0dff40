//! Tokens as an issuer makes them, and as those do who are none.

use std::time::SystemTime;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chassis::identity::IdentityConfig;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_RSA_SHA256};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What is in the claim `iss` of an issuer's tokens.
pub const ISSUER: &str = "https://issuer.test";

/// An issuer with an RSA key of its own.
#[derive(Debug)]
pub struct Issuer {
    private: String,
    public: String,
    /// With the public key in it.
    folder: TempDir,
}

impl Default for Issuer {
    fn default() -> Self {
        Self::new()
    }
}

impl Issuer {
    /// One whom nobody trusts yet.
    pub fn new() -> Self {
        let pair = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let public = pair.public_key_pem();
        std::fs::write(folder.path().join("public.pem"), &public).unwrap();
        Self { private: pair.serialize_pem(), public, folder }
    }

    /// The settings of a process that trusts this issuer, for as long as it lives.
    pub fn trusted(&self) -> IdentityConfig {
        IdentityConfig {
            jwt_public_key_file: Some(self.folder.path().join("public.pem")),
            jwt_issuer: Some(ISSUER.to_owned()),
            ..IdentityConfig::default()
        }
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &Value) -> String {
        let key = EncodingKey::from_rsa_pem(self.private.as_bytes()).unwrap();
        encode(&Header::new(Algorithm::RS256), claims, &key).unwrap()
    }

    /// A customer's token.
    pub fn customer(&self, id: &str) -> String {
        self.sign(&claims(id))
    }

    /// An operator's token.
    pub fn operator(&self) -> String {
        let mut claims = claims("root");
        claims["roles"] = json!(["operator"]);
        self.sign(&claims)
    }

    /// What somebody makes who takes the public key, which is no secret, for one: HS256 with its text.
    pub fn signed_with_the_public_key(&self, claims: &Value) -> String {
        encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(self.public.as_bytes())).unwrap()
    }
}

/// What somebody makes who has no key at all.
pub fn unsigned(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(&json!({ "alg": "none", "typ": "JWT" })), part(claims))
}

/// Claims that are good for an hour.
pub fn claims(subject: &str) -> Value {
    json!({ "iss": ISSUER, "aud": "tandem", "sub": subject, "exp": now() + 3600 })
}

/// The same, and one of them is another.
pub fn claims_but(subject: &str, name: &str, value: Value) -> Value {
    let mut claims = claims(subject);
    claims[name] = value;
    claims
}

/// The time as tokens have it: seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}
