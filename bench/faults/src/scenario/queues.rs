//! A queue that is full, and queues that lose what they had.

use std::time::{Duration, Instant};

use anyhow::ensure;
use contracts::{EventType, topology};
use lapin::{
    options::{QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions},
    types::FieldTable,
};
use serde_json::json;
use tokio::time::sleep;

use crate::{broker, marker, proxy::Wire, replica::Service, report::Step, run::Run, schedule::Server, snapshot};

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
/// How long messages may take to arrive where they are to be lost.
const ARRIVAL: Duration = Duration::from_secs(30);
/// The queue that loses what it has.
const ORDERS: &str = "orders";

/// How a queue loses its messages.
#[derive(Debug, Clone, Copy)]
enum Loss {
    Deleted,
    Purged,
    Unbound,
}

/// Deletes, purges and unbinds the queue of new orders, each while there is something in it. What is lost with it only the
/// reconciler can repair. (The tap takes what an unbound queue does not, so nothing is returned to the publisher here.)
pub(crate) async fn lost(run: &mut Run) -> anyhow::Result<Step> {
    let mut step = Step::new("a queue that loses what it had");
    restart(run, &[("RECONCILE_AFTER_SECONDS", &RECONCILE_AFTER.as_secs().to_string())]).await?;
    for (what, loss) in [("deleted", Loss::Deleted), ("purged", Loss::Purged), ("unbound", Loss::Unbound)] {
        run.say(&format!("the queue {ORDERS} is {what}"));
        // Cut off, so that the messages wait in the queue and not with a consumer.
        let each = run.system.replicas.len() / 2;
        (each..2 * each).for_each(|n| run.set_wires(Some(n), Server::Broker, Wire::Refuses));
        let lost = lose(run, loss).await?;
        (each..2 * each).for_each(|n| run.set_wires(Some(n), Server::Broker, Wire::Passes));
        if matches!(loss, Loss::Unbound) {
            // Who connects declares what is missing, and nobody has noticed that something is.
            run.management.close_connections().await?;
        }
        let recovery = consumed_again(run).await?;
        let repaired = repaired(run).await?;
        step.fact(format!(
            "{what}, with {lost} new orders: consumed again after {recovery:.2?}, all answered after {repaired:.1?}"
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

/// Has messages come to the queue and lost there. Answers how many, as the broker counts them.
async fn lose(run: &mut Run, loss: Loss) -> anyhow::Result<u64> {
    let burst = run.burst.min(100);
    let (connection, channel) = broker::connect(&run.system.broker_url()).await?;
    let lost = match loss {
        Loss::Deleted | Loss::Purged => {
            run.load.burst(burst);
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let began = Instant::now();
            while channel.queue_declare(ORDERS.into(), passive, FieldTable::default()).await?.message_count() == 0 {
                ensure!(began.elapsed() < ARRIVAL, "no message came to the queue {ORDERS}");
                sleep(Duration::from_millis(20)).await;
            }
            match loss {
                Loss::Deleted => channel.queue_delete(ORDERS.into(), QueueDeleteOptions::default()).await?,
                _ => channel.queue_purge(ORDERS.into(), QueuePurgeOptions::default()).await?,
            }
            .into()
        }
        Loss::Unbound => {
            let (exchange, key) = (topology::EXCHANGE, EventType::OrderCreated.as_str());
            channel.queue_unbind(ORDERS.into(), exchange.into(), key.into(), FieldTable::default()).await?;
            let before = run.tap.published().of(EventType::OrderCreated);
            run.load.burst(burst);
            let began = Instant::now();
            loop {
                let lost = run.tap.published().of(EventType::OrderCreated) - before;
                if lost > 0 {
                    break lost;
                }
                ensure!(began.elapsed() < ARRIVAL, "no order was announced");
                sleep(Duration::from_millis(100)).await;
            }
        }
    };
    connection.close(200, "done".into()).await?;
    Ok(lost)
}

/// Restarts every replica with more in its environment.
async fn restart(run: &mut Run, more: &[(&str, &str)]) -> anyhow::Result<()> {
    for replica in &mut run.system.replicas {
        replica.terminate().await?;
        replica.start_with(more).await?;
    }
    Ok(())
}

/// Waits until somebody consumes the queue, and answers how long that took. (No order is sent to tell: it could be
/// lost as well until then.)
async fn consumed_again(run: &Run) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let (connection, mut channel) = broker::connect(&run.system.broker_url()).await?;
    loop {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        match channel.queue_declare(ORDERS.into(), passive, FieldTable::default()).await {
            Ok(queue) if queue.consumer_count() > 0 => break,
            Ok(_) => {}
            // Asking for a queue that is not there costs the channel.
            Err(_) => channel = connection.create_channel().await?,
        }
        ensure!(began.elapsed() < run.limit + REPAIR, "nobody consumes the queue {ORDERS}");
        sleep(Duration::from_millis(100)).await;
    }
    connection.close(200, "done".into()).await?;
    Ok(began.elapsed())
}

/// Waits until every order that was placed until now has its invoice as far as its service knows, and answers how long
/// that took. After the limit it is for the caller to say so.
async fn repaired(run: &Run) -> anyhow::Result<Duration> {
    let orders = snapshot::connect(&run.system, Service::Orders).await?;
    let now = snapshot::count(&orders, "SELECT (extract(epoch FROM now()) * 1000)::bigint AS n").await?;
    let unanswered = format!(
        "SELECT count(*) AS n FROM orders WHERE status = 'pending' AND invoice_status = 'none' \
         AND created_at <= to_timestamp({now} / 1000.0)"
    );
    let began = Instant::now();
    while snapshot::count(&orders, &unanswered).await? > 0 && began.elapsed() <= RECONCILE_AFTER + REPAIR {
        sleep(Duration::from_millis(500)).await;
    }
    Ok(began.elapsed())
}
