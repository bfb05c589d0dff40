// Are our users served? The objectives, requests, and the way of an order, on one page.

import { dashboard, lines, stat, table } from "./kit.mjs";
import { OURS, quantile, rate, share, sumRate } from "./promql.mjs";

const HTTP = "http_server_request_duration_seconds";

export const overview = dashboard({
  uid: "tandem-overview",
  title: "Tandem: overview",
  description: "Are our users served? Objectives, requests, and the way of an order. Begin here.",
  rows: [
    [
      "Objectives",
      [
        stat({
          title: "Error budget left",
          description:
            "What is left of what may go wrong in 30 days. 100 %: nothing has gone wrong. Below 0: the objective is missed.",
          unit: "percentunit",
          width: 10,
          height: 6,
          max: 1,
          base: "red",
          thresholds: [
            [0, "orange"],
            [0.25, "green"],
          ],
          queries: [["{{slo}}", "slo:error_budget_left:30d"]],
          runbook: "README",
        }),
        lines({
          title: "Burn rate, over an hour",
          description:
            "How many times faster than allowed the budget is used. At 1 it lasts exactly 30 days; above 14.4 somebody is woken.",
          unit: "none",
          width: 8,
          height: 6,
          min: 0,
          queries: [["{{slo}}", "slo:burn_rate:1h"]],
          runbook: "error-budget-burn-fast",
        }),
        stat({
          title: "Alerts that fire",
          description: "Pages and tickets. The table says which.",
          unit: "none",
          width: 6,
          height: 6,
          thresholds: [[1, "red"]],
          queries: [
            ["alerts", 'count(ALERTS{alertstate="firing",severity=~"page|ticket"}) or vector(0)'],
          ],
          runbook: "README",
        }),
        table({
          title: "Which alerts",
          description: "Empty is good. What to do stands in the runbook of the alert's name.",
          unit: "none",
          width: 24,
          height: 5,
          hide: ["__name__", "alertstate", "Value"],
          noValue: "No alert fires.",
          queries: [["", 'ALERTS{alertstate="firing",severity=~"page|ticket"}']],
          runbook: "README",
        }),
      ],
    ],
    [
      "Requests",
      [
        lines({
          title: "Requests",
          description: "HTTP requests a second. Health checks are not counted.",
          unit: "reqps",
          min: 0,
          queries: [["{{service}}", sumRate("service", `${HTTP}_count{${OURS}}`)]],
          traces: "bff",
        }),
        lines({
          title: "Errors",
          description:
            "The share of requests that were answered 5xx. The GraphQL API answers 200 with errors inside: those are on the page of GraphQL.",
          unit: "percentunit",
          min: 0,
          queries: [
            ["{{service}}", share("service", `${HTTP}_count{${OURS},status_code=~"5.."}`, `${HTTP}_count{${OURS}}`)],
          ],
          runbook: "error-budget-burn-fast",
          traces: "bff",
          tags: { error: "true" },
        }),
        lines({
          title: "Duration",
          description: "Half of the requests are faster than p50, all but one in a hundred than p99. A dot is a request: it leads to its trace.",
          unit: "s",
          min: 0,
          exemplars: true,
          queries: [
            ["p50 {{service}}", quantile(0.5, "service", HTTP, `{${OURS}}`)],
            ["p99 {{service}}", quantile(0.99, "service", HTTP, `{${OURS}}`)],
          ],
          runbook: "latency-budget-burn",
          traces: "bff",
        }),
      ],
    ],
    [
      "The way of an order",
      [
        lines({
          title: "Orders and invoices",
          description:
            "Orders placed, invoices issued, and orders that have learnt of their invoice. The three belong together: where one falls behind, the flow is broken there. Rejected orders get no invoice.",
          unit: "cps",
          min: 0,
          queries: [
            ["placed", `sum(${rate("orders_created_total")})`],
            ["invoice issued", `sum(${rate("invoices_created_total")})`],
            ["invoice known", `sum(${rate("order_to_invoice_seconds_count")})`],
          ],
          runbook: "invoice-freshness-burn",
        }),
        lines({
          title: "From order to invoice",
          description: "How long an order waits until it knows its invoice. The objective: 10 s for 99.9 % of them.",
          unit: "s",
          min: 0,
          exemplars: true,
          queries: [
            ["p50", quantile(0.5, "", "order_to_invoice_seconds")],
            ["p99", quantile(0.99, "", "order_to_invoice_seconds")],
          ],
          runbook: "invoice-freshness-burn",
          traces: "orders",
        }),
        lines({
          title: "The oldest that waits",
          description:
            "An event that is not published yet, and an order or an invoice that waits for the other service. Both return to 0 all the time.",
          unit: "s",
          min: 0,
          queries: [
            ["outbox {{service}}", "max by (service) (outbox_oldest_unpublished_age_seconds)"],
            ["saga {{service}}", "max by (service) (saga_oldest_pending_age_seconds)"],
          ],
          runbook: "saga-stuck",
        }),
      ],
    ],
  ],
});
