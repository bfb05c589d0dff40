// What each program is given: its image, its variables, its credentials, its ports, and how its health is asked for.
//
// The variables are those of `--help` of each program and of kong/README.md; a check compares.

import type * as pulumi from "@pulumi/pulumi";
import type { Broker } from "./broker";
import type { Context } from "./context";
import { DATABASES, type Database, type DatabaseName } from "./database";
import { DATABASE_CA, prepare, TOKEN_KEY } from "./files";
import type { Keys } from "./keys";
import type { Network } from "./network";
import { GATEWAY_STATUS_PORT, METRICS_PORT, OTLP_PORT, PORTS } from "./ports";
import type { SecretReference, StoredSecret } from "./secrets";
import { SERVICES, type ServiceName } from "./settings";
import { type Container, Task } from "./task";
import type { Telemetry, Watched } from "./telemetry";

/** Where the images keep their programs. */
const PROGRAMS = "/usr/local/bin";
/** The user of our images. */
const NOBODY = "65532:65532";

/** How long a load balancer may take to notice that a task goes. */
const STOP_DELAY_SECONDS = 5;
/** Longer than the programs' own 10 s for requests and what follows them. */
const STOP_SECONDS = 30;

/** What the gateway writes: its own files, and those of its nginx. */
const GATEWAY_PREFIX = "/var/run/kong";

export interface WorkloadsArgs {
  network: Network;
  keys: Keys;
  databases: Database[];
  broker: Broker;
  telemetry: Telemetry;
  /** The secret of tokens, unless they have a public key. */
  tokenSecret?: StoredSecret;
  /** Members: apiKey, token. */
  partner?: StoredSecret;
}

/** The four tasks that are services. */
export function serviceTasks(context: Context, args: WorkloadsArgs, options: pulumi.ComponentResourceOptions): Record<ServiceName, Task> {
  return Object.fromEntries(
    SERVICES.map((name) => {
      const watched = watch(name);
      const { container, files, writable } = name === "kong" ? gateway(context, args) : program(context, args, name);
      const prepared = prepare({ ...files, ...tokenKey(context) }, writable);
      return [
        name,
        new Task(
          context,
          name,
          {
            keys: args.keys,
            size: context.settings.services[name],
            permissions: args.telemetry.permissions(watched),
            scratch: prepared.scratch,
            containers: [
              {
                ...container,
                mounts: prepared.mounts,
                // It ends before its collector does, which then has its last spans.
                dependsOn: { ...prepared.dependsOn, collector: "START" },
              },
              ...prepared.containers,
              args.telemetry.collector(watched),
            ],
          },
          options,
        ),
      ];
    }),
  ) as Record<ServiceName, Task>;
}

/** The task that brings one database to the newest schema. */
export function migrationTask(context: Context, args: WorkloadsArgs, database: Database, options: pulumi.ComponentResourceOptions): Task {
  const { name, owner } = database;
  const prepared = prepare(databaseAuthority(database));
  return new Task(
    context,
    `migrate-${name}`,
    {
      keys: args.keys,
      size: { cpu: 256, memory: 512 },
      scratch: prepared.scratch,
      containers: [
        {
          name: "migration",
          image: name,
          user: NOBODY,
          entryPoint: [`${PROGRAMS}/migration`],
          command: ["up", name],
          secrets: { DATABASE_URL: owner.reference("url") },
          mounts: prepared.mounts,
          dependsOn: prepared.dependsOn,
        },
        ...prepared.containers,
      ],
    },
    options,
  );
}

interface Part {
  container: Container;
  files: Record<string, string>;
  writable?: Record<string, string>;
}

function program(context: Context, args: WorkloadsArgs, name: "orders" | "invoices" | "bff"): Part {
  const { tokens, gateway } = context.settings;
  const database = isDatabase(name) ? args.databases.find((each) => each.name === name) : undefined;
  const secrets: Record<string, SecretReference> = { BROKER_URL: args.broker.clients[name].reference("url") };
  if (database) secrets.DATABASE_URL = database.service.reference("url");
  if (args.tokenSecret) secrets.JWT_SECRET = args.tokenSecret.reference();
  return {
    files: database ? databaseAuthority(database) : {},
    container: {
      name,
      image: name,
      user: NOBODY,
      environment: {
        // Who is on the internet is in production, whatever the stack is called: nobody gets in without a token.
        APP_ENV: "production",
        HOST: "0.0.0.0",
        PORT: String(PORTS[name]),
        METRICS_PORT: String(METRICS_PORT),
        LOG_FORMAT: "json",
        RUST_LOG: "info",
        STOP_DELAY_SECONDS: String(STOP_DELAY_SECONDS),
        JWT_ISSUER: tokens.issuer,
        JWT_AUDIENCE: tokens.audience,
        ...(tokens.publicKey && { JWT_PUBLIC_KEY_FILE: TOKEN_KEY }),
        ...(name === "bff" && {
          ORDERS_URL: `http://orders:${PORTS.orders}`,
          INVOICES_URL: `http://invoices:${PORTS.invoices}`,
          ...(gateway.corsOrigins.length && { CORS_ORIGINS: gateway.corsOrigins.join(",") }),
        }),
        // glibc keeps less of what it no longer needs.
        MALLOC_ARENA_MAX: "2",
        ...tracing(context, name),
      },
      secrets,
      ports: [{ name: "api", port: PORTS[name], http: name !== "bff" }],
      healthCheck: { command: ["CMD", `${PROGRAMS}/${name}`, "healthcheck"], startPeriod: 30 },
      stopTimeout: STOP_SECONDS,
      openFiles: 65536,
    },
  };
}

