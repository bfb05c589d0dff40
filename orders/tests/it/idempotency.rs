//! The same request twice, with a key.

use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::World;

async fn place(world: &World, key: &str, amount: i32) -> reqwest::Response {
    let request = world.http.post(format!("{}/orders", world.orders_url())).header("Idempotency-Key", key);
    request.json(&json!({ "amount": amount })).send().await.unwrap()
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer_and_other_input_is_refused() {
    let world = World::start().await;
    let first = place(&world, "key-1", 100).await;
    assert_eq!((first.status().as_u16(), first.headers().contains_key("idempotency-replayed")), (201, false));
    let first: Value = first.json().await.unwrap();
    world.settle().await;
    let invoice = world.invoice_of(first["id"].as_str().unwrap().parse().unwrap(), "issued").await;
    let pay = format!("{}/invoices/{}/pay", world.invoices_url(), invoice["id"].as_str().unwrap());
    assert_eq!(world.http.post(pay).send().await.unwrap().status(), 200);
    world.settle().await;

    // Also as a quoted string, and although the order is paid by now: the first answer.
    let again = place(&world, "\"key-1\"", 100).await;
    assert_eq!(
        (again.status().as_u16(), again.headers()["idempotency-replayed"].as_bytes()),
        (201, b"true".as_slice())
    );
    assert_eq!(again.json::<Value>().await.unwrap(), first);

    let other = place(&world, "key-1", 101).await;
    assert_eq!(other.status(), 422);
    assert_eq!(other.json::<Value>().await.unwrap()["code"], "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(place(&world, "", 100).await.status(), 422);
    assert_eq!(world.pairs().await.len(), 1);
}

#[tokio::test]
async fn fifty_clients_with_one_key_get_one_order() {
    let world = World::start().await;
    let answers = join_all((0..50).map(|_| async {
        let response = place(&world, "shared", 7).await;
        assert_eq!(response.status(), 201);
        response.json::<Value>().await.unwrap()
    }))
    .await;
    assert!(answers.iter().all(|answer| answer == &answers[0]));
    assert_eq!(world.settle().await.len(), 1);
}

#[tokio::test]
async fn the_key_works_in_graphql_as_well() {
    let world = World::start().await;
    let create = "mutation($amount: Int!, $key: String) {
        createOrder(input: { amount: $amount, idempotencyKey: $key }) { order { id } userErrors { code field message } }
    }";
    let first = world.orders_graphql(create, json!({ "amount": 5, "key": "k" })).await;
    let again = world.orders_graphql(create, json!({ "amount": 5, "key": "k" })).await;
    assert!(first["data"]["createOrder"]["order"]["id"].is_string(), "{first}");
    assert_eq!(first, again);
    let other = world.orders_graphql(create, json!({ "amount": 6, "key": "k" })).await;
    let error = &other["data"]["createOrder"]["userErrors"][0];
    assert_eq!(
        (&error["code"], &error["field"]),
        (&json!("IDEMPOTENCY_KEY_REUSED"), &json!(["input", "idempotencyKey"]))
    );
}
