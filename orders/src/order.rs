//! What an order is, and what may become one. Rules only: no database, no network.

use chrono::{DateTime, Utc};
use contracts::{Amount, CustomerId, EventType};
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// Where an order stands. It never goes back.
// The order of the variants is the saga's rank.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    EnumIter,
    DeriveActiveEnum,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum OrderStatus {
    /// Created and not paid.
    Pending,
    /// Its invoice was paid.
    Paid,
    /// Canceled; its invoice is voided, refunded or rejected.
    Canceled,
}

/// What the invoices service said last about the order's invoice: a replica, eventually consistent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "lowercase")]
pub enum InvoiceStatus {
    /// Nothing yet.
    None,
    /// Open.
    Issued,
    /// Paid. With a canceled order: the refund is due.
    Paid,
    /// Its order was canceled before it was paid.
    Voided,
    /// Its order was canceled after it was paid.
    Refunded,
    /// Refused by a rule.
    Rejected,
}

/// An order as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// UUID version 7, made when it was placed.
    pub id: Uuid,
    /// Who placed it.
    pub customer_id: String,
    /// Minor units.
    pub amount: i32,
    /// Where it stands.
    pub status: OrderStatus,
    /// What is known of its invoice.
    pub invoice_status: InvoiceStatus,
    /// Raised by every change.
    pub version: i64,
    /// How many events it has emitted.
    pub event_no: i64,
    /// When it was placed.
    pub created_at: DateTime<Utc>,
    /// When it changed last.
    pub updated_at: DateTime<Utc>,
    /// When to ask the invoices service again; nothing when the order waits for nothing.
    pub reconcile_at: Option<DateTime<Utc>>,
}

/// One thing that happened to an order; each happens to it once at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The order.
    pub order_id: Uuid,
    /// What happened.
    pub event_type: EventType,
    /// When.
    pub at: DateTime<Utc>,
    /// The trace it happened in.
    pub trace_id: Option<String>,
}

/// A request to place an order, as it came: nothing in it has been checked.
#[derive(Debug, Clone, Default)]
pub struct PlaceOrder {
    /// Minor units.
    pub amount: Option<Value>,
    /// Who places it; the default customer when absent.
    pub customer_id: Option<Value>,
    /// Makes a repetition of the request harmless.
    pub idempotency_key: Option<String>,
}

/// A checked request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOrder {
    /// What it costs.
    pub amount: Amount,
    /// Who places it.
    pub customer_id: CustomerId,
    /// Makes a repetition of the request harmless.
    pub idempotency_key: Option<IdempotencyKey>,
}

/// A client's own name for a request: 1 to 255 printable characters, best a UUID
/// (draft-ietf-httpapi-idempotency-key-header).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A field of [`PlaceOrder`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `amount`
    Amount,
    /// `customerId`
    CustomerId,
    /// `idempotencyKey`
    IdempotencyKey,
}

/// A field that is not what it may be, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidField {
    /// Which.
    pub field: Field,
    /// What was given and what is allowed, for people.
    pub message: String,
}

impl NewOrder {
    /// Checks a request: all its fields, so that a client learns everything at once.
    ///
    /// # Errors
    /// Every field at fault.
    pub fn check(asked: PlaceOrder, default_customer: Option<&CustomerId>) -> Result<Self, Vec<InvalidField>> {
        let mut invalid = Vec::new();
        let mut note = |field, message| invalid.push(InvalidField { field, message });

        let amount = match asked.amount {
            Some(value) => Amount::deserialize(value).map_err(|e| note(Field::Amount, e.to_string())).ok(),
            None => {
                note(Field::Amount, "is missing: give a whole number from 1 to 2147483647".to_owned());
                None
            }
        };
        let customer_id = match (asked.customer_id, default_customer) {
            (None | Some(Value::Null), Some(default)) => Some(default.clone()),
            (None | Some(Value::Null), None) => {
                note(Field::CustomerId, "is missing, and this service has no default customer".to_owned());
                None
            }
            (Some(value), _) => CustomerId::deserialize(value).map_err(|e| note(Field::CustomerId, e.to_string())).ok(),
        };
        let idempotency_key = match asked.idempotency_key {
            None => Some(None),
            Some(key) => idempotency_key(key).map_err(|message| note(Field::IdempotencyKey, message)).ok().map(Some),
        };
        match (amount, customer_id, idempotency_key) {
            (Some(amount), Some(customer_id), Some(idempotency_key)) => {
                Ok(Self { amount, customer_id, idempotency_key })
            }
            _ => Err(invalid),
        }
    }
}

fn idempotency_key(key: String) -> Result<IdempotencyKey, String> {
    let chars = key.chars().count();
    if (1..=255).contains(&chars) && !key.chars().any(char::is_control) {
        Ok(IdempotencyKey(key))
    } else {
        Err(format!("must have 1 to 255 printable characters, but it has {chars} or a control character"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(asked: PlaceOrder) -> Result<NewOrder, Vec<Field>> {
        let default = "customer-123".parse().unwrap();
        NewOrder::check(asked, Some(&default)).map_err(|invalid| invalid.into_iter().map(|i| i.field).collect())
    }

    fn amount(value: Value) -> PlaceOrder {
        PlaceOrder { amount: Some(value), ..PlaceOrder::default() }
    }

    #[test]
    fn an_amount_in_range_is_enough() {
        let order = check(amount(json!(100))).unwrap();
        assert_eq!((order.amount.get(), order.customer_id.as_str()), (100, "customer-123"));
        assert_eq!(check(amount(json!(100.0))).map(|o| o.amount.get()), Ok(100));
    }

    #[test]
    fn every_field_at_fault_is_named() {
        for bad in [json!(0), json!(-1), json!(2147483648_i64), json!("100"), json!(null), json!(1.5)] {
            assert_eq!(check(amount(bad.clone())), Err(vec![Field::Amount]), "{bad}");
        }
        assert_eq!(check(PlaceOrder::default()), Err(vec![Field::Amount]));
        for bad in [json!(""), json!("a\u{0}b"), json!(7)] {
            let asked = PlaceOrder { customer_id: Some(bad.clone()), ..amount(json!(1)) };
            assert_eq!(check(asked), Err(vec![Field::CustomerId]), "{bad}");
        }
        let all =
            PlaceOrder { amount: Some(json!(0)), customer_id: Some(json!("")), idempotency_key: Some("x".repeat(256)) };
        assert_eq!(check(all), Err(vec![Field::Amount, Field::CustomerId, Field::IdempotencyKey]));
    }

    #[test]
    fn without_a_default_the_customer_must_be_given() {
        let invalid = NewOrder::check(amount(json!(1)), None).unwrap_err();
        assert_eq!(invalid[0].field, Field::CustomerId);
    }
}
