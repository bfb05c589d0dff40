//! What an invoice is. Rules only: no database, no network.

use chrono::{DateTime, Utc};
use contracts::Amount;
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Where an invoice stands.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum InvoiceStatus {
    /// Open, to be paid.
    Issued,
    /// Paid.
    Paid,
    /// Its order was canceled before it was paid.
    Voided,
    /// Its order was canceled after it was paid.
    Refunded,
    /// Refused by a rule, e.g. above the amount limit.
    Rejected,
}

/// An invoice that clients may see. An order has one at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    /// UUID version 7, made when it was issued.
    pub id: Uuid,
    /// Increasing; [`Invoice::number_text`] is its form for people.
    pub number: i64,
    /// The order it belongs to.
    pub order_id: Uuid,
    /// Who pays.
    pub customer_id: String,
    /// Minor units.
    pub amount: i32,
    /// Where it stands.
    pub status: InvoiceStatus,
    /// When it was issued.
    pub created_at: DateTime<Utc>,
    /// When it was paid.
    pub paid_at: Option<DateTime<Utc>>,
}

impl Invoice {
    /// The number for people, e.g. `INV-00000042`.
    pub fn number_text(&self) -> String {
        format!("INV-{:08}", self.number)
    }
}

/// The largest amount an invoice is issued for; above it, it is rejected and its order is canceled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AmountLimit(pub Amount);

impl AmountLimit {
    /// Whether an invoice may be issued for this amount.
    pub fn allows(self, amount: Amount) -> bool {
        amount <= self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_itself_is_allowed() {
        let amount = |n| Amount::try_from(n).unwrap();
        let limit = AmountLimit(amount(1000));
        assert!(limit.allows(amount(1000)));
        assert!(!limit.allows(amount(1001)));
    }
}
