//! The schema of both databases, one migration after the other.
//!
//! Expand first, contract later: the build before and the build after a migration run on the same schema for a
//! while. Migrations never use entities: those describe the newest schema, a migration the one of its day.

mod invoices;
mod orders;
mod outbox;
mod reconcile;

use std::fmt;

use sea_orm_migration::{
    MigratorTrait, SchemaManager,
    sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, sea_query::Query},
};

/// Every migration, also on SQLite, where it is not the default: killed half-way, a first start would otherwise never
/// start again.
const IN_A_TRANSACTION: Option<bool> = Some(true);

/// Where the migrator keeps what was applied.
const APPLIED: &str = "seaql_migrations";

/// Whose database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// The database of the orders service.
    Orders,
    /// The database of the invoices service.
    Invoices,
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Orders => "orders",
            Self::Invoices => "invoices",
        })
    }
}

/// Brings a database to the newest schema. Harmless when it is there already.
///
/// # Errors
/// When the database refuses a statement; what was applied before stays.
pub async fn up(db: &DatabaseConnection, schema: Schema) -> Result<(), DbErr> {
    match schema {
        Schema::Orders => orders::Migrator::up(db, None).await,
        Schema::Invoices => invoices::Migrator::up(db, None).await,
    }
}

/// The names of the migrations that a database still lacks. Only reads, so that a service whose user may not change
/// the schema can ask.
///
/// # Errors
/// When the database cannot be read.
pub async fn pending(db: &DatabaseConnection, schema: Schema) -> Result<Vec<String>, DbErr> {
    let applied = applied(db).await?;
    Ok(known(schema).into_iter().filter(|name| !applied.contains(name)).collect())
}

/// The names of the migrations that a database has and this build does not know: a newer build has made it. Only
/// reads, as [`pending`].
///
/// # Errors
/// When the database cannot be read.
pub async fn unknown(db: &DatabaseConnection, schema: Schema) -> Result<Vec<String>, DbErr> {
    let known = known(schema);
    Ok(applied(db).await?.into_iter().filter(|name| !known.contains(name)).collect())
}

/// The names of this build's migrations.
fn known(schema: Schema) -> Vec<String> {
    let all = match schema {
        Schema::Orders => orders::Migrator::migrations(),
        Schema::Invoices => invoices::Migrator::migrations(),
    };
    all.iter().map(|migration| migration.name().to_owned()).collect()
}

/// The names of the migrations that a database has; none where nothing was ever migrated.
async fn applied(db: &DatabaseConnection) -> Result<Vec<String>, DbErr> {
    if !SchemaManager::new(db).has_table(APPLIED).await? {
        return Ok(Vec::new());
    }
    let rows = db.query_all(&Query::select().column("version").from(APPLIED).to_owned()).await?;
    rows.iter().map(|row| row.try_get("", "version")).collect()
}
