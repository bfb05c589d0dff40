// The ports of the system and what is asked at them: the one place. Everything that names a port is held against this,
// the defaults of the programs included; a port changes here first, and the checks then say where else.

/** Ports inside the network, by the host name that everything uses for whoever listens. */
export const PORTS = {
  kong: { proxy: 8000, admin: 8001, manager: 8002, status: 8100 },
  orders: { http: 3333, metrics: 9464 },
  invoices: { http: 3334, metrics: 9464 },
  bff: { http: 4000, metrics: 9464 },
  postgres: { postgres: 5432 },
  "postgres-exporter": { metrics: 9187 },
  rabbitmq: { amqp: 5672, management: 15672, metrics: 15692 },
  jaeger: { ui: 16686, otlp: 4318, metrics: 8888, grpc: 4317, query: 16685, health: 13133 },
  prometheus: { http: 9090 },
  alertmanager: { http: 9093 },
  grafana: { http: 3000 },
};

/** The programs that we build. */
export const PROGRAMS = ["orders", "invoices", "bff"];

/** What is asked of every program, and of the gateway on its status port. */
export const PATHS = { live: "/livez", ready: "/readyz", metrics: "/metrics", gatewayReady: "/status/ready" };

/** The public paths of the gateway, and of `cargo run`. */
export const PUBLIC_PATHS = [
  "/graphql", "/graphql/ws", "/orders", "/orders/orders", "/invoices", "/console", "/playground",
  "/health", "/livez", "/readyz", "/orders/health", "/invoices/health", "/orders/docs", "/invoices/docs",
];

export const DATABASES = ["orders", "invoices"];
export const VIRTUAL_HOST = "tandem";

export function hasPort(host, port) {
  return Object.values(PORTS[host] ?? {}).includes(Number(port));
}

export function portsOf(host) {
  return Object.entries(PORTS[host] ?? {}).map(([name, port]) => `${port} (${name})`).join(", ");
}
