// Where every public URL leads, and who gets through: the rendered configuration, read by a router of our own
// (router.mjs). The same requests then go to the real services and to the gateway of `cargo run`: they must agree, so
// that every command of the README works with Kong and without.

import assert from "node:assert/strict";
import { request } from "node:http";
import { after, before, test } from "node:test";

import { Tandem } from "../../contracts/checks/tandem.mjs";
import { FULL, OPEN, ORIGINS, PARTNER_TOKEN, read, render, TRACES } from "./gateway.mjs";
import { findRoute, normalize, routesOf, serve } from "./router.mjs";
import { PUBLIC_ROUTES } from "./rules.mjs";

const ID = "01a1fc72-da7f-7527-afab-6635168ff5c4";
const ASSET = "assets/0123456789abcdef/app.js";

/** Method, path and headers; the route, the service, the path there. 404: nobody is asked. */
const TABLE = [
  ["GET", "/orders", "orders", "orders", "/orders"],
  ["GET", "/orders?limit=5&cursor=a%2Fb", "orders", "orders", "/orders?limit=5&cursor=a%2Fb"],
  ["HEAD", "/orders", "orders", "orders", "/orders"],
  ["POST", "/orders", "orders", "orders", "/orders"],
  ["DELETE", "/orders", "orders", "orders", "/orders"],
  ["OPTIONS", "/orders", "orders", "orders", "/orders"],
  ["GET", `/orders/${ID}`, "orders", "orders", `/orders/${ID}`],
  ["POST", `/orders/${ID}/cancel`, "orders", "orders", `/orders/${ID}/cancel`],
  ["GET", "/orders/healthy", "orders", "orders", "/orders/healthy"],
  ["GET", "/orders/a%2Fb", "orders", "orders", "/orders/a%2Fb"],
  ["GET", "/orders/a b".replace(" ", "%20"), "orders", "orders", "/orders/a%20b"],
  ["GET", "/orders/metrics", "orders", "orders", "/orders/metrics"],
  ["POST", "/orders/graphql", "orders", "orders", "/orders/graphql"],

  ["POST", "/orders/orders", "orders-alias", "orders-alias", "/orders"],
  ["POST", "/orders/orders?a=1", "orders-alias", "orders-alias", "/orders?a=1"],
  ["GET", "/orders/orders", "orders", "orders", "/orders/orders"],
  ["POST", "/orders/orders/x", "orders", "orders", "/orders/orders/x"],

  ["GET", "/orders/health", "orders-meta", "orders", "/health"],
  ["HEAD", "/orders/health", "orders-meta", "orders", "/health"],
  ["POST", "/orders/health", "orders-meta", "orders", "/health"],
  ["GET", "/orders/livez", "orders-meta", "orders", "/livez"],
  ["GET", "/orders/readyz", "orders-meta", "orders", "/readyz"],

  ["GET", "/invoices", "invoices", "invoices", "/invoices"],
  ["GET", `/invoices/${ID}`, "invoices", "invoices", `/invoices/${ID}`],
  ["POST", `/invoices/${ID}/pay`, "invoices", "invoices", `/invoices/${ID}/pay`],
  ["POST", "/invoices/invoices", "invoices", "invoices", "/invoices/invoices"],
  ["GET", "/invoices/health", "invoices-meta", "invoices", "/health"],
  ["GET", "/invoices/livez", "invoices-meta", "invoices", "/livez"],
  ["GET", "/invoices/readyz", "invoices-meta", "invoices", "/readyz"],

  ["POST", "/graphql", "graphql", "bff", "/graphql"],
  ["GET", "/graphql?query=%7B__typename%7D", "graphql", "bff", "/graphql?query=%7B__typename%7D"],
  ["DELETE", "/graphql", "graphql", "bff", "/graphql"],
  ["GET", "/graphql/ws", "graphql-socket", "bff-sockets", "/graphql/ws"],

  ["GET", "/", "pages", "bff", "/"],
  ["GET", "/console", "pages", "bff", "/console"],
  ["GET", "/console/", "pages", "bff", "/console/"],
  ["GET", "/console/config.json", "pages", "bff", "/console/config.json"],
  ["GET", `/console/${ASSET}`, "pages", "bff", `/console/${ASSET}`],
  ["POST", "/console", "pages", "bff", "/console"],
  ["GET", "/playground", "pages", "bff", "/playground"],
  ["GET", "/playground/assets/index-C4pNEAzj.js", "pages", "bff", "/playground/assets/index-C4pNEAzj.js"],
  ["GET", "/health", "bff-meta", "bff", "/health"],
  ["GET", "/livez", "bff-meta", "bff", "/livez"],
  ["GET", "/readyz", "bff-meta", "bff", "/readyz"],

  // Kong tidies a path before it looks at it: these are other spellings of the above.
  ["GET", "//orders", "orders", "orders", "/orders"],
  ["GET", "/%6Frders", "orders", "orders", "/orders"],
  ["GET", "/orders/../invoices", "invoices", "invoices", "/invoices"],
  ["GET", "/orders/%2e%2e/graphql", "graphql", "bff", "/graphql"],
  ["GET", "/graphql/ws/..", undefined],
  ["GET", "/orders//..", "pages", "bff", "/"],

  // Near misses.
  ["GET", "/ordersX", undefined],
  ["GET", "/orders/", undefined],
  ["GET", `/orders/${ID}/`, undefined],
  ["GET", "/Orders", undefined],
  ["GET", "/orders%2Fhealth", undefined],
  ["GET", "/orders%252Fhealth", undefined],
  ["GET", "/orders%0A", undefined],
  ["POST", "/graphql%0A", undefined],
  ["GET", "/x/orders", undefined],
  ["GET", "/invoicesX", undefined],
  ["GET", "/graphql/", undefined],
  ["GET", "/graphqlx", undefined],
  ["GET", "/graphql/ws/x", undefined],
  ["GET", "/graphql%2Fws", undefined],
  ["GET", "/consoles", undefined],
  ["GET", "/metrics", undefined],
  ["GET", "/healthz", undefined],
  ["GET", "/status/ready", undefined],
  ["GET", "/docs", undefined],
  ["GET", "/openapi.json", undefined],
  ["TRACE", "/orders", undefined],
  ["GET", "/.env", undefined],
];

