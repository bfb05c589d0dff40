//! Every operation of the system, and what each of the three who are let in is answered. In the texts, `$order` and
//! `$invoice` are ada's, `$cursor` is behind her newest order, `$key` is an idempotency key that she has used.

use reqwest::Method;
use serde_json::{Value, json};

/// What the other customer, the owner and an operator are answered.
pub(crate) type Expected = [&'static str; 3];

/// A request to a service, by REST.
pub(crate) struct Rest {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) body: Option<Value>,
    pub(crate) key: bool,
    pub(crate) expected: Expected,
}

/// Where a GraphQL operation is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Schema {
    Orders,
    Invoices,
    Bff,
}

/// A GraphQL operation.
pub(crate) struct Graphql {
    pub(crate) schemas: &'static [Schema],
    pub(crate) document: &'static str,
    pub(crate) expected: Expected,
}

pub(crate) fn rest() -> Vec<Rest> {
    let get = |path, expected| Rest { method: Method::GET, path, body: None, key: false, expected };
    let post = |path, body, key, expected| Rest { method: Method::POST, path, body, key, expected };
    let amount = || json!({ "amount": 100 });
    let for_ada = || json!({ "amount": 100, "customerId": "ada" });
    vec![
        get("/orders/$order", ["404 ORDER_NOT_FOUND", "200 ada", "200 ada"]),
        get("/orders", ["200 {bob}", "200 {ada}", "200 {ada bob}"]),
        get("/orders?customerId=ada", ["403 FORBIDDEN ?customerId", "200 {ada}", "200 {ada}"]),
        get("/orders?customerId=nobody", ["403 FORBIDDEN ?customerId", "403 FORBIDDEN ?customerId", "200 {}"]),
        get("/orders?status=pending", ["200 {bob}", "200 {ada}", "200 {ada bob}"]),
        get("/orders?limit=100&cursor=$cursor", ["200 {}", "200 {ada}", "200 {ada}"]),
        post("/orders", Some(amount()), false, ["201 bob", "201 ada", "422 INVALID_INPUT /customerId"]),
        post("/orders", Some(for_ada()), false, ["403 FORBIDDEN /customerId", "201 ada", "201 ada"]),
        post("/orders", Some(amount()), true, ["201 bob", "201 ada replayed", "422 INVALID_INPUT /customerId"]),
        post("/orders/$order/cancel", None, false, ["404 ORDER_NOT_FOUND", "200 ada", "200 ada"]),
        get("/invoices/$invoice", ["404 INVOICE_NOT_FOUND", "200 ada", "200 ada"]),
        get("/invoices", ["200 {bob}", "200 {ada}", "200 {ada bob}"]),
        get("/invoices?orderId=$order", ["200 {}", "200 {ada}", "200 {ada}"]),
        post("/invoices/$invoice/pay", None, false, ["404 INVOICE_NOT_FOUND", "200 ada", "200 ada"]),
    ]
}

pub(crate) fn graphql() -> Vec<Graphql> {
    use Schema::{Bff, Invoices, Orders};
    let of = |schemas, document, expected| Graphql { schemas, document, expected };
    const ORDERS: &[Schema] = &[Orders, Bff];
    const INVOICES: &[Schema] = &[Invoices, Bff];
    vec![
        of(ORDERS, r#"{ order(id: "$order") { id timeline { type } } }"#, ["null", "ada", "ada"]),
        of(ORDERS, "{ orders(first: 100) { nodes { id } } }", ["{bob}", "{ada}", "{ada bob}"]),
        of(ORDERS, "{ orders(first: 100, sort: AMOUNT_ASC) { nodes { id } } }", ["{bob}", "{ada}", "{ada bob}"]),
        of(
            ORDERS,
            r#"{ orders(filter: { customerId: "ada" }) { nodes { id } } }"#,
            ["null FORBIDDEN", "{ada}", "{ada}"],
        ),
        of(ORDERS, r#"{ orders(first: 100, after: "$cursor") { nodes { id } } }"#, ["{}", "{ada}", "{ada}"]),
        of(
            ORDERS,
            "mutation { createOrder(input: { amount: 100 }) { order { id } userErrors { code } } }",
            ["bob", "ada", "INVALID_CUSTOMER_ID"],
        ),
        of(
            ORDERS,
            r#"mutation { createOrder(input: { amount: 100, customerId: "ada" }) { order { id } userErrors { code } } }"#,
            ["INVALID_CUSTOMER_ID", "ada", "ada"],
        ),
        of(
            ORDERS,
            r#"mutation { createOrder(input: { amount: 100, idempotencyKey: "$key" }) { order { id } userErrors { code } } }"#,
            ["bob", "ada", "INVALID_CUSTOMER_ID"],
        ),
        of(
            ORDERS,
            r#"mutation { cancelOrder(id: "$order") { order { id } userErrors { code } } }"#,
            ["ORDER_NOT_FOUND", "ada", "ada"],
        ),
        of(INVOICES, r#"{ invoice(id: "$invoice") { id } }"#, ["null", "ada", "ada"]),
        of(INVOICES, "{ invoices(first: 100) { nodes { id } } }", ["{bob}", "{ada}", "{ada bob}"]),
        of(INVOICES, r#"{ invoices(filter: { orderId: "$order" }) { nodes { id } } }"#, ["{}", "{ada}", "{ada}"]),
        of(
            INVOICES,
            r#"mutation { payInvoice(id: "$invoice") { invoice { id } userErrors { code } } }"#,
            ["INVOICE_NOT_FOUND", "ada", "ada"],
        ),
        of(
            &[Bff],
            r#"{ order(id: "$order") { id invoice { id order { id } } } }"#,
            ["null", "ada(ada(ada))", "ada(ada(ada))"],
        ),
        of(
            &[Bff],
            r#"{ invoice(id: "$invoice") { id order { id invoice { id } } } }"#,
            ["null", "ada(ada(ada))", "ada(ada(ada))"],
        ),
        // Federation's way in, which a gateway uses and nobody else should; it is no other door.
        of(
            &[Orders],
            r#"{ _entities(representations: [{ __typename: "Order", id: "$order" }]) { ... on Order { id customerId } } }"#,
            ["[null]", "[ada]", "[ada]"],
        ),
        of(
            &[Invoices],
            r#"{ _entities(representations: [{ __typename: "Invoice", id: "$invoice" }]) { ... on Invoice { id } } }"#,
            ["[null]", "[ada]", "[ada]"],
        ),
        of(
            &[Invoices],
            r#"{ _entities(representations: [{ __typename: "Order", id: "$order" }]) { ... on Order { invoice { id } } } }"#,
            ["[(null)]", "[(ada)]", "[(ada)]"],
        ),
    ]
}
