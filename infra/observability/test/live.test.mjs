// No dead panel: the real programs, RabbitMQ, PostgreSQL, Prometheus and Alertmanager, some traffic of every kind, and
// then every query of every dashboard has to return numbers. So has every exemplar a trace, and an alert arrives.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { eventually } from "../../../contracts/checks/system.mjs";
import { dashboards } from "./files.mjs";
import { metricsIn, substituted } from "./metrics.mjs";
import { targetsOf } from "./rules.mjs";

/** Queries that may be empty, and why. Each has to exist. */
const MAY_BE_EMPTY = [
  [/^tandem-messaging, Failures of the relay, A$/, "only while the broker or the database is away"],
  [/^tandem-runtime, Metrics that could not be read, A$/, "only while the broker or the database is away"],
  [/^tandem-\w+, annotation Pages$/, "only while somebody is woken"],
];
/** Kong cannot run here. */
const isKongs = ({ expr }) => metricsIn(expr).every((name) => name.startsWith("kong_"));

const INTERVAL = "20s"; // of rates: scrapes come every second
const folder = mkdtempSync(path.join(tmpdir(), "tandem-live-"));
let system;
let collector;
/** What the services have exported, as it came: OTLP, in which a trace id is its sixteen bytes. */
let spans = Buffer.alloc(0);
let at;
let began;

const START_SECONDS = 240;

