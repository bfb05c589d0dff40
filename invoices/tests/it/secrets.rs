//! The program with secrets in its settings, and without any.

use testkit::secrets::Service;

const INVOICES: Service =
    Service { program: env!("CARGO_BIN_EXE_invoices"), says: &["readiness: database: ", "no connection to RabbitMQ"] };

#[tokio::test]
async fn no_password_is_in_what_a_start_says_that_is_refused() {
    INVOICES.is_refused().await;
}

#[tokio::test]
async fn no_password_is_in_the_log_of_a_process_that_cannot_connect() {
    INVOICES.cannot_connect().await;
}

#[tokio::test]
async fn a_process_that_lets_everybody_in_says_so() {
    INVOICES.is_open().await;
}
