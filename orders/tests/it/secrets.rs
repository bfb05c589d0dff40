//! The program with secrets in its settings, and without any.

use testkit::secrets::Service;

const ORDERS: Service = Service {
    program: env!("CARGO_BIN_EXE_orders"),
    says: &["readiness: database: ", "no connection to RabbitMQ", "orders::housekeeping"],
};

#[tokio::test]
async fn no_password_is_in_what_a_start_says_that_is_refused() {
    ORDERS.is_refused().await;
}

#[tokio::test]
async fn no_password_is_in_the_log_of_a_process_that_cannot_connect() {
    ORDERS.cannot_connect().await;
}

#[tokio::test]
async fn a_process_that_lets_everybody_in_says_so() {
    ORDERS.is_open().await;
}