function gateway(context: Context, args: WorkloadsArgs): Part {
  const { tokens, gateway, telemetry } = context.settings;
  const secrets: Record<string, SecretReference> = {};
  if (args.tokenSecret) secrets.JWT_SECRET = args.tokenSecret.reference();
  if (args.partner) {
    secrets.PARTNER_API_KEY = args.partner.reference("apiKey");
    secrets.PARTNER_TOKEN = args.partner.reference("token");
  }
  return {
    files: {},
    // Its root is read-only, as everybody's.
    writable: { prefix: GATEWAY_PREFIX, tmp: "/tmp" },
    container: {
      name: "kong",
      image: "kong",
      user: "kong",
      environment: {
        APP_ENV: "production",
        GATEWAY_PROFILE: "protected",
        ORDERS_URL: `http://orders:${PORTS.orders}`,
        INVOICES_URL: `http://invoices:${PORTS.invoices}`,
        BFF_URL: `http://bff:${PORTS.bff}`,
        RATE_LIMIT_PER_MINUTE: String(gateway.ratePerMinute),
        ...(gateway.corsOrigins.length && { CORS_ORIGINS: gateway.corsOrigins.join(",") }),
        JWT_ISSUER: tokens.issuer,
        ...(tokens.publicKey && { JWT_PUBLIC_KEY_FILE: TOKEN_KEY }),
        ...(gateway.partner && { PARTNER_RATE_LIMIT_PER_MINUTE: String(gateway.partner.ratePerMinute) }),
        OTEL_EXPORTER_OTLP_ENDPOINT: `http://localhost:${OTLP_PORT}`,
        OTEL_TRACES_SAMPLER_ARG: String(telemetry.traceShare),
        KONG_PREFIX: GATEWAY_PREFIX,
        KONG_PROXY_LISTEN: `0.0.0.0:${PORTS.kong}`,
        KONG_STATUS_LISTEN: `0.0.0.0:${GATEWAY_STATUS_PORT}`,
        // The load balancer's addresses are not those of clients; without these its limit would count all as one.
        KONG_TRUSTED_IPS: args.network.publicCidrs.join(","),
        KONG_REAL_IP_HEADER: "X-Forwarded-For",
        KONG_REAL_IP_RECURSIVE: "on",
      },
      secrets,
      ports: [
        { name: "api", port: PORTS.kong },
        { name: "status", port: GATEWAY_STATUS_PORT },
      ],
      healthCheck: { command: ["CMD", "/opt/tandem/healthcheck.sh"], startPeriod: 30 },
      stopTimeout: STOP_SECONDS,
      openFiles: 65536,
    },
  };
}

/** What the collector beside each looks at. */
function watch(name: ServiceName): Watched {
  return {
    service: name,
    metricsPort: name === "kong" ? GATEWAY_STATUS_PORT : METRICS_PORT,
    queueDepth: name === "invoices",
  };
}

function tracing(context: Context, name: string): Record<string, string> {
  return {
    OTEL_SERVICE_NAME: name,
    OTEL_TRACES_EXPORTER: "otlp",
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://localhost:${OTLP_PORT}`,
    OTEL_RESOURCE_ATTRIBUTES: `deployment.environment.name=${context.settings.stack}`,
  };
}

function databaseAuthority({ authority }: Database): Record<string, string> {
  return authority === undefined ? {} : { [DATABASE_CA]: authority };
}

function tokenKey(context: Context): Record<string, string> {
  const { publicKey } = context.settings.tokens;
  return publicKey === undefined ? {} : { [TOKEN_KEY]: publicKey };
}

function isDatabase(name: string): name is DatabaseName {
  return (DATABASES as readonly string[]).includes(name);
}
