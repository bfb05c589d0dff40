// Rules, dashboards and configurations as they are: good, and every way to break them that we know of is found.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { promisify } from "node:util";

import * as units from "@grafana/grafana-foundation-sdk/units";
import { stringify } from "yaml";

import { dashboards, filesIn, inside, readText, readYaml, ruleGroups, runbooks, unitTests } from "./files.mjs";
import { counters, knownMetrics, metricsIn, substituted } from "./metrics.mjs";
import {
  alertFaults,
  alertsOf,
  collectorFaults,
  dashboardFaults,
  foreignFaults,
  provisioningFaults,
  recordingFaults,
  slug,
  targetsOf,
} from "./rules.mjs";

const run = promisify(execFile);
const folder = mkdtempSync(path.join(tmpdir(), "tandem-rules-"));
after(() => rmSync(folder, { recursive: true }));

const UNITS = new Set(Object.values(units));
const context = () => ({
  tests: unitTests(),
  pages: runbooks(),
  uids: dashboards().map(({ uid }) => uid),
  dashboards: dashboards(),
  known: knownMetrics(),
  counters: counters(),
  units: UNITS,
});

/** What promtool or amtool says; fails when it does not succeed. */
async function says(program, ...args) {
  try {
    const { stdout, stderr } = await run(program, args);
    return stdout + stderr;
  } catch (error) {
    assert.fail(`${program} ${args.join(" ")}\n${error.stdout}${error.stderr}`);
  }
}

// --- Prometheus --------------------------------------------------------------------------------------------------

test("Prometheus takes its configuration and its rules", async () => {
  await says("promtool", "check", "config", inside("prometheus", "prometheus.yml"));
});

// Each file a process, since one alone takes seconds.
test("unit tests of the rules", { concurrency: true }, async (t) => {
  const files = filesIn(inside("prometheus", "tests"), ".yml");
  assert.ok(files.length > 3);
  await Promise.all(
    files.map((name) => t.test(name, () => says("promtool", "test", "rules", inside("prometheus", "tests", name)))),
  );
});

test("every alert has what it needs, a page and a test; every page an alert", () => {
  assert.deepEqual(alertFaults(ruleGroups(), context()), []);
});

test("there are the alerts that were agreed on", () => {
  assert.deepEqual([...new Set(alertsOf(ruleGroups()).map(({ alert }) => alert))].sort(), [
    "BrokerAlarm",
    "DbPoolSaturated",
    "DeadLetters",
    "ErrorBudgetBurnFast",
    "ErrorBudgetBurnSlow",
    "GatewayUpstreamUnhealthy",
    "InvoiceFreshnessBurn",
    "LatencyBudgetBurn",
    "OutboxStalled",
    "QueueBacklogGrowing",
    "QueueWithoutConsumers",
    "RedeliveryStorm",
    "SagaStuck",
    "TargetDown",
    "TelemetryDropping",
    "Watchdog",
  ]);
});

test("every recording rule asks for what there is, and is asked for; so is every foreign metric", () => {
  assert.deepEqual(recordingFaults(ruleGroups(), context()), []);
  assert.deepEqual(foreignFaults(ruleGroups(), dashboards()), []);
});

test("a threshold of an objective is a bound of a bucket", () => {
  const rows = readText("..", "..", "docs", "metrics.md").split("\n");
  let thresholds = 0;
  for (const { record, expr } of ruleGroups().flatMap(({ rules }) => rules)) {
    if (record !== "slo:errors:rate5m") continue;
    for (const [, name, bound] of expr.matchAll(/(\w+)_bucket\{[^}]*le="([^"]*)"/g)) {
      const row = rows.find((row) => row.startsWith(`| \`${name}\` |`));
      const bounds = /Up to ([\d. ]+)/.exec(row)[1].trim().split(" ").map(Number);
      assert.ok(bounds.includes(Number(bound)), `${name} has no bucket ${bound}, only ${bounds}`);
      // As it is written: Prometheus compares the text.
      assert.match(bound, /^\d+\.\d+$/);
      thresholds++;
    }
  }
  assert.equal(thresholds, 3);
});