/**
 * The description of the API, for people and tools. Its prefix is only known here: where `/docs` redirects to, and what its
 * page loads, has to be relative.
 */
const DOCUMENTATION = ["orders", "invoices"].flatMap((service) => [
  ["GET", `/${service}/docs`, `${service}-meta`, service, "/docs"],
  ["GET", `/${service}/docs/`, `${service}-meta`, service, "/docs/"],
  ["GET", `/${service}/docs/swagger-ui-bundle.js`, `${service}-meta`, service, "/docs/swagger-ui-bundle.js"],
  ["GET", `/${service}/openapi.json`, `${service}-meta`, service, "/openapi.json"],
  ["GET", `/${service}/docs/a/b`, service, service, `/${service}/docs/a/b`],
]);

const SOCKET = {
  upgrade: "websocket",
  connection: "Upgrade",
  "sec-websocket-version": "13",
  "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
};
const SOCKETS = [
  ["GET", "/graphql", "graphql-upgrade", "bff-sockets", "/graphql/ws", SOCKET],
  ["GET", "/graphql/ws", "graphql-socket", "bff-sockets", "/graphql/ws", SOCKET],
  ["GET", "/graphql", "graphql-upgrade", "bff-sockets", "/graphql/ws", { ...SOCKET, upgrade: "WebSocket" }],
  ["POST", "/graphql", "graphql", "bff", "/graphql", SOCKET],
  ["GET", "/orders", "orders", "orders", "/orders", SOCKET],
];

const open = read(render({ ...OPEN, ...ORIGINS, ...TRACES }));
const full = read(render(FULL));

for (const [method, path, route, service, upstream, headers] of [...TABLE, ...DOCUMENTATION, ...SOCKETS]) {
  test(`${method} ${path}${headers ? " (WebSocket)" : ""} → ${service ? `${service} ${upstream}` : "404"}`, () => {
    for (const document of [open, full]) {
      const answer = serve(document, { method, path, headers, token: true });
      if (route === undefined) {
        assert.deepEqual([answer.route, answer.status], ["nothing", 404]);
        assert.equal(JSON.parse(answer.body).status, 404);
      } else {
        assert.deepEqual([answer.route, answer.service, answer.path], [route, service, upstream]);
      }
    }
  });
}

