//! The broker has an alarm: it takes no messages for a while, and everything else goes on.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::{broker, marker, replica::Service, report::Step, run::Run, snapshot};

/// How many events are put into the queues before, to be acknowledged meanwhile.
const BACKLOG: usize = 200;
/// How long the acknowledgements may take: the broker's figures are up to five seconds old.
const ACKNOWLEDGED: Duration = Duration::from_secs(30);
/// How long until events leave again once the alarm is over.
const RESUMED: Duration = Duration::from_secs(2);

/// Which alarm.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Alarm {
    /// Of memory.
    Memory,
    /// Of disk space.
    Disk,
}

impl Alarm {
    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory alarm of the broker",
            Self::Disk => "disk alarm of the broker",
        }
    }

    fn on(self) -> &'static str {
        match self {
            Self::Memory => "set_vm_memory_high_watermark 0",
            Self::Disk => "set_disk_free_limit 1000000GB",
        }
    }

    fn off(self) -> &'static str {
        match self {
            Self::Memory => "set_vm_memory_high_watermark 0.6",
            Self::Disk => "set_disk_free_limit 1MB",
        }
    }
}

/// Raises an alarm for at least `time`.
pub(crate) async fn alarm(run: &mut Run, alarm: Alarm, time: Duration, slack: Duration) -> anyhow::Result<Step> {
    let mut step = Step::new(alarm.name());
    run.say(alarm.name());
    // So that there is something to acknowledge: the queues fill while their consumers are frozen.
    signal_all(run, Service::Invoices, "STOP")?;
    let recent: Vec<_> = run.tap.recent(BACKLOG).into_iter().filter(|message| message.queue == "orders").collect();
    broker::publish(&run.system.broker_url(), &recent).await?;
    run.system.servers.rabbitmqctl(alarm.on()).await?;
    signal_all(run, Service::Invoices, "CONT")?;

    let began = Instant::now();
    // Nothing new arrives now, so an empty queue stays empty; older figures are not about this moment.
    sleep(snapshot::REST).await;
    let acknowledged = loop {
        let queues = run.management.queues().await?;
        if queues.get("orders") == Some(&0) {
            break Some(began.elapsed());
        }
        if began.elapsed() > ACKNOWLEDGED {
            break None;
        }
        sleep(Duration::from_millis(200)).await;
    };
    sleep(time.saturating_sub(began.elapsed())).await;
    let (failed, waiting) = (run.client.statistics.failures_since(began), snapshot::waiting(&run.system).await?);
    let lasted = began.elapsed();
    run.system.servers.rabbitmqctl(alarm.off()).await?;
    let over = Instant::now();
    let resumed = marker::recovery(&run.client, &run.ledger, over).await?;

    let acknowledged_in = acknowledged.map_or("never".to_owned(), |took| format!("within {took:.1?}"));
    step.fact(format!(
        "for {lasted:.1?}: {} failed requests, {waiting} events waited, {} messages acknowledged {acknowledged_in}, resumed in {resumed:.2?}",
        failed.len(),
        recent.len(),
    ));
    if let Some(first) = failed.first() {
        step.violation(format!("{} requests failed; the first: {first}", failed.len()));
    }
    if acknowledged.is_none() {
        step.violation(format!("messages were not acknowledged within {ACKNOWLEDGED:?}"));
    }
    if waiting == 0 {
        step.violation("nothing waited, so the broker was not blocked".to_owned());
    }
    step.within("resuming", resumed, RESUMED.max(slack));
    Ok(step)
}

fn signal_all(run: &Run, service: Service, name: &str) -> anyhow::Result<()> {
    let of_service = run.system.replicas.iter().filter(|replica| replica.service == service);
    of_service.into_iter().try_for_each(|replica| replica.signal(name))
}
