//! REST and the subgraph.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use contracts::Amount;
use invoices::{invoice::AmountLimit, service::InvoiceService};
use outbox::{Outbox, Patience};
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};
use testkit::World;
use uuid::Uuid;

#[test]
fn the_schema_is_the_committed_one() {
    testkit::assert_schema("invoices.graphql", &invoices::graphql::sdl());
}

#[tokio::test]
async fn an_invoice_is_paid_once_and_paying_again_changes_nothing() {
    let world = World::start().await;
    let order = world.place(1999).await;
    let invoice = world.invoice_of(order, "issued").await;
    let id = invoice["id"].as_str().unwrap();
    assert_eq!(
        (&invoice["amount"], &invoice["customerId"], &invoice["paidAt"]),
        (&json!(1999), &json!("customer-123"), &Value::Null)
    );
    let number = invoice["number"].as_str().unwrap();
    assert!(number.len() == 12 && number.starts_with("INV-"), "{number}");

    let pay = format!("{}/invoices/{id}/pay", world.invoices_url());
    let first: Value = world.http.post(&pay).send().await.unwrap().json().await.unwrap();
    let again: Value = world.http.post(&pay).send().await.unwrap().json().await.unwrap();
    assert_eq!((&first["status"], &first), (&json!("paid"), &again));
    assert!(first["paidAt"].is_string());
    assert_eq!(world.settle().await[&order].order, "paid");
}

#[tokio::test]
async fn a_voided_invoice_cannot_be_paid() {
    let world = World::start().await;
    let order = world.place(5).await;
    world.settle().await;
    world.http.post(format!("{}/orders/{order}/cancel", world.orders_url())).send().await.unwrap();
    let invoice = world.invoice_of(order, "voided").await;
    let response =
        world.http.post(format!("{}/invoices/{}/pay", world.invoices_url(), invoice["id"].as_str().unwrap()));
    let response = response.send().await.unwrap();
    assert_eq!(response.status(), 409);
    assert_eq!(response.json::<Value>().await.unwrap()["code"], "INVOICE_NOT_PAYABLE");

    let pay = "mutation($id: ID!) { payInvoice(id: $id) { invoice { status } userErrors { code field message } } }";
    let answer = world.invoices_graphql(pay, json!({ "id": invoice["id"] })).await;
    let payload = &answer["data"]["payInvoice"];
    assert_eq!(payload["invoice"], json!({ "status": "VOIDED" }), "{answer}");
    assert_eq!(
        payload["userErrors"][0],
        json!({ "code": "INVOICE_NOT_PAYABLE", "field": ["id"], "message": "only an issued invoice can be paid, and this one is voided" })
    );
    let answer = world.invoices_graphql(pay, json!({ "id": Uuid::now_v7() })).await;
    assert_eq!(answer["data"]["payInvoice"]["invoice"], Value::Null);
    assert_eq!(answer["data"]["payInvoice"]["userErrors"][0]["code"], "INVOICE_NOT_FOUND");
}

#[tokio::test]
async fn an_order_above_the_limit_is_rejected_and_canceled() {
    let world = World::with(testkit::world::Settings { amount_limit: Some(1000), ..Default::default() }).await;
    let (small, large) = (world.place(1000).await, world.place(1001).await);
    let pairs = world.settle().await;
    assert_eq!((pairs[&small].invoice.as_str(), pairs[&large].invoice.as_str()), ("issued", "rejected"));
    assert_eq!(pairs[&large].order, "canceled");
}

#[tokio::test]
async fn the_invoices_of_a_page_of_orders_are_read_by_one_statement() {
    let world = World::start().await;
    let mut orders = Vec::new();
    for amount in 1..=20 {
        orders.push(world.place(amount).await);
    }
    world.settle().await;
    let mut db = world.invoices_db().clone();
    let statements = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&statements);
    db.set_metric_callback(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    let limit = AmountLimit(Amount::try_from(1).unwrap());
    let schema =
        invoices::graphql::schema(InvoiceService::new(Outbox::new(db, "invoices"), limit, Patience::default()));

    let mut representations: Vec<Value> = orders.iter().map(|id| json!({ "__typename": "Order", "id": id })).collect();
    representations.push(json!({ "__typename": "Order", "id": Uuid::now_v7() }));
    representations.push(json!({ "__typename": "Order", "id": "no-uuid" }));
    let query =
        "query($r: [_Any!]!) { _entities(representations: $r) { ... on Order { id invoice { orderId amount } } } }";
    let request = async_graphql::Request::new(query)
        .variables(async_graphql::Variables::from_json(json!({ "r": representations })))
        .data(chassis::identity::Caller::ANYONE);
    let answer = serde_json::to_value(schema.execute(request).await).unwrap();

    let entities = answer["data"]["_entities"].as_array().unwrap();
    assert_eq!(entities.len(), 22, "{answer}");
    for (index, order) in orders.iter().enumerate() {
        assert_eq!(entities[index]["invoice"], json!({ "orderId": order, "amount": index + 1 }));
    }
    assert!(entities[20]["invoice"].is_null() && entities[21]["invoice"].is_null(), "{answer}");
    assert_eq!(statements.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn lists_walk_to_their_end_and_arguments_are_checked() {
    let world = World::start().await;
    for amount in 1..=7 {
        world.place(amount).await;
    }
    world.settle().await;
    let query = "query($n: Int, $a: String, $f: InvoiceFilter, $s: InvoiceSort) {
        invoices(first: $n, after: $a, filter: $f, sort: $s) { nodes { amount order { id } orderId } pageInfo { hasNextPage endCursor } }
    }";
    for sort in ["CREATED_AT_DESC", "CREATED_AT_ASC"] {
        let (mut seen, mut after) = (Vec::new(), Value::Null);
        loop {
            let page = world.invoices_graphql(query, json!({ "n": 3, "a": after, "s": sort })).await;
            let invoices = &page["data"]["invoices"];
            for node in invoices["nodes"].as_array().unwrap() {
                assert_eq!(node["order"]["id"], node["orderId"]);
                seen.push(node["amount"].as_i64().unwrap());
            }
            if invoices["pageInfo"]["hasNextPage"] == false {
                break;
            }
            after = invoices["pageInfo"]["endCursor"].clone();
        }
        seen.sort_unstable();
        assert_eq!(seen, (1..=7).collect::<Vec<i64>>(), "{sort}");
    }
    for (variables, code) in [
        (json!({ "n": 0 }), "BAD_USER_INPUT"),
        (json!({ "f": { "orderId": "x" } }), "BAD_USER_INPUT"),
        (json!({ "a": "x" }), "BAD_CURSOR"),
    ] {
        let answer = world.invoices_graphql(query, variables).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], code, "{answer}");
    }
    for (query, status) in [("limit=2", 200), ("limit=0", 422), ("orderId=x", 422), ("status=gone", 422), ("x=1", 422)]
    {
        let response = world.http.get(format!("{}/invoices?{query}", world.invoices_url())).send().await.unwrap();
        assert_eq!(response.status(), status, "{query}");
        let problem = response.headers()[CONTENT_TYPE] == "application/problem+json";
        assert_eq!(problem, status != 200, "{query}");
    }
}
