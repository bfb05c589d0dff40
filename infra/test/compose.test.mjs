// docker-compose.yml: valid, and with the manners of compose.mjs. Each manner has a variant without it.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import path from "node:path";
import { test } from "node:test";

import { FILES, mannerProblems, schemaProblems } from "./compose.mjs";
import { Repository, ROOT } from "./repository.mjs";

const COMPOSE = "docker-compose.yml";

for (const file of FILES) {
  test(`${file} is what the Compose Specification allows`, () => {
    assert.deepEqual(schemaProblems(new Repository(), file), []);
  });
}

test("the schema finds a name that does not exist and a value of another kind", () => {
  const variant = (from, to) => schemaProblems(Repository.with(COMPOSE, from, to), COMPOSE).join("\n");
  assert.match(variant("hostname: rabbitmq", "hostnam: rabbitmq"), /\/services\/rabbitmq .*hostnam/);
  assert.match(variant("condition: service_healthy", "condition: healthy"), /service_healthy/);
  assert.match(variant("internal: true", "internal: [1]"), /\/networks\/services.*internal|boolean/);
});

test("Compose itself reads both files, where it is installed", (context) => {
  const { status } = spawnSync("docker", ["compose", "version"]);
  if (status !== 0) return context.skip("Docker Compose is not installed");
  const files = FILES.flatMap((file) => ["--file", path.join(ROOT, file)]);
  const { status: code, stderr } = spawnSync("docker", ["compose", ...files, "--profile", "*", "config", "--quiet"], { encoding: "utf8" });
  assert.equal(code, 0, stderr);
});

test("every container keeps the manners", () => {
  assert.deepEqual(mannerProblems(new Repository()), []);
});

const BROKEN = [
  ["a root that can be written", "  read_only: true", "", /orders: read_only: true is missing/],
  ["capabilities", "cap_drop: [ALL]", "cap_drop: []", /postgres: cap_drop: \[ALL\] is missing/],
  ["a capability too many", "cap_add: [NET_BIND_SERVICE]", "cap_add: [NET_ADMIN]", /kong: cap_add has NET_ADMIN/],
  ["privileges that grow", "security_opt: [\"no-new-privileges:true\"]", "", /no-new-privileges:true\] is missing/],
  ["the host's network", "hostname: rabbitmq", "network_mode: host", /rabbitmq: network_mode opens the host/],
  ["a port for everybody", "127.0.0.1:15672:15672", "15672:15672", /rabbitmq: port 15672:15672 must be on the loopback/],
  ["a version that moves", "postgres:17.11", "postgres:latest", /image postgres:latest has no pinned version/],
  ["no limit of memory", "memory: 512M, ", "", /orders: .*limits.memory is missing/],
  ["logs without end", "max-size: 10m, ", "", /logging has no max-size/],
  ["no health", "test: [CMD, /opt/tandem/healthcheck.sh]", "interval: 3s", /kong: has no healthcheck.test/],
  ["a check by a shell", "test: [CMD, /usr/local/bin/bff,", "test: [CMD-SHELL, /usr/local/bin/bff,", /bff: healthcheck.test must begin with CMD/],
  ["a start that is not awaited", "migrate-orders: { condition: service_completed_successfully }", "migrate-orders: { condition: service_started }", /orders: depends_on migrate-orders needs condition: service_completed_successfully/],
  ["a start before health", "      bff: { condition: service_healthy }\n", "      bff: { condition: service_started }\n", /kong: depends_on bff needs condition: service_healthy/],
  ["an orphaned job", "      migrate-invoices: { condition: service_completed_successfully }\n", "", /migrate-invoices: nobody depends on this job/],
  ["a gateway beside the database", "networks: [edge, services]", "networks: [edge, services, database]", /kong and postgres share the network database/],
  ["a way out", "networks: [services, broker]", "networks: [services, broker, edge]", /bff is in edge, which has a way out/],
  ["a zone that is not internal", "database: { internal: true }", "database: {}", /postgres is in database, which has a way out/],
  ["an image that is built twice at once", "    image: tandem/orders:local\n    entrypoint", "    image: tandem/orders:local\n    build: *build\n    entrypoint", /migrate-orders: tandem\/orders:local is built by several services/],
  ["an image that would be pulled", "  pull_policy: never", "  pull_policy: missing", /migrate-invoices: tandem\/invoices:local is in no registry/],
  ["a name that keeps from scaling", "    image: tandem/orders:local\n    build: &build", "    container_name: orders\n    image: tandem/orders:local\n    build: &build", /orders: container_name keeps it from being scaled/],
  ["a file that is not there", "./infra/postgres/roles.sql", "./infra/postgres/role.sql", /\.\/infra\/postgres\/role\.sql is mounted on .* and is not there/],
  ["a file that can be changed", "20-users.json:ro", "20-users.json", /rabbitmq-users\.json must be mounted read-only/],
];

for (const [name, from, to, expected] of BROKEN) {
  test(`found: ${name}`, () => {
    assert.match(mannerProblems(Repository.with(COMPOSE, from, to)).join("\n"), expected);
  });
}
