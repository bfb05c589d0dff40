//! The schema that clients see, and the copy of it that reviews look at.

use std::{fs, path::Path};

use serde_json::json;

use crate::world::World;

#[test]
fn the_committed_schema_is_the_one_we_serve() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contracts/schemas/bff.graphql");
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        fs::write(&path, bff::sdl()).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap();
    assert!(
        committed == bff::sdl(),
        "contracts/schemas/bff.graphql is not what the code serves; `UPDATE_SCHEMAS=1 cargo test -p bff` rewrites it"
    );
}

#[tokio::test]
async fn the_schema_is_introspected() {
    let world = World::start().await;
    let data = world
        .data(
            r#"{
                __type(name: "Query") { fields { name args { name defaultValue } type { kind name } } }
                __schema { subscriptionType { name } }
            }"#,
        )
        .await;
    assert_eq!(
        data["__type"]["fields"][1],
        json!({
            "name": "orders",
            "args": [
                { "name": "first", "defaultValue": "20" },
                { "name": "after", "defaultValue": null },
                { "name": "filter", "defaultValue": null },
                { "name": "sort", "defaultValue": "CREATED_AT_DESC" },
            ],
            "type": { "kind": "OBJECT", "name": "OrderConnection" },
        })
    );
    assert_eq!(data["__schema"]["subscriptionType"], json!({ "name": "Subscription" }));
}
