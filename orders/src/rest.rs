//! REST: `POST /orders`, `GET /orders`, `GET /orders/{id}`, `POST /orders/{id}/cancel`.
//!
//! The shapes are those of the systems that came before; every answer that is no success is a problem+json.

use axum::{
    Json, Router,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use chassis::{
    cursor,
    graphql::DateTime,
    http::{JsonBody, PathParameter},
    identity::Caller,
    problem::{FieldError, Problem},
};
use contracts::CustomerId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    entity::{Filter, Key, Sort},
    order::{Field, InvalidField, Order, OrderStatus, PlaceOrder},
    service::{OrderError, OrderService},
};

/// The sort of the list, as its cursors name it: the same as in GraphQL, so that a cursor works in both.
const SORT: &str = "CREATED_AT_DESC";

/// The routes.
pub fn routes(orders: OrderService) -> Router {
    Router::new()
        .route("/orders", get(list).post(place))
        .route("/orders/{id}", get(find))
        .route("/orders/{id}/cancel", post(cancel))
        .with_state(orders)
}

/// An order on the wire.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OrderBody {
    id: Uuid,
    customer_id: String,
    amount: i32,
    status: OrderStatus,
    created_at: DateTime,
}

impl From<Order> for OrderBody {
    fn from(order: Order) -> Self {
        Self {
            id: order.id,
            customer_id: order.customer_id,
            amount: order.amount,
            status: order.status,
            created_at: order.created_at.into(),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PageBody {
    items: Vec<OrderBody>,
    next_cursor: Option<String>,
}

async fn place(
    State(orders): State<OrderService>,
    caller: Caller,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let mut asked = read_body(body)?;
    asked.idempotency_key = idempotency_key(&headers)?;
    let placed = orders.place(&caller.identity, asked).await?;
    let location = format!("/orders/{}", placed.order.id);
    let mut body = OrderBody::from(placed.order);
    if placed.replayed {
        // The first answer again, whatever became of the order since.
        body.status = OrderStatus::Pending;
    }
    let mut response = (StatusCode::CREATED, [(header::LOCATION, location)], Json(body)).into_response();
    if placed.replayed {
        response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

async fn find(
    State(orders): State<OrderService>,
    caller: Caller,
    PathParameter(id): PathParameter,
) -> Result<Json<OrderBody>, Problem> {
    let order = orders.find(&caller.identity, parse_id(&id)?).await?.ok_or(OrderError::NotFound)?;
    Ok(Json(order.into()))
}

async fn cancel(
    State(orders): State<OrderService>,
    caller: Caller,
    PathParameter(id): PathParameter,
) -> Result<Json<OrderBody>, Problem> {
    Ok(Json(orders.cancel(&caller.identity, parse_id(&id)?).await?.into()))
}

async fn list(
    State(orders): State<OrderService>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<PageBody>, Problem> {
    let query = ListQuery::read(query.as_deref().unwrap_or_default())?;
    let page = orders.list(&caller.identity, &query.filter, Sort::CreatedAtDesc, query.after, query.limit).await;
    let page = page.map_err(|error| match error {
        OrderError::OtherCustomer => Problem::forbidden(vec![FieldError::new("?customerId", error.to_string())]),
        other => other.into(),
    })?;
    let next_cursor = page.orders.last().filter(|_| page.has_next).map(|last| cursor::encode(SORT, &Key::from(last)));
    Ok(Json(PageBody { items: page.orders.into_iter().map(OrderBody::from).collect(), next_cursor }))
}

/// An id that is no UUID belongs to no order.
fn parse_id(id: &str) -> Result<Uuid, OrderError> {
    Uuid::try_parse(id).map_err(|_| OrderError::NotFound)
}

fn read_body(body: Value) -> Result<PlaceOrder, Problem> {
    let Value::Object(mut fields) = body else {
        let detail = "must be a JSON object like {\"amount\": 100, \"customerId\": \"customer-123\"}";
        return Err(Problem::invalid(vec![FieldError::new("", detail)]));
    };
    let asked =
        PlaceOrder { amount: fields.remove("amount"), customer_id: fields.remove("customerId"), idempotency_key: None };
    // A misspelt field would silently become its default.
    let unknown: Vec<FieldError> = fields
        .keys()
        .map(|name| {
            let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
            FieldError::new(pointer, "is unknown; amount and customerId are allowed")
        })
        .collect();
    if unknown.is_empty() { Ok(asked) } else { Err(Problem::invalid(unknown)) }
}

/// The header, bare or as a quoted string (RFC 8941), as both are in use.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().map_err(|_| {
        Problem::invalid(vec![FieldError::new("Idempotency-Key", "must have printable ASCII characters")])
    })?;
    let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    Ok(Some(bare.to_owned()))
}

struct ListQuery {
    limit: usize,
    after: Option<Key>,
    filter: Filter,
}

impl ListQuery {
    fn read(query: &str) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        struct Texts {
            limit: Option<String>,
            cursor: Option<String>,
            status: Option<String>,
            customer_id: Option<String>,
        }
        let texts: Texts = serde_urlencoded::from_str(query)
            .map_err(|e| Problem::invalid(vec![FieldError::new("?", e.to_string())]))?;
        let mut invalid = Vec::new();
        let limit = match texts.limit.as_deref() {
            None => 20,
            Some(text) => text.parse().ok().filter(|n| (1..=100).contains(n)).unwrap_or_else(|| {
                invalid.push(FieldError::new("?limit", format!("must be 1 to 100, not {text:?}")));
                0
            }),
        };
        let after = texts.cursor.and_then(|text| {
            cursor::decode(SORT, &text).map_err(|e| invalid.push(FieldError::new("?cursor", e.to_string()))).ok()
        });
        let status = texts.status.and_then(|text| match text.as_str() {
            "pending" => Some(vec![OrderStatus::Pending]),
            "paid" => Some(vec![OrderStatus::Paid]),
            "canceled" => Some(vec![OrderStatus::Canceled]),
            _ => {
                let detail = format!("must be pending, paid or canceled, not {text:?}");
                invalid.push(FieldError::new("?status", detail));
                None
            }
        });
        let customer_id = texts.customer_id.and_then(|text| {
            CustomerId::try_from(text).map_err(|e| invalid.push(FieldError::new("?customerId", e.to_string()))).ok()
        });
        if invalid.is_empty() {
            let customer_id = customer_id.map(|id| id.to_string());
            let filter = Filter { status, customer_id, ..Filter::default() };
            Ok(Self { limit, after, filter })
        } else {
            Err(Problem::invalid(invalid))
        }
    }
}

impl From<OrderError> for Problem {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::Invalid(fields) => Self::invalid(fields.into_iter().map(FieldError::from).collect()),
            OrderError::KeyReused => {
                let mut problem = Self::invalid(vec![FieldError::new("Idempotency-Key", error.to_string())]);
                problem.code = Some("IDEMPOTENCY_KEY_REUSED");
                problem
            }
            OrderError::OtherCustomer => Self::forbidden(vec![FieldError::new("/customerId", error.to_string())]),
            OrderError::NotFound => Self::new(StatusCode::NOT_FOUND).code("ORDER_NOT_FOUND").detail(error.to_string()),
            OrderError::Unavailable(cause) => Self::unavailable(&cause),
            OrderError::Internal(cause) => Self::internal(&cause),
        }
    }
}

impl From<InvalidField> for FieldError {
    fn from(invalid: InvalidField) -> Self {
        let pointer = match invalid.field {
            Field::Amount => "/amount",
            Field::CustomerId => "/customerId",
            Field::IdempotencyKey => "Idempotency-Key",
        };
        Self::new(pointer, invalid.message)
    }
}
