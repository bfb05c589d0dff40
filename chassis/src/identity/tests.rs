//! Tokens that are good, and every way in which one is not.

use std::time::{Duration, SystemTime};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, HeaderValue, Method, Request, header},
    routing::any,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, encode, jwk::Jwk};
use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, SignatureAlgorithm,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{keys::Keys, *};
use crate::graphql::SCHEMA_QUESTION;

const SECRET: &str = "a secret of thirty-two bytes, no less";

fn config() -> IdentityConfig {
    IdentityConfig {
        jwt_secret: Some(SecretString::from(SECRET)),
        jwt_issuer: Some("https://issuer.test".to_owned()),
        jwt_leeway_seconds: 30,
        ..IdentityConfig::default()
    }
}

fn authenticator() -> Authenticator {
    config().authenticator().unwrap()
}

fn verifying(keys: Keys) -> Authenticator {
    Authenticator::new(keys, config().requirements().unwrap())
}

fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

fn claims() -> Value {
    json!({ "iss": "https://issuer.test", "aud": "tandem", "sub": "ada", "exp": now() + 60 })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    claims
}

fn signed(claims: &Value) -> String {
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

fn encoded(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

#[track_caller]
fn check(claims: &Value, expected: Result<Identity, Refusal>) {
    let found = authenticator().caller(Some(&signed(claims))).map(|caller| caller.identity);
    assert_eq!(found, expected, "{claims}");
}

fn customer(id: &str) -> Result<Identity, Refusal> {
    Ok(Identity::Customer(id.parse().unwrap()))
}

#[test]
fn a_token_says_who_asks_and_in_which_role() {
    check(&claims(), customer("ada"));
    check(&with("aud", json!(["other", "tandem"])), customer("ada"));
    for roles in [json!([]), json!(["reader"]), json!("reader"), json!([1])] {
        check(&with("roles", roles), customer("ada"));
    }
    for roles in [json!(["reader", "operator"]), json!("operator")] {
        check(&with("roles", roles), Ok(Identity::Operator("ada".to_owned())));
    }
    check(&with("roles", json!({ "operator": true })), Err(Refusal::Claim("roles")));
    assert_eq!(Authenticator::OPEN.caller(None), Ok(Caller::ANYONE));
}

#[test]
fn every_claim_that_counts_is_required_and_checked() {
    for name in ["exp", "iss", "aud", "sub"] {
        check(&with(name, Value::Null), Err(Refusal::Claim(name)));
    }
    check(&with("sub", json!(7)), Err(Refusal::Claim("sub")));
    for sub in ["", " ", "a\u{0}b", &"x".repeat(256)] {
        check(&with("sub", json!(sub)), Err(Refusal::Claim("sub")));
    }
    check(&with("exp", json!("tomorrow")), Err(Refusal::Claim("exp")));
    check(&with("nbf", json!("yesterday")), Err(Refusal::Claim("nbf")));
    check(&with("iss", json!("https://issuer.test/")), Err(Refusal::OtherIssuer));
    check(&with("aud", json!("Tandem")), Err(Refusal::OtherAudience));
    check(&with("aud", json!([])), Err(Refusal::OtherAudience));
}

#[test]
fn clocks_may_differ_by_the_leeway_and_no_more() {
    check(&with("exp", json!(now() - 20)), customer("ada"));
    check(&with("exp", json!(now() - 40)), Err(Refusal::Expired));
    check(&with("exp", json!(0)), Err(Refusal::Expired));
    check(&with("nbf", json!(now() + 20)), customer("ada"));
    check(&with("nbf", json!(now() + 40)), Err(Refusal::NotYetValid));
    // Until when what goes on may go on: as long as the token would be taken.
    let left = |exp: i64| {
        let caller = authenticator().caller(Some(&signed(&with("exp", json!(exp))))).unwrap();
        caller.token.unwrap().valid_until().duration_since(SystemTime::now()).unwrap().as_secs()
    };
    assert!((88..=91).contains(&left(now() + 60)));
    assert!((8..=11).contains(&left(now() - 20)));
    assert!(left(i64::MAX) > 1_000_000_000, "what no clock can hold is far away");
}

#[test]
fn what_is_no_token_of_ours_is_refused() {
    let good = signed(&claims());
    let (message, _) = good.rsplit_once('.').unwrap();
    let other = EncodingKey::from_secret(b"another secret of thirty-two bytes");
    let by = |header: &Header, key: &EncodingKey| encode(header, &claims(), key).unwrap();
    let own = EncodingKey::from_secret(SECRET.as_bytes());
    let mut critical = Header::new(Algorithm::HS256);
    critical.crit = Some(vec!["exp".to_owned()]);
    let unsigned = |alg: &str| format!("{}.", encoded(&json!({ "alg": alg, "typ": "JWT" }), &claims()));
    for token in [
        String::new(),
        "x".to_owned(),
        "a.b.c".to_owned(),
        format!("{message}."),
        format!("{message}.AAAA"),
        format!("{good}x"),
        format!("{good}.x"),
        unsigned("none"),
        unsigned("None"),
        unsigned("HS256"),
        unsigned("ES256"),
        by(&Header::new(Algorithm::HS256), &other),
        by(&Header::new(Algorithm::HS384), &own),
        by(&Header::new(Algorithm::HS512), &own),
        by(&critical, &own),
        format!("{good}{}", "A".repeat(10_000)),
    ] {
        assert_eq!(authenticator().caller(Some(&token)), Err(Refusal::Untrusted), "{token}");
    }
    assert_eq!(authenticator().caller(None), Err(Refusal::Missing));
}

/// A private key, its public half in PEM and as a JSON Web Key.
struct Pair {
    algorithm: Algorithm,
    signing: EncodingKey,
    pem: String,
}

fn pair(algorithm: Algorithm, of: &'static SignatureAlgorithm) -> Pair {
    let pair = KeyPair::generate_for(of).unwrap();
    let private = pair.serialize_pem();
    let signing = match algorithm {
        Algorithm::RS256 => EncodingKey::from_rsa_pem(private.as_bytes()),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(private.as_bytes()),
        _ => EncodingKey::from_ec_pem(private.as_bytes()),
    };
    Pair { algorithm, signing: signing.unwrap(), pem: pair.public_key_pem() }
}

fn pairs() -> [Pair; 3] {
    [
        pair(Algorithm::RS256, &PKCS_RSA_SHA256),
        pair(Algorithm::ES256, &PKCS_ECDSA_P256_SHA256),
        pair(Algorithm::EdDSA, &PKCS_ED25519),
    ]
}

impl Pair {
    fn sign(&self, kid: Option<&str>) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = kid.map(str::to_owned);
        encode(&header, &claims(), &self.signing).unwrap()
    }

    fn jwk(&self, kid: Option<&str>) -> Value {
        let read = match self.algorithm {
            Algorithm::RS256 => DecodingKey::from_rsa_pem,
            Algorithm::EdDSA => DecodingKey::from_ed_pem,
            _ => DecodingKey::from_ec_pem,
        };
        let mut jwk = Jwk::from_decoding_key(&read(self.pem.as_bytes()).unwrap(), Some(self.algorithm)).unwrap();
        jwk.common.key_id = kid.map(str::to_owned);
        serde_json::to_value(jwk).unwrap()
    }
}

#[test]
fn a_public_key_verifies_what_its_owner_signed_and_nothing_else() {
    let pairs = pairs();
    for pair in &pairs {
        let authenticator = verifying(Keys::from_pem(pair.pem.as_bytes()).unwrap());
        assert!(authenticator.caller(Some(&pair.sign(None))).is_ok(), "{:?}", pair.algorithm);
        // A key in a file has no name, so whatever a token calls it is right.
        assert!(authenticator.caller(Some(&pair.sign(Some("k")))).is_ok());
        for other in pairs.iter().filter(|other| other.algorithm != pair.algorithm) {
            assert_eq!(authenticator.caller(Some(&other.sign(None))), Err(Refusal::Untrusted));
        }
        // The public key is no secret: whoever has it could sign with it, if it were taken for one.
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            for key in [pair.pem.as_bytes(), pair.pem.trim().as_bytes()] {
                let token = encode(&Header::new(algorithm), &claims(), &EncodingKey::from_secret(key)).unwrap();
                assert_eq!(authenticator.caller(Some(&token)), Err(Refusal::Untrusted));
            }
        }
        // Another algorithm of the same kind of key.
        if pair.algorithm == Algorithm::RS256 {
            let token = encode(&Header::new(Algorithm::PS256), &claims(), &pair.signing).unwrap();
            assert_eq!(authenticator.caller(Some(&token)), Err(Refusal::Untrusted));
        }
    }
}

