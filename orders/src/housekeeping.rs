//! Forgets idempotency keys that nobody will repeat any more, a batch at a time.

use std::time::Duration;

use chrono::TimeDelta;
use outbox::Outbox;
use sea_orm::DbErr;
use tokio_util::sync::CancellationToken;

use crate::entity;

/// How long a key is remembered. Clients repeat a request within minutes; a week covers a queue that stood still.
const KEPT: TimeDelta = TimeDelta::days(7);
/// How many keys one transaction forgets: short, so that it is in nobody's way.
const BATCH: u64 = 1000;
/// How often to look.
const PAUSE: Duration = Duration::from_secs(60 * 60);

/// Works until `stop`.
pub(crate) async fn run(outbox: Outbox, stop: CancellationToken) {
    loop {
        if let Err(error) = forget_old_keys(&outbox).await {
            tracing::warn!(%error, "old idempotency keys stay for now: {error}");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

async fn forget_old_keys(outbox: &Outbox) -> Result<u64, DbErr> {
    let mut forgotten = 0;
    loop {
        let work = outbox.begin().await?;
        let batch = entity::forget_keys(work.db(), contracts::now() - KEPT, BATCH).await?;
        work.commit().await?;
        forgotten += batch;
        if batch < BATCH {
            return Ok(forgotten);
        }
    }
}

#[cfg(test)]
mod tests {
    use migration::Schema;
    use testkit::TestDatabase;
    use uuid::Uuid;

    use super::*;
    use crate::entity::UsedKey;

    #[tokio::test]
    async fn keys_are_forgotten_after_a_week_and_not_before() {
        let database = TestDatabase::create(Schema::Orders).await;
        let outbox = Outbox::new(database.connection().clone(), "test");
        let now = contracts::now();
        let take = async |key: &str, at| {
            let used = UsedKey { request_hash: String::new(), order_id: Uuid::nil() };
            entity::take_key(database.connection(), "anyone", key, used, at).await.unwrap().is_none()
        };
        // More than a batch, so that there is a second one.
        let work = outbox.begin().await.unwrap();
        for n in 0..1500 {
            let used = UsedKey { request_hash: String::new(), order_id: Uuid::nil() };
            let key = format!("old-{n}");
            entity::take_key(work.db(), "anyone", &key, used, now - KEPT - TimeDelta::seconds(1)).await.unwrap();
        }
        work.commit().await.unwrap();
        assert!(take("fresh", now - KEPT + TimeDelta::minutes(1)).await);

        assert_eq!(forget_old_keys(&outbox).await.unwrap(), 1500);
        assert!(!take("fresh", now).await, "a fresh key was forgotten");
        assert!(take("old-7", now).await, "an old key is still there");
    }
}
