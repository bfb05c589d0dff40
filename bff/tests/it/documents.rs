//! Documents by hash: automatic persisted queries, and lists of trusted documents.

use std::path::PathBuf;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::world::World;

const ORDER: &str = r#"{ order(id: "o1") { id } }"#;
const CANCEL: &str = r#"mutation { cancelOrder(id: "o1") { order { id } } }"#;

fn hash_of(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn persisted(id: &str) -> Value {
    json!({ "persistedQuery": { "version": 1, "sha256Hash": id } })
}

fn code(answer: &Value) -> &str {
    answer["errors"][0]["extensions"]["code"].as_str().unwrap_or("none")
}

#[tokio::test]
async fn a_hash_runs_once_its_text_was_sent() {
    let world = World::start().await;
    let by_hash = json!({ "extensions": persisted(&hash_of(ORDER)) });

    let unknown = world.send(&by_hash).await;
    // Clients look at either of the two.
    assert_eq!(
        (code(&unknown), &unknown["errors"][0]["message"]),
        ("PERSISTED_QUERY_NOT_FOUND", &json!("PersistedQueryNotFound"))
    );

    let expected = json!({ "data": { "order": { "id": "o1" } } });
    let with_text = json!({ "query": ORDER, "extensions": persisted(&hash_of(ORDER)) });
    assert_eq!(world.send(&with_text).await, expected);
    assert_eq!(world.send(&by_hash).await, expected);

    let by_get = world.get(&[("extensions", &persisted(&hash_of(ORDER)).to_string())]).await;
    assert_eq!(by_get.json::<Value>().await.unwrap(), expected);
}

#[tokio::test]
async fn a_hash_that_is_not_the_texts_is_refused() {
    let world = World::start().await;
    let answer = world.send(&json!({ "query": ORDER, "extensions": persisted(&hash_of(CANCEL)) })).await;
    assert_eq!(code(&answer), "PERSISTED_QUERY_HASH_MISMATCH");
    let answer = world.send(&json!({ "extensions": persisted(&hash_of(CANCEL)) })).await;
    assert_eq!(code(&answer), "PERSISTED_QUERY_NOT_FOUND", "it must not have been remembered");
    let answer = world.send(&json!({ "extensions": persisted("no hash") })).await;
    assert_eq!(code(&answer), "PERSISTED_QUERY_NOT_FOUND");
    for extension in [json!(1), json!({}), json!({ "version": 2, "sha256Hash": "" }), json!({ "version": 1 })] {
        let answer = world.send(&json!({ "query": ORDER, "extensions": { "persistedQuery": extension } })).await;
        assert_eq!(code(&answer), "BAD_USER_INPUT", "{extension}");
    }
}

#[tokio::test]
async fn a_mutation_does_not_pass_a_get_by_being_a_hash() {
    let world = World::start().await;
    let with_text = json!({ "query": CANCEL, "extensions": persisted(&hash_of(CANCEL)) });
    assert_eq!(world.send(&with_text).await["data"]["cancelOrder"]["order"]["id"], "o1");
    world.orders.take_calls();

    let by_get = world.get(&[("extensions", &persisted(&hash_of(CANCEL)).to_string())]).await;
    assert_eq!((by_get.status().as_u16(), by_get.headers()["allow"].to_str().unwrap()), (405, "POST"));
    assert!(world.orders.take_calls().is_empty());
}

#[tokio::test]
async fn a_hash_names_the_operation_as_a_text_does() {
    let world = World::start().await;
    let text = "query A($id: ID!) { order(id: $id) { id } } query B { orders { nodes { id } } }";
    let send = async |name: &str| {
        world
            .send(&json!({
                "query": text,
                "operationName": name,
                "variables": { "id": "o2" },
                "extensions": persisted(&hash_of(text)),
            }))
            .await
    };
    for _ in 0..2 {
        assert_eq!(send("A").await["data"], json!({ "order": { "id": "o2" } }));
        assert_eq!(send("B").await["data"]["orders"]["nodes"][2], json!({ "id": "o3" }));
    }
    assert_eq!(code(&send("C").await), "GRAPHQL_VALIDATION_FAILED");
}

#[tokio::test]
async fn what_the_guard_refuses_is_not_remembered() {
    let world = World::start().await;
    let text = format!("{{ {} }}", "__typename ".repeat(21));
    for _ in 0..2 {
        let answer = world.send(&json!({ "query": text, "extensions": persisted(&hash_of(&text)) })).await;
        assert_eq!(code(&answer), "QUERY_TOO_COMPLEX");
        let answer = world.send(&json!({ "extensions": persisted(&hash_of(&text)) })).await;
        assert_eq!(code(&answer), "PERSISTED_QUERY_NOT_FOUND");
    }
}

/// A manifest in a file that is gone with its test.
fn manifest(content: &Value) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trusted.json");
    std::fs::write(&file, content.to_string()).unwrap();
    (folder, file)
}