#[test]
fn of_several_keys_the_one_that_the_token_names_decides() {
    let [rsa, ec, ed] = &pairs();
    let set = json!({ "keys": [rsa.jwk(Some("r")), ec.jwk(Some("c")), ed.jwk(Some("d"))] });
    let several = verifying(Keys::from_jwks(set.to_string().as_bytes()).unwrap());
    for (pair, kid) in [(rsa, "r"), (ec, "c"), (ed, "d")] {
        assert!(several.caller(Some(&pair.sign(Some(kid)))).is_ok(), "{kid}");
        for wrong in [None, Some("x"), Some(""), Some(if kid == "r" { "c" } else { "r" })] {
            assert_eq!(several.caller(Some(&pair.sign(wrong))), Err(Refusal::Untrusted), "{kid}: {wrong:?}");
        }
    }
    let set = json!({ "keys": [ec.jwk(Some("only")), { "kty": "oct", "use": "enc" }] });
    let alone = verifying(Keys::from_jwks(set.to_string().as_bytes()).unwrap());
    assert!(alone.caller(Some(&ec.sign(None))).is_ok() && alone.caller(Some(&ec.sign(Some("only")))).is_ok());
    assert_eq!(alone.caller(Some(&ec.sign(Some("x")))), Err(Refusal::Untrusted));
    // The key that a token brings along is nobody's.
    let mut header = Header::new(Algorithm::ES256);
    let stranger = pair(Algorithm::ES256, &PKCS_ECDSA_P256_SHA256);
    header.jwk = Some(serde_json::from_value(stranger.jwk(Some("only"))).unwrap());
    header.kid = Some("only".to_owned());
    let token = encode(&header, &claims(), &stranger.signing).unwrap();
    assert_eq!(alone.caller(Some(&token)), Err(Refusal::Untrusted));
}

