// The rendered configuration: good in every profile, and every way to break it that we know of is found.

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  FULL,
  imageEnvironment,
  JWT_SECRET,
  OPEN,
  ORIGINS,
  PARTNER,
  PARTNER_API_KEY,
  PARTNER_TOKEN,
  PREVIOUS_KEY,
  PROTECTED,
  publicKey,
  read,
  render,
  source,
  TRACES,
} from "./gateway.mjs";
import { routesOf } from "./router.mjs";
import { faults, PUBLIC_ROUTES } from "./rules.mjs";

const PUBLIC_KEY = publicKey("ed25519");
const WITH_PUBLIC_KEY = { JWT_SECRET: undefined };

const GOOD = {
  open: OPEN,
  "open, for pages of other origins": { ...OPEN, ...ORIGINS },
  "open, with traces": { ...OPEN, ...TRACES },
  "open, with what only protected uses": { ...OPEN, ...PARTNER, JWT_SECRET },
  protected: PROTECTED,
  "protected, with a partner": { ...PROTECTED, ...PARTNER },
  "protected, with a public key": { ...PROTECTED, ...WITH_PUBLIC_KEY },
  "protected, with everything": FULL,
  "protected, with everything and a public key": { ...FULL, ...WITH_PUBLIC_KEY },
};

for (const [name, environment] of Object.entries(GOOD)) {
  test(`good: ${name}`, () => {
    const pem = name.includes("public key") ? PUBLIC_KEY : undefined;
    assert.deepEqual(faults(read(render(environment, pem)), environment.GATEWAY_PROFILE), []);
  });
}

test("what the environment says is where it belongs, and nowhere else", () => {
  const text = render({ ...FULL, ORDERS_URL: "https://orders.internal" });
  const { services, consumers, plugins } = read(text);
  const consumer = (name) => consumers.find(({ username }) => username === name);
  assert.deepEqual(consumer("users").jwt_secrets, [
    { key: "https://id.example", algorithm: "HS256", secret: JWT_SECRET },
  ]);
  assert.deepEqual(consumer("partner").keyauth_credentials, [{ key: PARTNER_API_KEY }, { key: PREVIOUS_KEY }]);
  assert.deepEqual(services.map(({ url }) => url).slice(0, 2), [
    "https://orders.internal",
    "https://orders.internal/orders",
  ]);
  assert.deepEqual(plugins.find(({ name }) => name === "cors").config.origins, [
    "https://shop.example",
    "http://localhost:5173",
  ]);
  for (const credential of [JWT_SECRET, PARTNER_API_KEY, PREVIOUS_KEY, PARTNER_TOKEN]) {
    assert.equal(text.split(credential).length - 1, 1, "a credential stands in the configuration once");
  }
});

test("a public key arrives as it was, with the algorithm that it is for", () => {
  for (const [algorithm, pem] of [
    ["EdDSA", PUBLIC_KEY],
    ["EdDSA", PUBLIC_KEY.replaceAll("\n", "\r\n")],
    ["ES256", publicKey("ec", { namedCurve: "P-256" })],
    ["RS256", publicKey("rsa", { modulusLength: 2048 })],
    ["RS256", publicKey("rsa", { modulusLength: 3072 })],
    ["RS256", publicKey("rsa", { modulusLength: 4096 })],
  ]) {
    const { consumers } = read(render({ ...PROTECTED, ...WITH_PUBLIC_KEY }, pem));
    const [credential] = consumers.find(({ username }) => username === "users").jwt_secrets;
    const key = pem.replaceAll("\r", "").trim();
    assert.deepEqual(credential, { key: "https://id.example", algorithm, rsa_public_key: key });
  }
});

test("the open profile has no consumer and no gate", () => {
  const document = read(render(OPEN));
  assert.equal(document.consumers, undefined);
  assert.ok(!render({ ...OPEN, JWT_SECRET, ...PARTNER }).includes(JWT_SECRET));
});

test("the routes without a gate are those that are named", () => {
  const open = routesOf(read(render(FULL))).filter(
    ({ route }) => !(route.plugins ?? []).some(({ name }) => name === "jwt"),
  );
  assert.deepEqual(open.map(({ route }) => route.name).sort(), PUBLIC_ROUTES);
});

