//! The program with secrets in its settings, and without any.

use testkit::secrets::{CANARY, assert_refused, log_until, program, strange_server};

const ORDERS: &str = env!("CARGO_BIN_EXE_orders");

fn settings(database: String, broker: String) -> [(&'static str, String); 4] {
    let secret = format!("{CANARY}-of-the-issuer-and-of-us");
    [("DATABASE_URL", database), ("BROKER_URL", broker), ("JWT_SECRET", secret), ("JWT_ISSUER", "issuer".into())]
}

fn urls(port: u16) -> (String, String) {
    (format!("postgres://u:{CANARY}@127.0.0.1:{port}/o"), format!("amqp://u:{CANARY}@127.0.0.1:{port}/v"))
}

#[tokio::test]
async fn no_password_is_in_what_a_start_says_that_is_refused() {
    let (database, broker) = urls(1);
    for (database, broker) in [
        (format!("mysql://u:{CANARY}@h/o"), broker.clone()),
        (format!("u:{CANARY}@h/o"), broker.clone()),
        (format!("postgres://u:{CANARY}@h:port/o"), broker.clone()),
        (database.clone(), format!("http://u:{CANARY}@h/v")),
        (database.clone(), format!("u:{CANARY}@h/v")),
        (database.clone(), format!("amqp://u:{CANARY}@h:port/v")),
    ] {
        assert_refused(program(ORDERS, &settings(database, broker))).await;
    }
}

/// Both are away, or something else is where they should be: the process goes on trying, and says so.
#[tokio::test]
async fn no_password_is_in_the_log_of_a_process_that_cannot_connect() {
    for port in [1, strange_server().await] {
        let (database, broker) = urls(port);
        let expected = ["readiness: database: ", "no connection to RabbitMQ", "orders::housekeeping"];
        let log = log_until(program(ORDERS, &settings(database, broker)), &expected).await;
        assert!(!log.contains("OPEN MODE"), "it asks for tokens");
    }
}

#[tokio::test]
async fn a_process_that_lets_everybody_in_says_so() {
    let (database, broker) = urls(1);
    let settings = &settings(database, broker)[..2];
    log_until(program(ORDERS, settings), &["OPEN MODE: no token is asked for"]).await;
}
