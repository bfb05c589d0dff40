// Does every event arrive? Outboxes, queues, consumers and the saga.

import { dashboard, heatmap, lines } from "./kit.mjs";
import { MAIN_QUEUES, OURS, quantile, share, SIDE_QUEUES, sumRate } from "./promql.mjs";

export const messaging = dashboard({
  uid: "tandem-messaging",
  title: "Tandem: order flow and messaging",
  description: "Does every event arrive? From the outbox through the broker to its consumer, and what the saga waits for.",
  rows: [
    [
      "Outbox: what is committed and not published",
      [
        lines({
          title: "Events that wait",
          description: "Rows in the outbox. They come and go within milliseconds, so a line that stays is a relay that does not work.",
          unit: "short",
          min: 0,
          queries: [["{{service}}", `max by (service) (outbox_unpublished_messages{${OURS}})`]],
          runbook: "outbox-stalled",
        }),
        lines({
          title: "The oldest of them",
          description: "Its age. Above 60 s somebody is woken.",
          unit: "s",
          min: 0,
          queries: [["{{service}}", `max by (service) (outbox_oldest_unpublished_age_seconds{${OURS}})`]],
          runbook: "outbox-stalled",
        }),
        lines({
          title: "Sent",
          description: "Events that the broker has confirmed or not, by what they are. Those with an error are tried again.",
          unit: "cps",
          min: 0,
          queries: [
            [
              "{{destination}} {{error_type}}",
              sumRate("destination, error_type", `messaging_client_sent_messages_total{${OURS}}`),
            ],
          ],
          runbook: "outbox-stalled",
          traces: "orders",
        }),
        heatmap({
          title: "From commit to confirmation",
          description: "How long events wait in the outbox and on the way. A dot is an event: it leads to its trace.",
          unit: "s",
          exemplars: true,
          queries: [["{{le}}", `sum by (le) (increase(outbox_publish_lag_seconds_bucket{${OURS}}[$__rate_interval]))`]],
          runbook: "outbox-stalled",
          traces: "orders",
        }),
        lines({
          title: "Confirmation of a window",
          description: "How long the broker takes to confirm what was sent to it together: its disk, mostly.",
          unit: "s",
          width: 6,
          height: 9,
          min: 0,
          queries: [
            ["p50 {{service}}", quantile(0.5, "service", "messaging_publisher_confirm_seconds", `{${OURS}}`)],
            ["p99 {{service}}", quantile(0.99, "service", "messaging_publisher_confirm_seconds", `{${OURS}}`)],
          ],
          runbook: "broker-alarm",
        }),
        lines({
          title: "Failures of the relay",
          description: "Passes that failed, and why. Empty as long as nothing does.",
          unit: "cps",
          width: 6,
          height: 9,
          min: 0,
          noValue: "None.",
          queries: [["{{service}} {{error_type}}", sumRate("service, error_type", `outbox_publish_failures_total{${OURS}}`)]],
          runbook: "outbox-stalled",
        }),
      ],
    ],
    [
      "Queues",
      [
        lines({
          title: "Ready",
          description: "Messages that nobody has taken yet. A backlog that shrinks is a recovery; one that grows is an alert.",
          unit: "short",
          width: 6,
          min: 0,
          queries: [["{{queue}}", `queue:messages_ready:max{${MAIN_QUEUES}}`]],
          runbook: "queue-backlog-growing",
        }),
        lines({
          title: "With consumers",
          description: "Messages that a consumer has and has not acknowledged.",
          unit: "short",
          width: 6,
          min: 0,
          queries: [
            [
              "{{queue}}",
              `max by (queue) (rabbitmq_detailed_queue_messages_unacked{${MAIN_QUEUES},queue!~"amq[.]gen-.*"})`,
            ],
          ],
          runbook: "redelivery-storm",
        }),
        lines({
          title: "Consumers",
          description: "Who takes messages. 0 while messages wait wakes somebody.",
          unit: "short",
          width: 6,
          min: 0,
          queries: [["{{queue}}", `queue:consumers:max{${MAIN_QUEUES}}`]],
          runbook: "queue-without-consumers",
        }),
        lines({
          title: "Set aside",
          description: "Dead letters (.dlq) wait for a person, the others for their next try.",
          unit: "short",
          width: 6,
          min: 0,
          queries: [["{{queue}}", `queue:messages_ready:max{${SIDE_QUEUES}}`]],
          runbook: "dead-letters",
        }),
      ],
    ],
    [
      "Consumers",
      [
        lines({
          title: "Outcomes",
          description: "What became of the messages. Duplicates are expected after a restart, and harmless.",
          unit: "cps",
          min: 0,
          stacked: true,
          queries: [
            [
              "{{destination}} {{outcome}}",
              sumRate("destination, outcome", `messaging_client_consumed_messages_total{${OURS}}`),
            ],
          ],
          runbook: "dead-letters",
          traces: "invoices",
        }),
        lines({
          title: "Processing",
          description: "One transaction of a handler, for all messages of its batch. A dot leads to the trace of one.",
          unit: "s",
          min: 0,
          exemplars: true,
          queries: [
            ["p50 {{destination}}", quantile(0.5, "destination", "messaging_process_duration_seconds", `{${OURS}}`)],
            ["p99 {{destination}}", quantile(0.99, "destination", "messaging_process_duration_seconds", `{${OURS}}`)],
          ],
          runbook: "queue-backlog-growing",
          traces: "invoices",
        }),
        lines({
          title: "Messages in a transaction",
          description: "The mean size of a batch. Large batches are how consumers catch up.",
          unit: "short",
          min: 0,
          queries: [
            [
              "{{destination}}",
              `${sumRate("destination", `messaging_process_batch_size_sum{${OURS}}`)} / ${sumRate("destination", `messaging_process_batch_size_count{${OURS}}`)}`,
            ],
          ],
          runbook: "queue-backlog-growing",
        }),
        lines({
          title: "Redelivered",
          description: "The share of deliveries that are repetitions. Above 20 % consumers break off again and again.",
          unit: "percentunit",
          min: 0,
          queries: [
            [
              "{{destination}}",
              share(
                "destination",
                `messaging_redeliveries_total{${OURS}}`,
                `messaging_client_consumed_messages_total{${OURS}}`,
              ),
            ],
          ],
          runbook: "redelivery-storm",
        }),
        lines({
          title: "Duplicates",
          description: "Events that changed nothing because they had arrived before. Empty until the first one.",
          unit: "cps",
          min: 0,
          noValue: "None.",
          queries: [["{{service}} {{event}}", sumRate("service, event", `inbox_duplicates_total{${OURS}}`)]],
          runbook: "redelivery-storm",
        }),
        lines({
          title: "Connections to the broker",
          description: "1: it stands. Each process has one to publish and one to consume; the bff has one to listen.",
          unit: "none",
          min: 0,
          max: 1,
          queries: [["{{service}} {{role}}", `min by (service, role) (amqp_connection_up{${OURS}})`]],
          runbook: "broker-alarm",
        }),
      ],
    ],
    [
      "Saga",
      [
        heatmap({
          title: "From order to invoice",
          description: "How long orders wait until they know their invoice. A dot is an order: it leads to its trace.",
          unit: "s",
          exemplars: true,
          queries: [["{{le}}", "sum by (le) (increase(order_to_invoice_seconds_bucket[$__rate_interval]))"]],
          runbook: "invoice-freshness-burn",
          traces: "orders",
        }),
        lines({
          title: "What waits, and for what",
          description:
            "Orders by status and what is known of their invoice; invoices by status. pending/issued waits for a person to pay, pending/none for the invoices service.",
          unit: "short",
          width: 6,
          height: 9,
          min: 0,
          queries: [["{{service}} {{state}}", `max by (service, state) (saga_instances{${OURS}})`]],
          runbook: "saga-stuck",
        }),
        lines({
          title: "The oldest that waits for the other service",
          description: "After ten minutes the reconciler asks again. Above 5 minutes it is a ticket, above 30 a page.",
          unit: "s",
          width: 6,
          height: 9,
          min: 0,
          queries: [["{{service}}", `max by (service) (saga_oldest_pending_age_seconds{${OURS}})`]],
          runbook: "saga-stuck",
        }),
        lines({
          title: "Transitions",
          description: "Which way orders and invoices go.",
          unit: "cps",
          width: 12,
          min: 0,
          queries: [
            ["{{service}} {{from}} to {{to}}", sumRate("service, from, to", `saga_transitions_total{${OURS}}`)],
          ],
          runbook: "saga-stuck",
        }),
        lines({
          title: "Reconciler",
          description:
            "Rows that it has looked at, and asked about because their answer is overdue. Asking is the exception: the broker has lost something, or somebody was away for long.",
          unit: "cps",
          width: 12,
          min: 0,
          queries: [
            ["looked at {{service}}", sumRate("service", `reconciler_looked_at_total{${OURS}}`)],
            ["asked {{service}}", sumRate("service", `reconciler_asked_total{${OURS}}`)],
            ["failed {{service}}", sumRate("service", `reconciler_failures_total{${OURS}}`)],
          ],
          runbook: "saga-stuck",
        }),
      ],
    ],
  ],
});
