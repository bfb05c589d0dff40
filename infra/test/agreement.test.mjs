// That everything agrees, and that each way of disagreeing is found and told with what to do.

import assert from "node:assert/strict";
import { test } from "node:test";

import * as agreement from "./agreement.mjs";
import { parseHelp, settings } from "./settings.mjs";
import { Repository } from "./repository.mjs";

const COMPOSE = "docker-compose.yml";

for (const [name, check] of Object.entries(agreement)) {
  if (!name.endsWith("Problems") || name === "agreementProblems" || name === "containerProblems") continue;
  test(`no ${name.replace("Problems", "")} problems`, () => {
    assert.deepEqual(check(new Repository()), []);
  });
}

test("help is read as clap writes it, long and short", () => {
  const long = parseHelp("Usage: x [OPTIONS] --database-url <DATABASE_URL>\n\nOptions:\n  -p, --port <PORT>\n          Port [default: no]\n          \n          [env: PORT=]\n          [default: 3333]\n\n      --database-url <DATABASE_URL>\n          Its database\n          \n          [env: DATABASE_URL]\n\nEnvironment, besides the variables above:\n  RUST_LOG                     What\n  OTEL_*                       The others\n");
  assert.deepEqual(long.get("DATABASE_URL"), { default: undefined, required: true });
  assert.equal(long.get("PORT").required, false);
  assert.ok(long.has("RUST_LOG") && long.has("OTEL_TRACES_SAMPLER") && !long.has("OTEL_*"));
  const short = parseHelp("Usage: x up --database-url <DATABASE_URL>\n\nOptions:\n      --database-url <DATABASE_URL>  The database [env:\n                                     DATABASE_URL]\n");
  assert.equal(short.get("DATABASE_URL").required, true);
});

test("the programs say what they take", () => {
  const orders = settings("orders");
  assert.deepEqual(orders.get("BROKER_URL"), { default: undefined, required: true });
  assert.equal(orders.get("PORT").default, "3333");
  assert.ok(!orders.has("ORDERS_URL"));
});