// --- Broken variants ---------------------------------------------------------------------------------------------

const service = (document, name) => document.services.find((service) => service.name === name);
const route = (document, name) => routesOf(document).find(({ route }) => route.name === name).route;
const consumer = (document, name) => document.consumers.find(({ username }) => username === name);
const plugin = (scope, name) => scope.plugins.find((plugin) => plugin.name === name);
const without = (scope, name) => (scope.plugins = scope.plugins.filter((plugin) => plugin.name !== name));

/** WebSockets at the path where there are operations, too. */
function toOperations(document) {
  const upgrade = route(document, "graphql-upgrade");
  upgrade.strip_path = false;
  service(document, "bff").routes.push(upgrade);
  service(document, "bff-sockets").routes.shift();
}

const complete = render(FULL);

const BROKEN = [
  // What Kong refuses, too.
  [
    "a field is misspelled",
    (d) => (route(d, "orders").path = ["/orders"]),
    /route|routes.*path is no field that is known here; use one of name, paths/,
  ],
  [
    "a plugin does not exist",
    (d) => (plugin(d, "prometheus").name = "prometeus"),
    /must be equal to one of the allowed values: cors, jwt/,
  ],
  [
    "a number is a text",
    (d) => (service(d, "orders").read_timeout = "10s"),
    /\/services\/0\/read_timeout: must be integer/,
  ],
  ["the version is missing", (d) => delete d._format_version, /_format_version is missing/],
  ["a list is empty of value", (d) => (route(d, "pages").plugins = null), /\/plugins has no value/],
  [
    "a protocol is Enterprise's",
    (d) => (route(d, "graphql-socket").protocols = ["ws"]),
    /protocols is no field that is known here/,
  ],
  [
    "a path has no slash",
    (d) => (route(d, "orders").paths = ["orders"]),
    /paths\/0 must be a path that begins with \//,
  ],
  [
    "a limit has no period",
    (d) => delete plugin(d, "rate-limiting").config.minute,
    /rate-limiting, config: minute is missing: say it/,
  ],
  [
    "a limit needs a database",
    (d) => (plugin(d, "rate-limiting").config.policy = "cluster"),
    /policy must be local: cluster needs a database/,
  ],
  ["a route's name is taken", (d) => (route(d, "invoices").name = "orders"), /two routes are the same/],
  [
    "a plugin stands twice",
    (d) =>
      d.plugins.push({ ...plugin(d, "prometheus"), config: { ...plugin(d, "prometheus").config, per_consumer: true } }),
    /everywhere: prometheus stands there twice/,
  ],
  [
    "a regex looks ahead",
    (d) => (route(d, "orders").paths = ["~/orders(?=/|$)$"]),
    /looks around or back, which Kong's regexes cannot/,
  ],
  // What Kong takes without a word.
  [
    "an anonymous consumer does not exist",
    (d) => (consumer(d, "anonymous").username = "anonymus"),
    /there is no consumer anonymous, so each request is answered 500; add it/,
  ],
  [
    "the anonymous consumer is let in",
    (d) => without(consumer(d, "anonymous"), "request-termination"),
    /whoever has no token and no key passes; add it/,
  ],
  [
    "the anonymous consumer is told 200",
    (d) => (plugin(consumer(d, "anonymous"), "request-termination").config.status_code = 403),
    /no request-termination with status 401/,
  ],
  [
    "the anonymous consumer has a key",
    (d) => (consumer(d, "anonymous").keyauth_credentials = [{ key: "k" }]),
    /consumer anonymous: has credentials.*give them to another consumer/,
  ],
  [
    "a route has no OPTIONS",
    (d) => (route(d, "orders").methods = ["GET", "POST"]),
    /route orders: methods has no OPTIONS.*add OPTIONS/,
  ],
  ["a path is a prefix", (d) => (route(d, "orders").paths = ["/orders"]), /matches \/ordersX too; write it as a regex/],
  ["a regex is open at its end", (d) => (route(d, "orders").paths = ["~/orders"]), /open at its end.*end it with \$/],
  [
    "a regex is anchored on one side",
    (d) => (route(d, "graphql").paths = ["~/graphql|/gql$"]),
    /alternative outside of a group.*write ~\/\(\?:a\|b\)\$/,
  ],
  [
    "strip_path is left to Kong",
    (d) => delete route(d, "invoices").strip_path,
    /strip_path is not said.*say strip_path: false/,
  ],
  [
    "two routes match alike",
    (d) => delete route(d, "orders-alias").regex_priority,
    /POST \/orders\/orders matches orders-alias and orders alike|POST \/orders\/orders matches orders and orders-alias alike.*give one a higher regex_priority/,
  ],
  [
    "a route hides another",
    (d) => (route(d, "invoices").regex_priority = 11),
    /route invoices-meta does not get GET \/invoices\/health, invoices does; raise its regex_priority/,
  ],
  [
    "a route is never reached",
    (d) => (route(d, "graphql-upgrade").headers = { upgrade: ["never"] }),
    /route graphql-upgrade does not get GET \/graphql, graphql does/,
  ],
  [
    "a route is new",
    (d) => service(d, "bff").routes.push({ ...route(d, "bff-meta"), name: "admin", paths: ["~/admin$"] }),
    /route admin is unknown to REACHED/,
  ],
  ["retries are left to Kong", (d) => (service(d, "orders").retries = 5), /retries is 5.*at most 1/],
  [
    "a service that is away is noticed late",
    (d) => (service(d, "orders").connect_timeout = 60000),
    /connect_timeout of 60000 ms.*within 5000 ms/,
  ],
  ["a timeout is left to Kong", (d) => delete service(d, "orders").read_timeout, /read_timeout is missing: say it/],
  [
    "expired tokens pass",
    (d) => (plugin(route(d, "orders"), "jwt").config.claims_to_verify = []),
    /tokens that have expired pass; put exp in claims_to_verify/,
  ],
  [
    "claims are left to Kong",
    (d) => delete plugin(route(d, "orders"), "jwt").config.claims_to_verify,
    /claims_to_verify is missing/,
  ],
  [
    "tokens in URLs",
    (d) => (plugin(route(d, "orders"), "jwt").config.uri_param_names = ["jwt"]),
    /takes tokens from the URL.*make uri_param_names \[\]/,
  ],
  [
    "tokens in cookies",
    (d) => (plugin(route(d, "orders"), "jwt").config.cookie_names = ["token"]),
    /takes tokens from cookies.*make cookie_names \[\]/,
  ],
  [
    "keys in bodies",
    (d) => (plugin(route(d, "orders"), "key-auth").config.key_in_body = true),
    /reads and rewrites every body; say key_in_body: false/,
  ],
  [
    "keys in URLs",
    (d) => (plugin(route(d, "orders"), "key-auth").config.key_in_query = true),
    /takes keys from the URL.*key_in_query: false/,
  ],
  [
    "keys go on to the services",
    (d) => (plugin(route(d, "orders"), "key-auth").config.hide_credentials = false),
    /passes the key on.*hide_credentials: true/,
  ],
  [
    "the gate is missing",
    (d) => delete route(d, "invoices").plugins,
    /route invoices: anybody can use it without a token or a key; give it plugins: \*gate/,
  ],
  ["half of the gate is missing", (d) => without(route(d, "orders"), "jwt"), /route orders: anybody can use it/],
  [
    "a token does not do without a key",
    (d) => {
      plugin(route(d, "orders"), "jwt").config.anonymous = "nobody";
      d.consumers.push({ ...structuredClone(consumer(d, "anonymous")), username: "nobody" });
    },
    /jwt and key-auth have different names in anonymous/,
  ],
  [
    "a public page has a gate",
    (d) => (route(d, "pages").plugins = structuredClone(route(d, "orders").plugins)),
    /route pages: has jwt and key-auth, and is in PUBLIC_ROUTES/,
  ],
  [
    "a WebSocket goes around the gate",
    toOperations,
    /route graphql-upgrade: WebSockets pass the gate without a token, so they must lead to \/graphql\/ws/,
  ],
  [
    "an operation goes around the gate",
    toOperations,
    /GET \/graphql\?query=.* with Upgrade: websocket,websocket reaches bff without a token, by route graphql-upgrade/,
  ],
  ["a WebSocket is cut", (d) => (service(d, "bff-sockets").read_timeout = 60000), /silent for the 60000 ms.*3600000/],
  [
    "the page's host is lost",
    (d) => delete route(d, "graphql-socket").preserve_host,
    /without preserve_host: true the bff does not know its own pages/,
  ],
  [
    "users share a limit",
    (d) => (plugin(d, "rate-limiting").config.limit_by = "consumer"),
    /must have limit_by: ip.*all users would share one limit/,
  ],
  [
    "users of an issuer share a limit of their own",
    (d) => (consumer(d, "users").plugins = [plugin(consumer(d, "partner"), "rate-limiting")]),
    /consumer users: rate-limiting with limit_by: consumer counts all users of an issuer as one/,
  ],
  ["there is no limit", (d) => without(d, "rate-limiting"), /there is no rate-limiting for everything/],
  [
    "the partner has no limit of its own",
    (d) => without(consumer(d, "partner"), "rate-limiting"),
    /has a key and no limit of its own/,
  ],
  ["bodies have no limit", (d) => without(d, "request-size-limiting"), /no request-size-limiting under plugins/],
  [
    "identity headers pass",
    (d) => without(d, "post-function"),
    /X-Consumer-ID, .*reach the services: clear them with post-function/,
  ],
  [
    "one identity header passes",
    (d) => {
      const { config } = plugin(d, "post-function");
      config.access = config.access.map((code) => code.replace('"X-Consumer-Groups", ', ""));
    },
    /a client's X-Consumer-Groups reach the services/,
  ],
  [
    "a route's own function replaces the one for all",
    (d) => (route(d, "pages").plugins = [{ name: "post-function", config: { access: ["return"] } }]),
    /replaces the one under plugins, and identity headers pass/,
  ],
  [
    "the partner's rewriting replaces a route's",
    (d) => route(d, "orders").plugins.push({ name: "request-transformer", config: { replace: { uri: "/orders" } } }),
    /the partner's request-transformer replaces this one/,
  ],
  [
    "a rewriting for everything",
    (d) => d.plugins.push({ name: "request-transformer", config: { add: { headers: ["X-A:b"] } } }),
    /request-transformer under plugins is replaced by the partner's/,
  ],
  [
    "everybody gets the partner's token",
    (d) => route(d, "orders").plugins.push(structuredClone(plugin(consumer(d, "partner"), "request-transformer"))),
    /lends its token to everybody who has none/,
  ],
  [
    "a caller's token is overwritten",
    (d) => {
      const { config } = plugin(consumer(d, "partner"), "request-transformer");
      config.replace = config.add;
      delete config.add;
    },
    /replace.*headers is no field that is known here/,
  ],
  [
    "any page may act for our users",
    (d) => (plugin(d, "cors").config.origins = ["*"]),
    /\* is no whole origin.*name each as https:\/\/shop.example/,
  ],
  [
    "an origin is a regex",
    (d) => (plugin(d, "cors").config.origins = ["https://.*\\.shop.example"]),
    /is no whole origin/,
  ],
  [
    "no origin means every origin",
    (d) => (plugin(d, "cors").config.origins = []),
    /origins must be one origin at least: to Kong an empty list is every origin/,
  ],
  [
    "pages cannot send the key of a repetition",
    (d) => (plugin(d, "cors").config.headers = ["Authorization"]),
    /pages may not send Idempotency-Key; add it to headers/,
  ],
  [
    "pages cannot read where the order is",
    (d) => (plugin(d, "cors").config.exposed_headers = []),
    /pages cannot read Location; add it to exposed_headers/,
  ],
  [
    "a 404 has no CORS headers",
    (d) => {
      route(d, "orders").plugins.push(plugin(d, "cors"));
      without(d, "cors");
    },
    /route orders: cors belongs under plugins/,
  ],
  [
    "no trace survives",
    (d) => (plugin(d, "opentelemetry").config.sampling_rate = 0),
    /with sampling_rate 0 every trace that comes is switched off/,
  ],
  [
    "the share of traces is left to Kong",
    (d) => delete plugin(d, "opentelemetry").config.sampling_rate,
    /sampling_rate is missing/,
  ],
  [
    "the collector's path is missing",
    (d) => (plugin(d, "opentelemetry").config.traces_endpoint = "http://jaeger:4318"),
    /traces_endpoint must be the collector's URL with its path/,
  ],
  [
    "an old name of a field",
    (d) => (plugin(d, "opentelemetry").config.endpoint = "http://jaeger:4318/v1/traces"),
    /endpoint is no field that is known here/,
  ],
  [
    "metrics are left to Kong",
    (d) => (plugin(d, "prometheus").config = {}),
    /status_code_metrics is off.*say status_code_metrics: true/,
  ],
  [
    "answers are cached",
    (d) => d.plugins.push({ name: "proxy-cache", config: { strategy: "memory" } }),
    /must be equal to one of the allowed values/,
  ],
  [
    "a credential is a reference",
    (d) => (consumer(d, "partner").keyauth_credentials[0].key = "{vault://env/partner-api-key}"),
    /takes \{vault:\/\/…\} literally/,
  ],
  [
    "a name was not filled in",
    (d) => (consumer(d, "users").jwt_secrets[0].secret = "${JWT_SECRET} and a bit more than that"),
    /was not filled in/,
  ],
  [
    "a secret can be guessed",
    (d) => (consumer(d, "users").jwt_secrets[0].secret = "secret"),
    /can be guessed; it needs 32 bytes/,
  ],
  [
    "a secret has a public key beside it",
    (d) => (consumer(d, "users").jwt_secrets[0].rsa_public_key = PUBLIC_KEY),
    /has a secret and a public key; keep the one that HS256 uses/,
  ],
  [
    "a public key is used as a secret",
    (d) => (consumer(d, "users").jwt_secrets[0].algorithm = "RS256"),
    /RS256 needs rsa_public_key in PEM/,
  ],
];

