//! REST: `POST /orders`, `GET /orders`, `GET /orders/{id}`, `POST /orders/{id}/cancel`.
//!
//! The shapes are those of the systems that came before; every answer that is no success is a problem+json. What is
//! written at the handlers is the contract, `contracts/openapi/orders.json`; `openapi.rs` puts it together.

use axum::{
    Json, Router,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use chassis::{
    cursor,
    docs::{
        InvalidParameters,
        schema::{AmountSchema, CustomerIdSchema},
    },
    etag,
    graphql::DateTime,
    http::{JsonBody, PathParameter},
    identity::Caller,
    page,
    problem::{FieldError, Problem},
};
use contracts::CustomerId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoResponses, ToSchema};
use uuid::Uuid;

use crate::{
    entity::{Filter, Key, Sort},
    openapi::{Cancel, Find, List, Place, PlaceOrderSchema},
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

/// An order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Order)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OrderBody {
    id: Uuid,
    #[schema(value_type = CustomerIdSchema)]
    customer_id: String,
    #[schema(value_type = AmountSchema)]
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

/// A page of orders, the newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrderPage)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PageBody {
    items: Vec<OrderBody>,
    /// The `cursor` of the next page; null on the last.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// There is no such order, or it is another customer's: nobody is told which.
#[derive(IntoResponses)]
#[response(
    status = 404,
    content_type = "application/problem+json",
    example = json!({
        "status": 404,
        "title": "Not Found",
        "detail": "there is no order with this id",
        "code": "ORDER_NOT_FOUND"
    })
)]
#[expect(dead_code, reason = "only described here: `OrderError::NotFound` is what is answered")]
struct NotFound(Problem);

/// Place an order
///
/// The order is `pending`; an invoice for it is issued a moment later. Paying that makes it `paid`.
///
/// With an `Idempotency-Key` it is safe to send a request again whose answer was lost: the first answer comes again, and no
/// second order is placed.
#[utoipa::path(
    post,
    path = "/orders",
    operation_id = "placeOrder",
    tag = "orders",
    params(Place),
    request_body(content = PlaceOrderSchema, description = "At most 131072 bytes."),
    responses(
        (
            status = 201,
            description = "It is placed, or was by an earlier request with the same key.",
            body = OrderBody,
            headers(
                ("Location" = String, description = "The path of the order."),
                ("Idempotency-Replayed" = String, description = "`true` when this is the answer to an earlier request."),
            ),
            links(
                ("find" = (operation_id = "findOrder", parameters(("id" = "$response.body#/id")))),
                ("cancel" = (operation_id = "cancelOrder", parameters(("id" = "$response.body#/id")))),
            ),
        ),
        (
            status = 400,
            description = "The body is not JSON, or the header Authorization holds something else than one bearer token.",
            body = Problem,
            content_type = "application/problem+json",
            example = json!({
                "status": 400,
                "title": "Bad Request",
                "detail": "the body is not JSON: EOF while parsing a value at line 1 column 0",
                "code": "MALFORMED_JSON"
            }),
        ),
        (
            status = 403,
            description = "The token is of a customer, and the order would be another's.",
            body = Problem,
            content_type = "application/problem+json",
            example = json!({
                "status": 403,
                "title": "Forbidden",
                "detail": "the token does not allow this",
                "code": "FORBIDDEN",
                "errors": [{ "pointer": "/customerId", "detail": "must be your own id, or left out" }]
            }),
        ),
        (
            status = 413,
            description = "The body is too large.",
            body = Problem,
            content_type = "application/problem+json",
            example = json!({
                "status": 413,
                "title": "Payload Too Large",
                "detail": "the body may have 131072 bytes at most",
                "code": "BODY_TOO_LARGE"
            }),
        ),
        (
            status = 415,
            description = "The body is not declared as `application/json` in UTF-8.",
            body = Problem,
            content_type = "application/problem+json",
            example = json!({
                "status": 415,
                "title": "Unsupported Media Type",
                "detail": "the content type must be application/json in UTF-8, not \"text/plain\"",
                "code": "UNSUPPORTED_MEDIA_TYPE"
            }),
        ),
        (
            status = 422,
            description = "Fields are not what they may be: all of them are named. Or the key was used before with other \
                           input (`IDEMPOTENCY_KEY_REUSED`).",
            body = Problem,
            content_type = "application/problem+json",
            example = json!({
                "status": 422,
                "title": "Unprocessable Entity",
                "detail": "the request is well-formed, but some fields are not allowed as they are",
                "code": "INVALID_INPUT",
                "errors": [{ "pointer": "/amount", "detail": "must be a whole number from 1 to 2147483647, not 0" }]
            }),
        ),
    ),
)]
pub(crate) async fn place(
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

/// Find an order
#[utoipa::path(
    get,
    path = "/orders/{id}",
    operation_id = "findOrder",
    tag = "orders",
    params(Find),
    responses(
        (
            status = 200,
            description = "The order as it is now.",
            body = OrderBody,
            headers(("ETag" = String, description = "For `If-None-Match`.")),
        ),
        (
            status = 304,
            description = "The client has it, by its `If-None-Match`.",
            headers(("ETag" = String, description = "That of its copy.")),
        ),
        NotFound,
    ),
)]
pub(crate) async fn find(
    State(orders): State<OrderService>,
    caller: Caller,
    PathParameter(id): PathParameter,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let order = orders.find(&caller.identity, parse_id(&id)?).await?.ok_or(OrderError::NotFound)?;
    Ok(etag::json(&headers, OrderBody::from(order)))
}

