// What a configuration must keep that Kong accepts without a word and that goes wrong later: each rule is a mistake that
// starts up well. A fault says where, why, and what to do.

import { findRoute, routesOf, serve } from "./router.mjs";
import { pluginsWithPlaces, schemaFaults } from "./schema.mjs";

/** The routes that ask nobody for a token or a key, also in the profile `protected`; why is in the README. */
export const PUBLIC_ROUTES = [
  "bff-meta",
  "graphql-socket",
  "graphql-upgrade",
  "invoices-meta",
  "nothing",
  "orders-meta",
  "pages",
];

/** A request for each route, which has to get there. */
const REACHED = [
  ["orders", "GET", "/orders/1"],
  ["orders-meta", "GET", "/orders/health"],
  ["orders-alias", "POST", "/orders/orders"],
  ["invoices", "GET", "/invoices/1"],
  ["invoices-meta", "GET", "/invoices/health"],
  ["graphql", "POST", "/graphql"],
  ["graphql-upgrade", "GET", "/graphql", { upgrade: "websocket" }],
  ["graphql-socket", "GET", "/graphql/ws"],
  ["pages", "GET", "/console"],
  ["bff-meta", "GET", "/health"],
  ["nothing", "GET", "/elsewhere"],
];

/** Headers that say who is calling: none of them may reach a service. */
export const IDENTITY_HEADERS = [
  "X-Consumer-ID",
  "X-Consumer-Custom-ID",
  "X-Consumer-Username",
  "X-Consumer-Groups",
  "X-Authenticated-Groups",
  "X-Credential-Identifier",
  "X-Anonymous-Consumer",
  "apikey",
];

/** What is wrong with a configuration for a profile, as sentences; an empty list when nothing is. */
export function faults(document, profile) {
  // What does not have the shape of a configuration cannot be asked anything else.
  const shape = [...nullFaults(document), ...schemaFaults(document)];
  if (shape.length > 0) return shape;
  // Where routes cannot be told apart, nobody can say who gets through.
  const order = [...names(document), ...paths(document), ...reach(document)];
  if (order.length > 0) return order;
  const rules = [
    transport,
    sockets,
    gates,
    anonymous,
    tokens,
    keys,
    limits,
    identity,
    rewriting,
    crossOrigin,
    traces,
    metrics,
    literals,
  ];
  return rules.flatMap((rule) => [...rule(document, profile)]);
}

function* nullFaults(value, place = "") {
  if (value === null || value === undefined) {
    yield `${place || "the document"} has no value: Kong refuses it, or takes its default; give it one or take the name away`;
  } else if (typeof value === "object") {
    for (const [key, inner] of Object.entries(value)) yield* nullFaults(inner, `${place}/${key}`);
  }
}

const servicesOf = (document) => document.services ?? [];
const consumersOf = (document) => document.consumers ?? [];
const pluginsNamed = (document, name) => pluginsWithPlaces(document).filter(({ plugin }) => plugin.name === name);
const globalPlugin = (document, name) => document.plugins.find((plugin) => plugin.name === name);

function* names(document) {
  const lists = {
    services: servicesOf(document).map(({ name }) => name),
    routes: routesOf(document).map(({ route }) => route.name),
    consumers: consumersOf(document).map(({ username }) => username),
    "API keys": consumersOf(document).flatMap((consumer) => (consumer.keyauth_credentials ?? []).map(({ key }) => key)),
    issuers: consumersOf(document).flatMap((consumer) => (consumer.jwt_secrets ?? []).map(({ key }) => key)),
  };
  for (const [kind, list] of Object.entries(lists)) {
    if (new Set(list).size < list.length) yield `two ${kind} are the same: Kong refuses to start; give each its own`;
  }
  const seen = new Set();
  for (const { place, plugin } of pluginsWithPlaces(document)) {
    const key = `${place} ${plugin.name}`;
    if (seen.has(key)) yield `${place}: ${plugin.name} stands there twice, and Kong refuses to start; make one of them`;
    seen.add(key);
  }
}