for (const [what, change, message] of BROKEN) {
  test(`broken: ${what}`, () => {
    const document = read(complete);
    // Aliases of YAML are one object in memory, and Kong's copies are not.
    const broken = structuredClone(JSON.parse(JSON.stringify(document)));
    change(broken);
    assert.notDeepEqual(broken, document, "the variant is not one");
    const found = faults(broken, "protected");
    assert.ok(
      found.some((fault) => message.test(fault)),
      `not found:\n${found.join("\n") || "(nothing was)"}`,
    );
  });
}

test("broken: the gate stands in the open profile", () => {
  assert.match(
    faults(read(render(FULL)), "open").join("\n"),
    /in the profile open, where nobody is asked; put it between #if protected and #end/,
  );
});

test("broken: a key of YAML is repeated, of which Kong would take one", () => {
  const text = render(OPEN).replace("retries: 1", "retries: 1\n    retries: 5");
  assert.throws(() => read(text), /Map keys must be unique/);
});

// --- What is committed -------------------------------------------------------------------------------------------

test("no credential is committed: each is a name to fill in, and the image has no value for it", () => {
  const credentials = /^\s*(?:- )?(?:key|secret|rsa_public_key|headers): *(.*)$/;
  const secrets = [];
  for (const line of source("kong/kong.template.yml").split("\n")) {
    const value = credentials.exec(line)?.[1].replace(/ #.*$/, "");
    if (value === undefined || !/Bearer|^"/.test(value) || value.includes("WWW-Authenticate")) continue;
    assert.match(
      value,
      /^(?:\["Authorization:Bearer \$\{[A-Z_]+\}"\]|"\$\{[A-Z_]+\}")$/,
      `a plain text where a name belongs: ${line.trim()}`,
    );
    secrets.push(/\{([A-Z_]+)\}/.exec(value)[1]);
  }
  assert.deepEqual(secrets.sort(), [
    "JWT_ISSUER",
    "JWT_PUBLIC_KEY",
    "JWT_SECRET",
    "PARTNER_API_KEY",
    "PARTNER_API_KEY_PREVIOUS",
    "PARTNER_TOKEN",
  ]);
  const environment = imageEnvironment();
  assert.deepEqual(
    Object.keys(environment).filter((name) => /SECRET|TOKEN|PASSWORD|_KEY$|ISSUER/.test(name)),
    [],
  );
});

test("the image is Kong's last open-source one, with its own entry point behind ours", () => {
  const dockerfile = source("kong/Dockerfile");
  assert.match(dockerfile, /^FROM kong:3\.9\.3$/m);
  assert.match(dockerfile, /^ENTRYPOINT \["\/opt\/tandem\/start\.sh"\]\nCMD \["kong", "docker-start"\]$/m);
  assert.doesNotMatch(dockerfile, /^USER /m, "the image's own user, who is not root, stays");
  const copied = [...dockerfile.matchAll(/^COPY \S+ (.*) \/opt\/tandem\/$/gm)].flatMap(([, files]) => files.split(" "));
  assert.deepEqual(copied.sort(), ["healthcheck.sh", "kong.template.yml", "start.sh"]);
});

test("the image's settings of Kong are those that its traps ask for", () => {
  const environment = imageEnvironment();
  const expected = {
    KONG_DATABASE: "off",
    KONG_PROXY_LISTEN: "0.0.0.0:8000",
    KONG_STATUS_LISTEN: "0.0.0.0:8100", // Kong's own is 127.0.0.1:8007, where no load balancer can ask
    KONG_ADMIN_LISTEN: "off",
    KONG_ADMIN_GUI_LISTEN: "off",
    KONG_ROUTER_FLAVOR: "traditional_compatible",
    KONG_UNTRUSTED_LUA: "sandbox",
    KONG_TRACING_INSTRUMENTATIONS: "request,router,balancer", // `off` darkens traces
    KONG_TRACING_SAMPLING_RATE: "1",
    KONG_NEW_DNS_CLIENT: "off", // serves stale addresses for 55 s
    KONG_DNS_ORDER: "LAST,A",
    KONG_DNS_VALID_TTL: "5",
    KONG_DNS_STALE_TTL: "5",
    KONG_DNS_NOT_FOUND_TTL: "1",
    KONG_DNS_ERROR_TTL: "1",
    KONG_NGINX_WORKER_PROCESSES: "1",
    KONG_ANONYMOUS_REPORTS: "off",
  };
  for (const [name, value] of Object.entries(expected)) assert.equal(environment[name], value, name);
});

// --- The numbers of the code -------------------------------------------------------------------------------------

/** A number in the code, by a pattern with one group. */
function numberIn(file, pattern) {
  const found = pattern.exec(source(file));
  assert.ok(found, `${file} has no ${pattern}: it moved, and the gateway depends on it`);
  return Number(found[1]);
}

test("the services are where they listen", () => {
  const environment = imageEnvironment();
  for (const service of ["orders", "invoices", "bff"]) {
    const port = numberIn(`${service}/src/config.rs`, /port\.default_value\("(\d+)"\)/);
    assert.equal(environment[`${service.toUpperCase()}_URL`], `http://${service}:${port}`);
  }
});

test("the gateway's timeouts and limits fit those of the services", () => {
  const document = read(render(FULL));
  const { read_timeout } = service(document, "bff");
  const heartBeat = numberIn("bff/src/transport/sse.rs", /HEART_BEAT: Duration = Duration::from_secs\((\d+)\)/);
  assert.ok(read_timeout >= 5 * heartBeat * 1000, "an event stream outlives lost heart beats");
  assert.ok(read_timeout > 60_000, "the bff's own answer comes first, whatever its REQUEST_TIMEOUT_MS");

  const ping = numberIn("bff/src/config.rs", /WS_PING_INTERVAL_MS", default_value = "(\d+)"/);
  assert.ok(service(document, "bff-sockets").read_timeout > 10 * ping);

  const idle = numberIn("chassis/src/http.rs", /HEADER_READ: Duration = Duration::from_secs\((\d+)\)/);
  assert.ok(
    Number(imageEnvironment().KONG_UPSTREAM_KEEPALIVE_IDLE_TIMEOUT) < idle,
    "Kong closes idle connections first",
  );

  const body = numberIn("chassis/src/http.rs", /BODY_LIMIT: usize = (\d+) \* 1024/);
  const { allowed_payload_size, size_unit } = plugin(document, "request-size-limiting").config;
  assert.equal(size_unit, "kilobytes");
  assert.ok(allowed_payload_size > body, "the services say what is too large for them");
});
