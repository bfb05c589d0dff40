//! The API between a client and two stand-ins, and the objects that these have: the orders `o1`, `o2` and `o3`, and
//! the invoices `i1` and `i2` of the first two.

use std::sync::Arc;

use bff::{Config, LiveGauges};
use chassis::{listen::Listen, service::RunningService};
use contracts::schemas::{INVOICES, ORDERS};
use messaging::{EventBus, in_process::InProcessBus};
use serde_json::{Value, json};

use crate::service::Service;

pub(crate) struct World {
    pub(crate) orders: Service,
    pub(crate) invoices: Service,
    pub(crate) bff: RunningService,
    pub(crate) client: reqwest::Client,
    pub(crate) bus: Arc<dyn EventBus>,
    pub(crate) gauges: LiveGauges,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// Starts with other settings than the defaults.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::try_start_with(change).await.unwrap()
    }

    /// Starts with settings that may be refused.
    pub(crate) async fn try_start_with(change: impl FnOnce(&mut Config)) -> anyhow::Result<Self> {
        let services = (Service::start(ORDERS, resolve_orders).await, Service::start(INVOICES, resolve_invoices).await);
        Self::between(services, change).await
    }

    /// Starts with other objects.
    pub(crate) async fn of(
        orders: impl Fn(&str, &Value) -> Value + Send + Sync + 'static,
        invoices: impl Fn(&str, &Value) -> Value + Send + Sync + 'static,
    ) -> Self {
        let services = (Service::start(ORDERS, orders).await, Service::start(INVOICES, invoices).await);
        Self::between(services, |_| ()).await.unwrap()
    }

    async fn between((orders, invoices): (Service, Service), change: impl FnOnce(&mut Config)) -> anyhow::Result<Self> {
        let url = |service: &Service| format!("http://127.0.0.1:{}", service.port).parse().unwrap();
        let mut config = Config::new(Listen::anywhere(), url(&orders), url(&invoices));
        change(&mut config);
        let (bus, gauges) = (bus(), config.api.live.gauges.clone());
        let bff = bff::start(config, Arc::clone(&bus)).await?;
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Ok(Self { orders, invoices, bff, client, bus, gauges })
    }

    /// The invoices service again, on the port that it had.
    pub(crate) async fn invoices_again(&self, port: u16) -> Service {
        Service::start_on(port, INVOICES, resolve_invoices).await
    }

    /// The whole answer to `query`.
    pub(crate) async fn ask(&self, query: &str) -> Value {
        self.ask_with(query, json!({})).await
    }

    /// The whole answer to `query` with variables.
    pub(crate) async fn ask_with(&self, query: &str, variables: Value) -> Value {
        serde_json::from_str(&self.text_of(query, variables).await).unwrap()
    }

    /// The answer as it was sent.
    pub(crate) async fn text_of(&self, query: &str, variables: Value) -> String {
        self.post(&json!({ "query": query, "variables": variables })).await.text().await.unwrap()
    }

    /// The whole answer to a request with these parameters.
    pub(crate) async fn send(&self, parameters: &Value) -> Value {
        self.post(parameters).await.json().await.unwrap()
    }

    /// A request by GET with these parameters.
    pub(crate) async fn get(&self, parameters: &[(&str, &str)]) -> reqwest::Response {
        let mut url: reqwest::Url = format!("{}/graphql", self.bff.url()).parse().unwrap();
        url.query_pairs_mut().extend_pairs(parameters);
        self.client.get(url).send().await.unwrap()
    }

    async fn post(&self, parameters: &Value) -> reqwest::Response {
        self.client.post(format!("{}/graphql", self.bff.url())).json(parameters).send().await.unwrap()
    }

    /// The data of an answer without errors.
    pub(crate) async fn data(&self, query: &str) -> Value {
        let mut answer = self.ask(query).await;
        assert_eq!(answer.get("errors"), None, "{query}");
        answer["data"].take()
    }
}

/// A bus on which nothing happens.
pub(crate) fn bus() -> Arc<dyn EventBus> {
    Arc::new(InProcessBus::new())
}

