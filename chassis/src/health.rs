//! `/health`, `/livez` and `/readyz`.
//!
//! Live means that the process answers; it looks at nothing else. Ready means that what the service cannot work
//! without is there and that it is not about to stop. The broker is reported, not required: the outbox absorbs its
//! outage.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use serde::Serialize;

/// How long one check may take before it counts as failed.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

type Check = Box<dyn Fn() -> Pin<Box<dyn Future<Output = CheckResult> + Send>> + Send + Sync>;

/// What a check found. The words go to the client: no host, no cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckResult {
    /// All is well.
    Ok,
    /// It is away, but the service works without it for a while.
    Degraded,
    /// It is away, and the service cannot work.
    Failed(&'static str),
}

/// The checks of a service, and whether it is stopping.
#[derive(Default)]
pub struct Readiness {
    checks: BTreeMap<&'static str, Check>,
    /// What each found last, so that a change is told once.
    found: Mutex<BTreeMap<&'static str, CheckResult>>,
    stopping: AtomicBool,
}

impl Readiness {
    /// Adds a check under a name.
    pub fn check<F, Fut>(mut self, name: &'static str, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = CheckResult> + Send + 'static,
    {
        self.checks.insert(name, Box::new(move || Box::pin(check())));
        self
    }

    /// From now on unready: load balancers should look elsewhere.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    /// Looks once, for the log.
    pub(crate) async fn look(&self) {
        self.report().await;
    }

    /// Whether it is not as it was when somebody looked last, or not well from the start.
    fn is_news(&self, name: &'static str, found: CheckResult) -> bool {
        let before = self.found.lock().unwrap_or_else(PoisonError::into_inner).insert(name, found);
        before.unwrap_or(CheckResult::Ok) != found
    }

    async fn report(&self) -> (StatusCode, Report) {
        let mut ready = true;
        let mut checks = BTreeMap::new();
        for (name, check) in &self.checks {
            let result = tokio::time::timeout(CHECK_TIMEOUT, check()).await.unwrap_or(CheckResult::Failed("no answer"));
            ready &= !matches!(result, CheckResult::Failed(_));
            if self.is_news(name, result) {
                log(name, result);
            }
            checks.insert(
                *name,
                match result {
                    CheckResult::Ok => "ok",
                    CheckResult::Degraded => "degraded",
                    CheckResult::Failed(why) => why,
                },
            );
        }
        if self.stopping.load(Ordering::SeqCst) {
            (StatusCode::SERVICE_UNAVAILABLE, Report { status: "stopping", checks })
        } else if ready {
            (StatusCode::OK, Report { status: "ok", checks })
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, Report { status: "unavailable", checks })
        }
    }
}

fn log(name: &str, found: CheckResult) {
    match found {
        CheckResult::Ok => tracing::info!("readiness: {name}: well again"),
        CheckResult::Degraded => {
            tracing::warn!("readiness: {name}: away, and the service works without it for a while");
        }
        CheckResult::Failed(why) => tracing::warn!("readiness: {name}: {why}"),
    }
}

#[derive(Serialize)]
struct Report {
    status: &'static str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    checks: BTreeMap<&'static str, &'static str>,
}

/// The routes of probes. They come all the time and say nothing about customers: no span, no metric.
pub(crate) const PROBES: [&str; 3] = ["/health", "/livez", "/readyz"];

/// The three routes.
pub fn routes(readiness: Arc<Readiness>) -> Router {
    async fn alive() -> impl IntoResponse {
        Json(Report { status: "ok", checks: BTreeMap::new() })
    }

    async fn ready(State(readiness): State<Arc<Readiness>>) -> impl IntoResponse {
        let (status, report) = readiness.report().await;
        (status, Json(report))
    }

    let [health, livez, readyz] = PROBES;
    Router::new().route(health, get(alive)).route(livez, get(alive)).route(readyz, get(ready)).with_state(readiness)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_degraded_part_keeps_the_service_ready_and_a_failed_one_does_not() {
        let readiness = Readiness::default()
            .check("database", || async { CheckResult::Ok })
            .check("broker", || async { CheckResult::Degraded });
        let (status, report) = readiness.report().await;
        assert_eq!((status, report.checks["broker"]), (StatusCode::OK, "degraded"));

        readiness.stopping();
        let (status, report) = readiness.report().await;
        assert_eq!((status, report.status), (StatusCode::SERVICE_UNAVAILABLE, "stopping"));

        let readiness = Readiness::default().check("database", || async { CheckResult::Failed("unreachable") });
        assert_eq!(readiness.report().await.0, StatusCode::SERVICE_UNAVAILABLE);
    }
    #[test]
    fn only_a_change_is_news() {
        let readiness = Readiness::default();
        let (ok, away, gone) = (CheckResult::Ok, CheckResult::Degraded, CheckResult::Failed("gone"));
        let news = [ok, away, away, gone, ok, ok].map(|found| readiness.is_news("broker", found));
        assert_eq!(news, [false, true, false, true, true, false]);
        assert!(readiness.is_news("database", gone), "what is missing from the start is news");
    }
}
