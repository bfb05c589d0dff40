//! REST: `GET /invoices`, `GET /invoices/{id}`, `POST /invoices/{id}/pay`. Every answer that is no success is a
//! problem+json.

use axum::{
    Json, Router,
    extract::{RawQuery, State},
    http::StatusCode,
    routing::{get, post},
};
use chassis::{
    cursor,
    graphql::DateTime,
    http::PathParameter,
    identity::Caller,
    problem::{FieldError, Problem},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    entity::{Filter, Key, Sort},
    invoice::{Invoice, InvoiceStatus},
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

/// An invoice on the wire.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct InvoiceBody {
    id: Uuid,
    number: String,
    order_id: Uuid,
    customer_id: String,
    amount: i32,
    status: InvoiceStatus,
    created_at: DateTime,
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

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PageBody {
    items: Vec<InvoiceBody>,
    next_cursor: Option<String>,
}

async fn find(
    State(invoices): State<InvoiceService>,
    caller: Caller,
    PathParameter(id): PathParameter,
) -> Result<Json<InvoiceBody>, Problem> {
    let invoice = invoices.find(&caller.identity, parse_id(&id)?).await?.ok_or(InvoiceError::NotFound)?;
    Ok(Json(invoice.into()))
}

async fn pay(
    State(invoices): State<InvoiceService>,
    caller: Caller,
    PathParameter(id): PathParameter,
) -> Result<Json<InvoiceBody>, Problem> {
    Ok(Json(invoices.pay(&caller.identity, parse_id(&id)?).await?.into()))
}

async fn list(
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
