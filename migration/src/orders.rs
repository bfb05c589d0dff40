//! The database of the orders service.

#![allow(elided_lifetimes_in_paths, reason = "the signatures are those of the trait")]

use sea_orm_migration::{prelude::*, schema::*};

use crate::{Schema, reconcile};

pub(crate) struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261121_000001_orders::Migration),
            Box::new(crate::outbox::m20261121_000002_outbox_retry::Migration),
            Box::new(reconcile::m20261121_000003_reconcile::Migration(Schema::Orders)),
            Box::new(reconcile::m20261121_000004_reconcile_index::Migration(Schema::Orders)),
            Box::new(crate::outbox::m20261121_000006_outbox_repeated_at::Migration),
        ]
    }
}

#[derive(DeriveIden)]
enum Orders {
    Table,
    Id,
    CustomerId,
    Amount,
    Status,
    InvoiceStatus,
    Version,
    EventNo,
    CreatedAt,
    UpdatedAt,
}

#[derive(DeriveIden)]
enum OrderHistory {
    Table,
    OrderId,
    EventType,
    At,
    TraceId,
}

#[derive(DeriveIden)]
enum Idempotency {
    Table,
    ClientId,
    Key,
    RequestHash,
    OrderId,
    CreatedAt,
}

mod m20261121_000001_orders {
    use super::*;

    pub(super) struct Migration;

    impl MigrationName for Migration {
        fn name(&self) -> &str {
            "m20261121_000001_orders"
        }
    }

    #[async_trait::async_trait]
    impl MigrationTrait for Migration {
        fn use_transaction(&self) -> Option<bool> {
            crate::IN_A_TRANSACTION
        }

        async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
            let orders = Table::create()
                .table(Orders::Table)
                .col(uuid(Orders::Id).primary_key())
                .col(string_len(Orders::CustomerId, 255))
                .col(integer(Orders::Amount).check(Expr::col(Orders::Amount).gte(1)))
                .col(string(Orders::Status).check(Expr::col(Orders::Status).is_in(["pending", "paid", "canceled"])))
                .col(
                    string(Orders::InvoiceStatus).check(
                        Expr::col(Orders::InvoiceStatus)
                            .is_in(["none", "issued", "paid", "voided", "refunded", "rejected"]),
                    ),
                )
                .col(big_integer(Orders::Version))
                .col(big_integer(Orders::EventNo))
                .col(timestamp_with_time_zone(Orders::CreatedAt))
                .col(timestamp_with_time_zone(Orders::UpdatedAt))
                .to_owned();
            manager.create_table(orders).await?;
            // One index for each way a page is sorted and filtered; the id breaks ties, so pages never overlap.
            let pages: [(&str, Vec<Orders>); 4] = [
                ("orders_by_created_at", vec![Orders::CreatedAt, Orders::Id]),
                ("orders_by_amount", vec![Orders::Amount, Orders::Id]),
                ("orders_by_customer", vec![Orders::CustomerId, Orders::CreatedAt, Orders::Id]),
                ("orders_by_status", vec![Orders::Status, Orders::CreatedAt, Orders::Id]),
            ];
            for (name, columns) in pages {
                let mut index = Index::create();
                index.name(name).table(Orders::Table);
                for column in columns {
                    index.col(column);
                }
                manager.create_index(index).await?;
            }
            let history = Table::create()
                .table(OrderHistory::Table)
                .col(uuid(OrderHistory::OrderId))
                .col(string(OrderHistory::EventType))
                .col(timestamp_with_time_zone(OrderHistory::At))
                .col(string_null(OrderHistory::TraceId))
                .primary_key(Index::create().col(OrderHistory::OrderId).col(OrderHistory::EventType))
                .foreign_key(
                    ForeignKey::create().from(OrderHistory::Table, OrderHistory::OrderId).to(Orders::Table, Orders::Id),
                )
                .to_owned();
            manager.create_table(history).await?;
            let idempotency = Table::create()
                .table(Idempotency::Table)
                .col(string_len(Idempotency::ClientId, 255))
                .col(string_len(Idempotency::Key, 255))
                .col(string(Idempotency::RequestHash))
                .col(uuid(Idempotency::OrderId))
                .col(timestamp_with_time_zone(Idempotency::CreatedAt))
                .primary_key(Index::create().col(Idempotency::ClientId).col(Idempotency::Key))
                .to_owned();
            manager.create_table(idempotency).await?;
            manager
                .create_index(
                    Index::create()
                        .name("idempotency_by_age")
                        .table(Idempotency::Table)
                        .col(Idempotency::CreatedAt)
                        .to_owned(),
                )
                .await?;
            crate::outbox::create(manager).await
        }
    }
}