#[test]
fn a_key_that_will_not_do_is_refused_with_what_would() {
    let [rsa, ec, _] = &pairs();
    let p384 = pair(Algorithm::ES384, &PKCS_ECDSA_P384_SHA384);
    let private = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
    let pem = |text: &str| Keys::from_pem(text.as_bytes()).err().unwrap();
    assert!(pem("").contains("BEGIN PUBLIC KEY"));
    assert!(pem(&private).contains("private key"));
    assert!(pem(&p384.pem).contains("P-256"));
    let short = "-----BEGIN PUBLIC KEY-----\nMIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDdlatRjRjogo3WojgGHFHYLugd\nUWAY9iR3fy4arWNA1KoS8kVw33cJibXr8bvwUAUparCwlvdbH6dvEOfou0/gCFQs\nHUfQrSDv+MuSUMAe8jzKE4qW+jK+xQU9a03GUnKHkkle+Q0pX/g6jXZ7r1/xAK5D\no2kQ+X5xK9cipRgEKwIDAQAB\n-----END PUBLIC KEY-----\n";
    assert!(pem(short).contains("2048 bits"), "{}", pem(short));

    let without = |jwk: Value, part: &str| {
        let mut jwk = jwk;
        jwk.as_object_mut().unwrap().remove(part);
        jwk
    };
    let named = |mut jwk: Value, alg: &str| {
        jwk["alg"] = json!(alg);
        jwk
    };
    let secret = json!({ "kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET), "kid": "s" });
    let mut owned = ec.jwk(Some("c"));
    owned["d"] = json!("AAAA");
    for (text, expected) in [
        ("{".to_owned(), "is not JSON"),
        ("[]".to_owned(), "no JSON Web Key Set"),
        (json!({ "keys": [] }).to_string(), "no key for signatures"),
        (json!({ "keys": [{ "kty": "oct", "use": "enc" }] }).to_string(), "no key for signatures"),
        (json!({ "keys": [secret] }).to_string(), "key 1 must be an RSA key"),
        (json!({ "keys": [p384.jwk(Some("a"))] }).to_string(), "key 1 must be an RSA key"),
        (json!({ "keys": [owned] }).to_string(), "key 1 is a private key"),
        (json!({ "keys": [without(ec.jwk(Some("a")), "x")] }).to_string(), "key 1 must be an RSA key"),
        (json!({ "keys": [named(rsa.jwk(Some("a")), "PS256")] }).to_string(), "key 1 says alg PS256"),
        (json!({ "keys": [named(rsa.jwk(Some("a")), "HS256")] }).to_string(), "key 1 says alg HS256"),
        (json!({ "keys": [rsa.jwk(Some("a")), ec.jwk(None)] }).to_string(), "key 2 has no kid"),
        (json!({ "keys": [rsa.jwk(Some("a")), ec.jwk(Some("a"))] }).to_string(), "key 2 has the kid of another"),
    ] {
        let error = Keys::from_jwks(text.as_bytes()).err().unwrap();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn every_bad_setting_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    let file = |text: &str| {
        std::fs::write(&path, text).unwrap();
        Some(path.clone())
    };
    let base = || IdentityConfig { jwt_secret: None, ..config() };
    let none = || IdentityConfig { jwt_issuer: None, ..base() };
    let short = |secret: &str| IdentityConfig { jwt_secret: Some(SecretString::from(secret)), ..config() };
    for (config, expected) in [
        (IdentityConfig { app_env: AppEnv::Production, ..none() }, "APP_ENV=production needs JWT_SECRET"),
        (base(), "JWT_ISSUER is set without a key"),
        (IdentityConfig { jwt_audience: Some("a".to_owned()), ..none() }, "JWT_AUDIENCE is set without a key"),
        (short("canary-too-short"), "JWT_SECRET must have at least 32 bytes, not 16"),
        (short(""), "JWT_SECRET must have at least 32 bytes, not 0"),
        (IdentityConfig { jwt_issuer: None, ..config() }, "JWT_ISSUER is not set"),
        (IdentityConfig { jwt_issuer: Some(" ".to_owned()), ..config() }, "JWT_ISSUER is not set"),
        (IdentityConfig { jwt_audience: Some(String::new()), ..config() }, "JWT_AUDIENCE is empty"),
        (IdentityConfig { jwt_jwks_file: Some("x".into()), ..config() }, "JWT_SECRET and JWT_JWKS_FILE are set"),
        (
            IdentityConfig { jwt_public_key_file: Some("/nowhere".into()), ..base() },
            "JWT_PUBLIC_KEY_FILE /nowhere cannot",
        ),
        (IdentityConfig { jwt_jwks_file: Some("/nowhere".into()), ..base() }, "JWT_JWKS_FILE /nowhere cannot be read"),
        (IdentityConfig { jwt_public_key_file: file("x"), ..base() }, "key.pem holds no public key in PEM"),
    ] {
        let error = config.authenticator().err().unwrap().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(!error.contains("canary"), "{error}");
    }
    assert!(none().authenticator().unwrap().is_open());
    let production = IdentityConfig { app_env: AppEnv::Production, ..config() };
    assert!(!production.authenticator().unwrap().is_open());
}

/// A key that is taken out of the file opens nothing any more, and a file that is none changes nothing.
#[tokio::test(start_paused = true)]
async fn a_key_set_that_has_changed_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let [_, old, new] = &pairs();
    let set = |pair: &Pair, kid| json!({ "keys": [pair.jwk(Some(kid))] }).to_string();
    std::fs::write(&path, set(old, "old")).unwrap();
    let config = IdentityConfig { jwt_secret: None, jwt_jwks_file: Some(path.clone()), ..config() };
    let authenticator = config.authenticator().unwrap();
    let taken = |pair: &Pair, kid| authenticator.caller(Some(&pair.sign(Some(kid)))).is_ok();
    assert!(taken(old, "old") && !taken(new, "new"));

    for (text, old_is_taken) in [("{".to_owned(), true), (set(new, "new"), false)] {
        std::fs::write(&path, text).unwrap();
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!((taken(old, "old"), taken(new, "new")), (old_is_taken, !old_is_taken));
    }
    std::fs::remove_file(&path).unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(taken(new, "new"));
}

#[test]
fn credentials_are_one_bearer_token_in_one_header() {
    let good = signed(&claims());
    let ask = |values: &[String]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        authenticator().caller_by_header(&headers).map(|caller| caller.identity)
    };
    for scheme in ["Bearer", "bearer", "BEARER"] {
        assert_eq!(ask(&[format!("{scheme} {good}")]), customer("ada"));
    }
    assert_eq!(ask(&[]), Err(Refusal::Missing));
    assert_eq!(ask(&["Basic YTpi".to_owned()]), Err(Refusal::Missing));
    assert_eq!(ask(std::slice::from_ref(&good)), Err(Refusal::Missing));
    for malformed in ["Bearer", "Bearer ", "Bearer a b", "Bearer a,b"] {
        assert_eq!(ask(&[malformed.to_owned()]), Err(Refusal::Malformed), "{malformed}");
    }
    assert_eq!(ask(&[format!("Bearer {good}"), format!("Bearer {good}")]), Err(Refusal::Malformed));
}

#[test]
fn neither_settings_nor_callers_show_a_secret() {
    let token = signed(&claims());
    let caller = authenticator().caller(Some(&token)).unwrap();
    let shown = format!("{:?} {caller:?} {:?}", config(), caller.token.as_ref().unwrap().to_header());
    assert!(!shown.contains(SECRET) && !shown.contains(&token), "{shown}");
}

#[test]
fn a_development_token_is_taken_where_it_was_made_and_not_made_in_production() {
    let make = |config: &IdentityConfig, who: &Identity| development_token(config, who, Duration::from_secs(60));
    for who in [Identity::Customer("ada".parse().unwrap()), Identity::Operator("root".to_owned())] {
        let token = make(&config(), &who).unwrap();
        assert_eq!(authenticator().caller(Some(token.expose_secret())).unwrap().identity, who);
    }
    let refused =
        |config: IdentityConfig| make(&config, &Identity::Operator("root".to_owned())).unwrap_err().to_string();
    assert!(refused(IdentityConfig { app_env: AppEnv::Production, ..config() }).contains("APP_ENV=production"));
    assert!(refused(IdentityConfig { jwt_secret: None, ..config() }).contains("JWT_SECRET is not set"));
    assert!(refused(IdentityConfig { jwt_secret: Some("short".into()), ..config() }).contains("32 bytes"));
    assert!(make(&config(), &Identity::Anyone).is_err());
}

/// The one question that needs no token is that one, to the letter: everything else passes a gate, or does not.
#[tokio::test]
async fn only_the_question_for_the_schema_passes_without_a_token() {
    let answered = Router::new().route("/graphql", any(|body: String| async move { body }));
    let subgraph = authenticator().protect_subgraph(answered);
    let ask = async |request: Request<Body>| {
        let answer = subgraph.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        (status, String::from_utf8(to_bytes(answer.into_body(), 10_000).await.unwrap().into()).unwrap())
    };
    let question = |text: &str| {
        let request = Request::post("/graphql").header(header::CONTENT_LENGTH, text.len());
        request.header(header::CONTENT_TYPE, "application/json").body(Body::from(text.to_owned())).unwrap()
    };
    assert_eq!(ask(question(SCHEMA_QUESTION)).await, (200, SCHEMA_QUESTION.to_owned()));

    let of_that_length = |begin: &str| format!("{begin:<width$}", width = SCHEMA_QUESTION.len());
    let mut others: Vec<(String, Request<Body>)> = [
        SCHEMA_QUESTION.replace("_service", "_Service"),
        SCHEMA_QUESTION.replace("{sdl}", " sdl "),
        SCHEMA_QUESTION.to_uppercase(),
        of_that_length(r#"{"query":"{orders{nodes{id}}}"}"#).replace("nodes{id}", "totalCoun"),
        of_that_length("{}"),
        format!("{SCHEMA_QUESTION} "),
        format!(" {SCHEMA_QUESTION}"),
        r#"{"query":"{_service{sdl} orders{nodes{id}}}"}"#.to_owned(),
        r#"[{"query":"{_service{sdl}}"}]"#.to_owned(),
        String::new(),
    ]
    .map(|text| (text.clone(), question(&text)))
    .into();
    // The right length and more behind it, as nobody who counts would send it; and without a length.
    for (what, length, text) in [
        ("more than its length", Some(SCHEMA_QUESTION.len()), format!("{SCHEMA_QUESTION}{{")),
        ("less than its length", Some(SCHEMA_QUESTION.len()), SCHEMA_QUESTION[..10].to_owned()),
        ("without a length", None, SCHEMA_QUESTION.to_owned()),
    ] {
        let request = Request::post("/graphql").header(header::CONTENT_TYPE, "application/json");
        let request = length.map_or(Request::post("/graphql"), |length| request.header(header::CONTENT_LENGTH, length));
        others.push((what.to_owned(), request.body(Body::from(text)).unwrap()));
    }
    let mut got = question(SCHEMA_QUESTION);
    *got.method_mut() = Method::GET;
    others.push(("by GET".to_owned(), got));
    // Whoever shows a token is judged by it, whatever is asked.
    let mut known = question(SCHEMA_QUESTION);
    known.headers_mut().insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer wrong"));
    others.push(("with a wrong token".to_owned(), known));
    for (what, request) in others {
        assert_eq!(ask(request).await.0, 401, "{what}");
    }
}