function* paths(document) {
  for (const { route, service } of routesOf(document)) {
    const place = `route ${route.name}`;
    if (route.methods && !route.methods.includes("OPTIONS")) {
      yield `${place}: methods has no OPTIONS, so a browser's preflight request gets a 404; add OPTIONS`;
    }
    if (service && route.strip_path === undefined) {
      yield `${place}: strip_path is not said, and Kong's default takes the path away; say strip_path: false, or true if that is meant`;
    }
    for (const path of route.paths) {
      if (!path.startsWith("~")) {
        if (service || path !== "/") {
          yield `${place}: ${path} is a prefix of letters and matches ${path}X too; write it as a regex, ~${path}(?:/[^/]+)*$`;
        }
        continue;
      }
      if (!path.endsWith("$"))
        yield `${place}: ${path} is open at its end; Kong anchors only the start, so end it with $`;
      if (hasOpenAlternative(path)) {
        yield `${place}: ${path} has an alternative outside of a group, and the anchors belong to one side of it only; write ~/(?:a|b)$`;
      }
      if (/\(\?(?:[=!]|<[=!])|\\[1-9]/.test(path)) {
        yield `${place}: ${path} looks around or back, which Kong's regexes cannot; use regex_priority to decide between routes`;
      }
    }
  }
}

function hasOpenAlternative(path) {
  let depth = 0;
  for (const [part] of path.matchAll(/\\.|\[[^\]]*\]|./g)) {
    if (part === "(") depth += 1;
    else if (part === ")") depth -= 1;
    else if (part === "|" && depth === 0) return true;
  }
  return false;
}

/** Every route is reached, and no other is in front of it. */
function* reach(document) {
  for (const [name, method, path, headers = {}] of REACHED) {
    let found;
    try {
      found = findRoute(document, { method, path, headers })?.route.name;
    } catch (error) {
      yield error.message;
      continue;
    }
    if (found !== name) {
      yield `route ${name} does not get ${method} ${path}, ${found ?? "no route"} does; raise its regex_priority, or make the other's path narrower`;
    }
  }
  const known = REACHED.map(([name]) => name);
  for (const { route } of routesOf(document)) {
    if (!known.includes(route.name))
      yield `route ${route.name} is unknown to REACHED of kong/test/rules.mjs; add a request that has to get there`;
  }
}

function* transport(document) {
  for (const service of servicesOf(document)) {
    const most = service.name.startsWith("bff") ? 0 : 1;
    if (service.retries > most) {
      yield `service ${service.name}: retries is ${service.retries}: each retry asks a slow service once more, and takes its whole timeout; at most ${most}`;
    }
    if (service.connect_timeout > 5000) {
      yield `service ${service.name}: connect_timeout of ${service.connect_timeout} ms: a service that is away should be noticed within 5000 ms`;
    }
  }
}

/** WebSockets: long timeouts, the page's own Host, and a path where there is nothing else. */
function* sockets(document) {
  for (const { route, service } of routesOf(document)) {
    const upgrade = route.headers?.upgrade !== undefined;
    const path = service && new URL(service.url).pathname;
    if (!upgrade && path !== "/graphql/ws") continue;
    const place = `route ${route.name}`;
    if (path !== "/graphql/ws" || !route.strip_path) {
      yield `${place}: WebSockets pass the gate without a token, so they must lead to /graphql/ws and nowhere else: with two Upgrade headers an ordinary operation would go around the gate; give them a service whose url ends with /graphql/ws, and strip_path: true`;
    }
    if (!route.preserve_host) {
      yield `${place}: without preserve_host: true the bff does not know its own pages by their Origin, and refuses their WebSockets`;
    }
    if (service.read_timeout < 600000 || service.write_timeout < 600000) {
      yield `${place}: a WebSocket that is silent for the ${service.read_timeout} ms of read_timeout or write_timeout is cut; give its service an hour, 3600000`;
    }
  }
}

/** In `protected` every route has the gate but those that are named; in `open` none has. */
function* gates(document, profile) {
  for (const { route, service } of routesOf(document)) {
    const has = (name) =>
      [...(route.plugins ?? []), ...(service?.plugins ?? [])].find((plugin) => plugin.name === name);
    const gate = ["jwt", "key-auth"].filter(has);
    const place = `route ${route.name}`;
    if (profile === "open") {
      if (gate.length > 0)
        yield `${place}: has ${gate.join(" and ")} in the profile open, where nobody is asked; put it between #if protected and #end`;
    } else if (PUBLIC_ROUTES.includes(route.name)) {
      if (gate.length > 0)
        yield `${place}: has ${gate.join(" and ")}, and is in PUBLIC_ROUTES of kong/test/rules.mjs; it is one of the two`;
    } else if (gate.length < 2) {
      yield `${place}: anybody can use it without a token or a key; give it plugins: *gate, or name it in PUBLIC_ROUTES of kong/test/rules.mjs and say in the README why`;
    } else if (has("jwt").config.anonymous !== has("key-auth").config.anonymous) {
      yield `${place}: jwt and key-auth have different names in anonymous, so a token does not do where there is no key; give both the same`;
    }
  }
  if (profile === "protected") {
    // Whatever is sent, what the gate is before is not reached without it.
    for (const upgrade of [undefined, "websocket", ["websocket", "websocket"], ["h2c", "websocket"]]) {
      for (const path of [
        "/graphql",
        "/graphql?query={orders{nodes{id}}}",
        "/graphql/ws/../",
        "/orders",
        "/orders/1",
        "/orders/orders",
        "/invoices",
        "/invoices/1",
      ]) {
        for (const method of ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]) {
          const answer = serve(document, { method, path, headers: upgrade ? { upgrade } : {} });
          if (answer.service && answer.path !== "/graphql/ws" && !answer.path.startsWith("/graphql/ws?")) {
            yield `${method} ${path}${upgrade ? ` with Upgrade: ${upgrade}` : ""} reaches ${answer.service} without a token, by route ${answer.route}; give that route the gate`;
          }
        }
      }
    }
  }
}

