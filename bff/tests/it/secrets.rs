//! The program with secrets in its settings, and without any.

use testkit::secrets::{CANARY, assert_refused, log_until, program, strange_server};

const BFF: &str = env!("CARGO_BIN_EXE_bff");

fn settings(port: u16) -> [(&'static str, String); 5] {
    let service = format!("http://u:{CANARY}@127.0.0.1:{port}");
    [
        ("BROKER_URL", format!("amqp://u:{CANARY}@127.0.0.1:{port}/v")),
        ("ORDERS_URL", service.clone()),
        ("INVOICES_URL", service),
        ("JWT_SECRET", format!("{CANARY}-of-the-issuer-and-of-us")),
        ("JWT_ISSUER", "issuer".into()),
    ]
}

#[tokio::test]
async fn no_password_is_in_what_a_start_says_that_is_refused() {
    for (name, value) in [
        ("BROKER_URL", format!("http://u:{CANARY}@h/v")),
        ("BROKER_URL", format!("u:{CANARY}@h/v")),
        ("BROKER_URL", format!("amqp://u:{CANARY}@h:port/v")),
        ("ORDERS_URL", format!("http://u:{CANARY}@h:port")),
        ("ORDERS_URL", format!("ftp://u:{CANARY}@h")),
        ("INVOICES_URL", format!("u:{CANARY}@h")),
    ] {
        let mut command = program(BFF, &settings(1));
        command.env(name, value);
        assert_refused(command).await;
    }
}

/// Everything is away, or something else is where it should be: the process goes on trying, and says so.
#[tokio::test]
async fn no_password_is_in_the_log_of_a_process_that_cannot_connect() {
    for port in [1, strange_server().await] {
        let expected = ["no connection to RabbitMQ", "bff::subgraph::client", "readiness: orders: "];
        let log = log_until(program(BFF, &settings(port)), &expected).await;
        assert!(!log.contains("OPEN MODE"), "it asks for tokens");
    }
}

#[tokio::test]
async fn a_process_that_lets_everybody_in_says_so() {
    log_until(program(BFF, &settings(1)[..3]), &["OPEN MODE: no token is asked for"]).await;
}
