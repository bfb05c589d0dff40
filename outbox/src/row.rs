//! A row of the outbox: an event that waits for the bus.

#![allow(unreachable_pub, reason = "the derive wants its model public; the module keeps it in")]

use contracts::{DecodeError, EventEnvelope, TraceContext};
use sea_orm::{ActiveValue::Set, entity::prelude::*};

use crate::LANES;

/// The entity.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "outbox")]
pub struct Model {
    /// The order in which events of one aggregate were written.
    #[sea_orm(primary_key)]
    pub seq: i64,
    pub event_id: Uuid,
    pub event_type: String,
    pub aggregate_id: Uuid,
    pub event_no: i64,
    pub order_id: Uuid,
    pub lane: i16,
    /// The exact bytes that are published, each time the same.
    pub body: Vec<u8>,
    pub traceparent: Option<String>,
    pub tracestate: Option<String>,
    pub occurred_at: DateTimeUtc,
    /// When it was put here, of what is said again: it happened long before.
    pub repeated_at: Option<DateTimeUtc>,
    /// It is said again, and asks for an answer.
    pub asks: bool,
    pub attempts: i32,
    pub last_error: Option<String>,
    /// The bus refused it, and it is not tried again before.
    pub retry_at: Option<DateTimeUtc>,
    /// When the relay gave up on it. It is kept for an operator, never dropped.
    pub parked_at: Option<DateTimeUtc>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// The lane of an aggregate: always the same, so that its events stay in order.
fn lane_of(aggregate_id: Uuid) -> i16 {
    // The last byte of a version 7 id is random; the first ones are a clock.
    i16::from(aggregate_id.as_bytes()[15] % LANES)
}

impl From<EventEnvelope> for ActiveModel {
    fn from(event: EventEnvelope) -> Self {
        Self {
            event_id: Set(event.id),
            event_type: Set(event.event_type.as_str().to_owned()),
            aggregate_id: Set(event.aggregate_id),
            event_no: Set(event.event_no),
            order_id: Set(event.order_id),
            lane: Set(lane_of(event.aggregate_id)),
            body: Set(event.body.to_vec()),
            traceparent: Set(event.trace_context.traceparent),
            tracestate: Set(event.trace_context.tracestate),
            occurred_at: Set(event.occurred_at),
            asks: Set(event.asks),
            attempts: Set(0),
            ..Default::default()
        }
    }
}

impl Model {
    /// The event as the bus takes it.
    pub(crate) fn into_envelope(self, source: &str) -> Result<EventEnvelope, DecodeError> {
        Ok(EventEnvelope {
            id: self.event_id,
            event_type: self.event_type.parse()?,
            source: source.to_owned(),
            aggregate_id: self.aggregate_id,
            event_no: self.event_no,
            order_id: self.order_id,
            occurred_at: self.occurred_at,
            trace_context: TraceContext { traceparent: self.traceparent, tracestate: self.tracestate },
            asks: self.asks,
            body: self.body.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use migration::Schema;
    use sea_orm::{ConnectionTrait, Statement};
    use testkit::TestDatabase;

    use super::*;

    /// An aggregate in a lane that has no row would never be relayed.
    #[tokio::test]
    async fn there_is_a_row_for_every_lane_that_an_event_can_have() {
        let database = TestDatabase::create(Schema::Orders).await;
        let db = database.connection();
        let lanes = Statement::from_string(db.get_database_backend(), "SELECT lane FROM outbox_lane ORDER BY lane");
        let lanes: Vec<i16> =
            db.query_all_raw(lanes).await.unwrap().iter().map(|row| row.try_get("", "lane").unwrap()).collect();
        assert_eq!(lanes, (0..i16::from(LANES)).collect::<Vec<_>>());
        let used: std::collections::BTreeSet<i16> = (0..2000).map(|_| lane_of(Uuid::now_v7())).collect();
        assert_eq!(used.into_iter().collect::<Vec<_>>(), lanes);
    }
}