function* anonymous(document) {
  for (const { place, plugin } of pluginsWithPlaces(document)) {
    const name = plugin.config.anonymous;
    if (name === undefined) continue;
    const consumer = consumersOf(document).find(({ username }) => username === name);
    if (!consumer) {
      yield `${place}, plugin ${plugin.name}: there is no consumer ${name}, so each request is answered 500; add it under consumers`;
      continue;
    }
    const termination = (consumer.plugins ?? []).find((plugin) => plugin.name === "request-termination");
    if (termination?.config.status_code !== 401) {
      yield `consumer ${name}: has no request-termination with status 401, so whoever has no token and no key passes; add it`;
    }
    if (consumer.jwt_secrets || consumer.keyauth_credentials) {
      yield `consumer ${name}: has credentials; whoever uses them is answered 401, so give them to another consumer`;
    }
  }
}

function* tokens(document) {
  for (const { place, plugin } of pluginsNamed(document, "jwt")) {
    const { claims_to_verify, uri_param_names, cookie_names } = plugin.config;
    if (!claims_to_verify.includes("exp"))
      yield `${place}, plugin jwt: tokens that have expired pass; put exp in claims_to_verify`;
    if (uri_param_names.length > 0)
      yield `${place}, plugin jwt: takes tokens from the URL, where access logs keep them; make uri_param_names []`;
    if ((cookie_names ?? []).length > 0)
      yield `${place}, plugin jwt: takes tokens from cookies, which any page sends along; make cookie_names []`;
  }
  for (const consumer of consumersOf(document)) {
    for (const { algorithm, secret, rsa_public_key } of consumer.jwt_secrets ?? []) {
      const place = `consumer ${consumer.username}`;
      const symmetric = algorithm.startsWith("HS");
      if (symmetric && (!secret || secret.length < 32)) {
        yield `${place}: the secret of ${algorithm} is missing or can be guessed; it needs 32 bytes or more`;
      }
      if (!symmetric && !rsa_public_key?.includes("BEGIN PUBLIC KEY")) {
        yield `${place}: ${algorithm} needs rsa_public_key in PEM, also for keys that are not RSA`;
      }
      if (secret && rsa_public_key)
        yield `${place}: has a secret and a public key; keep the one that ${algorithm} uses`;
    }
  }
}

function* keys(document) {
  for (const { place, plugin } of pluginsNamed(document, "key-auth")) {
    const { key_in_query, key_in_body, hide_credentials } = plugin.config;
    if (key_in_query)
      yield `${place}, plugin key-auth: takes keys from the URL, where access logs keep them; say key_in_query: false`;
    if (key_in_body) yield `${place}, plugin key-auth: reads and rewrites every body; say key_in_body: false`;
    if (!hide_credentials)
      yield `${place}, plugin key-auth: passes the key on to the services; say hide_credentials: true`;
  }
  for (const consumer of consumersOf(document)) {
    if (!consumer.keyauth_credentials) continue;
    const limit = (consumer.plugins ?? []).find(({ name }) => name === "rate-limiting");
    if (limit?.config.limit_by !== "consumer") {
      yield `consumer ${consumer.username}: has a key and no limit of its own; give it rate-limiting with limit_by: consumer`;
    }
  }
}

