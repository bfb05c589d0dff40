//! A database of its own for each test: a file, or a database on the server of `TEST_DATABASE_URL`.

use std::{net::SocketAddr, str::FromStr, thread};

use migration::Schema;
use outbox::DatabaseUrl;
use reqwest::Url;
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};
use tempfile::TempDir;
use uuid::Uuid;

/// A migrated database, removed when it is dropped.
#[derive(Debug)]
pub struct TestDatabase {
    url: DatabaseUrl,
    connection: DatabaseConnection,
    place: Place,
}

#[derive(Debug)]
enum Place {
    File(#[expect(dead_code, reason = "removes the folder when it is dropped")] TempDir),
    Server(ServerDatabase),
}

#[derive(Debug)]
struct ServerDatabase {
    server: String,
    name: String,
}

impl TestDatabase {
    /// Creates and migrates one.
    pub async fn create(schema: Schema) -> Self {
        let (url, place) = match std::env::var("TEST_DATABASE_URL") {
            Ok(server) => {
                let name = format!("test_{}", Uuid::now_v7().simple());
                execute(&server, &format!("CREATE DATABASE {name}")).await;
                let mut url = Url::from_str(&server).unwrap();
                url.set_path(&name);
                (url.as_str().parse().unwrap(), Place::Server(ServerDatabase { server, name }))
            }
            Err(_) => {
                let folder = tempfile::tempdir().unwrap();
                (DatabaseUrl::sqlite(&folder.path().join("test.db")), Place::File(folder))
            }
        };
        let connection = outbox::connect(&url, "test").await.unwrap();
        migration::up(&connection, schema).await.unwrap();
        Self { url, connection, place }
    }

    /// Its URL, for a service.
    pub fn url(&self) -> DatabaseUrl {
        self.url.clone()
    }

    /// Its URL with another address for the server, e.g. a proxy's. A file has no address.
    pub fn url_at(&self, address: SocketAddr) -> DatabaseUrl {
        match &self.place {
            Place::File(_) => self.url(),
            Place::Server(server) => {
                let mut url = Url::from_str(&server.server).unwrap();
                url.set_host(Some(&address.ip().to_string())).unwrap();
                url.set_port(Some(address.port())).unwrap();
                url.set_path(&server.name);
                url.as_str().parse().unwrap()
            }
        }
    }

    /// A connection, to look at what is there.
    pub fn connection(&self) -> &DatabaseConnection {
        &self.connection
    }

    /// How many prepared statements a connection remembers, when the pool was used by one task only: it has one
    /// connection then. Without those of the migrations, which it may have made as well. Nothing on SQLite, which does
    /// not say.
    pub async fn prepared_statements(&self) -> Option<i64> {
        let backend = self.connection.get_database_backend();
        let count =
            "SELECT count(*) AS statements FROM pg_prepared_statements WHERE statement !~ '^(CREATE|ALTER|COMMENT)'";
        let count = Statement::from_string(backend, count);
        if backend == DbBackend::Sqlite {
            return None;
        }
        Some(self.connection.query_one_raw(count).await.unwrap()?.try_get("", "statements").unwrap())
    }
}

async fn execute(server: &str, statement: &str) {
    let mut options = ConnectOptions::new(server);
    options.sqlx_logging(false).max_connections(1);
    let db = Database::connect(options).await.expect("TEST_DATABASE_URL can be reached");
    db.execute_unprepared(statement).await.unwrap();
    db.close().await.unwrap();
}

impl Drop for ServerDatabase {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // On a thread and a runtime of its own: the test's may be ending.
        let dropped = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(execute(&server, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")));
        });
        if dropped.join().is_err() {
            eprintln!("the database {} was not dropped", self.name);
        }
    }
}
