//! Brings a database to the newest schema: `DATABASE_URL=… migration up orders`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};
use migration::Schema;
use sea_orm_migration::sea_orm::{ConnectOptions, Database, DatabaseConnection};
use secrecy::{ExposeSecret, SecretString};

/// Migrations of the orders and the invoices database.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Apply every migration that is missing.
    Up(Target),
    /// List the migrations that are missing; exit code 1 when there are some.
    Status(Target),
}

#[derive(Args)]
struct Target {
    /// Whose database it is.
    schema: SchemaName,

    /// The database: postgres://user:password@host/orders or sqlite://path?mode=rwc. With TLS:
    /// postgres://…?sslmode=verify-full&sslrootcert=/path/ca.pem.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: SecretString,
}

#[derive(Clone, Copy, ValueEnum)]
enum SchemaName {
    Orders,
    Invoices,
}

impl From<SchemaName> for Schema {
    fn from(name: SchemaName) -> Self {
        match name {
            SchemaName::Orders => Self::Orders,
            SchemaName::Invoices => Self::Invoices,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse().command).await {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<ExitCode> {
    let mut out = io::stdout();
    match command {
        Command::Up(target) => {
            let (db, schema) = target.open().await?;
            let missing = migration::pending(&db, schema).await?;
            migration::up(&db, schema).await?;
            for name in &missing {
                writeln!(out, "applied {name}")?;
            }
            writeln!(out, "the {schema} database is current")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Status(target) => {
            let (db, schema) = target.open().await?;
            let missing = migration::pending(&db, schema).await?;
            for name in &missing {
                writeln!(out, "missing {name}")?;
            }
            if missing.is_empty() {
                writeln!(out, "the {schema} database is current")?;
            }
            Ok(if missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

impl Target {
    async fn open(self) -> Result<(DatabaseConnection, Schema)> {
        let mut options = ConnectOptions::new(self.database_url.expose_secret());
        options.sqlx_logging(false);
        let db = Database::connect(options).await.context("cannot connect to the database of DATABASE_URL")?;
        Ok((db, self.schema.into()))
    }
}
