//! The tables of the outbox, the same in both databases.

#![allow(elided_lifetimes_in_paths, reason = "the signatures are those of the trait")]

use sea_orm_migration::{prelude::*, schema::*, sea_orm::DatabaseBackend};

/// How many lanes there are. The relay and this migration agree on it; changing it needs a migration.
const LANES: i32 = 16;

#[derive(DeriveIden)]
enum Outbox {
    Table,
    Seq,
    EventId,
    EventType,
    AggregateId,
    EventNo,
    OrderId,
    Lane,
    Body,
    Traceparent,
    Tracestate,
    OccurredAt,
    Attempts,
    LastError,
    RetryAt,
    ParkedAt,
    Asks,
    RepeatedAt,
}

#[derive(DeriveIden)]
enum OutboxLane {
    Table,
    Lane,
}

/// The tables and their first index.
pub(crate) async fn create(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table(Outbox::Table)
                .col(big_pk_auto(Outbox::Seq))
                .col(uuid(Outbox::EventId))
                .col(string(Outbox::EventType))
                .col(uuid(Outbox::AggregateId))
                .col(big_integer(Outbox::EventNo))
                .col(uuid(Outbox::OrderId))
                .col(small_integer(Outbox::Lane))
                .col(blob(Outbox::Body))
                .col(string_null(Outbox::Traceparent))
                .col(string_null(Outbox::Tracestate))
                .col(timestamp_with_time_zone(Outbox::OccurredAt))
                .col(integer(Outbox::Attempts).default(0))
                .col(text_null(Outbox::LastError))
                .col(timestamp_with_time_zone_null(Outbox::ParkedAt))
                .to_owned(),
        )
        .await?;
    manager
        .create_index(
            Index::create()
                .name("outbox_event")
                .table(Outbox::Table)
                .col(Outbox::AggregateId)
                .col(Outbox::EventNo)
                .unique()
                .to_owned(),
        )
        .await?;
    manager
        .create_index(
            Index::create()
                .name("outbox_ready")
                .table(Outbox::Table)
                .col(Outbox::Lane)
                .col(Outbox::Seq)
                .and_where(Expr::col(Outbox::ParkedAt).is_null())
                .to_owned(),
        )
        .await?;
    manager
        .create_table(
            Table::create().table(OutboxLane::Table).col(small_integer(OutboxLane::Lane).primary_key()).to_owned(),
        )
        .await?;
    let mut lanes = Query::insert();
    lanes.into_table(OutboxLane::Table).columns([OutboxLane::Lane]);
    for lane in 0..LANES {
        lanes.values_panic([lane.into()]);
    }
    manager.execute(lanes).await?;
    if manager.get_database_backend() == DatabaseBackend::Postgres {
        // Rows live for milliseconds: without eager vacuuming the index fills with dead entries that each pass reads.
        manager
            .get_connection()
            .execute_unprepared(
                "ALTER TABLE outbox SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, \
                 autovacuum_vacuum_cost_delay = 0)",
            )
            .await?;
    }
    Ok(())
}

/// Refused events wait for their next attempt, apart from those that are ready: an index for each, so that a look for
/// work reads neither the backlog of the one nor that of the other.
async fn add_retry(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .alter_table(
            Table::alter().table(Outbox::Table).add_column(timestamp_with_time_zone_null(Outbox::RetryAt)).to_owned(),
        )
        .await?;
    manager.drop_index(Index::drop().name("outbox_ready").table(Outbox::Table).to_owned()).await?;
    manager
        .create_index(
            Index::create()
                .name("outbox_ready")
                .table(Outbox::Table)
                .col(Outbox::Lane)
                .col(Outbox::Seq)
                .and_where(Expr::col(Outbox::ParkedAt).is_null())
                .and_where(Expr::col(Outbox::RetryAt).is_null())
                .to_owned(),
        )
        .await?;
    manager
        .create_index(
            Index::create()
                .name("outbox_refused")
                .table(Outbox::Table)
                .col(Outbox::Lane)
                .col(Outbox::RetryAt)
                .and_where(Expr::col(Outbox::ParkedAt).is_null())
                .and_where(Expr::col(Outbox::RetryAt).is_not_null())
                .to_owned(),
        )
        .await
}

/// Events can be said again, with a question.
pub(crate) async fn add_asks(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .alter_table(Table::alter().table(Outbox::Table).add_column(boolean(Outbox::Asks).default(false)).to_owned())
        .await
}

/// The same step in both databases.
pub(crate) mod m20261121_000002_outbox_retry {
    use super::*;

    pub(crate) struct Migration;

    impl MigrationName for Migration {
        fn name(&self) -> &str {
            "m20261121_000002_outbox_retry"
        }
    }

    #[async_trait::async_trait]
    impl MigrationTrait for Migration {
        fn use_transaction(&self) -> Option<bool> {
            crate::IN_A_TRANSACTION
        }

        async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
            add_retry(manager).await
        }
    }
}

/// Since when an event waits that is said again. Of others it is when they happened.
pub(crate) mod m20261121_000006_outbox_repeated_at {
    use super::*;

    pub(crate) struct Migration;

    impl MigrationName for Migration {
        fn name(&self) -> &str {
            "m20261121_000006_outbox_repeated_at"
        }
    }

    #[async_trait::async_trait]
    impl MigrationTrait for Migration {
        fn use_transaction(&self) -> Option<bool> {
            crate::IN_A_TRANSACTION
        }

        async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
            let column = timestamp_with_time_zone_null(Outbox::RepeatedAt);
            manager.alter_table(Table::alter().table(Outbox::Table).add_column(column).to_owned()).await
        }
    }
}
