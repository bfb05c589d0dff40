// The part of Kong 3.9's schema that the configuration uses. What it does not use is not here, so a field that Kong does
// not know, or that nobody has thought about, is a fault. Defaults that do harm are required to be overridden.

import Ajv from "ajv";

const text = { type: "string", minLength: 1 };
const flag = { type: "boolean" };
const count = { type: "integer", minimum: 1 };
const milliseconds = { type: "integer", minimum: 1, maximum: 2147483646 };
const list = (items, more = {}) => ({ type: "array", items, uniqueItems: true, ...more });
const record = (properties, required = []) => ({ type: "object", properties, required, additionalProperties: false });
const method = { enum: ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] };
const header = { type: "string", pattern: "^[A-Za-z0-9-]+$" };
const nameAndValue = { type: "string", pattern: "^[A-Za-z0-9-]+:[^\\n]+$" };
const transformations = record({ headers: list(nameAndValue, { minItems: 1 }) }, ["headers"]);

const CONFIGS = {
  cors: record(
    {
      origins: list(text, {
        minItems: 1,
        description: "one origin at least: to Kong an empty list is every origin; take the plugin away instead",
      }),
      methods: list(method, { minItems: 1 }),
      headers: list(header, { minItems: 1 }),
      exposed_headers: list(header),
      credentials: flag,
      max_age: count,
    },
    ["origins", "methods", "headers"],
  ),
  jwt: record(
    {
      anonymous: text,
      key_claim_name: text,
      claims_to_verify: list({ enum: ["exp", "nbf"] }),
      header_names: list(header, { minItems: 1 }),
      uri_param_names: list(text),
      cookie_names: list(text),
      run_on_preflight: flag,
    },
    ["anonymous", "claims_to_verify", "uri_param_names"],
  ),
  "key-auth": record(
    {
      anonymous: text,
      key_names: list(header, { minItems: 1 }),
      key_in_header: flag,
      key_in_query: flag,
      key_in_body: flag,
      hide_credentials: flag,
      run_on_preflight: flag,
    },
    ["anonymous", "key_in_query", "hide_credentials"],
  ),
  opentelemetry: record(
    {
      traces_endpoint: {
        type: "string",
        pattern: "^https?://[^/]+/v1/traces$",
        description: "the collector's URL with its path, http://jaeger:4318/v1/traces",
      },
      sampling_rate: { type: "number", minimum: 0, maximum: 1 },
      resource_attributes: { type: "object", additionalProperties: text },
      propagation: record(
        { extract: list({ enum: ["w3c"] }), inject: list({ enum: ["w3c"] }), default_format: { const: "w3c" } },
        ["extract", "inject", "default_format"],
      ),
      http_response_header_for_traceid: header,
      queue: record({
        max_batch_size: { type: "integer", minimum: 1, maximum: 1000000 },
        max_coalescing_delay: { type: "number", minimum: 0 },
      }),
    },
    ["traces_endpoint", "sampling_rate", "propagation"],
  ),
  "post-function": record({ access: list(text, { minItems: 1 }) }, ["access"]),
  prometheus: record({
    status_code_metrics: flag,
    latency_metrics: flag,
    bandwidth_metrics: flag,
    upstream_health_metrics: flag,
    per_consumer: flag,
  }),
  "rate-limiting": record(
    {
      minute: count,
      policy: { const: "local", description: "local: cluster needs a database, which there is not, and redis a Redis" },
      limit_by: { enum: ["ip", "consumer"] },
    },
    ["minute", "policy", "limit_by"],
  ),
  "request-size-limiting": record(
    { allowed_payload_size: count, size_unit: { enum: ["bytes", "kilobytes", "megabytes"] } },
    ["allowed_payload_size", "size_unit"],
  ),
  "request-termination": record(
    {
      status_code: { type: "integer", minimum: 400, maximum: 599 },
      content_type: { const: "application/problem+json" },
      body: text,
    },
    ["status_code", "content_type", "body"],
  ),
  "request-transformer": record({ replace: record({ uri: { type: "string", pattern: "^/" } }), add: transformations }),
  "response-transformer": record({ add: transformations }),
};

const plugin = {
  type: "object",
  properties: { name: { enum: Object.keys(CONFIGS) }, config: { type: "object" } },
  required: ["name", "config"],
  additionalProperties: false,
};