const BROKEN_ALERTS = [
  ["an alert without a severity", ({ alert }) => delete alert.labels.severity, /its severity is none of/],
  ["an alert without a summary", ({ alert }) => (alert.annotations.summary = " "), /it has no summary/],
  ["an alert without a runbook", ({ alert }) => delete alert.annotations.runbook_url, /it has no runbook_url/],
  [
    "a runbook of another alert",
    ({ alert }) => (alert.annotations.runbook_url = "{{ $externalLabels.runbooks }}/watchdog.md"),
    /its runbook_url is not .*outbox-stalled\.md/,
  ],
  ["a page that is gone", ({ context }) => context.pages.splice(context.pages.indexOf("outbox-stalled"), 1), /does not exist/],
  ["a page without an alert", ({ context }) => context.pages.push("meteor-strike"), /meteor-strike\.md: no alert has this page/],
  [
    "a dashboard that is gone",
    ({ alert }) => (alert.annotations.dashboard_url = "{{ $externalLabels.grafana }}/d/tandem-old"),
    /no dashboard of ours: tandem-old/,
  ],
  [
    "a metric that nobody serves",
    ({ alert }) => (alert.expr = alert.expr.replace("outbox_oldest", "outbox_eldest")),
    /nobody serves the metric outbox_eldest_unpublished_age_seconds/,
  ],
  [
    "an alert without tests",
    ({ context }) => (context.tests = context.tests.filter(({ name }) => !name.startsWith("OutboxStalled"))),
    /no unit test has it not fire, fire and resolve/,
  ],
  [
    "an alert that never resolves in a test",
    ({ context }) => {
      for (const { alert_rule_test: checks = [] } of context.tests) {
        if (checks.at(-1)?.alertname === "OutboxStalled") checks.pop();
      }
    },
    /OutboxStalled \(page\): no unit test has it not fire, fire and resolve/,
  ],
];

for (const [name, breakIt, expected] of BROKEN_ALERTS) {
  test(`found: ${name}`, () => {
    const groups = ruleGroups();
    const broken = { ...context() };
    breakIt({ alert: alertsOf(groups).find(({ alert }) => alert === "OutboxStalled"), context: broken });
    const faults = alertFaults(groups, broken);
    assert.ok(faults.some((fault) => expected.test(fault)), faults.join("\n"));
  });
}

test("the names of alerts and their pages", () => {
  assert.equal(slug("DbPoolSaturated"), "db-pool-saturated");
  assert.equal(slug("QueueWithoutConsumers"), "queue-without-consumers");
});

test("the metrics of an expression", () => {
  for (const [expr, names] of [
    ["sum by (service) (rate(a_total{x=\"b_c\"}[5m])) / on (d) e:f:g", ["a_total", "e:f:g"]],
    ["histogram_quantile(0.99, sum by (le, x) (rate(a_bucket[$__rate_interval])))", ["a_bucket"]],
    ["a_b unless a_b offset 5m", ["a_b"]],
    ['label_replace(up == 0, "service", "$1", "job", "(.*)") or absent(up{job="x"})', ["up"]],
    ["vector(1) and a > bool 1e3", ["a"]],
  ]) {
    assert.deepEqual(metricsIn(expr), names, expr);
  }
});

// --- Dashboards --------------------------------------------------------------------------------------------------

test("the dashboards are what their sources give", async () => {
  await says("node", inside("grafana", "src", "generate.mjs"), "--check");
});

test("every dashboard is well made", () => {
  const uids = dashboards().map(({ uid }) => uid);
  assert.deepEqual(uids, ["tandem-graphql", "tandem-messaging", "tandem-overview", "tandem-runtime"]);
  for (const dashboard of dashboards()) assert.deepEqual(dashboardFaults(dashboard, context()), []);
});

test("Prometheus can read every query", async () => {
  for (const dashboard of dashboards()) {
    const rules = targetsOf(dashboard).map(({ expr }, index) => ({ record: `query_${index}`, expr: substituted(expr) }));
    assert.ok(rules.length > 5);
    await checkRules(rules);
  }
  await assert.rejects(checkRules([{ record: "broken", expr: "sum by (a (b)" }]), /parse error|unexpected/);
});

async function checkRules(rules) {
  const file = path.join(folder, "queries.yml");
  writeFileSync(file, stringify({ groups: [{ name: "queries", rules }] }));
  await says("promtool", "check", "rules", "--lint=none", file);
}

