// What Kong 3.9 does with a request, as far as the configuration decides it: normalised path, route, gate, plugins,
// upstream URL. Written after Kong's documentation and its router in the flavor `traditional_compatible`; independent of
// the rules in rules.mjs, so that the two cannot be wrong together.

const RESERVED = new Set("!*'();:@&=+$,/?%#[]");

/** The path that routes are compared with: unreserved characters decoded, dot segments and double slashes removed. */
export function normalize(path) {
  let rest = path.replaceAll(/%([\dA-Fa-f]{2})/g, (triplet, hex) => {
    const character = String.fromCharCode(parseInt(hex, 16));
    return RESERVED.has(character) ? triplet.toUpperCase() : character;
  });
  const segments = [];
  while (rest !== "") {
    if (rest.startsWith("//")) rest = rest.slice(1);
    else if (/^\/\.(\/|$)/.test(rest)) rest = rest.slice(2) || "/";
    else if (/^\/\.\.(\/|$)/.test(rest)) {
      rest = rest.slice(3) || "/";
      segments.pop();
    } else {
      const [segment] = /^\/?[^/]*/.exec(rest);
      segments.push(segment);
      rest = rest.slice(segment.length);
    }
  }
  return segments.join("");
}

/** As it goes out again. */
function escape(path) {
  return path.replaceAll(/[^!#$&'()*+,/:;=?@[\]A-Za-z\d\-_.~%]/g, (character) => {
    return `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`;
  });
}

/** All routes with their services; one that has none answers by itself. */
export function routesOf(document) {
  const nested = (document.services ?? []).flatMap((service) =>
    (service.routes ?? []).map((route) => ({ route, service })),
  );
  return [...nested, ...(document.routes ?? []).map((route) => ({ route, service: undefined }))];
}

const isRegex = (path) => path.startsWith("~");

/** What of the path a route matches, or undefined. Regexes are anchored by Kong at their start, and only there. */
function matchPath(route, path) {
  for (const pattern of route.paths ?? ["/"]) {
    if (!isRegex(pattern)) {
      if (path.startsWith(pattern)) return { matched: pattern, captures: {} };
      continue;
    }
    const found = new RegExp(`^${pattern.slice(1)}`).exec(path);
    if (found) return { matched: found[0], captures: found.groups ?? {} };
  }
  return undefined;
}

function matches(route, { method, headers }, path) {
  if (route.methods && !route.methods.includes(method)) return undefined;
  for (const [name, values] of Object.entries(route.headers ?? {})) {
    // Any of the values that a header was sent with.
    const sent = [headers[name] ?? []].flat().map((value) => value.toLowerCase());
    if (!values.some((value) => sent.includes(value.toLowerCase()))) return undefined;
  }
  return matchPath(route, path);
}

/** The order of routes: more kinds of condition, more headers, regexes, their priority, longer paths. */
function rank(route) {
  const conditions = ["methods", "hosts", "headers", "snis", "paths"].filter(
    (kind) => Object.keys(route[kind] ?? []).length > 0,
  );
  const regex = isRegex(route.paths?.[0] ?? "");
  return [
    conditions.length,
    Object.keys(route.headers ?? {}).length,
    regex ? 1 : 0,
    regex ? (route.regex_priority ?? 0) : 0,
    regex ? 0 : (route.paths?.[0].length ?? 0),
  ];
}

function compare(one, other) {
  const index = one.findIndex((value, i) => value !== other[i]);
  return index < 0 ? 0 : other[index] - one[index];
}

/** The route of a request; throws where Kong's choice between two is an accident. */
export function findRoute(document, request) {
  const path = normalize(request.path.split("?")[0]);
  const candidates = routesOf(document)
    .map(({ route, service }) => ({ route, service, path, match: matches(route, request, path), rank: rank(route) }))
    .filter(({ match }) => match)
    .sort((one, other) => compare(one.rank, other.rank));
  const [first, second] = candidates;
  if (second && compare(first.rank, second.rank) === 0) {
    throw new Error(
      `${request.method} ${request.path} matches ${first.route.name} and ${second.route.name} alike, and which one Kong takes is an accident: give one a higher regex_priority`,
    );
  }
  return first;
}

