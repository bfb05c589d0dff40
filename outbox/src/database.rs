//! The connection pool of a service, on PostgreSQL or SQLite, with the settings that the rest relies on.

use std::{fmt, path::Path, str::FromStr, time::Duration};

use sea_orm::{ConnectOptions, Database, DatabaseConnection, DbErr, RuntimeErr};

/// `postgres://…` or `sqlite://…`. Its `Debug` and `Display` show no password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

/// A URL of a database that we do not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be postgres://user:password@host/database or sqlite://path, not {0}")]
pub struct InvalidDatabaseUrl(String);

impl FromStr for DatabaseUrl {
    type Err = InvalidDatabaseUrl;

    fn from_str(url: &str) -> Result<Self, InvalidDatabaseUrl> {
        let url = Self(url.to_owned());
        if url.is_postgres() || url.is_sqlite() {
            Ok(url)
        } else {
            Err(InvalidDatabaseUrl(match url.0.split_once("://") {
                Some((scheme, _)) => format!("{scheme}://…"),
                // Its beginning is missing, and the rest may have a password.
                None if url.0.contains('@') => "a text without a scheme".to_owned(),
                None => format!("{:?}", url.0),
            }))
        }
    }
}

impl DatabaseUrl {
    /// A SQLite file.
    pub fn sqlite(path: &Path) -> Self {
        // The driver decodes percent signs, and takes `?` and `#` for the end of the path.
        let path = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        Self(format!("sqlite://{path}"))
    }

    /// The whole URL, password included: for a connection, never for a message.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is_postgres(&self) -> bool {
        self.0.starts_with("postgres://") || self.0.starts_with("postgresql://")
    }

    fn is_sqlite(&self) -> bool {
        self.0.starts_with("sqlite:")
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The parameters may hold a password too.
        let url = if self.is_postgres() { self.0.split(['?', '#']).next().unwrap_or_default() } else { &self.0 };
        match (url.split_once("://"), url.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, rest))) => write!(f, "{scheme}://…@{rest}"),
            _ => f.write_str(url),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

/// Opens a pool.
///
/// On PostgreSQL nothing is connected yet: a service starts while its database is away, and is unready until it
/// comes. On SQLite the file is created; it has one writer at a time, which [`crate::Outbox`] queues for.
///
/// # Errors
/// When the SQLite file cannot be opened or created.
pub async fn connect(url: &DatabaseUrl, application: &'static str) -> Result<DatabaseConnection, DbErr> {
    let mut options = ConnectOptions::new(&url.0);
    options
        .sqlx_logging(false)
        .acquire_timeout(Duration::from_secs(3))
        .connect_timeout(Duration::from_secs(3))
        // A connection that idled may have died with a restarted server: ask before it is used. One that worked a
        // moment ago is not worth a round trip.
        .test_before_acquire_if_idle_for(Duration::from_millis(500));
    if url.is_postgres() {
        options.connect_lazy(true).max_connections(20).set_application_name(application).map_sqlx_postgres_opts(
            |postgres| {
                // A session that is stuck with a lock, in a frozen process, must not take everybody's connections.
                postgres.options([
                    ("lock_timeout", "5s"),
                    ("statement_timeout", "15s"),
                    ("idle_in_transaction_session_timeout", "15s"),
                ])
            },
        );
    } else {
        options.max_connections(4).map_sqlx_sqlite_opts(|sqlite| {
            sqlite
                .create_if_missing(true)
                .foreign_keys(true)
                .busy_timeout(Duration::from_secs(5))
                // Readers go on while one writes; FULL, so that what was answered survives a power cut.
                .pragma("journal_mode", "WAL")
                .pragma("synchronous", "FULL")
        });
    }
    Database::connect(options).await.map_err(|error| without_url(error, url))
}

/// The driver repeats a URL that it cannot read, password included.
fn without_url(error: DbErr, url: &DatabaseUrl) -> DbErr {
    if error.to_string().contains(url.as_str()) {
        return DbErr::Conn(RuntimeErr::Internal("the URL cannot be read".to_owned()));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let url: DatabaseUrl = "postgres://orders:s3cret@db:5432/orders".parse().unwrap();
        assert_eq!(format!("{url}"), "postgres://…@db:5432/orders");
        assert_eq!(format!("{url:?}"), "DatabaseUrl(postgres://…@db:5432/orders)");
        let url: DatabaseUrl = "postgres://db/orders?user=orders&password=s3cret@".parse().unwrap();
        assert_eq!(format!("{url}"), "postgres://db/orders");
        let error = "mysql://orders:s3cret@db/orders".parse::<DatabaseUrl>().unwrap_err().to_string();
        assert!(error.ends_with("not mysql://…") && !error.contains("s3cret"), "{error}");
    }
}
