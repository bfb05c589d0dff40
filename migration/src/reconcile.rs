//! When to ask again, in the table of each service: what waits for an answer has a time, what is settled has none.
//!
//! The same steps in both databases, on the table that is named like its service.

#![allow(elided_lifetimes_in_paths, reason = "the signatures are those of the trait")]

use sea_orm_migration::{prelude::*, schema::*, sea_orm::DatabaseBackend};

use crate::Schema;

const RECONCILE_AT: &str = "reconcile_at";

fn table(schema: Schema) -> &'static str {
    match schema {
        Schema::Orders => "orders",
        Schema::Invoices => "invoices",
    }
}

/// What waited when the column came.
fn waits(schema: Schema) -> SimpleExpr {
    match schema {
        Schema::Orders => {
            Expr::col("status").ne("paid").and(Expr::col("invoice_status").is_in(["none", "issued", "paid"]))
        }
        Schema::Invoices => Expr::col("amount").is_null(),
    }
}

/// The column, and the question in the outbox.
pub(crate) mod m20261121_000003_reconcile {
    use super::*;

    pub(crate) struct Migration(pub(crate) Schema);

    impl MigrationName for Migration {
        fn name(&self) -> &str {
            "m20261121_000003_reconcile"
        }
    }

    #[async_trait::async_trait]
    impl MigrationTrait for Migration {
        fn use_transaction(&self) -> Option<bool> {
            crate::IN_A_TRANSACTION
        }

        async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
            let table = table(self.0);
            let column = timestamp_with_time_zone_null(RECONCILE_AT);
            manager.alter_table(Table::alter().table(table).add_column(column).to_owned()).await?;
            crate::outbox::add_asks(manager).await?;
            if manager.get_database_backend() == DatabaseBackend::Postgres {
                // Rows that an older build inserts get a time that has passed: the newer build looks at them soon and
                // decides. (SQLite has one process, and so one build.)
                let default =
                    format!("ALTER TABLE {table} ALTER COLUMN {RECONCILE_AT} SET DEFAULT '1970-01-01T00:00:00Z'");
                manager.get_connection().execute_unprepared(&default).await?;
            }
            Ok(())
        }
    }
}

/// The times of what waits already, and the index. Its own step, so that the lock of the one before is gone while this
/// one reads the table.
pub(crate) mod m20261121_000004_reconcile_index {
    use super::*;

    pub(crate) struct Migration(pub(crate) Schema);

    impl MigrationName for Migration {
        fn name(&self) -> &str {
            "m20261121_000004_reconcile_index"
        }
    }

    #[async_trait::async_trait]
    impl MigrationTrait for Migration {
        fn use_transaction(&self) -> Option<bool> {
            crate::IN_A_TRANSACTION
        }

        async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
            let table = table(self.0);
            let waiting = Query::update()
                .table(table)
                .value(RECONCILE_AT, Expr::col("updated_at"))
                .and_where(Expr::col(RECONCILE_AT).is_null())
                .and_where(waits(self.0))
                .to_owned();
            manager.execute(waiting).await?;
            let due = Index::create()
                .name(format!("{table}_to_reconcile"))
                .table(table)
                .col(RECONCILE_AT)
                .and_where(Expr::col(RECONCILE_AT).is_not_null())
                .to_owned();
            manager.create_index(due).await
        }
    }
}
