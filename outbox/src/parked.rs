//! Parked events as an operator sees them: look, try again, drop.
//!
//! The relay parks what the bus can never deliver and keeps it for a human. To try it again is to make it an event
//! that was never tried: the relay finds it by itself, within a second.

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait, DatabaseConnection, DbErr, EntityTrait, ExprTrait, QueryFilter, QueryOrder,
    sea_query::{Expr, SimpleExpr},
};
use uuid::Uuid;

use crate::row;

/// An event that the relay gave up on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedEvent {
    seq: i64,
    /// Its id.
    pub id: Uuid,
    /// Its type.
    pub event_type: String,
    /// The order it is about.
    pub order_id: Uuid,
    /// How often it was tried.
    pub attempts: i32,
    /// What the bus said the last time.
    pub error: String,
    /// When it was parked.
    pub parked_at: DateTime<Utc>,
    /// What would have been published.
    pub body: Vec<u8>,
}

/// All that are parked in the outbox of `db`, the oldest first.
///
/// # Errors
/// A failure of the database.
pub async fn list(db: &DatabaseConnection) -> Result<Vec<ParkedEvent>, DbErr> {
    let rows = row::Entity::find()
        .filter(row::Column::ParkedAt.is_not_null())
        .order_by_asc(row::Column::ParkedAt)
        .order_by_asc(row::Column::Seq)
        .all(db)
        .await?;
    Ok(rows.into_iter().filter_map(ParkedEvent::of).collect())
}

/// Has the relay try it again, as if for the first time. False when it is not parked any more.
///
/// # Errors
/// A failure of the database.
pub async fn redrive(db: &DatabaseConnection, event: &ParkedEvent) -> Result<bool, DbErr> {
    let none = || SimpleExpr::from(Expr::value(None::<DateTime<Utc>>));
    let update = row::Entity::update_many()
        .col_expr(row::Column::ParkedAt, none())
        .col_expr(row::Column::RetryAt, none())
        .col_expr(row::Column::Attempts, Expr::value(0))
        .filter(is_still(event));
    Ok(update.exec(db).await?.rows_affected > 0)
}

/// Deletes it, for good. False when it is not parked any more.
///
/// # Errors
/// A failure of the database.
pub async fn discard(db: &DatabaseConnection, event: &ParkedEvent) -> Result<bool, DbErr> {
    Ok(row::Entity::delete_many().filter(is_still(event)).exec(db).await?.rows_affected > 0)
}

/// Parked, as it was when somebody looked at it: another operator may have been faster.
fn is_still(event: &ParkedEvent) -> SimpleExpr {
    row::Column::Seq.eq(event.seq).and(row::Column::ParkedAt.is_not_null())
}

impl ParkedEvent {
    fn of(row: row::Model) -> Option<Self> {
        Some(Self {
            seq: row.seq,
            id: row.event_id,
            event_type: row.event_type,
            order_id: row.order_id,
            attempts: row.attempts,
            error: row.last_error.unwrap_or_default(),
            parked_at: row.parked_at?,
            body: row.body,
        })
    }
}
