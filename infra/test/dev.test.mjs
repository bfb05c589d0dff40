// dev.sh around Docker: what it asks Docker for, what it waits for, and what it says when something is missing.
//
// `docker` is a stand-in that writes down how it was called; the gateway is a real server, to which the real curl is
// led. That the containers themselves start is the smoke test's to show, where there is a Docker.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";

import { ROOT } from "./repository.mjs";

const ORDER = "01a1fc72-dab8-75a0-8df7-d5c166afc4c3";
const TOOLS = ["bash", "cat", "curl", "dirname", "env", "flock", "grep", "head", "realpath", "sed", "sleep", "sort", "tail"];

const DOCKER = `#!/usr/bin/env bash
echo "$*" >>"$CALLS"
case "$*" in
    'version --format {{.Server.APIVersion}}') [[ $API ]] && echo "$API" || exit 1 ;;
    'compose version --short') [[ $COMPOSE ]] && echo "$COMPOSE" || exit 1 ;;
    *' ps --quiet') [[ $RUNNING ]] && echo 0123456789ab ;;
    *' ps --all') echo 'kong   unhealthy' ;;
    *' logs --no-color --tail 15') echo 'kong | it does not start, because' ;;
    'compose '*up\\ *) exit "$UP" ;;
esac
exit 0
`;

