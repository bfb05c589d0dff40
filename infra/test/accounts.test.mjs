// The settings of docker-compose.yml, as they stand there, on real servers: every account logs in, may do its work, and
// an order gets its invoice. Only the addresses are others, because there is no Docker here.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";

import { program, Repository, ROOT } from "./repository.mjs";

const { services } = new Repository().yaml("docker-compose.yml");
const running = [];
let servers;
let at;

before(async () => {
  servers = spawn(path.join(ROOT, "infra/test/servers.sh"), { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: servers.stdout });
  const line = await Promise.race([once(lines, "line"), once(servers, "close")]);
  assert.equal(typeof line[0], "string", "the servers did not start");
  at = JSON.parse(line[0]);
});

after(async () => {
  for (const child of running.reverse()) {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill("SIGTERM");
      await once(child, "close");
    }
  }
  servers.stdin.end();
  if (servers.exitCode === null) await once(servers, "close");
});

/** What Compose would give a container, with the addresses of this machine. */
function environment(name, more = {}) {
  const given = Object.entries(services[name].environment).filter(([, value]) => value !== null);
  const local = given.map(([variable, value]) => [
    variable,
    value.replace("@postgres:5432", `@${at.postgres}`).replace("@rabbitmq:5672", `@${at.rabbitmq}`),
  ]);
  return { ...Object.fromEntries(local), OTEL_TRACES_EXPORTER: "none", ...more };
}

/** Starts a program of ours and returns its URL. */
async function start(name, more = {}) {
  const env = environment(name, { HOST: "127.0.0.1", PORT: "0", METRICS_PORT: "0", ...more });
  const child = spawn(program(name), { env, stdio: ["ignore", "pipe", "pipe"] });
  running.push(child);
  let said = "";
  const url = new Promise((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (data) => {
        said += data;
        const found = said.match(new RegExp(`${name} listens on (http://[\\d.:]+)`));
        if (found) resolve(found[1]);
      });
    }
    child.on("close", () => reject(new Error(`${name} ended: ${said}`)));
  });
  const address = await url;
  await healthy(name, address, () => said);
  return address;
}

/** Asks by the very command of the health check. */
async function healthy(name, url, said) {
  const [, file, ...command] = services[name].healthcheck.test;
  assert.equal(path.posix.basename(file), name);
  const env = environment(name, { HOST: "127.0.0.1", PORT: new URL(url).port });
  await until(`${name} is healthy`, () => {
    const { status, stderr } = spawnSync(program(name), command, { env, encoding: "utf8" });
    return status === 0 || [false, stderr + said()];
  });
}

async function until(sentence, ask) {
  const deadline = Date.now() + 60_000;
  for (;;) {
    const found = await ask();
    if (found && !Array.isArray(found)) return found;
    if (Date.now() > deadline) throw new Error(`it is still not so that ${sentence}: ${found?.[1] ?? ""}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function psql(user, database, sql) {
  const env = { PATH: process.env.PATH, PGPASSWORD: user };
  const command = ["-X", "--quiet", "--tuples-only", "--no-align", "--command", sql, `postgres://${user}@${at.postgres}/${database}`];
  return spawnSync("psql", command, { env, encoding: "utf8" });
}

test("the jobs migrate, the programs run, and an order gets its invoice", async () => {
  for (const job of ["migrate-orders", "migrate-invoices"]) {
    const { status, stderr } = spawnSync(program("migration"), services[job].command, { env: environment(job), encoding: "utf8" });
    assert.equal(status, 0, stderr);
  }
  const orders = await start("orders");
  const invoices = await start("invoices");
  const bff = await start("bff", { ORDERS_URL: orders, INVOICES_URL: invoices });

  const placed = await post(`${orders}/orders`, { amount: 100 });
  assert.equal(placed.customerId, "customer-123");
  const query = "query($id: ID!) { order(id: $id) { invoice { number amount } } }";
  const invoice = await until("the order has its invoice", async () => {
    const { data } = await post(`${bff}/graphql`, { query, variables: { id: placed.id } });
    return data.order.invoice;
  });
  assert.equal(invoice.amount, 100);
});

async function post(url, body) {
  const response = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  assert.ok(response.ok, `${url}: ${response.status}`);
  return response.json();
}

test("another password is refused, and each account reaches what is its own only", () => {
  const wrong = spawnSync("psql", ["-X", "--command", "SELECT 1", `postgres://orders@${at.postgres}/orders`], {
    env: { PATH: process.env.PATH, PGPASSWORD: "another" },
    encoding: "utf8",
  });
  assert.match(wrong.stderr, /password authentication failed/);
  assert.equal(psql("orders", "orders", "SELECT count(*) >= 1 FROM orders").stdout, "t\n");
  assert.match(psql("orders", "invoices", "SELECT 1").stderr, /permission denied for database "invoices"/);
  assert.match(psql("orders", "orders", "DROP TABLE orders").stderr, /must be owner/);
});

test("the exporter sees statistics and no row of ours", () => {
  const exporter = services["postgres-exporter"].environment;
  assert.deepEqual([exporter.DATA_SOURCE_USER, exporter.DATA_SOURCE_PASS], ["monitoring", "monitoring"]);
  assert.equal(psql("monitoring", "postgres", "SELECT count(*) FROM pg_stat_database WHERE datname IN ('orders', 'invoices')").stdout, "2\n");
  assert.match(psql("monitoring", "orders", "SELECT * FROM public.orders").stderr, /permission denied/);
});

test("admin/admin is for people, and the programs' users cannot look around", async () => {
  const management = new URL(at.management);
  const overview = (user) =>
    fetch(`${management.origin}/api/overview`, { headers: { authorization: `Basic ${Buffer.from(`${user}:${user}`).toString("base64")}` } });
  assert.equal((await overview("admin")).status, 200);
  for (const user of ["orders", "invoices", "bff", "guest"]) assert.equal((await overview(user)).status, 401, user);
});