function upstreamPath({ route, service, path, match }) {
  const base = new URL(service.url).pathname;
  const join = (rest) => (rest === "" ? base : base.replace(/\/$/, "") + (rest.startsWith("/") ? rest : `/${rest}`));
  if (route.strip_path === false) return path === "/" ? base : join(path);
  const rest = path.slice(match.matched.length);
  if (rest === "" && base !== "/" && path.length > 1 && path.endsWith("/")) return `${base.replace(/\/$/, "")}/`;
  return join(rest);
}

/** The plugins of a request: the most specific scope replaces the others, whole. */
function pluginsOf(document, { route, service }, consumer) {
  const scopes = [document.plugins, service?.plugins, route.plugins, consumer?.plugins];
  const plugins = new Map();
  for (const scope of scopes) for (const plugin of scope ?? []) plugins.set(plugin.name, plugin.config ?? {});
  return plugins;
}

/**
 * Where a request goes, and with which headers: `{ route, service, url, headers }`; or how it is answered here:
 * `{ route, status }`. `token` and `key` say whether those that it has are valid.
 */
export function serve(document, { method = "GET", path, headers = {}, token = false, key = false }) {
  const request = { method, path, headers: { ...headers } };
  if (token) request.headers.authorization ??= "Bearer of-a-user";
  if (key) request.headers.apikey ??= "of-the-partner";
  const found = findRoute(document, request);
  if (!found) return { status: 404 };

  const outcome = { route: found.route.name };
  const consumerOf = (name) => (document.consumers ?? []).find(({ username }) => username === name);
  const withCredential = (kind) => (document.consumers ?? []).find((consumer) => consumer[kind]?.length > 0);
  let consumer;
  const sent = { ...request.headers };
  const gate = pluginsOf(document, found);
  const preflight = method === "OPTIONS";
  const jwt = gate.get("jwt");
  if (jwt && !(preflight && jwt.run_on_preflight === false)) {
    if (token) consumer = withCredential("jwt_secrets");
    else if (jwt.anonymous) consumer = consumerOf(jwt.anonymous) ?? { fails: true };
    else return { ...outcome, status: 401 };
  }
  const keyAuth = gate.get("key-auth");
  // Whoever has shown a token is not asked for a key, and the key stays in the request.
  if (keyAuth && !(preflight && keyAuth.run_on_preflight === false) && !(token && jwt && keyAuth.anonymous)) {
    const owner = key ? withCredential("keyauth_credentials") : undefined;
    if (owner) {
      consumer = owner;
      if (keyAuth.hide_credentials) delete sent.apikey;
    } else if (keyAuth.anonymous) consumer = consumerOf(keyAuth.anonymous) ?? { fails: true };
    else return { ...outcome, status: 401 };
  }
  if (consumer?.fails) return { ...outcome, status: 500 };
  if (consumer) sent["x-consumer-username"] = consumer.username;

  const plugins = pluginsOf(document, found, consumer);
  outcome.consumer = consumer?.username;
  outcome.limit = plugins.get("rate-limiting");
  const transformer = plugins.get("request-transformer");
  let uri;
  if (transformer) {
    const template = transformer.replace?.uri;
    uri = template?.replaceAll(/\$\(uri_captures\['(\w+)'\]\)/g, (_, name) => found.match.captures[name]);
    for (const header of transformer.add?.headers ?? []) {
      const [, name, value] = /^([^:]+):(.*)$/.exec(header);
      sent[name.toLowerCase()] ??= value;
    }
  }
  const termination = plugins.get("request-termination");
  if (termination) return { ...outcome, status: termination.status_code, body: termination.body };
  for (const code of plugins.get("post-function")?.access ?? []) {
    for (const [, name] of code.matchAll(/"([\w-]+)"/g)) delete sent[name.toLowerCase()];
  }
  if (!found.service) return { ...outcome, status: 503 };

  const upstream = new URL(found.service.url);
  const query = path.includes("?") ? path.slice(path.indexOf("?")) : "";
  return {
    ...outcome,
    service: found.service.name,
    origin: upstream.origin,
    path: escape(uri ?? upstreamPath(found)) + query,
    preservesHost: found.route.preserve_host === true,
    headers: sent,
  };
}
