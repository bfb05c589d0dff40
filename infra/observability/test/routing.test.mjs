// Who is told what: by amtool, and what is not told because its cause is, by a real Alertmanager.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";

import { stringify } from "yaml";

import { eventually } from "../../../contracts/checks/system.mjs";
import { readYaml, ruleGroups } from "./files.mjs";
import { alertsOf } from "./rules.mjs";

const folder = mkdtempSync(path.join(tmpdir(), "tandem-routing-"));
const file = path.join(folder, "alertmanager.yml");
let alertmanager;
let url;

before(async () => {
  writeFileSync(file, stringify(understood(readYaml("alertmanager", "alertmanager.yml"))));
  url = `http://127.0.0.1:${await freePort()}`;
  // setpriv: it ends with this process, however this ends.
  alertmanager = spawn(
    "setpriv",
    [
      ...["--pdeathsig", "TERM", "--", "prometheus-alertmanager", `--config.file=${file}`, `--storage.path=${folder}`],
      ...[`--web.listen-address=${new URL(url).host}`, "--cluster.listen-address="],
    ],
    { stdio: "ignore" },
  );
  await eventually("Alertmanager is ready", () => fetch(`${url}/-/ready`).then(({ ok }) => ok, () => false));
});

after(async () => {
  if (alertmanager?.exitCode === null) {
    alertmanager.kill();
    await once(alertmanager, "exit");
  }
  rmSync(folder, { recursive: true });
});

/** As the installed version can read it: a URL in a file is known since 0.26, which Debian 12 does not have. */
function understood(config) {
  const { stdout, stderr } = spawnSync("amtool", ["--version"], { encoding: "utf8" });
  const [, major, minor] = /version (\d+)\.(\d+)/.exec(stdout + stderr).map(Number);
  if (major > 0 || minor >= 26) return config;
  for (const webhook of config.receivers.flatMap(({ webhook_configs: webhooks = [] }) => webhooks)) {
    delete webhook.url_file;
    webhook.url = "http://127.0.0.1:9/";
  }
  return config;
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

function amtool(...args) {
  const { status, stdout, stderr } = spawnSync("amtool", args, { encoding: "utf8" });
  return { status, output: stdout + stderr };
}

test("Alertmanager takes its configuration", () => {
  const { status, output } = amtool("check-config", file);
  assert.equal(status, 0, output);
});

test("every alert goes where its severity says", () => {
  for (const { alert, labels } of alertsOf(ruleGroups())) {
    const { status, output } = routed(labels.severity, { alertname: alert, ...labels });
    assert.equal(status, 0, `${alert}: ${output}`);
  }
});

test("what has no severity is a ticket", () => {
  assert.equal(routed("ticket", { alertname: "SomethingOfAnother" }).status, 0);
  assert.notEqual(routed("page", { alertname: "SomethingOfAnother" }).status, 0);
});

const routed = (receiver, labels) =>
  amtool("config", "routes", "test", `--config.file=${file}`, `--verify.receivers=${receiver}`, ...pairs(labels));
const pairs = (labels) => Object.entries(labels).map(([name, value]) => `${name}=${value}`);

// --- Inhibition --------------------------------------------------------------------------------------------------

const page = (alertname, labels = {}) => ({ alertname, severity: "page", ...labels });
const ticket = (alertname, labels = {}) => ({ alertname, severity: "ticket", ...labels });

/** What happens, the alerts that are then silent, and those that are told all the same. */
const CASES = [
  {
    name: "all replicas of a program are gone: only that is told",
    cause: page("TargetDown", { service: "orders", job: "orders" }),
    silent: [
      page("OutboxStalled", { service: "orders" }),
      ticket("DbPoolSaturated", { service: "orders" }),
      ticket("TargetDown", { service: "orders", job: "orders", instance: "10.0.0.1:9464" }),
    ],
    told: [page("OutboxStalled", { service: "invoices" }), page("ErrorBudgetBurnFast", { slo: "graphql-availability" })],
  },
  {
    name: "one replica is gone: the others' troubles are told",
    cause: ticket("TargetDown", { service: "orders", job: "orders", instance: "10.0.0.1:9464" }),
    silent: [],
    told: [page("OutboxStalled", { service: "orders" })],
  },
  {
    name: "the broker blocks publishers: what waits for it is silent",
    cause: page("BrokerAlarm", { service: "rabbitmq", alarm: "disk" }),
    silent: [
      page("OutboxStalled", { service: "orders" }),
      page("OutboxStalled", { service: "invoices" }),
      ticket("SagaStuck", { service: "orders" }),
      page("InvoiceFreshnessBurn", { slo: "invoice-freshness" }),
    ],
    told: [page("QueueWithoutConsumers", { queue: "orders" }), ticket("DeadLetters", { queue: "orders.dlq" })],
  },
  {
    name: "the broker is gone",
    cause: page("TargetDown", { service: "rabbitmq", job: "rabbitmq" }),
    silent: [page("OutboxStalled", { service: "orders" }), page("QueueWithoutConsumers", { queue: "orders" })],
    told: [page("ErrorBudgetBurnFast", { slo: "graphql-availability" })],
  },
  {
    name: "nobody consumes a queue: its backlog and what waits behind it are silent, another queue's is not",
    cause: page("QueueWithoutConsumers", { queue: "orders" }),
    silent: [ticket("QueueBacklogGrowing", { queue: "orders" }), page("InvoiceFreshnessBurn", { slo: "invoice-freshness" })],
    told: [ticket("QueueBacklogGrowing", { queue: "orders.invoice-events" })],
  },
  {
    name: "a budget burns fast: that it burns slowly, too, is silent",
    cause: page("ErrorBudgetBurnFast", { slo: "graphql-availability" }),
    silent: [ticket("ErrorBudgetBurnSlow", { slo: "graphql-availability" })],
    told: [ticket("LatencyBudgetBurn", { slo: "query-latency" })],
  },
  {
    name: "somebody is awake for it: the ticket of the same is silent, that of another is not",
    cause: page("LatencyBudgetBurn", { slo: "query-latency" }),
    silent: [ticket("LatencyBudgetBurn", { slo: "query-latency" })],
    told: [ticket("LatencyBudgetBurn", { slo: "mutation-latency" })],
  },
];

for (const { name, cause, silent, told } of CASES) {
  test(`not told: ${name}`, async () => {
    try {
      await post([cause]);
      await eventually("the cause is known", async () => (await shown()).has(key(cause)));
      await post([...silent, ...told]);
      await eventually("the alerts are told, or not", async () => {
        const found = await shown();
        const suppressed = (alert) => found.get(key(alert))?.status.inhibitedBy.length > 0;
        const active = (alert) => found.get(key(alert))?.status.inhibitedBy.length === 0;
        return silent.every(suppressed) && [cause, ...told].every(active);
      });
    } finally {
      await post([cause, ...silent, ...told], new Date(Date.now() - 1000));
      await eventually("they are over", async () => (await shown()).size === 0);
    }
  });
}

const key = (labels) => JSON.stringify(pairs(labels).sort());

async function post(alerts, endsAt = new Date(Date.now() + 3600_000)) {
  const startsAt = new Date(Date.now() - 60_000);
  const { status } = await fetch(`${url}/api/v2/alerts`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(alerts.map((labels) => ({ labels, startsAt, endsAt }))),
  });
  assert.equal(status, 200);
}

async function shown() {
  const alerts = await (await fetch(`${url}/api/v2/alerts`)).json();
  return new Map(alerts.map((alert) => [key(alert.labels), alert]));
}
