//! Both databases with a role each for migrations and for the service, made by `infra/postgres/roles.sql` under names
//! of their own.

use std::thread;

use migration::Schema;
use outbox::DatabaseUrl;
use reqwest::Url;
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbErr};
use uuid::Uuid;

/// Two migrated databases on the server of `TEST_DATABASE_URL`, removed with their roles when this is dropped.
#[derive(Debug)]
pub struct ServiceRoles {
    server: Url,
    /// What is appended to every name in the script.
    suffix: String,
}

impl ServiceRoles {
    /// Makes them; `None` when no server is set up.
    pub async fn create() -> Option<Self> {
        let Ok(server) = std::env::var("TEST_DATABASE_URL") else {
            eprintln!("skipped: TEST_DATABASE_URL is not set");
            return None;
        };
        let roles = Self { server: server.parse().unwrap(), suffix: format!("_{}", Uuid::now_v7().simple()) };
        roles.run_script().await;
        for schema in [Schema::Orders, Schema::Invoices] {
            let owner = open(roles.database(schema, &format!("{schema}_owner")).as_str()).await.unwrap();
            migration::up(&owner, schema).await.unwrap();
            owner.close().await.unwrap();
        }
        Some(roles)
    }

    /// The URL of a service's database, for the role that the service runs as.
    pub fn service_url(&self, schema: Schema) -> DatabaseUrl {
        self.database(schema, &schema.to_string()).as_str().parse().unwrap()
    }

    /// A connection to a database as one of the roles of the script.
    ///
    /// # Errors
    /// When the role may not connect.
    pub async fn connect(&self, schema: Schema, role: &str) -> Result<DatabaseConnection, DbErr> {
        open(self.database(schema, role).as_str()).await
    }

    fn database(&self, schema: Schema, role: &str) -> Url {
        let mut url = self.server.clone();
        url.set_path(&self.name(&schema.to_string()));
        url.set_username(&self.name(role)).unwrap();
        url
    }

    fn name(&self, name: &str) -> String {
        format!("{name}{}", self.suffix)
    }

    /// Does what psql does with the script: one statement after the other, `\connect` between them.
    async fn run_script(&self) {
        let script = include_str!("../../infra/postgres/roles.sql");
        let mut db = open(self.server.as_str()).await.unwrap();
        let mut statement = String::new();
        for line in script.lines().filter(|line| !line.trim_start().starts_with("--")) {
            let line = self.renamed(line);
            if let Some(name) = line.strip_prefix("\\connect ") {
                db.close().await.unwrap();
                let mut url = self.server.clone();
                url.set_path(name);
                db = open(url.as_str()).await.unwrap();
                continue;
            }
            statement += &line;
            statement.push('\n');
            if line.ends_with(';') {
                db.execute_unprepared(&statement).await.unwrap();
                statement.clear();
            }
        }
        assert_eq!(statement.trim(), "", "the last statement ends with a semicolon");
        db.close().await.unwrap();
    }

    /// `line` with the names of this test.
    fn renamed(&self, line: &str) -> String {
        let rename = |word: &str| match word.trim_end_matches(';') {
            name @ ("orders" | "orders_owner" | "invoices" | "invoices_owner") => word.replace(name, &self.name(name)),
            _ => word.to_owned(),
        };
        line.split(' ').map(rename).collect::<Vec<_>>().join(" ")
    }
}

async fn open(url: &str) -> Result<DatabaseConnection, DbErr> {
    let mut options = ConnectOptions::new(url);
    options.sqlx_logging(false).max_connections(1);
    Database::connect(options).await
}

impl Drop for ServiceRoles {
    fn drop(&mut self) {
        let server = self.server.clone();
        let databases = ["orders", "invoices"].map(|name| self.name(name));
        let roles = ["orders", "orders_owner", "invoices", "invoices_owner"].map(|name| self.name(name));
        // On a thread and a runtime of its own: the test's may be ending.
        let dropped = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let db = open(server.as_str()).await.unwrap();
                for name in databases {
                    db.execute_unprepared(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await.unwrap();
                }
                for name in roles {
                    db.execute_unprepared(&format!("DROP ROLE IF EXISTS {name}")).await.unwrap();
                }
            });
        });
        if dropped.join().is_err() {
            eprintln!("the databases and roles with the suffix {} were not dropped", self.suffix);
        }
    }
}
