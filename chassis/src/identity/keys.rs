//! What signatures are verified with: one shared secret, one public key, or a set of public keys.
//!
//! Invariant: each key has one algorithm, which follows from the key and from nothing that a token says. So a token that
//! names no algorithm, or has used a public key as if it were a secret, meets no key that would take it.

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

/// The shortest secret, in bytes: as long as what it makes (RFC 7518, section 3.2).
pub(super) const SHORTEST_SECRET: usize = 32;

/// The shortest RSA modulus, in bits (RFC 7518, section 3.3).
const SHORTEST_MODULUS: usize = 2048;

/// The parameters of a JSON Web Key that only its owner may know (RFC 7518, section 6).
const PRIVATE_PARTS: [&str; 6] = ["d", "p", "q", "dp", "dq", "qi"];

/// One key and the one algorithm that it is for.
pub(super) struct Key {
    id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

/// The keys of a process.
pub(super) struct Keys(Vec<Key>);

impl Keys {
    /// A secret that the issuer shares with us.
    ///
    /// # Errors
    /// When it is too short to keep one. The message does not show it.
    pub(super) fn from_secret(secret: &SecretString) -> Result<Self, String> {
        let secret = secret.expose_secret().as_bytes();
        if secret.len() < SHORTEST_SECRET {
            let length = secret.len();
            return Err(format!("must have at least {SHORTEST_SECRET} bytes, not {length}; e.g. openssl rand -hex 32"));
        }
        let decoding = DecodingKey::from_secret(secret);
        Ok(Self(vec![Key { id: None, algorithm: Algorithm::HS256, decoding }]))
    }

    /// One public key in PEM: RSA, P-256 or Ed25519.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Self, String> {
        if pem.windows(PRIVATE.len()).any(|text| text == PRIVATE) {
            return Err("holds a private key: only the issuer may have it, here goes the public one".to_owned());
        }
        let readers = [DecodingKey::from_rsa_pem, DecodingKey::from_ec_pem, DecodingKey::from_ed_pem];
        let decoding = readers.iter().find_map(|read| read(pem).ok());
        let decoding = decoding.ok_or("holds no public key in PEM (-----BEGIN PUBLIC KEY-----)")?;
        // As a JSON Web Key, so that the same rules hold for both.
        let jwk = Jwk::from_decoding_key(&decoding, None).map_err(|_| NO_KEY_OF_OURS)?;
        Ok(Self(vec![Key { id: None, algorithm: algorithm_of(&jwk)?, decoding }]))
    }

    /// A JSON Web Key Set (RFC 7517) of public keys, each with its `kid`.
    ///
    /// # Errors
    /// What is wrong with it, naming the key by its place.
    pub(super) fn from_jwks(text: &[u8]) -> Result<Self, String> {
        let set: Value = serde_json::from_slice(text).map_err(|error| format!("is not JSON: {error}"))?;
        let Some(values) = set.get("keys").and_then(Value::as_array) else {
            return Err("is no JSON Web Key Set: {\"keys\": [...]}".to_owned());
        };
        let mut keys: Vec<Key> = Vec::new();
        for (value, place) in values.iter().zip(1..) {
            let fault = |what: &str| format!("key {place} {what}");
            // A set may hold keys for other purposes; they are not ours to judge.
            if value.get("use").is_some_and(|purpose| purpose != "sig") {
                continue;
            }
            if PRIVATE_PARTS.iter().any(|part| value.get(part).is_some()) {
                return Err(fault("is a private key: only the issuer may have it, here go the public ones"));
            }
            let jwk: Jwk =
                serde_json::from_value(value.clone()).map_err(|error| fault(&format!("is none: {error}")))?;
            let algorithm = algorithm_of(&jwk).map_err(|what| fault(&what))?;
            let decoding = DecodingKey::from_jwk(&jwk).map_err(|_| fault(NO_KEY_OF_OURS))?;
            let id = jwk.common.key_id;
            if values.len() > 1 && id.is_none() {
                return Err(fault("has no kid, and it is not the only one"));
            }
            if keys.iter().any(|key| key.id == id) {
                return Err(fault("has the kid of another"));
            }
            keys.push(Key { id, algorithm, decoding });
        }
        if keys.is_empty() { Err("has no key for signatures".to_owned()) } else { Ok(Self(keys)) }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The key that a token names. One that has no name is meant by all; one that is alone, by those that name none.
    pub(super) fn named(&self, id: Option<&str>) -> Option<&Key> {
        match (self.0.as_slice(), id) {
            ([only], None) => Some(only),
            ([only], Some(_)) if only.id.is_none() => Some(only),
            (keys, Some(id)) => keys.iter().find(|key| key.id.as_deref() == Some(id)),
            (_, None) => None,
        }
    }
}

const PRIVATE: &[u8] = b"PRIVATE KEY-----";

const NO_KEY_OF_OURS: &str = "must be an RSA key of 2048 bits or more, P-256 or Ed25519";

/// What a public key is for.
fn algorithm_of(jwk: &Jwk) -> Result<Algorithm, String> {
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) => {
            // Base64 has six bits a character.
            let bits = rsa.n.trim_start_matches('A').len() * 6;
            if bits < SHORTEST_MODULUS {
                return Err(NO_KEY_OF_OURS.to_owned());
            }
            Algorithm::RS256
        }
        AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => Algorithm::ES256,
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        _ => return Err(NO_KEY_OF_OURS.to_owned()),
    };
    match jwk.common.key_algorithm {
        Some(named) if Algorithm::try_from(named).ok() != Some(algorithm) => {
            Err(format!("says alg {named}, and its kind is used with {algorithm:?} here"))
        }
        _ => Ok(algorithm),
    }
}
