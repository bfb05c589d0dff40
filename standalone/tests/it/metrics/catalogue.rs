//! `docs/metrics.md` is what the programs register.

use std::{fmt::Write, sync::Arc};

use chassis::{listen::Listen, metrics, metrics::Metrics};
use contracts::{Amount, topology::QUEUES};
use invoices::invoice::AmountLimit;
use messaging::{EventBus, rabbitmq::RabbitMq};
use testkit::assert_metrics_document;

const HEAD: &str = "\
# Metrics

What the processes measure. This file is printed from what they register, and a test compares it:
`UPDATE_METRICS=1 cargo test -p standalone --test it metrics::catalogue` rewrites it. Why it is done like this is in
[ADR 14](adr/0014-metrics.md); how to add one, in [ARCHITECTURE.md](../ARCHITECTURE.md#how-to-a-metric).

- **Where.** Each process serves `GET /metrics` on a listener of its own, `METRICS_PORT` (9464) on `METRICS_HOST` (where the
  API listens), never on the API's port. It answers in Prometheus' text format, and in OpenMetrics where `Accept` names
  `application/openmetrics-text`, which is what Prometheus does when it keeps exemplars.
- **`service`.** Every series has this label: `orders`, `invoices` or `bff`. So the same queries work where each service is
  a process of its own and where all are one, `tandem`. What belongs to a process as a whole (`process_*`, `tokio_*`,
  `build_info`) has the name of its service, and `tandem` where one process has all of them. Aggregate `by (service)`.
- **Replicas.** What is read from the database or the broker (`outbox_*_messages`, `outbox_oldest_…`, `saga_instances`,
  `saga_oldest_…`, `amqp_queue_*`) is the same from each replica of a service: aggregate it with `max`. Sum the rest.
- **Empty labels.** `error_type` is empty where there was no error, and `status_code` where there was no answer; to
  Prometheus that is the same as a label that is not there. `canceled` means that whoever asked went away.
- **Exemplars.** Histograms carry the `trace_id` of the last recorded trace of each bucket.
- **Readings.** What is looked up in the database or at the broker is looked up when somebody scrapes, at most every 2 s
  (`saga_*` 5 s), and has a second for it. A reading that fails is left out until the next succeeds, and counted in
  `metrics_collection_errors_total`: a number that is there is never older than that. A scrape itself does not fail.
- **Cardinality.** No text of a client becomes a label: routes and not paths, methods and error codes that exist, names
  of operations only of the console, the playground and the trusted documents (`anonymous` and `other` for the rest).
- **The broker's own metrics** (`rabbitmq_*`) come from its Prometheus plugin, where there is one. What we wake somebody
  for comes from here, since managed brokers have none.

";

const LEFT_OUT: &str = "
What one might look for and is not here:

- `db_client_connection_wait_time_seconds`: the pool does not measure it. How long a transaction waited is in
  `db_client_operation_duration_seconds{operation=\"BEGIN\"}`. Waits and timeouts are those of transactions; a read that waits
  for a connection shows in the time of its request.
- `graphql_dataloader_batch_size`: the bff has no loader; see `subgraph_entities_batch_size`.
- `amqp_*` where all services share one process without a broker: there is none. `messaging_*` counts there as well.
";

/// The programs as they are started, with a broker and a database that are away: what is registered depends on neither.
#[tokio::test]
async fn the_document_lists_what_the_programs_register() {
    let folder = tempfile::tempdir().unwrap();
    let database = |name: &str| outbox::DatabaseUrl::sqlite(&folder.path().join(name));
    let away = "amqp://127.0.0.1:1";
    let bus = |name| -> Arc<dyn EventBus> { Arc::new(RabbitMq::connect_as(away, name).unwrap()) };

    let config = orders::Config::embedded(Listen::anywhere(), &database("orders"));
    let orders = orders::start(config, bus(orders::NAME)).await.unwrap();
    let limit = AmountLimit(Amount::try_from(1).unwrap());
    let config = invoices::Config::embedded(Listen::anywhere(), &database("invoices"), limit);
    let invoices = invoices::start(config, bus(invoices::NAME)).await.unwrap();
    let url = |url: &str| url.parse().unwrap();
    let config = bff::Config::new(Listen::anywhere(), url(orders.url()), url(invoices.url()));
    let listening: Arc<dyn EventBus> = Arc::new(RabbitMq::connect_to_listen(away, bff::NAME).unwrap());
    let bff = bff::start(config, listening).await.unwrap();

    let of = |metrics: Option<Metrics>| metrics.unwrap().described();
    let all = [
        ("orders", of(orders.metrics())),
        ("invoices", of(invoices.metrics())),
        ("bff", of(bff.metrics())),
        ("every process", metrics::of_process("tandem").described()),
    ];
    let mut document = HEAD.to_owned();
    document.push_str(&metrics::table(&all));
    document.push_str(LEFT_OUT);
    for queue in QUEUES {
        let service = if orders::QUEUES.contains(&queue) { "orders" } else { "invoices" };
        let names = queue.names().iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        if queue.name == QUEUES[0].name {
            document.push_str("\nThe queues of `amqp_queue_messages` and `amqp_queue_consumers`:\n\n");
        }
        writeln!(document, "- {service}: {names}").unwrap();
    }
    assert_metrics_document(&document);
    tokio::join!(orders.stop(), invoices.stop(), bff.stop());
}