/// Cancel an order
///
/// Its invoice is voided, or refunded if it was paid. Canceling a canceled order changes nothing and succeeds.
#[utoipa::path(
    post,
    path = "/orders/{id}/cancel",
    operation_id = "cancelOrder",
    tag = "orders",
    params(Cancel),
    responses(
        (status = 200, description = "It is canceled.", body = OrderBody),
        NotFound,
    ),
)]
pub(crate) async fn cancel(
    State(orders): State<OrderService>,
    caller: Caller,
    PathParameter(id): PathParameter,
) -> Result<Json<OrderBody>, Problem> {
    Ok(Json(orders.cancel(&caller.identity, parse_id(&id)?).await?.into()))
}

/// List orders
///
/// The newest first, page by page: orders that are placed meanwhile shift nothing.
#[utoipa::path(
    get,
    path = "/orders",
    operation_id = "listOrders",
    tag = "orders",
    params(List),
    responses(
        (
            status = 200,
            description = "A page. A customer sees their own orders.",
            body = PageBody,
            links(
                ("find" = (operation_id = "findOrder", parameters(("id" = "$response.body#/items/0/id")))),
            ),
        ),
        (
            status = 403,
            description = "The token is of a customer, and `customerId` is another's.",
            body = Problem,
            content_type = "application/problem+json",
            example = json!({
                "status": 403,
                "title": "Forbidden",
                "detail": "the token does not allow this",
                "code": "FORBIDDEN",
                "errors": [{ "pointer": "?customerId", "detail": "must be your own id, or left out" }]
            }),
        ),
        InvalidParameters,
    ),
)]
pub(crate) async fn list(
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

/// The header, bare or as a quoted string (RFC 8941), as both are in use. A quote that does not end is neither.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let refused = |detail| Problem::invalid(vec![FieldError::new("Idempotency-Key", detail)]);
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(refused("must be there once"));
    }
    let text = value.to_str().map_err(|_| refused("must have printable ASCII characters"))?;
    let bare = match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').ok_or_else(|| refused("must end with the quote that it begins with"))?,
        None => text,
    };
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
        let (limit, after) = page::read(texts.limit.as_deref(), texts.cursor.as_deref(), SORT, &mut invalid);
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