function* limits(document) {
  const everywhere = globalPlugin(document, "rate-limiting");
  if (!everywhere)
    yield "there is no rate-limiting for everything under plugins, so that some routes have no limit; add it";
  else if (everywhere.config.limit_by !== "ip") {
    yield "rate-limiting for everything must have limit_by: ip: the consumer of a token is its issuer, so all users would share one limit";
  }
  for (const { place, plugin, scope } of pluginsNamed(document, "rate-limiting")) {
    if (plugin.config.limit_by === "consumer" && !scope.keyauth_credentials) {
      yield `${place}: rate-limiting with limit_by: consumer counts all users of an issuer as one; say limit_by: ip`;
    }
  }
  if (!globalPlugin(document, "request-size-limiting")) {
    yield "there is no request-size-limiting under plugins: Kong has no limit of its own; add it";
  }
}

function* identity(document) {
  const last = globalPlugin(document, "post-function");
  const code = (last?.config.access ?? []).join("\n");
  const kept = IDENTITY_HEADERS.filter((name) => !code.toLowerCase().includes(`"${name.toLowerCase()}"`));
  if (!code.includes("clear_header") || kept.length > 0) {
    yield `a client's ${kept.join(", ") || "identity headers"} reach the services: clear them with post-function under plugins, which every route has`;
  }
  for (const { place } of pluginsNamed(document, "post-function").filter(({ scope }) => scope !== document)) {
    yield `${place}: its post-function replaces the one under plugins, and identity headers pass; put both into that one`;
  }
}

function* rewriting(document) {
  for (const { place, plugin, scope } of pluginsNamed(document, "request-transformer")) {
    const gated = (scope.plugins ?? []).some(({ name }) => name === "jwt" || name === "key-auth");
    if (gated && plugin.config.replace?.uri) {
      yield `${place}: the partner's request-transformer replaces this one, so its requests would not be rewritten; use a service with the path, and strip_path: true`;
    }
    if (scope === document)
      yield "request-transformer under plugins is replaced by the partner's and by those of routes; put it where it is meant";
    for (const header of plugin.config.add?.headers ?? []) {
      if (header.toLowerCase().startsWith("authorization:") && !scope.keyauth_credentials) {
        yield `${place}: lends its token to everybody who has none; only a consumer with an API key may have one`;
      }
    }
  }
}

function* crossOrigin(document) {
  for (const { place, plugin } of pluginsNamed(document, "cors")) {
    for (const origin of plugin.config.origins) {
      if (!/^https?:\/\/[a-z0-9.-]+(:\d+)?$/.test(origin)) {
        yield `${place}, plugin cors: ${origin} is no whole origin: * and regexes let pages of strangers act for our users; name each as https://shop.example`;
      }
    }
    for (const name of ["Authorization", "Content-Type", "Idempotency-Key", "apikey", "traceparent"]) {
      if (!plugin.config.headers.some((header) => header.toLowerCase() === name.toLowerCase())) {
        yield `${place}, plugin cors: pages may not send ${name}; add it to headers`;
      }
    }
    for (const name of ["Location", "ETag", "Retry-After", "RateLimit-Remaining"]) {
      if (!(plugin.config.exposed_headers ?? []).includes(name))
        yield `${place}, plugin cors: pages cannot read ${name}; add it to exposed_headers`;
    }
  }
  for (const { place } of pluginsNamed(document, "cors").filter(({ scope }) => scope !== document)) {
    yield `${place}: cors belongs under plugins: a 404 and a 401 need its headers, too`;
  }
}

function* traces(document) {
  const plugin = globalPlugin(document, "opentelemetry");
  if (plugin && plugin.config.sampling_rate === 0) {
    yield "opentelemetry: with sampling_rate 0 every trace that comes is switched off behind Kong; take the plugin away instead";
  }
}

function* metrics(document) {
  const config = globalPlugin(document, "prometheus")?.config ?? {};
  for (const name of ["status_code_metrics", "latency_metrics", "bandwidth_metrics"]) {
    if (!config[name])
      yield `prometheus: ${name} is off, which is Kong's default, and dashboards stay empty; say ${name}: true under plugins`;
  }
}

function* literals(document) {
  for (const [place, text] of stringsOf(document)) {
    if (/\{vault:/i.test(text))
      yield `${place}: Kong takes {vault://…} literally in most fields, so it would be the credential itself; use \${NAME} in the template`;
    if (/\$\{/.test(text)) yield `${place}: ${text} was not filled in; give start.sh a value for it`;
  }
}

function* stringsOf(value, place = "") {
  if (typeof value === "string") yield [place, value];
  else if (typeof value === "object")
    for (const [key, inner] of Object.entries(value)) yield* stringsOf(inner, `${place}/${key}`);
}
