// A running system from outside: its pages, orders through the gateway until each has its one invoice, and the trace of
// the first in one piece, from the gateway to the invoice. Ends with 1 and says why when something is not so.
//
//   node scripts/smoke.mjs                       ./dev.sh on this machine
//   node scripts/smoke.mjs --orders 60           more orders
//   node scripts/smoke.mjs --observability       Prometheus, too: everything that it asks answers
//   node scripts/smoke.mjs --url https://api.example.com --closed
//                                                a system that asks for tokens, without one: open pages, closed data
//   --no-trace                                   where there is no Jaeger
//
// TANDEM_TOKEN is sent where it is set. Like any good client it repeats an order with the same Idempotency-Key when the
// answer is lost, so that replicas may come and go meanwhile.

import { randomBytes, randomUUID } from "node:crypto";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const JAEGER = "http://localhost:16686";
const PROMETHEUS = "http://localhost:9090";

/** How long one thing may take until it is so. */
const PATIENCE_MS = 60_000;

async function main() {
  const { values } = parseArgs({
    options: {
      url: { type: "string", default: "http://localhost:8000" },
      orders: { type: "string", default: "3" },
      closed: { type: "boolean", default: false },
      observability: { type: "boolean", default: false },
      "no-trace": { type: "boolean", default: false },
    },
  });
  const count = Number(values.orders);
  if (!Number.isInteger(count) || count < 1) throw new Error(`--orders must be a whole number from 1, not ${values.orders}`);
  const url = values.url.replace(/\/$/, "");

  await pages(url);
  if (values.closed) await closed(url);
  else await orders(url, count, !values["no-trace"]);
  if (values.observability) await targets();
  console.log("all is well");
}

// --- What is looked at -------------------------------------------------------------------------------------------

async function pages(url) {
  for (const path of ["/health", "/livez", "/readyz", "/console", "/playground", "/orders/health", "/invoices/health", "/orders/openapi.json"]) {
    await until(`${path} answers 200`, async () => (await call(`${url}${path}`)).status === 200);
  }
  const nothing = await call(`${url}/nothing-here`);
  if (nothing.status !== 404) throw new Error(`/nothing-here answers ${nothing.status}, not 404`);
  console.log("the pages are there");
}

async function closed(url) {
  for (const [path, options] of [
    ["/orders", {}],
    ["/orders", json({ amount: 1 })],
    ["/invoices", {}],
    ["/graphql", json({ query: "{ orders(first: 1) { nodes { id } } }" })],
  ]) {
    const { status } = await call(`${url}${path}`, options);
    if (status !== 401) throw new Error(`${options.method ?? "GET"} ${path} without a token answers ${status}, not 401`);
  }
  console.log("without a token nothing is told");
}

async function orders(url, count, traced) {
  const traceId = randomBytes(16).toString("hex");
  const ids = [];
  for (let index = 0; index < count; index++) ids.push(await place(url, index === 0 ? traceId : undefined));
  for (const id of ids) {
    await until(`the order ${id} has its invoice`, async () => {
      const query = "query($id: ID!) { order(id: $id) { amount invoice { number amount } } }";
      const { status, body } = await call(`${url}/graphql`, json({ query, variables: { id } }));
      const order = status === 200 ? body.data?.order : undefined;
      return order?.invoice?.number?.startsWith("INV-") && order.invoice.amount === order.amount;
    });
  }
  for (const id of ids) {
    const { body } = await until(`the invoices of ${id} are listed`, async () => {
      const answer = await call(`${url}/invoices?orderId=${id}`);
      return answer.status === 200 && answer;
    });
    if (body.items.length !== 1) throw new Error(`the order ${id} has ${body.items.length} invoices`);
  }
  console.log(`${count} orders, one invoice each`);
  if (traced) await trace(traceId);
}

async function place(url, traceId) {
  const headers = { "idempotency-key": randomUUID() };
  if (traceId) headers.traceparent = `00-${traceId}-${randomBytes(8).toString("hex")}-01`;
  const query = "mutation($key: String) { createOrder(input: {amount: 1999, idempotencyKey: $key}) { order { id } userErrors { message } } }";
  const variables = { key: headers["idempotency-key"] };
  const id = await until("an order is taken", async () => {
    const { status, body } = await call(`${url}/graphql`, json({ query, variables }, headers));
    if (status === 200 && body.data?.createOrder?.userErrors?.length) throw new Error(JSON.stringify(body));
    return status === 200 && body.data?.createOrder?.order?.id;
  });
  return id;
}

async function trace(traceId) {
  let last;
  let faults = [];
  await until("the trace is in one piece", async () => {
    const { status, body } = await call(`${JAEGER}/api/traces/${traceId}`);
    last = status === 200 ? body.data[0] : undefined;
    faults = last ? traceFaults(last) : ["it has not arrived"];
    return faults.length === 0;
  }).catch(() => {
    throw new Error(`the trace ${traceId} is not in one piece:\n- ${faults.join("\n- ")}\n${last ? waterfall(last) : ""}`);
  });
  console.log(waterfall(last));
}

