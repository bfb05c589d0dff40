//! Brings a database to the newest schema: `DATABASE_URL=… migration up orders`.

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};
use sea_orm_migration::sea_orm::{ConnectOptions, Database};

/// Migrations of the orders and the invoices database.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,

    /// The database, e.g. postgres://user:password@localhost/orders.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, global = true, default_value = "")]
    database_url: String,
}

#[derive(Subcommand)]
enum Command {
    /// Apply every migration that is missing.
    Up {
        /// Whose database it is.
        schema: SchemaName,
    },
    /// List the migrations that are missing; exit code 1 when there are some.
    Status {
        /// Whose database it is.
        schema: SchemaName,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum SchemaName {
    Orders,
    Invoices,
}

impl From<SchemaName> for migration::Schema {
    fn from(name: SchemaName) -> Self {
        match name {
            SchemaName::Orders => Self::Orders,
            SchemaName::Invoices => Self::Invoices,
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).init();
    let arguments = Arguments::parse();
    anyhow::ensure!(!arguments.database_url.is_empty(), "DATABASE_URL is not set: give the database to migrate");
    let mut options = ConnectOptions::new(&arguments.database_url);
    options.sqlx_logging(false);
    let db = Database::connect(options).await.context("cannot connect to DATABASE_URL")?;
    match arguments.command {
        Command::Up { schema } => {
            let schema = schema.into();
            let missing = migration::pending(&db, schema).await?;
            migration::up(&db, schema).await?;
            tracing::info!("the {schema} database is current; applied {}: {missing:?}", missing.len());
        }
        Command::Status { schema } => {
            let missing = migration::pending(&db, schema.into()).await?;
            if !missing.is_empty() {
                tracing::warn!("missing: {missing:?}");
                std::process::exit(1);
            }
        }
    }
    Ok(())
}