/// Each error as `path: code of service`, sorted.
pub(crate) fn errors(answer: &Value) -> Vec<String> {
    let text = |error: &Value| {
        let path: Vec<String> =
            error["path"].as_array().into_iter().flatten().map(|part| part.to_string().replace('"', "")).collect();
        let extension = |name: &str| error["extensions"][name].as_str().unwrap_or("?").to_owned();
        format!("{}: {} of {}", path.join("."), extension("code"), extension("service"))
    };
    let mut errors: Vec<String> = answer["errors"].as_array().into_iter().flatten().map(text).collect();
    errors.sort();
    errors
}

const PAGE_INFO: [(&str, bool); 2] = [("hasPreviousPage", false), ("hasNextPage", true)];

fn order(id: &str) -> Value {
    let Some(number) = number_of(id, 'o', 3) else { return Value::Null };
    json!({
        "__typename": "Order",
        "id": id,
        "customerId": "customer-123",
        "amount": 100 * number,
        "status": "PENDING",
        "createdAt": "2026-11-03T10:30:00.000Z",
        "timeline": [{ "__typename": "OrderEvent", "type": "ORDER_CREATED", "at": "2026-11-03T10:30:00.000Z", "traceId": null }],
    })
}

fn invoice(id: &str) -> Value {
    let Some(number) = number_of(id, 'i', 2) else { return Value::Null };
    json!({
        "__typename": "Invoice",
        "id": id,
        "number": format!("INV-0000000{number}"),
        "orderId": format!("o{number}"),
        "amount": 100 * number,
        "status": "ISSUED",
        "createdAt": "2026-11-03T10:30:01.000Z",
        "paidAt": null,
    })
}

fn number_of(id: &str, letter: char, count: u32) -> Option<u32> {
    id.strip_prefix(letter)?.parse().ok().filter(|number| (1..=count).contains(number))
}

fn page(objects: &[Value]) -> Value {
    let mut page_info = json!({ "startCursor": "c1", "endCursor": null, "__typename": "PageInfo" });
    for (name, value) in PAGE_INFO {
        page_info[name] = value.into();
    }
    let edges = objects.iter().zip(1..).map(|(node, n)| json!({ "cursor": format!("c{n}"), "node": node }));
    json!({ "nodes": objects, "edges": edges.collect::<Vec<_>>(), "pageInfo": page_info, "__typename": "Page" })
}

fn entities(variables: &Value, entity: impl Fn(&str) -> Value) -> Value {
    let keys = variables["keys"].as_array().unwrap();
    keys.iter().map(|key| entity(key["id"].as_str().unwrap())).collect()
}

fn resolve_orders(field: &str, variables: &Value) -> Value {
    let id = variables["id"].as_str().unwrap_or_default();
    match field {
        "order" => order(id),
        "orders" => page(&["o1", "o2", "o3"].map(order)),
        "_entities" => entities(variables, order),
        "createOrder" if variables["input"]["amount"] == 0 => json!({
            "order": null,
            "userErrors": [{ "code": "INVALID_AMOUNT", "field": ["input", "amount"], "message": "0 is not an amount" }],
        }),
        "createOrder" => json!({ "order": order("o1"), "userErrors": [] }),
        "cancelOrder" if order(id).is_null() => json!({
            "order": null,
            "userErrors": [{ "code": "ORDER_NOT_FOUND", "field": ["id"], "message": "there is no such order" }],
        }),
        "cancelOrder" => json!({ "order": order(id), "userErrors": [] }),
        _ => panic!("orders has no {field}"),
    }
}

fn resolve_invoices(field: &str, variables: &Value) -> Value {
    let id = variables["id"].as_str().unwrap_or_default();
    match field {
        "invoice" => invoice(id),
        "invoices" => page(&["i1", "i2"].map(invoice)),
        "_entities" => entities(variables, |id| json!({ "invoice": invoice(&id.replace('o', "i")) })),
        "payInvoice" if invoice(id).is_null() => json!({
            "invoice": null,
            "userErrors": [{ "code": "INVOICE_NOT_FOUND", "field": null, "message": "there is no such invoice" }],
        }),
        "payInvoice" => json!({ "invoice": invoice(id), "userErrors": [] }),
        _ => panic!("invoices has no {field}"),
    }
}
