//! Mutations: each happens once, one after the other, and brings back the changed object with what belongs to it.

use serde_json::json;

use crate::{
    service::Trouble,
    world::{World, errors},
};

#[tokio::test]
async fn a_created_order_comes_back_with_its_invoice() {
    let world = World::start().await;
    let query = r#"mutation($input: CreateOrderInput!) {
        createOrder(input: $input) { order { amount invoice { number } } userErrors { message } }
    }"#;
    let answer = world.ask_with(query, json!({ "input": { "amount": 100, "idempotencyKey": "k" } })).await;
    assert_eq!(
        answer,
        json!({ "data": { "createOrder": {
            "order": { "amount": 100, "invoice": { "number": "INV-00000001" } },
            "userErrors": [],
        } } })
    );
    let calls = world.orders.take_calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(
        calls[0].query,
        "mutation($input:CreateOrderInput!){createOrder(input:$input){order{amount id} userErrors{message}}}"
    );
    // What the client left out is left out.
    assert_eq!(calls[0].variables, json!({ "input": { "amount": 100, "idempotencyKey": "k" } }));
    assert_eq!(world.invoices.take_queries().len(), 1);
}

#[tokio::test]
async fn a_paid_invoice_comes_back_with_its_order() {
    let world = World::start().await;
    let data = world.data(r#"mutation { payInvoice(id: "i2") { invoice { id order { amount } } } }"#).await;
    assert_eq!(data, json!({ "payInvoice": { "invoice": { "id": "i2", "order": { "amount": 200 } } } }));
    assert_eq!(world.invoices.take_queries(), ["mutation($id:ID!){payInvoice(id:$id){invoice{id orderId}}}"]);
    assert_eq!(world.orders.take_queries().len(), 1);
}

#[tokio::test]
async fn a_canceled_order_comes_back_with_its_invoice() {
    let world = World::start().await;
    let data = world.data(r#"mutation { cancelOrder(id: "o2") { order { status invoice { id } } } }"#).await;
    assert_eq!(data, json!({ "cancelOrder": { "order": { "status": "PENDING", "invoice": { "id": "i2" } } } }));
}

#[tokio::test]
async fn what_the_caller_can_correct_is_in_the_payload() {
    let world = World::start().await;
    let data = world
        .data(
            r#"mutation {
                createOrder(input: { amount: 0 }) { order { id invoice { id } } userErrors { code ...E } }
                cancelOrder(id: "o9") { order { id } userErrors { code field } }
                payInvoice(id: "i9") { invoice { id } userErrors { __typename code ...E } }
            }
            fragment E on UserError { field message }"#,
        )
        .await;
    assert_eq!(
        data,
        json!({
            "createOrder": {
                "order": null,
                "userErrors": [
                    { "code": "INVALID_AMOUNT", "field": ["input", "amount"], "message": "0 is not an amount" },
                ],
            },
            "cancelOrder": { "order": null, "userErrors": [{ "code": "ORDER_NOT_FOUND", "field": ["id"] }] },
            "payInvoice": {
                "invoice": null,
                "userErrors": [{
                    "__typename": "InvoiceUserError",
                    "code": "INVOICE_NOT_FOUND",
                    "field": null,
                    "message": "there is no such invoice",
                }],
            },
        })
    );
    // No order, so no invoice to ask for: the one call is `payInvoice`.
    assert_eq!(world.invoices.take_queries().len(), 1);
}

#[tokio::test]
async fn a_mutation_that_is_selected_in_two_places_happens_once() {
    let world = World::start().await;
    let data = world
        .data(
            "mutation { createOrder(input: { amount: 1 }) { order { id } } ...More }
             fragment More on Mutation { createOrder(input: { amount: 1 }) { userErrors { message } } }",
        )
        .await;
    assert_eq!(data, json!({ "createOrder": { "order": { "id": "o1" }, "userErrors": [] } }));
    assert_eq!(world.orders.take_queries().len(), 1);
}

#[tokio::test]
async fn mutations_happen_in_their_order_and_a_failed_one_does_not_stop_the_next() {
    let world = World::start().await;
    world.invoices.misbehave(Trouble::Cut);
    let answer = world
        .ask(
            r#"mutation {
                first: cancelOrder(id: "o1") { order { id } }
                second: payInvoice(id: "i1") { invoice { id } }
                third: cancelOrder(id: "o2") { order { id } }
            }"#,
        )
        .await;
    assert_eq!(
        answer["data"],
        json!({ "first": { "order": { "id": "o1" } }, "second": null, "third": { "order": { "id": "o2" } } })
    );
    assert_eq!(errors(&answer), ["second: SERVICE_UNAVAILABLE of invoices"]);
    let ids: Vec<_> = world.orders.take_calls().into_iter().map(|call| call.variables["id"].clone()).collect();
    assert_eq!(ids, ["o1", "o2"]);
    // Sent once, although the connection broke: nobody knows whether it happened.
    assert_eq!(world.invoices.take_queries().len(), 1);
}

#[tokio::test]
async fn a_mutation_counts_although_the_other_service_is_down() {
    let mut world = World::start().await;
    world.invoices.go_down().await;
    let answer = world.ask("mutation { createOrder(input: { amount: 1 }) { order { id invoice { id } } } }").await;
    assert_eq!(answer["data"], json!({ "createOrder": { "order": { "id": "o1", "invoice": null } } }));
    assert_eq!(errors(&answer), ["createOrder.order.invoice: SERVICE_UNAVAILABLE of invoices"]);
}