const route = record(
  {
    name: text,
    paths: list(
      { type: "string", pattern: "^(/|~/)", description: "a path that begins with /, or a regex that begins with ~/" },
      { minItems: 1 },
    ),
    methods: list(method, { minItems: 1 }),
    headers: { type: "object", additionalProperties: list(text, { minItems: 1 }) },
    regex_priority: { type: "integer", minimum: 0, maximum: 65535 },
    strip_path: flag,
    preserve_host: flag,
    plugins: list(plugin, { minItems: 1 }),
  },
  ["name", "paths"],
);

const service = record(
  {
    name: text,
    url: {
      type: "string",
      pattern: "^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[^/]+)*$",
      description: "a URL like http://orders:3333",
    },
    connect_timeout: milliseconds,
    write_timeout: milliseconds,
    read_timeout: milliseconds,
    retries: { type: "integer", minimum: 0, maximum: 32767 },
    routes: list(route, { minItems: 1 }),
  },
  ["name", "url", "connect_timeout", "write_timeout", "read_timeout", "retries", "routes"],
);

const consumer = record(
  {
    username: text,
    custom_id: text,
    jwt_secrets: list(
      record(
        {
          key: text,
          algorithm: { enum: ["HS256", "RS256", "RS384", "RS512", "ES256", "ES384", "EdDSA"] },
          secret: text,
          rsa_public_key: text,
        },
        ["key", "algorithm"],
      ),
      { minItems: 1 },
    ),
    keyauth_credentials: list(record({ key: text }, ["key"]), { minItems: 1 }),
    plugins: list(plugin, { minItems: 1 }),
  },
  ["username"],
);

const DOCUMENT = record(
  {
    _format_version: { const: "3.0" },
    _transform: { const: true },
    services: list(service, { minItems: 1 }),
    routes: list(route, { minItems: 1 }),
    consumers: list(consumer, { minItems: 1 }),
    plugins: list(plugin, { minItems: 1 }),
  },
  ["_format_version", "services", "plugins"],
);

const ajv = new Ajv({ allErrors: true, strict: true, verbose: true });
const validateDocument = ajv.compile(DOCUMENT);
const validateConfig = Object.fromEntries(Object.entries(CONFIGS).map(([name, schema]) => [name, ajv.compile(schema)]));

/** What does not fit the schema, each with the place and what fits. */
export function schemaFaults(document) {
  if (!validateDocument(document)) return describe(validateDocument.errors, "");
  const faults = [];
  for (const { place, plugin } of pluginsWithPlaces(document)) {
    const validate = validateConfig[plugin.name];
    if (!validate(plugin.config)) faults.push(...describe(validate.errors, `${place}, plugin ${plugin.name}, config`));
  }
  return faults;
}

/** Every plugin with the place where it stands. */
export function pluginsWithPlaces(document) {
  const of = (place, scope) => (scope?.plugins ?? []).map((plugin) => ({ place, scope, plugin }));
  return [
    ...of("everywhere", document),
    ...(document.services ?? []).flatMap((service) => [
      ...of(`service ${service.name}`, service),
      ...(service.routes ?? []).flatMap((route) => of(`route ${route.name}`, route)),
    ]),
    ...(document.routes ?? []).flatMap((route) => of(`route ${route.name}`, route)),
    ...(document.consumers ?? []).flatMap((consumer) => of(`consumer ${consumer.username}`, consumer)),
  ];
}

function describe(errors, place) {
  return errors.map(({ instancePath, message, params, keyword, parentSchema }) => {
    const where = `${place}${instancePath}` || "the document";
    if (keyword === "additionalProperties") {
      const known = Object.keys(parentSchema.properties).join(", ");
      return `${where}: ${params.additionalProperty} is no field that is known here; use one of ${known}, or add it to kong/test/schema.mjs with Kong's schema of it`;
    }
    if (keyword === "required")
      return `${where}: ${params.missingProperty} is missing: say it, because Kong's default does harm or there is none`;
    // What a schema describes says more than the keyword that failed.
    if (parentSchema.description && keyword !== "type") return `${where} must be ${parentSchema.description}`;
    const allowed =
      keyword === "enum"
        ? `: ${params.allowedValues.join(", ")}`
        : keyword === "const"
          ? `: ${params.allowedValue}`
          : "";
    return `${where}: ${message}${allowed}`;
  });
}
