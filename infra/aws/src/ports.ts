// The ports of the system, which are the same wherever it runs.

export const PORTS = { orders: 3333, invoices: 3334, bff: 4000, kong: 8000 } as const;

/** Readiness and metrics of the gateway. */
export const GATEWAY_STATUS_PORT = 8100;
/** Metrics of the services. */
export const METRICS_PORT = 9464;
/** OTLP over HTTP, of the collector beside each of them. */
export const OTLP_PORT = 4318;

export const POSTGRES_PORT = 5432;
export const AMQP_PORT = 5672;
export const AMQPS_PORT = 5671;
/** The management API of the RabbitMQ that is a task of ours. */
export const BROKER_ADMIN_PORT = 15672;
