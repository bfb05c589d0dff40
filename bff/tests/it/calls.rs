//! Which service is asked what, and how often.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::world::World;

/// Asks `query` and compares the documents that the services were sent.
async fn check(world: &World, query: &str, orders: &[&str], invoices: &[&str]) -> Value {
    let data = world.data(query).await;
    assert_eq!(world.orders.take_queries(), orders, "orders, for {query}");
    assert_eq!(world.invoices.take_queries(), invoices, "invoices, for {query}");
    data
}

const ORDER_BY_ID: &str = "query($id:ID!){order(id:$id)";
const INVOICE_BY_ID: &str = "query($id:ID!){invoice(id:$id)";
const ORDERS: &str = "query($first:Int!,$sort:OrderSort!){orders(first:$first,sort:$sort)";
const INVOICES: &str = "query($first:Int!,$sort:InvoiceSort!){invoices(first:$first,sort:$sort)";
const ENTITIES: &str = "query($keys:[_Any!]!){_entities(representations:$keys){...on Order";

#[tokio::test]
async fn only_the_selected_fields_travel_and_only_to_their_owner() {
    let world = World::start().await;
    let by_id = |fields: &str| format!("{ORDER_BY_ID}{fields}}}");
    let invoice_of = |fields: &str| format!("{ENTITIES}{{invoice{fields}}}}}}}");

    let data = check(&world, r#"{ order(id: "o1") { status id } }"#, &[&by_id("{id status}")], &[]).await;
    assert_eq!(data, json!({ "order": { "status": "PENDING", "id": "o1" } }));

    let query = r#"{ order(id: "o1") { amount invoice { number paidAt } } }"#;
    let data = check(&world, query, &[&by_id("{amount}")], &[&invoice_of("{number paidAt}")]).await;
    assert_eq!(data["order"]["invoice"], json!({ "number": "INV-00000001", "paidAt": null }));

    let query = r#"{ order(id: "o3") { id invoice { id } } }"#;
    let data = check(&world, query, &[&by_id("{id}")], &[&invoice_of("{id}")]).await;
    assert_eq!(data, json!({ "order": { "id": "o3", "invoice": null } }));

    let query = r#"{ order(id: "o1") { __typename timeline { t: type traceId } } }"#;
    let data = check(&world, query, &[&by_id("{timeline{traceId type}}")], &[]).await;
    assert_eq!(data["order"]["__typename"], "Order");
    assert_eq!(data["order"]["timeline"], json!([{ "t": "ORDER_CREATED", "traceId": null }]));

    let data = check(&world, r#"{ order(id: "o1") { __typename } }"#, &[&by_id("{__typename}")], &[]).await;
    assert_eq!(data, json!({ "order": { "__typename": "Order" } }));

    check(&world, "{ __typename __schema { queryType { name } } }", &[], &[]).await;
}

#[tokio::test]
async fn an_order_and_its_invoice_are_fetched_at_the_same_time() {
    let world = World::start().await;
    // Neither service answers before both were asked.
    let barrier = Arc::new(Barrier::new(2));
    world.orders.meet_at(&barrier);
    world.invoices.meet_at(&barrier);
    let data = world.data(r#"{ order(id: "o2") { id invoice { id } } }"#).await;
    assert_eq!(data, json!({ "order": { "id": "o2", "invoice": { "id": "i2" } } }));
}

#[tokio::test]
async fn two_root_fields_are_fetched_at_the_same_time() {
    let world = World::start().await;
    let barrier = Arc::new(Barrier::new(2));
    world.orders.meet_at(&barrier);
    world.invoices.meet_at(&barrier);
    let data = world.data("{ orders { nodes { id } } invoices { nodes { id } } }").await;
    assert_eq!(data["invoices"]["nodes"], json!([{ "id": "i1" }, { "id": "i2" }]));
}

#[tokio::test]
async fn a_page_costs_one_call_a_service() {
    let world = World::start().await;
    let invoice_of = |fields: &str| format!("{ENTITIES}{{invoice{fields}}}}}}}");

    let query = "{ orders { nodes { amount invoice { id } } pageInfo { endCursor hasNextPage } } }";
    let nodes = format!("{ORDERS}{{nodes{{amount id}} pageInfo{{endCursor hasNextPage}}}}}}");
    let data = check(&world, query, &[&nodes], &[&invoice_of("{id}")]).await;
    assert_eq!(
        data["orders"],
        json!({
            "nodes": [
                { "amount": 100, "invoice": { "id": "i1" } },
                { "amount": 200, "invoice": { "id": "i2" } },
                { "amount": 300, "invoice": null },
            ],
            "pageInfo": { "endCursor": null, "hasNextPage": true },
        })
    );

    // Both views of a page, each with its own selection: still one call a service.
    let query = "{ orders { nodes { invoice { id } } edges { cursor node { id invoice { amount } } } } }";
    let edges = format!("{ORDERS}{{edges{{cursor node{{id}}}}}}}}");
    let data = check(&world, query, &[&edges], &[&invoice_of("{amount id}")]).await;
    assert_eq!(data["orders"]["nodes"][1], json!({ "invoice": { "id": "i2" } }));
    assert_eq!(
        data["orders"]["edges"][1],
        json!({ "cursor": "c2", "node": { "id": "o2", "invoice": { "amount": 200 } } })
    );

    let cursors = format!("{ORDERS}{{edges{{cursor}}}}}}");
    check(&world, "{ orders { edges { cursor } } }", &[&cursors], &[]).await;
    let nothing = format!("{ORDERS}{{__typename}}}}");
    check(&world, "{ orders { __typename } }", &[&nothing], &[]).await;
}

#[tokio::test]
async fn the_key_of_an_invoices_order_is_known_and_asked_of_nobody() {
    let world = World::start().await;
    let nodes = |fields: &str| format!("{INVOICES}{{nodes{fields}}}}}");
    let orders = |fields: &str| format!("{ENTITIES}{fields}}}}}");

    let query = "{ invoices { nodes { number order { id __typename } } } }";
    let data = check(&world, query, &[], &[&nodes("{number orderId}")]).await;
    assert_eq!(data["invoices"]["nodes"][1]["order"], json!({ "id": "o2", "__typename": "Order" }));

    let query = "{ invoices { nodes { order { id status } } } }";
    let data = check(&world, query, &[&orders("{status}")], &[&nodes("{orderId}")]).await;
    assert_eq!(data["invoices"]["nodes"][0]["order"], json!({ "id": "o1", "status": "PENDING" }));

    let query = r#"{ invoice(id: "i1") { order { amount } } }"#;
    let by_id = format!("{INVOICE_BY_ID}{{orderId}}}}");
    let data = check(&world, query, &[&orders("{amount}")], &[&by_id]).await;
    assert_eq!(data, json!({ "invoice": { "order": { "amount": 100 } } }));
}

#[tokio::test]
async fn what_does_not_exist_costs_no_further_call() {
    let world = World::start().await;
    let by_id = format!("{INVOICE_BY_ID}{{orderId}}}}");
    let data = check(&world, r#"{ invoice(id: "i9") { order { amount } } }"#, &[], &[&by_id]).await;
    assert_eq!(data, json!({ "invoice": null }));

    assert_eq!(world.data(r#"{ order(id: "o9") { id invoice { id } } }"#).await, json!({ "order": null }));
}

#[tokio::test]
async fn each_level_is_one_call() {
    let world = World::start().await;
    let query = "{ invoices { nodes { id order { customerId invoice { number order { id } } } } } }";
    let data = check(
        &world,
        query,
        &[&format!("{ENTITIES}{{customerId}}}}}}")],
        &[&format!("{INVOICES}{{nodes{{id orderId}}}}}}"), &format!("{ENTITIES}{{invoice{{number orderId}}}}}}}}")],
    )
    .await;
    assert_eq!(
        data["invoices"]["nodes"][1],
        json!({
            "id": "i2",
            "order": { "customerId": "customer-123", "invoice": { "number": "INV-00000002", "order": { "id": "o2" } } },
        })
    );
}

#[tokio::test]
async fn arguments_are_passed_on() {
    let world = World::start().await;
    let query = r#"query($first: Int, $after: String, $status: [OrderStatus!]) {
        orders(
            first: $first, after: $after, sort: AMOUNT_ASC,
            filter: { status: $status, customerId: "c", createdFrom: "2026-11-03T11:30:00+01:00" }
        ) { nodes { id } }
    }"#;
    world.ask_with(query, json!({ "first": 3, "after": "c1", "status": ["PAID", "CANCELED"] })).await;
    let calls = world.orders.take_calls();
    assert_eq!(
        calls[0].variables,
        json!({
            "first": 3,
            "after": "c1",
            "sort": "AMOUNT_ASC",
            "filter": { "status": ["PAID", "CANCELED"], "customerId": "c", "createdFrom": "2026-11-03T10:30:00.000Z" },
        })
    );

    // A client that declares a variable and leaves it out gets the default.
    world.ask_with(query, json!({})).await;
    let calls = world.orders.take_calls();
    assert_eq!(calls[0].variables["first"], 20);
    assert_eq!(calls[0].variables.get("after"), None);
    assert_eq!(calls[0].variables["filter"].get("status"), None);
}
