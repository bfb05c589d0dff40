//! How much waits in an outbox, and for how long.

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    Statement,
};

use crate::row;

/// The most rows that are counted: after an outage of days the count must not become a burden of its own.
const COUNTED: u32 = 1_000_000;

/// What waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backlog {
    /// Events for the bus.
    pub(crate) unpublished: i64,
    /// Since when the first of them is there.
    pub(crate) oldest: Option<DateTime<Utc>>,
    /// Events for an operator.
    pub(crate) parked: i64,
}

impl Backlog {
    /// Two statements, neither of which locks anything.
    pub(crate) async fn read(db: DatabaseConnection) -> Result<Self, DbErr> {
        let counts = format!(
            "SELECT COUNT(*) AS rows_there, COUNT(parked_at) AS parked FROM (SELECT parked_at FROM outbox LIMIT {COUNTED}) \
             AS counted"
        );
        let counts = db.query_one_raw(Statement::from_string(db.get_database_backend(), counts)).await?;
        let counts = counts.ok_or_else(|| DbErr::RecordNotFound("a count without a row".to_owned()))?;
        let (there, parked) = (counts.try_get::<i64>("", "rows_there")?, counts.try_get::<i64>("", "parked")?);
        let oldest: Option<(DateTime<Utc>, Option<DateTime<Utc>>)> = row::Entity::find()
            .select_only()
            .columns([row::Column::OccurredAt, row::Column::RepeatedAt])
            .filter(row::Column::ParkedAt.is_null())
            .order_by_asc(row::Column::Seq)
            .into_tuple()
            .one(&db)
            .await?;
        let oldest = oldest.map(|(occurred_at, repeated_at)| repeated_at.unwrap_or(occurred_at));
        Ok(Self { unpublished: there - parked, oldest, parked })
    }
}