test("every route is reached by some request of the table", () => {
  const reached = new Set([...TABLE, ...SOCKETS, ...DOCUMENTATION].map(([, , route]) => route ?? "nothing"));
  for (const { route } of routesOf(full))
    assert.ok(
      reached.has(route.name),
      `route ${route.name}: nothing in the table gets there; is another in front of it?`,
    );
});

test("two routes that match alike are told apart from an accident", () => {
  const document = structuredClone(full);
  delete routesOf(document).find(({ route }) => route.name === "orders-meta").route.regex_priority;
  assert.throws(
    () => findRoute(document, { method: "GET", path: "/orders/health", headers: {} }),
    /orders.* and orders.* alike.*regex_priority/,
  );
});

test("paths are tidied as RFC 3986 has it", () => {
  for (const [path, tidy] of [
    ["/", "/"],
    ["/a/./b", "/a/b"],
    ["/a/../../b", "/b"],
    ["/a//b///c", "/a/b/c"],
    ["/a/..", "/"],
    ["/a/b/..", "/a/"],
    ["/%61%2f%2F", "/a%2F%2F"],
    ["/a/%2e", "/a/"],
    ["/...", "/..."],
  ]) {
    assert.equal(normalize(path), tidy, path);
  }
});

test("our router does what a real Kong 3.9.3 was seen to do", () => {
  const to = (route) => ({ services: [{ name: "s", url: "http://s/base", routes: [{ name: "r", ...route }] }] });
  for (const [route, path, expected] of [
    [{ paths: ["/a"] }, "/a", "/base"],
    [{ paths: ["/a"] }, "/a/x", "/base/x"],
    [{ paths: ["/a"] }, "/ab", "/base/b"],
    [{ paths: ["/b"], strip_path: false }, "/b/x", "/base/b/x"],
    [{ paths: ["~/c/(\\d+)"] }, "/c/12/y", "/base/y"],
    [{ paths: ["/d/"] }, "/d", undefined],
    [{ paths: ["/orders"], strip_path: false }, "//orders", "/base/orders"],
    [{ paths: ["/orders"], strip_path: false }, "/a/%2e%2e/orders", "/base/orders"],
    [{ paths: ["/a/b"] }, "/a%2fb", undefined],
    [{ paths: ["/a"] }, "/A", undefined],
  ]) {
    assert.equal(serve(to(route), { path }).path, expected, `${JSON.stringify(route)} ${path}`);
  }

  const plugin = (name, config) => ({ name, config });
  const limited = (minute) => plugin("rate-limiting", { minute });
  const document = {
    services: [
      {
        name: "s",
        url: "http://s",
        plugins: [limited(2)],
        routes: [{ name: "r", paths: ["/"], plugins: [limited(3), plugin("jwt", {})] }],
      },
    ],
    consumers: [{ username: "c", jwt_secrets: [{ key: "i" }], plugins: [limited(4)] }],
    plugins: [limited(1)],
  };
  const limit = () => serve(document, { path: "/", token: true }).limit.minute;
  assert.equal(limit(), 4, "a consumer's before a route's");
  delete document.consumers[0].plugins;
  assert.equal(limit(), 3, "a route's before a service's");
  document.services[0].routes[0].plugins.shift();
  assert.equal(limit(), 2, "a service's before that for everything");

  const several = to({ paths: ["/x"], headers: { upgrade: ["websocket"] } });
  several.services[0].routes.push({ name: "plain", paths: ["/x"] });
  assert.equal(serve(several, { path: "/x", headers: { upgrade: "WebSocket" } }).route, "r");
  assert.equal(serve(several, { path: "/x" }).route, "plain");
});

// --- Who gets through --------------------------------------------------------------------------------------------

const DOORS = [
  { method: "GET", path: "/orders" },
  { method: "POST", path: "/orders" },
  { method: "POST", path: "/orders/orders" },
  { method: "GET", path: `/invoices/${ID}` },
  { method: "POST", path: "/graphql" },
];