#[tokio::test]
async fn with_trusted_documents_nothing_else_runs() {
    let apollo = json!({
        "format": "apollo-persisted-query-manifest",
        "version": 1,
        "operations": [
            { "id": hash_of(ORDER), "name": "Order", "type": "query", "body": ORDER },
            { "id": "cancel-1", "name": "Cancel", "type": "mutation", "body": CANCEL },
        ],
    });
    let plain = json!({ hash_of(ORDER): ORDER, "cancel-1": CANCEL });
    for content in [apollo, plain] {
        let (_folder, file) = manifest(&content);
        let world = World::start_with(|config| config.api.trusted_documents = Some(file)).await;

        let expected = json!({ "data": { "order": { "id": "o1" } } });
        assert_eq!(world.send(&json!({ "extensions": persisted(&hash_of(ORDER)) })).await, expected);
        assert_eq!(world.send(&json!({ "query": ORDER })).await, expected);
        assert_eq!(world.send(&json!({ "query": ORDER, "extensions": persisted(&hash_of(ORDER)) })).await, expected);
        let canceled = world.send(&json!({ "extensions": persisted("cancel-1") })).await;
        assert_eq!(canceled["data"]["cancelOrder"]["order"]["id"], "o1");
        let by_get = world.get(&[("extensions", &persisted("cancel-1").to_string())]).await;
        assert_eq!(by_get.status(), 405);

        let other = "{ __typename }";
        assert_eq!(code(&world.send(&json!({ "query": other })).await), "QUERY_NOT_IN_LIST");
        let registering = json!({ "query": other, "extensions": persisted(&hash_of(other)) });
        assert_eq!(code(&world.send(&registering).await), "QUERY_NOT_IN_LIST");
        let by_hash = json!({ "extensions": persisted(&hash_of(other)) });
        assert_eq!(code(&world.send(&by_hash).await), "PERSISTED_QUERY_NOT_IN_LIST");
        let introspection = json!({ "query": testkit::INTROSPECTION });
        assert_eq!(code(&world.send(&introspection).await), "QUERY_NOT_IN_LIST");
    }
}

#[tokio::test]
async fn a_manifest_that_cannot_be_used_is_named_at_start() {
    let doubling = format!("{{ {} }}", "__typename ".repeat(21));
    let apollo = |version: u32, operations: Value| json!({ "format": "apollo-persisted-query-manifest", "version": version, "operations": operations });
    let twice = json!({ "id": "a", "body": ORDER });
    for (content, problem) in [
        (json!([]), "it must be a JSON object"),
        (json!({}), "there is no document in it, so nothing could run"),
        (json!({ "a": "{" }), "the document \"a\": syntax error"),
        (json!({ "a": doubling }), "the document \"a\": 21 root fields are more than the 20 allowed"),
        (json!({ "a": 1 }), "\"a\" must be the text of a document"),
        (json!({ hash_of(CANCEL): ORDER }), "has another SHA-256 than its name says"),
        (json!({ "operations": [] }), "its format must be \"apollo-persisted-query-manifest\", not \"none\""),
        (apollo(2, json!([])), "its version must be 1, not 2"),
        (apollo(1, json!([{ "id": "a" }])), "missing field `body`"),
        (apollo(1, json!([twice, twice])), "the document \"a\" is there twice"),
    ] {
        let (_folder, file) = manifest(&content);
        let error =
            World::try_start_with(|config| config.api.trusted_documents = Some(file.clone())).await.err().unwrap();
        let error = format!("{error:#}");
        let expected = format!("cannot use the trusted documents of {}: ", file.display());
        assert!(error.starts_with(&expected) && error.contains(problem), "{error}");
    }
    let missing = PathBuf::from("/nowhere/trusted.json");
    let error = World::try_start_with(|config| config.api.trusted_documents = Some(missing)).await.err().unwrap();
    assert!(format!("{error:#}").contains("/nowhere/trusted.json: No such file"), "{error:#}");
}