before(async () => {
  collector = createServer(async (request, response) => {
    const body = [];
    for await (const part of request) body.push(part);
    spans = Buffer.concat([spans, ...body]);
    response.setHeader("content-type", "application/x-protobuf").end();
  }).listen(0, "127.0.0.1");
  await once(collector, "listening");
  system = spawn(fileURLToPath(new URL("system.sh", import.meta.url)), [folder], {
    stdio: ["pipe", "pipe", "pipe"],
    env: {
      ...process.env,
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${collector.address().port}`,
      OTEL_BSP_SCHEDULE_DELAY: "500",
    },
  });
  let output = "";
  system.stderr.on("data", (data) => (output += data));
  let line;
  createInterface({ input: system.stdout }).once("line", (text) => (line = text));
  await eventually("the system runs, or has ended", () => line || system.exitCode !== null, START_SECONDS);
  assert.ok(line, `the system did not start:\n${output}`);
  at = JSON.parse(line);
  began = Date.now() / 1000;
  await traffic();
});

after(async () => {
  if (system && system.exitCode === null) {
    const ended = once(system, "exit");
    system.stdin.end();
    await ended;
  }
  collector?.close();
  collector?.closeAllConnections();
  rmSync(folder, { recursive: true, force: true });
});

// --- Traffic -----------------------------------------------------------------------------------------------------

const json = { "content-type": "application/json" };

async function graphql(query, variables = {}) {
  const response = await fetch(`${at.bff}/graphql`, { method: "POST", headers: json, body: JSON.stringify({ query, variables }) });
  return response.json();
}

/** Onto a queue, as somebody who knows no event would. */
async function publish(queue, payload) {
  const admin = new URL(at.brokerAdmin);
  const authorization = `Basic ${btoa(`${admin.username}:${admin.password}`)}`;
  const response = await fetch(`${admin.origin}/api/exchanges/tandem/amq.default/publish`, {
    method: "POST",
    headers: { ...json, authorization },
    body: JSON.stringify({ properties: {}, routing_key: queue, payload, payload_encoding: "string" }),
  });
  assert.deepEqual(await response.json(), { routed: true });
}

const PLACE = `mutation CreateOrder($amount: Int!) { createOrder(input: { amount: $amount }) { order { id } } }`;
const PAGE = `query { orders(first: 10) { nodes { id amount status invoice { number status } } } }`;
const ORDER = `query Order($id: ID!) { order(id: $id) { id status invoice { id status } } }`;

async function traffic() {
  const socket = await subscribe();
  // Rates need two samples: what has a label of its own appears only with its first event, and has to rise once more.
  for (const round of [1, 2, 3]) {
    const ids = [];
    for (let index = 0; index < 10; index++) {
      const { data, errors } = await graphql(PLACE, { amount: 100 * round + index });
      assert.ok(data?.createOrder?.order, JSON.stringify(errors));
      ids.push(data.createOrder.order.id);
    }
    const paid = await eventually("the order has its invoice", async () => {
      const { data } = await graphql(ORDER, { id: ids[0] });
      return data?.order?.invoice;
    });
    await ok(fetch(`${at.invoices}/invoices/${paid.id}/pay`, { method: "POST" }));
    await ok(fetch(`${at.orders}/orders/${ids[1]}/cancel`, { method: "POST" }));
    await ok(fetch(`${at.orders}/orders`));
    for (let index = 0; index < 5; index++) assert.ok((await graphql(PAGE)).data);
    await graphql("{ nothing }"); // refused
    await graphql(ORDER, { id: "no id" }); // the client's error
    await publish("orders", JSON.stringify({ id: ids[2], amount: 100 * round + 2, customer: { id: "customer-123" } })); // again
    await publish("orders", "this is no event"); // a dead letter
    await eventually("Prometheus has read the round", () => scraped(round));
  }
  return socket;
}

async function ok(response) {
  const { ok, status, url } = await response;
  assert.ok(ok, `${url}: ${status}`);
}

/** A subscription that stays until the end of the process. */
async function subscribe() {
  const query = "subscription { orderUpdated { id status } }";
  const response = await fetch(`${at.bff}/graphql?query=${encodeURIComponent(query)}`, { headers: { accept: "text/event-stream" } });
  assert.equal(response.status, 200);
  return response;
}

/** That many dead letters: both the services and the broker have been read since. */
async function scraped(count) {
  const letters = await result('queue:messages_ready:max{queue="orders.dlq"}');
  const counted = await result('sum(messaging_client_consumed_messages_total{outcome="dead_letter"})');
  return Number(letters[0]?.value[1]) === count && Number(counted[0]?.value[1]) === count;
}

// --- Prometheus --------------------------------------------------------------------------------------------------

async function ask(api, parameters) {
  const response = await fetch(`${at.prometheus}/api/v1/${api}`, { method: "POST", body: new URLSearchParams(parameters) });
  const answer = await response.json();
  assert.equal(answer.status, "success", `${JSON.stringify(parameters)}: ${answer.error}`);
  return answer.data;
}

const result = async (query) => (await ask("query", { query })).result;

/** As Grafana asks, over everything since the traffic began. Series with at least one number. */
async function series(expr) {
  const end = Date.now() / 1000;
  const data = await ask("query_range", { query: substituted(expr, INTERVAL), start: began, end, step: 2 });
  return data.result.filter(({ values }) => values.some(([, value]) => Number.isFinite(Number(value))));
}

const targets = dashboards().flatMap(targetsOf);

test("every target that can run here answers Prometheus", async () => {
  const up = await eventually("every target was read", async () => {
    const found = await result("up");
    return found.length >= 8 && found;
  });
  for (const { metric, value } of up) assert.equal(value[1], "1", JSON.stringify(metric));
});

test("no panel is dead", async () => {
  const checked = targets.filter((target) => !isKongs(target));
  const allowed = ({ place }) => MAY_BE_EMPTY.some(([pattern]) => pattern.test(place));
  const dead = async () => {
    const found = [];
    for (const target of checked.filter((target) => !allowed(target))) {
      if (!(await series(target.expr)).length) found.push(`${target.place}: ${target.expr}`);
    }
    return found;
  };
  // Rules are evaluated after what they read, and rates need their second sample.
  let last;
  await eventually("every panel has data", async () => !(last = await dead()).length, 20).catch(() => {});
  assert.deepEqual(last, []);
  for (const [pattern] of MAY_BE_EMPTY) assert.ok(checked.some(({ place }) => pattern.test(place)), `no panel is ${pattern}`);
});

test("the variable of the dashboards has the services", async () => {
  const services = new Set((await result("build_info")).map(({ metric }) => metric.service));
  assert.deepEqual([...services].sort(), ["bff", "invoices", "orders"]);
});

test("every panel with exemplars leads to traces that were exported", async () => {
  const found = targets.filter(({ exemplar }) => exemplar);
  assert.ok(found.length > 8);
  for (const { place, expr } of found) {
    const data = await ask("query_exemplars", { query: substituted(expr, INTERVAL), start: began, end: Date.now() / 1000 });
    const ids = data.flatMap(({ exemplars }) => exemplars.map(({ labels }) => labels.trace_id));
    assert.ok(ids.length, `${place} has no exemplar: ${expr}`);
    for (const id of new Set(ids)) {
      assert.match(id, /^[0-9a-f]{32}$/, place);
      await eventually(`${place}: the trace ${id} was exported`, () => spans.includes(Buffer.from(id, "hex")), 10);
    }
  }
});

test("nothing is wrong: no rule fails, and no alert fires but those for the dead letters", async () => {
  const { groups } = await ask("rules", {}).catch(() => getRules());
  for (const { rules } of groups) for (const { name, lastError } of rules) assert.ok(!lastError, `${name}: ${lastError}`);
  const firing = await result('ALERTS{alertstate="firing"}');
  assert.deepEqual([...new Set(firing.map(({ metric }) => metric.alertname))].sort(), ["DeadLetters", "Watchdog"]);
});

async function getRules() {
  const answer = await (await fetch(`${at.prometheus}/api/v1/rules`)).json();
  return answer.data;
}

test("an alert arrives at Alertmanager, with what to read", async () => {
  const alert = await eventually("DeadLetters has arrived", async () => {
    const alerts = await (await fetch(`${at.alertmanager}/api/v2/alerts?filter=alertname=DeadLetters`)).json();
    return alerts.find(({ labels }) => labels.severity === "ticket");
  });
  const { labels, annotations, receivers } = alert;
  assert.deepEqual(labels, { alertname: "DeadLetters", severity: "ticket", queue: "orders.dlq", environment: "local" });
  assert.equal(annotations.runbook_url, "http://localhost:3000/public/runbooks/dead-letters.md");
  assert.equal(annotations.dashboard_url, "http://localhost:3000/d/tandem-messaging");
  assert.deepEqual(receivers, [{ name: "ticket" }]);
});

test("addresses.json names everything that was started", () => {
  assert.deepEqual(JSON.parse(readFileSync(path.join(folder, "addresses.json"), "utf8")), at);
});
