//! The database of the invoices service.

#![allow(elided_lifetimes_in_paths, reason = "the signatures are those of the trait")]

use sea_orm_migration::{prelude::*, schema::*};

use crate::{Schema, reconcile};

pub(crate) struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261121_000001_invoices::Migration),
            Box::new(crate::outbox::m20261121_000002_outbox_retry::Migration),
            Box::new(reconcile::m20261121_000003_reconcile::Migration(Schema::Invoices)),
            Box::new(reconcile::m20261121_000004_reconcile_index::Migration(Schema::Invoices)),
            Box::new(m20261121_000005_invoices_by_customer::Migration),
            Box::new(crate::outbox::m20261121_000006_outbox_repeated_at::Migration),
        ]
    }
}

#[derive(DeriveIden)]
enum Invoices {
    Table,
    Number,
    Id,
    OrderId,
    CustomerId,
    Amount,
    Status,
    Version,
    CreatedAt,
    UpdatedAt,
    PaidAt,
}

mod m20261121_000001_invoices {
    use super::*;

    pub(super) struct Migration;

    impl MigrationName for Migration {
        fn name(&self) -> &str {
            "m20261121_000001_invoices"
        }
    }

    #[async_trait::async_trait]
    impl MigrationTrait for Migration {
        fn use_transaction(&self) -> Option<bool> {
            crate::IN_A_TRANSACTION
        }

        async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
            // The invoice number is the database's own increasing key: unique without a counter row that every
            // writer would have to lock. `order_id` is unique, tombstones included: it decides between an order and
            // its cancellation when they arrive in any order.
            let invoices = Table::create()
                .table(Invoices::Table)
                .col(big_pk_auto(Invoices::Number))
                .col(uuid_uniq(Invoices::Id))
                .col(uuid_uniq(Invoices::OrderId))
                .col(string_len_null(Invoices::CustomerId, 255))
                .col(integer_null(Invoices::Amount).check(Expr::col(Invoices::Amount).gte(1)))
                .col(
                    string(Invoices::Status)
                        .check(Expr::col(Invoices::Status).is_in(["issued", "paid", "voided", "refunded", "rejected"])),
                )
                .col(big_integer(Invoices::Version))
                .col(timestamp_with_time_zone(Invoices::CreatedAt))
                .col(timestamp_with_time_zone(Invoices::UpdatedAt))
                .col(timestamp_with_time_zone_null(Invoices::PaidAt))
                .to_owned();
            manager.create_table(invoices).await?;
            let pages: [(&str, Vec<Invoices>); 2] = [
                ("invoices_by_created_at", vec![Invoices::CreatedAt, Invoices::Id]),
                ("invoices_by_status", vec![Invoices::Status, Invoices::CreatedAt, Invoices::Id]),
            ];
            for (name, columns) in pages {
                let mut index = Index::create();
                index.name(name).table(Invoices::Table);
                for column in columns {
                    index.col(column);
                }
                manager.create_index(index).await?;
            }
            crate::outbox::create(manager).await
        }
    }
}

/// For the pages of one customer, which is all that a customer sees.
mod m20261121_000005_invoices_by_customer {
    use super::*;

    pub(super) struct Migration;

    impl MigrationName for Migration {
        fn name(&self) -> &str {
            "m20261121_000005_invoices_by_customer"
        }
    }

    #[async_trait::async_trait]
    impl MigrationTrait for Migration {
        fn use_transaction(&self) -> Option<bool> {
            crate::IN_A_TRANSACTION
        }

        async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
            let index = Index::create()
                .name("invoices_by_customer")
                .table(Invoices::Table)
                .col(Invoices::CustomerId)
                .col(Invoices::CreatedAt)
                .col(Invoices::Id)
                .to_owned();
            manager.create_index(index).await
        }
    }
}