/** What is broken, where, how, and what has to be said about it. */
const BROKEN = [
  // Settings.
  ["a variable that was renamed", COMPOSE, "OTEL_EXPORTER_OTLP_ENDPOINT: http", "OTEL_EXPORTER_OTLP_URL: http", /orders: OTEL_EXPORTER_OTLP_URL is no setting of orders: name one that it has/],
  ["a variable that a program needs", COMPOSE, "      BROKER_URL: amqp://bff", "      RABBITMQ_URL: amqp://bff", /bff: BROKER_URL is missing: bff does not start without/],
  ["a variable of another program", COMPOSE, "      DEFAULT_CUSTOMER_ID:", "      INVOICES_URL: http://invoices:3334", /orders: INVOICES_URL is no setting of orders/],
  ["a variable of the migration", COMPOSE, "DATABASE_URL: postgres://orders_owner", "DB_URL: postgres://orders_owner", /migrate-orders: DB_URL is no setting of migration/],
  ["a variable of the gateway", COMPOSE, "      BFF_URL: http", "      GRAPHQL_URL: http", /kong: GRAPHQL_URL is no setting of kong/],
  ["a value that the program refuses", COMPOSE, "      CORS_ORIGINS:\n    healthcheck", "      CORS_ORIGINS: shop.example\n    healthcheck", /bff: bff refuses its settings: [\s\S]*cors-origins/],
  ["a value that the gateway refuses", COMPOSE, "${GATEWAY_PROFILE:-open}", "${GATEWAY_PROFILE:-closed}", /kong: start.sh refuses its settings: [\s\S]*GATEWAY_PROFILE must be open or protected/],
  // Addresses.
  ["another port", COMPOSE, "ORDERS_URL: http://orders:3333", "ORDERS_URL: http://orders:3000", /ORDERS_URL: orders does not listen on 3000, but on 3333 \(http\)/],
  ["a host that is not there", COMPOSE, "http://invoices:3334", "http://invoice:3334", /INVOICES_URL: there is no service invoice/],
  ["hosts that do not meet", COMPOSE, "networks: [services, database, broker]", "networks: [services, broker]", /orders: DATABASE_URL: orders and postgres have no network in common/],
  ["a start that nobody waits for", COMPOSE, "      migrate-orders: { condition: service_completed_successfully }\n", "", /orders: DATABASE_URL: orders does not wait for postgres/],
  ["another account", COMPOSE, "postgres://orders:orders@postgres", "postgres://postgres:postgres@postgres", /orders: infra\/postgres makes no role postgres/],
  ["the owner instead of the service", COMPOSE, "postgres://orders:orders@postgres", "postgres://orders_owner:orders_owner@postgres", /orders: orders_owner is not whom this is for: a service runs as orders/],
  ["another password", "infra/local/postgres-passwords.sql", "ALTER ROLE invoices PASSWORD 'invoices'", "ALTER ROLE invoices PASSWORD 'secret'", /invoices: infra\/local\/postgres-passwords.sql gives invoices another password/],
  ["another database", COMPOSE, "@postgres:5432/invoices\n      BROKER", "@postgres:5432/invoice\n      BROKER", /invoices: there is no database invoice/],
  ["the administrator as a program", COMPOSE, "amqp://orders:orders@", "amqp://admin:admin@", /orders: BROKER_URL: admin is administrator: a program has a user of its own/],
  ["another virtual host", COMPOSE, "5672/tandem\n      TRACE", "5672/%2f\n      TRACE", /bff: BROKER_URL: the virtual host is tandem, not \//],
  ["a user without permissions", "infra/rabbitmq/permissions.json", '"user": "bff"', '"user": "api"', /bff: BROKER_URL: infra\/rabbitmq\/permissions.json gives bff nothing in tandem/],
  ["a page that is not published", COMPOSE, "TRACE_URL_TEMPLATE: http://localhost:16686", "TRACE_URL_TEMPLATE: http://localhost:16687", /TRACE_URL_TEMPLATE: nobody publishes port 16687/],
  // Ports of this machine.
  ["a published port", COMPOSE, "127.0.0.1:8000:8000", "127.0.0.1:8080:8000", /kong: port 8000 must be 8000 outside, too, not 8080/],
  ["a port where nobody listens", COMPOSE, "127.0.0.1:16686:16686", "127.0.0.1:16687:16687", /jaeger does not listen on 16687/],
  ["a port that dev.sh does not look at", "scripts/compose.sh", "[observability]='9090 9093 3000'", "[observability]='9090 9093'", /PUBLISHED_PORTS\[observability\] is 9090,9093/],
  ["an address that dev.sh prints", "scripts/compose.sh", "http://localhost:15672", "http://localhost:15673", /scripts\/compose.sh: nobody publishes port 15673/],
  ["direct access", "docker-compose.direct.yml", "127.0.0.1:3334:3334", "127.0.0.1:3335:3335", /docker-compose.direct.yml: invoices does not listen on 3335/],
  // Images.
  ["the version of Rust", "rust-toolchain.toml", 'channel = "', 'channel = "9', /Dockerfile: RUST_VERSION is .*, and rust-toolchain.toml says 9/],
  ["a member that is not built", ".dockerignore", "!operations\n", "", /.dockerignore: !operations is missing/],
  ["dependencies compiled twice", "Dockerfile", "cargo chef cook --release", "cargo chef cook", /dependencies would be compiled twice/],
  ["an exposed port", "Dockerfile", "EXPOSE 4000 9464", "EXPOSE 4001 9464", /bff: EXPOSE 4000 is missing[\s\S]*bff: EXPOSE 4001: it listens on 4000/],
  ["a program that is not in the image", "Dockerfile", "release/bff /usr/local/bin/", "release/bff /app/", /bff: ENTRYPOINT starts \/usr\/local\/bin\/bff, and the image has \/app\/bff/],
  ["a job whose program is not in the image", "Dockerfile", "release/invoices /tandem/target/release/migration", "release/invoices", /migrate-invoices starts \/usr\/local\/bin\/migration, which the image invoices does not have/],
  ["a health check by curl", "Dockerfile", '["/usr/local/bin/orders", "healthcheck"]', '["/usr/local/bin/orders", "--version"]', /orders: a health check must be its own/],
  ["an image that may be root", "Dockerfile", "USER 65532:65532", "USER root", /Dockerfile: USER must be a number other than 0/],
  ["a default of the images", "Dockerfile", "ENV HOST=0.0.0.0", "ENV LISTEN=0.0.0.0", /Dockerfile: ENV LISTEN is no setting of orders/],
  // The gateway.
  ["where the gateway finds a service", "kong/Dockerfile", "BFF_URL=http://bff:4000", "BFF_URL=http://bff:8080", /kong\/Dockerfile: BFF_URL is http:\/\/bff:8080/],
  ["the administration for everybody", "kong/Dockerfile", "EXPOSE 8000 8100", "EXPOSE 8000 8001 8100", /EXPOSE is 8000 8001 8100: the administration is not for the outside/],
  ["the manager's address", COMPOSE, "KONG_ADMIN_GUI_URL: http://localhost:8002", "KONG_ADMIN_GUI_URL: http://localhost:8003", /KONG_ADMIN_GUI_URL is http:\/\/localhost:8003, and the port is 8002/],
  ["a public path", "kong/kong.template.yml", "console|playground", "consoles|playground", /kong.template.yml: no route has \/console/],
  // .env.example.
  ["a setting that nobody documents", ".env.example", "#SUBGRAPH_MAX_CALLS=256", "#SUBGRAPH_CALLS=256", /SUBGRAPH_MAX_CALLS of bff is missing[\s\S]*SUBGRAPH_CALLS, under "bff", is no setting of bff/],
  ["another default", ".env.example", "#RECONCILE_AFTER_SECONDS=600", "#RECONCILE_AFTER_SECONDS=60", /RECONCILE_AFTER_SECONDS=60, and its default is 600/],
  ["a variable of the tests", ".env.example", "#TEST_BROKER_ADMIN_URL=", "#TEST_ADMIN_URL=", /TEST_ADMIN_URL, under "The tests", is in none of/],
  // Observability.
  ["a port that Prometheus asks", "infra/observability/prometheus/prometheus.yml", "port: 9464", "port: 9465", /prometheus.yml: orders: orders does not listen on 9465/],
  ["a program that nobody watches", "infra/observability/prometheus/prometheus.yml", "names: [invoices]", "names: [orders]", /nobody asks invoices for its metrics/],
  ["a source of the dashboards", "infra/observability/grafana/provisioning/datasources/datasources.yml", "http://jaeger:16686", "http://tempo:3200", /datasources.yml: Jaeger: there is no service tempo/],
  ["where Jaeger listens", "infra/observability/jaeger/config.yaml", "0.0.0.0:4318", "0.0.0.0:4319", /jaeger\/config.yaml: port 4319 is not in/],
  // Workflows.
  ["a variable of a workflow", ".github/workflows/ci.yml", "CARGO_INCREMENTAL", "TEST_DATABASE", /ci.yml: TEST_DATABASE is in no .env.example/],
];

for (const [name, file, from, to, expected] of BROKEN) {
  test(`found: ${name}`, () => {
    assert.match(agreement.agreementProblems(Repository.with(file, from, to)).join("\n"), expected);
  });
}

test("found in a plan: settings, ports and health of a task", () => {
  const good = {
    name: "orders",
    image: "x",
    environment: [{ name: "HOST", value: "0.0.0.0" }],
    secrets: [{ name: "DATABASE_URL" }, { name: "BROKER_URL" }],
    portMappings: [{ containerPort: 3333 }],
    healthCheck: { command: ["CMD", "/usr/local/bin/orders", "healthcheck"] },
  };
  const problems = (changed) => {
    const text = JSON.stringify([{ ...good, ...changed }]);
    const found = agreement.containersIn({ resources: [{ inputs: { containerDefinitions: text } }] });
    assert.equal(found.length, 1);
    return agreement.containerProblems(new Repository(), "dev.json", found[0]).join("\n");
  };
  assert.equal(problems({}), "");
  assert.match(problems({ environment: [{ name: "HOSTNAME" }] }), /dev.json: orders: HOSTNAME is no setting of it/);
  assert.match(problems({ secrets: [{ name: "DATABASE_URL" }] }), /orders: BROKER_URL is missing: it does not start without/);
  assert.match(problems({ portMappings: [{ containerPort: 8080 }] }), /orders: port 8080: it listens on 3333/);
  assert.match(problems({ healthCheck: { command: ["CMD-SHELL", "curl -f localhost"] } }), /orders: its health check must be its own/);
  assert.match(problems({ name: "migration" }), /orders: BROKER_URL is no setting|migration: BROKER_URL is no setting of it/);
});
