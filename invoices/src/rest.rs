//! REST: `GET /invoices`, `GET /invoices/{id}`, `POST /invoices/{id}/pay`. Every answer that is no success is a
//! problem+json. What is written at the handlers is the contract, `contracts/openapi/invoices.json`; `openapi.rs` puts it
//! together.

use axum::{
    Json, Router,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::Response,
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
    http::PathParameter,
    identity::Caller,
    page,
    problem::{FieldError, Problem},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoResponses, ToSchema};
use uuid::Uuid;

use crate::{
    entity::{Filter, Key, Sort},
    invoice::{Invoice, InvoiceStatus},
    openapi::{Find, List, Pay},
    service::{InvoiceError, InvoiceService},
};

/// The sort of the list, as its cursors name it: the same as in GraphQL, so that a cursor works in both.
const SORT: &str = "CREATED_AT_DESC";

/// The routes.
pub fn routes(invoices: InvoiceService) -> Router {
    Router::new()
        .route("/invoices", get(list))
        .route("/invoices/{id}", get(find))
        .route("/invoices/{id}/pay", post(pay))
        .with_state(invoices)
}

/// An invoice. An order has one at most.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Invoice)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InvoiceBody {
    id: Uuid,
    /// The number for people. It increases.
    #[schema(example = "INV-00000042", pattern = r"^INV-\d{8,}$")]
    number: String,
    order_id: Uuid,
    #[schema(value_type = CustomerIdSchema)]
    customer_id: String,
    #[schema(value_type = AmountSchema)]
    amount: i32,
    status: InvoiceStatus,
    created_at: DateTime,
    /// When it was paid; null as long as it was not.
    #[schema(required = true)]
    paid_at: Option<DateTime>,
}

impl From<Invoice> for InvoiceBody {
    fn from(invoice: Invoice) -> Self {
        Self {
            id: invoice.id,
            number: invoice.number_text(),
            order_id: invoice.order_id,
            customer_id: invoice.customer_id,
            amount: invoice.amount,
            status: invoice.status,
            created_at: invoice.created_at.into(),
            paid_at: invoice.paid_at.map(DateTime::from),
        }
    }
}

/// A page of invoices, the newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InvoicePage)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PageBody {
    items: Vec<InvoiceBody>,
    /// The `cursor` of the next page; null on the last.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// There is no such invoice, or it is another customer's: nobody is told which.
#[derive(IntoResponses)]
#[response(
    status = 404,
    content_type = "application/problem+json",
    example = json!({
        "status": 404,
        "title": "Not Found",
        "detail": "there is no invoice with this id",
        "code": "INVOICE_NOT_FOUND"
    })
)]
#[expect(dead_code, reason = "only described here: `InvoiceError::NotFound` is what is answered")]
struct NotFound(Problem);

/// Find an invoice
#[utoipa::path(
    get,
    path = "/invoices/{id}",
    operation_id = "findInvoice",
    tag = "invoices",
    params(Find),
    responses(
        (
            status = 200,
            description = "The invoice as it is now.",
            body = InvoiceBody,
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
    State(invoices): State<InvoiceService>,
    caller: Caller,
    PathParameter(id): PathParameter,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let invoice = invoices.find(&caller.identity, parse_id(&id)?).await?.ok_or(InvoiceError::NotFound)?;
    Ok(etag::json(&headers, InvoiceBody::from(invoice)))
}

/// Pay an invoice
///
/// Its order becomes `paid` a moment later. Paying a paid invoice changes nothing and succeeds.
#[utoipa::path(
    post,
    path = "/invoices/{id}/pay",
    operation_id = "payInvoice",
    tag = "invoices",
    params(Pay),
    responses(
        (status = 200, description = "It is paid.", body = InvoiceBody),
        NotFound,
        (
            status = 409,
            description = "It is voided, refunded or rejected, which nothing changes any more.",
            body = Problem,
            content_type = "application/problem+json",
            example = json!({
                "status": 409,
                "title": "Conflict",
                "detail": "only an issued invoice can be paid, and this one is voided",
                "code": "INVOICE_NOT_PAYABLE"
            }),
        ),
    ),
)]
pub(crate) async fn pay(
    State(invoices): State<InvoiceService>,
    caller: Caller,
    PathParameter(id): PathParameter,
) -> Result<Json<InvoiceBody>, Problem> {
    Ok(Json(invoices.pay(&caller.identity, parse_id(&id)?).await?.into()))
}

/// List invoices
///
/// The newest first, page by page: invoices that are issued meanwhile shift nothing.
#[utoipa::path(
    get,
    path = "/invoices",
    operation_id = "listInvoices",
    tag = "invoices",
    params(List),
    responses(
        (
            status = 200,
            description = "A page. A customer sees their own invoices.",
            body = PageBody,
            links(
                ("find" = (operation_id = "findInvoice", parameters(("id" = "$response.body#/items/0/id")))),
                ("pay" = (operation_id = "payInvoice", parameters(("id" = "$response.body#/items/0/id")))),
            ),
        ),
        InvalidParameters,
    ),
)]
pub(crate) async fn list(
    State(invoices): State<InvoiceService>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<PageBody>, Problem> {
    let query = ListQuery::read(query.as_deref().unwrap_or_default())?;
    let page = invoices.list(&caller.identity, &query.filter, Sort::CreatedAtDesc, query.after, query.limit).await?;
    let next_cursor = page.invoices.last().filter(|_| page.has_next).map(|last| cursor::encode(SORT, &Key::from(last)));
    Ok(Json(PageBody { items: page.invoices.into_iter().map(InvoiceBody::from).collect(), next_cursor }))
}

/// An id that is no UUID belongs to no invoice.
fn parse_id(id: &str) -> Result<Uuid, InvoiceError> {
    Uuid::try_parse(id).map_err(|_| InvoiceError::NotFound)
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
            order_id: Option<String>,
        }
        let texts: Texts = serde_urlencoded::from_str(query)
            .map_err(|e| Problem::invalid(vec![FieldError::new("?", e.to_string())]))?;
        let mut invalid = Vec::new();
        let (limit, after) = page::read(texts.limit.as_deref(), texts.cursor.as_deref(), SORT, &mut invalid);
        let status = texts.status.and_then(|text| {
            // The text of a status is its form in JSON.
            let known = serde_json::from_value(serde_json::Value::String(text.clone()));
            known
                .map(|status: InvoiceStatus| vec![status])
                .map_err(|_| {
                    let detail = format!("must be issued, paid, voided, refunded or rejected, not {text:?}");
                    invalid.push(FieldError::new("?status", detail));
                })
                .ok()
        });
        let order_id = texts.order_id.and_then(|text| {
            Uuid::try_parse(&text)
                .map_err(|_| invalid.push(FieldError::new("?orderId", format!("must be a UUID, not {text:?}"))))
                .ok()
        });
        if invalid.is_empty() {
            Ok(Self { limit, after, filter: Filter { status, order_id, ..Filter::default() } })
        } else {
            Err(Problem::invalid(invalid))
        }
    }
}

impl From<InvoiceError> for Problem {
    fn from(error: InvoiceError) -> Self {
        match error {
            InvoiceError::NotFound => {
                Self::new(StatusCode::NOT_FOUND).code("INVOICE_NOT_FOUND").detail(error.to_string())
            }
            InvoiceError::NotPayable(_) => {
                Self::new(StatusCode::CONFLICT).code("INVOICE_NOT_PAYABLE").detail(error.to_string())
            }
            InvoiceError::Unavailable(cause) => Self::unavailable(&cause),
            InvoiceError::Internal(cause) => Self::internal(&cause),
        }
    }
}
