// The smoke test itself: that it passes where all is well, on the real system in one process, and fails where it is not.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";

import { traceFaults, waterfall } from "../../scripts/smoke.mjs";
import { program } from "./repository.mjs";
import { run } from "./stand-in.mjs";

const smoke = (...options) => run([process.execPath, "scripts/smoke.mjs", ...options]);

/** `cargo run`, which has the gateway's paths. */
async function tandem(use, env = {}) {
  const data = mkdtempSync(path.join(tmpdir(), "tandem-smoke-"));
  const ports = ["--port", "--orders-port", "--invoices-port", "--bff-port", "--metrics-port"].flatMap((option) => [option, "0"]);
  const child = spawn(program("tandem"), [...ports, "--data", data, "--quiet"], { env, stdio: ["ignore", "pipe", "inherit"] });
  try {
    let banner = "";
    for await (const text of child.stdout.setEncoding("utf8")) {
      banner += text;
      if (banner.includes("Ready in ")) break;
    }
    await use(banner.match(/GraphQL\s+(http:\S+)\/graphql/)[1]);
  } finally {
    child.kill("SIGTERM");
    if (child.exitCode === null) await once(child, "close");
    rmSync(data, { recursive: true, force: true });
  }
}

test("a system that is well passes", async () => {
  await tandem(async (url) => {
    const { status, out, err } = await smoke("--url", url, "--orders", "5", "--no-trace");
    assert.equal(status, 0, err);
    assert.match(out, /the pages are there\n5 orders, one invoice each\nall is well/);
    const open = await smoke("--url", url, "--closed");
    assert.equal(open.status, 1);
    assert.match(open.err, /GET \/orders without a token answers 200, not 401/);
  });
});

test("a system that asks for tokens is closed without one", async () => {
  await tandem(
    async (url) => {
      const { status, out, err } = await smoke("--url", url, "--closed");
      assert.equal(status, 0, err);
      assert.match(out, /without a token nothing is told/);
    },
    { JWT_SECRET: "not-a-secret-0123456789-0123456789", JWT_ISSUER: "https://id.example" },
  );
});

test("two invoices for an order are found", async () => {
  const id = "01a1fc72-dab8-75a0-8df7-d5c166afc4c3";
  const order = { id, amount: 1999, invoice: { number: "INV-00000001", amount: 1999 } };
  const server = createServer((request, response) => {
    const listed = request.url.startsWith("/invoices?") ? { items: [{}, {}] } : { data: { createOrder: { order }, order } };
    response.writeHead(request.url === "/nothing-here" ? 404 : 200, { "content-type": "application/json" }).end(JSON.stringify(listed));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    const { status, err } = await smoke("--url", `http://127.0.0.1:${server.address().port}`, "--orders", "1", "--no-trace");
    assert.equal(status, 1);
    assert.match(err, new RegExp(`the order ${id} has 2 invoices`));
  } finally {
    server.close();
  }
});

test("options that mean nothing are refused", async () => {
  assert.match((await smoke("--orders", "none")).err, /--orders must be a whole number from 1, not none/);
  assert.equal((await smoke("--order", "1")).status, 1);
});

// --- Traces ------------------------------------------------------------------------------------------------------

/** A trace as Jaeger tells it, from lines of service, name, and number of the parent. */
function trace(...lines) {
  return {
    spans: lines.map(([service, operationName, parent], index) => ({
      spanID: String(index),
      operationName,
      processID: service,
      startTime: index * 1000,
      duration: 500,
      references: [{ refType: "CHILD_OF", spanID: parent === undefined ? "caller" : String(parent) }],
    })),
    processes: Object.fromEntries(lines.map(([service]) => [service, { serviceName: service }])),
  };
}

const WHOLE = [
  ["kong", "kong"],
  ["kong", "kong.balancer", 0],
  ["bff", "POST /graphql", 1],
  ["bff", "POST", 2],
  ["orders", "POST /graphql", 3],
  ["orders", "create tandem.events:order.created", 4],
  ["orders", "publish tandem.events:order.created", 5],
  ["invoices", "process tandem.events:order.created:orders", 5],
];

test("a trace from the gateway to the invoice is whole", () => {
  assert.deepEqual(traceFaults(trace(...WHOLE)), []);
  assert.match(waterfall(trace(...WHOLE)), /^ +0\.0 ms +0\.5 ms {2}kong: kong\n.*\n.* {6}bff: POST \/graphql\n/);
});

test("a trace in pieces is found", () => {
  const variant = (change) => {
    const lines = WHOLE.map((line) => [...line]);
    change(lines);
    return traceFaults(trace(...lines)).join("\n");
  };
  assert.match(variant((lines) => lines.pop()), /invoices is not in it[\s\S]*no span of invoices processes order.created/);
  assert.match(variant((lines) => (lines[7][2] = undefined)), /it has 2 beginnings: kong kong, invoices process[\s\S]*the invoice comes by invoices/);
  assert.match(variant((lines) => (lines[2][2] = undefined)), /2 beginnings/);
  assert.match(variant((lines) => lines.splice(6, 1)), /no span of orders publishes order.created/);
  assert.match(variant((lines) => (lines[7][2] = 1)), /the invoice comes by kong > invoices/);
  assert.match(variant((lines) => (lines[0][0] = "bff")), /it begins in bff, not in the gateway/);
});