for (const door of DOORS) {
  const name = `${door.method} ${door.path}`;
  const gated = serve(full, { ...door, token: true }).path;

  test(`${name}: without token and key it is 401, within the limit of an address`, () => {
    const answer = serve(full, {
      ...door,
      headers: { "x-consumer-username": "users", "x-anonymous-consumer": "false" },
    });
    assert.deepEqual([answer.status, answer.consumer, answer.limit.limit_by], [401, "anonymous", "ip"]);
    assert.equal(JSON.parse(answer.body).code, "UNAUTHENTICATED");
  });

  test(`${name}: with a token it passes, and the token travels on`, () => {
    const { consumer, path, headers, limit } = serve(full, { ...door, token: true });
    assert.deepEqual([consumer, path, limit.limit_by], ["users", gated, "ip"]);
    assert.deepEqual(headers, { authorization: "Bearer of-a-user" });
  });

  test(`${name}: with a key it passes as the partner, whose token is put in, and the key stays here`, () => {
    const { consumer, path, headers, limit } = serve(full, { ...door, key: true });
    assert.deepEqual([consumer, path, limit.limit_by], ["partner", gated, "consumer"]);
    assert.deepEqual(headers, { authorization: `Bearer ${PARTNER_TOKEN}` });
  });

  test(`${name}: a key does not overwrite what a caller says, so a bad token stays bad`, () => {
    const { headers } = serve(full, { ...door, key: true, headers: { authorization: "Bearer forged" } });
    assert.deepEqual(headers, { authorization: "Bearer forged" });
  });

  test(`${name}: with a token and a key it is the user's, and the key stays here, too`, () => {
    const { consumer, headers } = serve(full, { ...door, token: true, key: true });
    assert.equal(consumer, "users");
    assert.deepEqual(headers, { authorization: "Bearer of-a-user" });
  });

  test(`${name}: in the open profile everybody passes, with the token but without invented identity`, () => {
    const headers = {
      authorization: "Bearer own",
      "x-consumer-username": "root",
      "x-consumer-groups": "admin",
      apikey: "k",
      "idempotency-key": "1",
    };
    const answer = serve(open, { ...door, headers });
    assert.deepEqual([answer.path, answer.headers], [gated, { authorization: "Bearer own", "idempotency-key": "1" }]);
  });
}

test("what is public stays so in the protected profile", () => {
  const rows = [...TABLE, ...DOCUMENTATION, ...SOCKETS].filter(([, , route]) => route && PUBLIC_ROUTES.includes(route));
  assert.ok(rows.length > 20);
  for (const [method, path, , service, upstream, headers] of rows) {
    const answer = serve(full, { method, path, headers });
    assert.deepEqual([answer.service, answer.path], [service, upstream], `${method} ${path}`);
  }
});

test("no spelling of a WebSocket takes an operation around the gate", () => {
  for (const upgrade of ["websocket", ["websocket", "websocket"], ["h2c", "websocket"], "WEBSOCKET"]) {
    const answer = serve(full, { path: "/graphql?query={orders{nodes{id}}}", headers: { upgrade } });
    assert.equal(answer.path.split("?")[0], "/graphql/ws");
  }
  assert.equal(serve(full, { path: "/graphql?query={orders{nodes{id}}}", headers: { upgrade: "h2c" } }).status, 401);
  assert.equal(serve(full, { method: "POST", path: "/graphql", headers: { upgrade: "websocket" } }).status, 401);
});

test("WebSockets keep the host that the page was asked of", () => {
  for (const path of ["/graphql", "/graphql/ws"]) assert.ok(serve(full, { path, headers: SOCKET }).preservesHost);
});

// --- With the real services --------------------------------------------------------------------------------------

let tandem;
let upstreams;

before(async () => {
  tandem = await Tandem.start();
  upstreams = {
    orders: tandem.ordersUrl,
    "orders-alias": tandem.ordersUrl,
    invoices: tandem.invoicesUrl,
    bff: new URL(tandem.bffUrl).origin,
    "bff-sockets": new URL(tandem.bffUrl).origin,
  };
});