async function targets() {
  await until("Prometheus reaches everything that it asks", async () => {
    const { body } = await call(`${PROMETHEUS}/api/v1/targets?state=active`);
    const away = body.data.activeTargets.filter(({ health }) => health !== "up");
    if (away.length) console.log(`not yet: ${away.map(({ scrapeUrl }) => scrapeUrl).join(", ")}`);
    return body.data.activeTargets.length && !away.length;
  });
  console.log("Prometheus reaches everything that it asks");
}

// --- A trace, in the words of Jaeger's API -----------------------------------------------------------------------

/** What keeps a trace from being one story from the gateway to the invoice. */
export function traceFaults({ spans, processes }) {
  const faults = [];
  const byId = new Map(spans.map((span) => [span.spanID, span]));
  const service = (span) => processes[span.processID].serviceName;
  const parentOf = (span) => span.references.find(({ refType }) => refType === "CHILD_OF")?.spanID;

  for (const name of ["kong", "bff", "orders", "invoices"]) {
    if (!spans.some((span) => service(span) === name)) faults.push(`${name} is not in it`);
  }
  // The caller's own span is not recorded: exactly one parent may be unknown, that of the gateway's first span.
  const tops = spans.filter((span) => !byId.has(parentOf(span)));
  if (tops.length !== 1) faults.push(`it has ${tops.length} beginnings: ${tops.map((span) => `${service(span)} ${span.operationName}`).join(", ")}`);
  else if (service(tops[0]) !== "kong") faults.push(`it begins in ${service(tops[0])}, not in the gateway`);

  const process = spans.find((span) => service(span) === "invoices" && span.operationName.startsWith("process tandem.events:order.created"));
  if (!process) return [...faults, "no span of invoices processes order.created"];
  const way = [];
  const seen = new Set();
  for (let span = process; span && !seen.has(span.spanID); span = byId.get(parentOf(span))) {
    seen.add(span.spanID);
    way.push(service(span));
  }
  const story = way.reverse().filter((name, index) => name !== way[index - 1]);
  if (story.join(" > ") !== "kong > bff > orders > invoices") faults.push(`the invoice comes by ${story.join(" > ")}`);
  if (!spans.some((span) => service(span) === "orders" && span.operationName.startsWith("publish tandem.events:order.created"))) {
    faults.push("no span of orders publishes order.created");
  }
  return faults;
}

/** The trace as text. */
export function waterfall({ spans, processes }) {
  const start = Math.min(...spans.map(({ startTime }) => startTime));
  const parent = (span) => span.references.find(({ refType }) => refType === "CHILD_OF")?.spanID;
  const ids = new Set(spans.map(({ spanID }) => spanID));
  const lines = [];
  const print = (span, depth) => {
    const at = ((span.startTime - start) / 1000).toFixed(1).padStart(8);
    const took = (span.duration / 1000).toFixed(1).padStart(8);
    lines.push(`${at} ms ${took} ms  ${"  ".repeat(depth)}${processes[span.processID].serviceName}: ${span.operationName}`);
    for (const child of inOrder(spans.filter((other) => other !== span && parent(other) === span.spanID))) print(child, depth + 1);
  };
  for (const span of inOrder(spans.filter((each) => !ids.has(parent(each))))) print(span, 0);
  return lines.join("\n");
}

function inOrder(spans) {
  return [...spans].sort((a, b) => a.startTime - b.startTime);
}

// --- HTTP --------------------------------------------------------------------------------------------------------

function json(body, headers = {}) {
  return { method: "POST", headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) };
}

/** One request. No answer is status 0: whoever asks decides whether to ask again. */
async function call(url, options = {}) {
  const headers = { ...options.headers };
  if (process.env.TANDEM_TOKEN && !url.startsWith(JAEGER) && !url.startsWith(PROMETHEUS)) {
    headers.authorization = `Bearer ${process.env.TANDEM_TOKEN}`;
  }
  try {
    const response = await fetch(url, { ...options, headers, signal: AbortSignal.timeout(10_000) });
    const text = await response.text();
    const body = response.headers.get("content-type")?.includes("json") ? JSON.parse(text) : text;
    return { status: response.status, body };
  } catch (error) {
    return { status: 0, body: String(error.cause ?? error) };
  }
}

/** Asks until there is something; what `ask` throws ends it at once. */
async function until(sentence, ask) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await ask();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`after ${PATIENCE_MS / 1000} s it is still not so that ${sentence}`);
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  main().catch((error) => {
    console.error(`smoke: ${error.message}`);
    process.exitCode = 1;
  });
}
