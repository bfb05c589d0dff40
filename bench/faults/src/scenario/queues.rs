//! A queue that is full, and queues that lose what they had.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::sleep;

use crate::{marker, proxy::Wire, replica::Service, report::Step, run::Run, schedule::Server, snapshot};

/// How much room the queue has while it is full.
const ROOM: u32 = 5;
/// The policy that makes it so; those of the system have the priority 0.
const POLICY: &str = "faults-full";

/// Leaves the queue `orders` room for a few messages only, and nobody who consumes it.
pub(crate) async fn full(run: &mut Run, time: Duration) -> anyhow::Result<Step> {
    let mut step = Step::new("a full queue");
    run.say("a full queue");
    let definition = json!({
        "pattern": "^orders$", "apply-to": "queues", "priority": 10,
        "definition": { "max-length": ROOM, "overflow": "reject-publish" },
    });
    let each = run.system.replicas.len() / 2;
    (each..2 * each).for_each(|n| run.set_wires(Some(n), Server::Broker, Wire::Refuses));
    run.management.put_policy(POLICY, definition).await?;
    let began = Instant::now();
    run.load.burst(run.burst.min(100));
    sleep(time).await;
    let (failed, refused) = (run.client.statistics.failures_since(began), snapshot::refused(&run.system).await?);
    run.management.delete_policy(POLICY).await?;
    (each..2 * each).for_each(|n| run.set_wires(Some(n), Server::Broker, Wire::Passes));
    let over = Instant::now();
    let recovery = marker::recovery(&run.client, &run.ledger, over).await?;
    step.fact(format!(
        "for {:.1?}: {} failed requests, {refused} events were refused and wait, recovered in {recovery:.2?}",
        over - began,
        failed.len()
    ));
    if let Some(first) = failed.first() {
        step.violation(format!("{} requests failed; the first: {first}", failed.len()));
    }
    if refused == 0 {
        step.violation("nothing was refused, so the queue was not full".to_owned());
    }
    step.within("recovery", recovery, run.limit);
    Ok(step)
}

/// How long an order waits here before it is asked after.
const RECONCILE_AFTER: Duration = Duration::from_secs(10);
/// How long repairing may take after that: what is lost while it is repaired is asked after a second time.
const REPAIR: Duration = Duration::from_secs(60);

/// Deletes, purges and unbinds the queue of new orders, each while there is something in it. What is lost with it only the
/// reconciler can repair. (The tap takes what an unbound queue does not, so nothing is returned to the publisher here.)
pub(crate) async fn lost(run: &mut Run) -> anyhow::Result<Step> {
    let mut step = Step::new("a queue that loses what it had");
    restart(run, &[("RECONCILE_AFTER_SECONDS", &RECONCILE_AFTER.as_secs().to_string())]).await?;
    for (what, path) in [
        ("deleted", &["api", "queues", "tandem", "orders"][..]),
        ("purged", &["api", "queues", "tandem", "orders", "contents"]),
        ("unbound", &["api", "bindings", "tandem", "e", "tandem.events", "q", "orders", "order.created"]),
    ] {
        run.say(&format!("the queue orders is {what}"));
        // Cut off, so that the messages wait in the queue and not with a consumer.
        let each = run.system.replicas.len() / 2;
        (each..2 * each).for_each(|n| run.set_wires(Some(n), Server::Broker, Wire::Refuses));
        run.load.burst(run.burst.min(100));
        sleep(Duration::from_secs(1)).await;
        run.management.delete(path).await?;
        (each..2 * each).for_each(|n| run.set_wires(Some(n), Server::Broker, Wire::Passes));
        if what == "unbound" {
            // Who connects declares what is missing.
            run.load.burst(run.burst.min(100));
            sleep(Duration::from_secs(1)).await;
            run.management.close_connections().await?;
        }
        let over = Instant::now();
        let recovery = marker::recovery(&run.client, &run.ledger, over).await?;
        let lost = unanswered(run).await?;
        let repaired = repaired(run).await?;
        step.fact(format!(
            "{what}: consumed again after {recovery:.2?}; {lost} orders without an answer, all answered after {repaired:.1?}"
        ));
        step.within(&format!("consuming again after it was {what}"), recovery, run.limit);
        step.within(&format!("repairing what was {what}"), repaired, RECONCILE_AFTER + REPAIR);
        if lost == 0 {
            step.violation(format!("nothing was lost when it was {what}, which proves nothing"));
        }
    }
    restart(run, &[]).await?;
    Ok(step)
}

/// Restarts every replica with more in its environment.
async fn restart(run: &mut Run, more: &[(&str, &str)]) -> anyhow::Result<()> {
    for replica in &mut run.system.replicas {
        replica.terminate().await?;
        replica.start_with(more).await?;
    }
    Ok(())
}

/// How many orders that had all the time they need have no invoice yet, as far as their service knows.
async fn unanswered(run: &Run) -> anyhow::Result<i64> {
    let sql = "SELECT count(*) AS n FROM orders WHERE status = 'pending' AND invoice_status = 'none' \
               AND created_at < now() - interval '3 seconds'";
    snapshot::count(&snapshot::connect(&run.system, Service::Orders).await?, sql).await
}

/// Waits until there is none, and answers how long that took. After the limit it is for the caller to say so.
async fn repaired(run: &Run) -> anyhow::Result<Duration> {
    let began = Instant::now();
    while unanswered(run).await? > 0 && began.elapsed() <= RECONCILE_AFTER + REPAIR {
        sleep(Duration::from_millis(500)).await;
    }
    Ok(began.elapsed())
}