const BROKEN_DASHBOARDS = [
  ["a panel without a title", ({ panel }) => (panel.title = ""), /it has no title/],
  ["a panel without a description", ({ panel }) => delete panel.description, /it has no description/],
  ["a panel without a unit", ({ panel }) => delete panel.fieldConfig.defaults.unit, /no unit that Grafana knows/],
  ["a unit that does not exist", ({ panel }) => (panel.fieldConfig.defaults.unit = "seconds"), /no unit that Grafana knows: seconds/],
  ["a fixed data source", ({ panel }) => (panel.datasource.uid = "prometheus"), /its data source is not \$\{datasource\}/],
  ["a query to a fixed data source", ({ target }) => (target.datasource.uid = "prometheus"), /its data source is not \$\{datasource\}/],
  ["two panels with one id", ({ panel, dashboard }) => (panel.id = dashboard.panels.at(-1).id), /the id \d+ is another panel's/],
  ["two panels with one title", ({ panel, dashboard }) => (panel.title = dashboard.panels.at(-1).title), /another panel has its title/],
  ["a panel over another", ({ panel, dashboard }) => (panel.gridPos = { ...dashboard.panels.at(-1).gridPos }), /it lies over/],
  ["a panel that leads nowhere", ({ panel }) => (panel.links = []), /it leads nowhere/],
  ["a runbook that does not exist", ({ panel }) => (panel.links[0].url = "${runbooks}/meteor.md"), /docs\/runbooks\/meteor\.md does not exist/],
  ["a link to elsewhere", ({ panel }) => (panel.links[0].url = "https://example.org"), /neither a runbook nor a search for traces/],
  ["a rate over a fixed time", ({ target }) => (target.expr = "rate(orders_created_total[5m])"), /a rate over 5m: use \$__rate_interval/],
  ["a counter without a rate", ({ target }) => (target.expr = "sum(orders_created_total)"), /orders_created_total is a counter/],
  ["a metric that nobody serves", ({ target }) => (target.expr = "orders_open"), /nobody serves the metric orders_open/],
  ["one instance", ({ target }) => (target.expr = 'up{instance="a"}'), /about one instance only/],
  ["a variable that does not exist", ({ target }) => (target.expr = 'up{job="$job"}'), /there is no variable job/],
  ["exemplars of a gauge", ({ target }) => Object.assign(target, { expr: "up", exemplar: true }), /only histograms have exemplars/],
  ["no data source to choose", ({ dashboard }) => dashboard.templating.list.shift(), /there is no data source to choose/],
];

for (const [name, breakIt, expected] of BROKEN_DASHBOARDS) {
  test(`found: ${name}`, () => {
    const dashboard = dashboards().find(({ uid }) => uid === "tandem-overview");
    const panel = dashboard.panels.find(({ title }) => title === "Errors");
    breakIt({ dashboard, panel, target: panel.targets[0] });
    const faults = dashboardFaults(dashboard, context());
    assert.ok(faults.some((fault) => expected.test(fault)), faults.join("\n") || "nothing was found");
  });
}

// --- Grafana's provisioning, and Jaeger --------------------------------------------------------------------------

test("exemplars lead from Prometheus to Jaeger", () => {
  assert.deepEqual(provisioningFaults(), []);
  const broken = readYaml("grafana", "provisioning", "datasources", "datasources.yml");
  broken.datasources[0].jsonData.exemplarTraceIdDestinations[0].datasourceUid = "tempo";
  assert.deepEqual(provisioningFaults(broken), ["exemplars lead to tempo, which is not Jaeger"]);
});

test("Jaeger's pipeline is complete", () => {
  assert.deepEqual(collectorFaults(readYaml("jaeger", "config.yaml")), []);
  const broken = readYaml("jaeger", "config.yaml");
  broken.exporters.jaeger_storage_exporter.trace_storage = "disk";
  broken.service.pipelines.traces.processors.push("tail_sampling");
  delete broken.extensions.healthcheckv2;
  assert.deepEqual(collectorFaults(broken), [
    "pipeline traces: tail_sampling is none of processors",
    "extension healthcheckv2 is not configured",
    "jaeger_storage_exporter: there is no store disk",
  ]);
});

test("Jaeger's page speaks OpenTelemetry's words, and its links lead to what there is", () => {
  const ui = JSON.parse(readText("jaeger", "ui.json"));
  assert.equal(ui.useOpenTelemetryTerms, true);
  const uids = dashboards().map(({ uid }) => uid);
  const urls = [...ui.menu.flatMap((entry) => entry.items ?? [entry]), ...ui.linkPatterns].map(({ url }) => url);
  for (const url of urls) {
    const uid = /\/d\/([\w-]+)/.exec(url)?.[1];
    if (uid) assert.ok(uids.includes(uid), url);
    assert.match(url, /^http:\/\/localhost:(3000|8000|9090|9093|16686)\//);
  }
});