after(async () => {
  if (!tandem) return; // it did not start, and `before` has said why
  assert.equal(await tandem.stop(), 0, tandem.output);
});

/** Status and kind of the answer. The path goes as it is written here, which `fetch` would not do. */
function ask(origin, method, path, headers = {}) {
  const { hostname, port } = new URL(origin);
  const body = method !== "POST" ? undefined : path.includes("graphql") ? '{"query":"{__typename}"}' : '{"amount":100}';
  const all = body ? { "content-type": "application/json", "content-length": body.length, ...headers } : headers;
  return new Promise((resolve, reject) => {
    const sent = request({ hostname, port, method, path, headers: all, agent: false });
    sent.on("error", reject);
    sent.on("upgrade", ({ statusCode }, socket) => {
      socket.destroy();
      resolve({ status: statusCode });
    });
    sent.on("response", (response) => {
      response.resume();
      response.on("end", () => resolve({ status: response.statusCode, type: response.headers["content-type"] }));
    });
    sent.end(body);
  });
}

/** What a client gets through Kong: its own answer, or the service's on the path that Kong asks for. */
async function throughKong(method, path, headers) {
  const answer = serve(open, { method, path, headers });
  if (answer.status) return { status: answer.status, type: "application/problem+json" };
  return ask(upstreams[answer.service], method, answer.path, headers);
}

/** Spellings that only Kong tidies, and the one method that it lets nobody use. */
const isKongs = (method, path) => method === "TRACE" || normalize(path.split("?")[0]) !== path.split("?")[0];

test("every path that Kong asks for is one that the service has", async () => {
  const served = {
    "/orders": 200,
    "/orders/health": 200,
    "/orders/livez": 200,
    "/orders/readyz": 200,
    "/invoices": 200,
    "/invoices/health": 200,
    "/invoices/livez": 200,
    "/invoices/readyz": 200,
    "/orders/openapi.json": 200,
    "/orders/docs": 307,
    "/orders/docs/": 200,
    "/orders/docs/swagger-ui-bundle.js": 200,
    "/invoices/openapi.json": 200,
    "/invoices/docs": 307,
    "/invoices/docs/": 200,
    "/invoices/docs/swagger-ui-bundle.js": 200,
    "/graphql?query=%7B__typename%7D": 200,
    "/": 200,
    "/console": 200,
    "/console/": 200,
    "/console/config.json": 200,
    "/playground": 200,
    "/playground/": 200,
    "/health": 200,
    "/livez": 200,
    "/readyz": 200,
  };
  for (const [path, status] of Object.entries(served))
    assert.deepEqual([path, (await throughKong("GET", path)).status], [path, status]);
  for (const path of ["/orders", "/orders/orders"])
    assert.deepEqual([path, (await throughKong("POST", path)).status], [path, 201]);
  for (const path of ["/graphql", "/graphql/ws"])
    assert.deepEqual([path, (await throughKong("GET", path, SOCKET)).status], [path, 101]);
  const asset = /"(\/console\/assets\/[^"]+)"/.exec(await (await fetch(new URL("/console", tandem.bffUrl))).text())[1];
  assert.equal((await throughKong("GET", asset)).status, 200);
});

test("what is asked of /graphql/ws without being a WebSocket is no operation", async () => {
  const path = "/graphql/ws?query=%7B__typename%7D";
  for (const headers of [{}, { upgrade: "websocket, websocket" }, { accept: "text/event-stream" }]) {
    const { status } = await ask(upstreams["bff-sockets"], "GET", path, headers);
    assert.ok(status >= 400 && status < 500, `${status}`);
  }
});

test("the gateway of `cargo run` answers the same", async () => {
  const gateway = new URL(tandem.url).origin;
  const different = [];
  for (const [method, path, , , , headers] of [...TABLE, ...DOCUMENTATION, ...SOCKETS]) {
    if (isKongs(method, path)) continue;
    const [kong, own] = [await throughKong(method, path, headers), await ask(gateway, method, path, headers)];
    if (kong.status !== own.status || kong.type !== own.type)
      different.push({ request: `${method} ${path}`, kong, own });
  }
  assert.deepEqual(different, []);
});
