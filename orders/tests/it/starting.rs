//! What the service says when it cannot start.

use std::sync::Arc;

use chassis::listen::Listen;
use messaging::in_process::InProcessBus;

#[tokio::test]
async fn a_database_that_we_do_not_know_is_refused_without_its_password() {
    let mut config = orders::Config::embedded(Listen::anywhere(), &"sqlite::memory:".parse().unwrap());
    config.database_url = Some("mysql://orders:s3cret@db/orders".into());
    let Err(error) = orders::start(config, Arc::new(InProcessBus::new())).await else { panic!("it started") };
    let error = format!("{error:#}");
    assert!(error.starts_with("DATABASE_URL: must be postgres://") && !error.contains("s3cret"), "{error}");
}