/** Runs dev.sh with a Docker of these answers, and a gateway of those. */
async function dev(options, { docker = true, gateway = [], ...environment } = {}) {
  const folder = mkdtempSync(path.join(tmpdir(), "tandem-dev-"));
  const script = (name, text) => {
    writeFileSync(path.join(folder, name), text);
    chmodSync(path.join(folder, name), 0o755);
  };
  const requests = [];
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    requests.push({ method: request.method, url: request.url, headers: request.headers, body });
    const [status, text] = gateway.shift() ?? [500, "no more answers"];
    response.writeHead(status).end(text);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    for (const tool of TOOLS.filter((name) => name !== "curl")) symlinkSync(which(tool), path.join(folder, tool));
    script("curl", `#!/bin/bash\nexec ${which("curl")} --connect-to localhost:8000:127.0.0.1:${server.address().port} "$@"\n`);
    if (docker) script("docker", DOCKER);
    const calls = path.join(folder, "calls");
    const env = { PATH: folder, CALLS: calls, API: "1.47", COMPOSE: "2.40.3", RUNNING: "yes", UP: "0", ...environment };
    const child = spawn(path.join(ROOT, "dev.sh"), options, { env, stdio: ["ignore", "pipe", "pipe"] });
    let out = "";
    let err = "";
    child.stdout.on("data", (data) => (out += data));
    child.stderr.on("data", (data) => (err += data));
    const [status] = await once(child, "close");
    return { status, out, err, requests, calls: existsSync(calls) ? readFileSync(calls, "utf8").trim().split("\n") : [] };
  } finally {
    server.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

function which(tool) {
  return process.env.PATH.split(":").map((folder) => path.join(folder, tool)).find(existsSync);
}

const CREATED = [201, `{"id":"${ORDER}","amount":1999}`];
const WITHOUT = [200, '{"data":{"order":{"invoice":null}}}'];
const WITH = [200, '{"data":{"order":{"invoice":{"number":"INV-00000001"}}}}'];

test("it starts, waits until all is healthy, sees an order through, and says where everything is", async () => {
  const { status, out, err, calls, requests } = await dev([], { gateway: [CREATED, WITHOUT, WITHOUT, WITH] });
  assert.equal(status, 0, err);
  assert.deepEqual(calls.slice(-1), ["compose up --detach --wait --wait-timeout 600 --build"]);
  assert.deepEqual(requests.map(({ method, url }) => `${method} ${url}`), ["POST /orders", "POST /graphql", "POST /graphql", "POST /graphql"]);
  assert.equal(JSON.parse(requests[1].body).query, `{ order(id: "${ORDER}") { invoice { number } } }`);
  assert.match(out, new RegExp(`Placed the order ${ORDER} through the gateway, and its invoice was issued`));
  for (const url of ["http://localhost:8000/console", "http://localhost:16686", "http://localhost:15672"]) assert.ok(out.includes(url), out);
  assert.ok(!out.includes(":3000  "), "Grafana was not started");
});

test("its options are Compose's files and profiles", async () => {
  const { status, out, calls } = await dev(["--observability", "--direct", "--no-build"], { gateway: [CREATED, WITH] });
  assert.equal(status, 0);
  assert.deepEqual(calls.slice(-1), [
    "compose --file docker-compose.yml --file docker-compose.direct.yml --profile observability up --detach --wait --wait-timeout 600",
  ]);
  for (const url of ["http://localhost:3000", "http://localhost:3334/invoices"]) assert.ok(out.includes(url), out);
});

test("what does not become healthy is shown, and no order is placed", async () => {
  const { status, err, requests } = await dev([], { UP: "1" });
  assert.equal(status, 1);
  assert.match(err, /did not become healthy[\s\S]*kong {3}unhealthy[\s\S]*it does not start, because[\s\S]*\.\/dev\.sh down takes it away/);
  assert.deepEqual(requests, []);
});

test("a gateway that takes no order is a failure with its answer", async () => {
  const { status, err, out } = await dev([], { gateway: [[503, '{"message":"no service"}']] });
  assert.equal(status, 1);
  assert.match(err, /the gateway did not take an order; it answered {"message":"no service"}\s+503/);
  assert.ok(!out.includes("Tandem runs"));
});

test("a gateway that asks for tokens gets one, or is left alone", async () => {
  const asked = await dev([], { gateway: [[401, "{}"]] });
  assert.equal(asked.status, 0);
  assert.match(asked.out, /asks for tokens, so no order was placed: TANDEM_TOKEN=… \.\/dev\.sh/);
  assert.match(asked.out, /Tandem runs in Docker/);

  const given = await dev([], { TANDEM_TOKEN: "a.b.c", gateway: [CREATED, WITH] });
  assert.equal(given.status, 0, given.err);
  assert.deepEqual(given.requests.map(({ headers }) => headers.authorization), ["Bearer a.b.c", "Bearer a.b.c"]);

  const refused = await dev([], { TANDEM_TOKEN: "a.b.c", gateway: [[401, '{"code":"UNAUTHENTICATED"}']] });
  assert.equal(refused.status, 1);
  assert.match(refused.err, /UNAUTHENTICATED/);
  assert.ok(!refused.err.includes("a.b.c"));
});

test("what is missing is named, with what to do, before anything is started", async () => {
  for (const [environment, expected] of [
    [{ docker: false }, /Docker is not installed\. Without Docker: \.\/dev\.sh --local .* or cargo run/],
    [{ API: "" }, /Docker's daemon does not answer: start it.*\.\/dev\.sh --local/],
    [{ API: "1.43" }, /Docker is too old \(API 1\.43\): version 25 or later/],
    [{ COMPOSE: "" }, /Docker Compose is not installed: it is the plugin/],
    [{ COMPOSE: "v2.9.0" }, /Docker Compose is too old \(v2\.9\.0\): 2\.24\.0 or later/],
  ]) {
    for (const options of [[], ["down"], ["logs"]]) {
      const { status, err, calls } = await dev(options, environment);
      assert.equal(status, 2, err);
      assert.match(err, expected);
      assert.ok(!calls.some((call) => / (up|down|logs) /.test(`${call} `)), calls.join("\n"));
    }
  }
});

test("a port that another program has is named before minutes of building", async (context) => {
  const server = net.createServer();
  let port;
  for (const candidate of [9093, 4318, 16686, 9090, 15672]) {
    const listening = once(server, "listening").then(() => true, () => false);
    server.listen(candidate, "127.0.0.1");
    if (await listening) {
      port = candidate;
      break;
    }
  }
  if (!port) return context.skip("every port that could be taken is taken");
  try {
    const { status, err, calls } = await dev(["--observability"], { RUNNING: "" });
    assert.equal(status, 2);
    assert.match(err, new RegExp(`in use by other programs: .*\\b${port}\\b.*docker-compose\\.yml publishes`));
    assert.ok(!calls.some((call) => call.includes(" up ")));
  } finally {
    server.close();
  }
});

test("down and logs reach whatever was started", async () => {
  const all = "compose --file docker-compose.yml --file docker-compose.direct.yml --profile *";
  for (const [options, expected] of [
    [["down"], `${all} down --remove-orphans`],
    [["down", "--volumes"], `${all} down --remove-orphans --volumes`],
    [["logs"], `${all} logs --follow --tail 100`],
    [["logs", "orders", "kong"], `${all} logs --follow --tail 100 orders kong`],
  ]) {
    const { status, calls } = await dev(options);
    assert.equal(status, 0);
    assert.equal(calls.at(-1), expected);
  }
});

test("an option of the other way is told where it belongs", async () => {
  for (const [options, expected] of [
    [["--orders-port", "1"], /--orders-port is for \.\/dev\.sh --local/],
    [["--data", "x"], /--data is for \.\/dev\.sh --local/],
    [["--volumes"], /unknown option --volumes; \.\/dev\.sh --help lists them/],
    [["down", "--all"], /unknown option --all/],
    [["logs", "-x"], /unknown option -x/],
    [["start"], /unknown option start/],
    [["--local", "--observability"], /unknown option --observability/],
  ]) {
    const { status, err, calls } = await dev(options);
    assert.equal(status, 2, err);
    assert.match(err, expected);
    assert.ok(!calls.some((call) => call.includes(" up ")));
  }
});

test("help tells both ways and what happens without Docker", async () => {
  const { status, out, calls } = await dev(["--help"], { docker: false });
  assert.equal(status, 0);
  for (const word of ["down [--volumes]", "logs [SERVICE…]", "--observability", "--local", "Without Docker it refuses"]) {
    assert.ok(out.includes(word), word);
  }
  assert.deepEqual(calls, []);
});
