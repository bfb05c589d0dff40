// The start-up script: what it refuses, how it says so, and what it leaves to Kong.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import path from "node:path";
import { test } from "node:test";

import {
  FULL,
  imageEnvironment,
  JWT_SECRET,
  OPEN,
  PARTNER,
  PARTNER_API_KEY,
  PARTNER_TOKEN,
  PREVIOUS_KEY,
  PROTECTED,
  publicKey,
  ROOT,
  source,
  start,
  TRACES,
} from "./gateway.mjs";

const SECRET = "correct-horse-battery-staple-0123456789";

test("a good environment is rendered, parsed, and handed to the image's own entry point", () => {
  const { status, calls, mode, umask, environment } = start(FULL);
  assert.equal(status, 0);
  assert.deepEqual(calls, ["kong config parse /kong.yml", "entrypoint kong docker-start"]);
  assert.equal(mode, 0o600, "the file has credentials");
  assert.notEqual(umask, "0077", "what Kong writes keeps its rights, or its workers cannot read it");
  assert.match(environment, /^KONG_DECLARATIVE_CONFIG=.*\/kong\.yml$/m);
  for (const credential of [JWT_SECRET, PARTNER_API_KEY, PREVIOUS_KEY, PARTNER_TOKEN]) {
    assert.ok(!environment.includes(credential), "no process after the script has a credential in its environment");
  }
});

test("what Kong cannot parse does not start", () => {
  const { status, stderr, calls } = start(FULL, undefined, { parses: false });
  assert.equal(status, 1);
  assert.match(stderr, /in services: invalid/);
  assert.deepEqual(calls, ["kong config parse /kong.yml"]);
});

test("`check` renders and parses, and starts nothing", () => {
  const { status, calls } = start(FULL, ["check"]);
  assert.equal(status, 0);
  assert.deepEqual(calls, ["kong config parse /kong.yml"]);
});

test("another command runs as it is, without any setting", () => {
  const { status, calls, text } = start({}, ["kong", "version"]);
  assert.equal(status, 0);
  assert.deepEqual(calls, ["entrypoint kong version"]);
  assert.equal(text, undefined);
});

test("the image by itself asks for what a gateway that is safe needs, all at once", () => {
  const { status, stderr, calls } = start();
  assert.equal(status, 1);
  assert.deepEqual(stderr.match(/^- \w+/gm), ["- JWT_ISSUER", "- JWT_SECRET"]);
  assert.deepEqual(calls, []);
});

test("the open profile says what it is", () => {
  assert.match(start(OPEN).stderr, /GATEWAY_PROFILE=open: .* For local work only/);
  assert.equal(start(PROTECTED).stderr, "");
});

const UNSET = undefined;
const ADMIN = { KONG_ADMIN_LISTEN: "0.0.0.0:8001", KONG_ADMIN_GUI_LISTEN: "0.0.0.0:8002" };
const BEHIND = {
  KONG_TRUSTED_IPS: "10.0.0.0/16",
  KONG_REAL_IP_HEADER: "X-Forwarded-For",
  KONG_REAL_IP_RECURSIVE: "on",
};

/** An environment, and what the refusal has to say. */
const REFUSED = [
  [{ APP_ENV: UNSET }, /- APP_ENV is not set: it must be development or production/],
  [{ APP_ENV: "prod" }, /- APP_ENV must be development or production, not 'prod'/],
  [{ GATEWAY_PROFILE: "" }, /- GATEWAY_PROFILE is empty: it must be open or protected/],
  [{ GATEWAY_PROFILE: "none" }, /- GATEWAY_PROFILE must be open or protected, not 'none'/],
  [
    { GATEWAY_PROFILE: "open", APP_ENV: "production" },
    /- GATEWAY_PROFILE=open is for local work and refused with APP_ENV=production/,
  ],
  [{ ORDERS_URL: UNSET }, /- ORDERS_URL is not set/],
  [{ INVOICES_URL: "" }, /- INVOICES_URL is empty/],
  [
    { BFF_URL: "bff:4000" },
    /- BFF_URL must be the service's URL without a path, e\.g\. http:\/\/orders:3333, not 'bff:4000'/,
  ],
  [{ ORDERS_URL: "http://orders:3333/orders" }, /- ORDERS_URL must be/],
  [{ ORDERS_URL: "http://orders:70000" }, /- ORDERS_URL must have a port from 1 to 65535, not 70000/],
  [{ ORDERS_URL: 'http://orders:3333"\nretries: 9' }, /- ORDERS_URL must be/],
  [{ ORDERS_URL: `http://admin:${SECRET}@orders:3333` }, /- ORDERS_URL must be .*not shown/],
  [{ RATE_LIMIT_PER_MINUTE: UNSET }, /- RATE_LIMIT_PER_MINUTE is not set/],
  [{ RATE_LIMIT_PER_MINUTE: "0" }, /- RATE_LIMIT_PER_MINUTE must be a number of requests from 1 to 9999999, not '0'/],
  [{ RATE_LIMIT_PER_MINUTE: "1e3" }, /- RATE_LIMIT_PER_MINUTE must be/],
  [{ RATE_LIMIT_PER_MINUTE: "60\n  policy: redis" }, /- RATE_LIMIT_PER_MINUTE must be/],
  [{ CORS_ORIGINS: "*" }, /- CORS_ORIGINS must be origins like https:\/\/shop\.example .*never \*.*not '\*'/],
  [{ CORS_ORIGINS: "https://shop.example,shop.example" }, /- CORS_ORIGINS must be .*not 'shop\.example'/],
  [{ CORS_ORIGINS: "https://shop.example/" }, /- CORS_ORIGINS must be/],
  [{ CORS_ORIGINS: "https://.*" }, /- CORS_ORIGINS must be/],
  [{ CORS_ORIGINS: 'https://a.example"\nx' }, /- CORS_ORIGINS must be/],
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: "jaeger:4317" }, /- OTEL_EXPORTER_OTLP_ENDPOINT must be the base URL of a collector/],
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: "http://jaeger:4318/v1/traces" }, /- OTEL_EXPORTER_OTLP_ENDPOINT must be/],
  [
    { ...TRACES, OTEL_TRACES_SAMPLER_ARG: "2" },
    /- OTEL_TRACES_SAMPLER_ARG must be the share of new traces to record, above 0 and at most 1 .*, not '2'/,
  ],
  [{ ...TRACES, OTEL_TRACES_SAMPLER_ARG: "0.0" }, /- OTEL_TRACES_SAMPLER_ARG must be/],
  [{ ...TRACES, KONG_TRACING_INSTRUMENTATIONS: "off" }, /- KONG_TRACING_INSTRUMENTATIONS must not be off/],
  [{ ...TRACES, KONG_TRACING_INSTRUMENTATIONS: UNSET }, /- KONG_TRACING_INSTRUMENTATIONS must not be off/],
  [{ JWT_ISSUER: UNSET }, /- JWT_ISSUER is not set: it must be the claim iss of the tokens/],
  [{ JWT_ISSUER: "an issuer" }, /- JWT_ISSUER must be .*not 'an issuer'/],
  [{ JWT_SECRET: UNSET }, /- JWT_SECRET is not set/],
  [{ JWT_SECRET: "" }, /- JWT_SECRET is empty/],
  [{ JWT_SECRET: SECRET.slice(0, 31) }, /- JWT_SECRET must be the key of HS256, of 32 to 1024 .*; it has 31 bytes/],
  [{ JWT_SECRET: `${SECRET}"` }, /- JWT_SECRET must have no quotes and no backslashes/],
  [{ JWT_SECRET: `${SECRET}\\` }, /- JWT_SECRET must have no quotes and no backslashes/],
  [{ JWT_SECRET: `${SECRET}\n` }, /- JWT_SECRET must be/],
  [{ JWT_SECRET: `${SECRET}\u0007` }, /- JWT_SECRET must be/],
  [{ JWT_SECRET: `${SECRET}é` }, /- JWT_SECRET must be/],
  [{ JWT_JWKS_FILE: "/keys.json" }, /- JWT_JWKS_FILE is set: Kong reads no JSON Web Key Set.*JWT_PUBLIC_KEY_FILE/],
  [{ JWT_PUBLIC_KEY_FILE: "/key.pem" }, /- JWT_SECRET and JWT_PUBLIC_KEY_FILE are both set/],
  [{ JWT_SECRET: UNSET, JWT_PUBLIC_KEY_FILE: "" }, /- JWT_PUBLIC_KEY_FILE is empty/],
  [
    { JWT_SECRET: UNSET, JWT_PUBLIC_KEY_FILE: "/there/is/none" },
    /- JWT_PUBLIC_KEY_FILE must be a file .*readable; '\/there\/is\/none' is not/,
  ],
  [{ JWT_SECRET: UNSET, JWT_PUBLIC_KEY_FILE: "/tmp" }, /- JWT_PUBLIC_KEY_FILE must be a file/],
  [{ PARTNER_API_KEY }, /- PARTNER_TOKEN is not set[^]*- PARTNER_RATE_LIMIT_PER_MINUTE is not set/],
  [{ ...PARTNER, PARTNER_API_KEY: "" }, /- PARTNER_API_KEY is empty/],
  [{ ...PARTNER, PARTNER_API_KEY_PREVIOUS: "" }, /- PARTNER_API_KEY_PREVIOUS is empty/],
  [{ ...PARTNER, PARTNER_API_KEY_PREVIOUS: PARTNER_API_KEY }, /- PARTNER_API_KEY_PREVIOUS must be another key/],
  [{ PARTNER_API_KEY_PREVIOUS: PARTNER_API_KEY }, /- PARTNER_API_KEY is not set/],
  [
    { ...PARTNER, PARTNER_API_KEY: "too-short" },
    /- PARTNER_API_KEY must be the partner's key, of 32 to 255 .*; it has 9 bytes/,
  ],
  [{ ...PARTNER, PARTNER_TOKEN: "$(os.execute('x')).a.b" }, /- PARTNER_TOKEN must be the partner's own signed token/],
  [{ ...PARTNER, PARTNER_TOKEN: `Bearer ${PARTNER_TOKEN}` }, /- PARTNER_TOKEN must be/],
  [{ ...PARTNER, PARTNER_RATE_LIMIT_PER_MINUTE: "many" }, /- PARTNER_RATE_LIMIT_PER_MINUTE must be .*not 'many'/],
  [{ KONG_DATABASE: "postgres" }, /- KONG_DATABASE must be off/],
  [{ KONG_DECLARATIVE_CONFIG: "/kong.yml" }, /- KONG_DECLARATIVE_CONFIG must not be set/],
  [{ KONG_DECLARATIVE_CONFIG_STRING: "{}" }, /- KONG_DECLARATIVE_CONFIG_STRING must not be set/],
  [{ KONG_UNTRUSTED_LUA: "on" }, /- KONG_UNTRUSTED_LUA must be sandbox, not 'on'/],
  [{ KONG_ROUTER_FLAVOR: "expressions" }, /- KONG_ROUTER_FLAVOR must be traditional_compatible/],
  [{ KONG_ADMIN_LISTEN: UNSET }, /- KONG_ADMIN_LISTEN must be off, or .*Kong's own default would open it/],
  [{ KONG_ADMIN_GUI_LISTEN: "" }, /- KONG_ADMIN_GUI_LISTEN must be off/],
  [{ ...ADMIN }, /- KONG_ADMIN_GUI_URL must be the manager's URL, .* any web page may read the Admin API/],
  [
    { ...ADMIN, KONG_ADMIN_GUI_URL: "http://localhost:8002", APP_ENV: "production" },
    /- KONG_ADMIN_LISTEN and KONG_ADMIN_GUI_LISTEN must be off with APP_ENV=production/,
  ],
  [{ ...BEHIND, KONG_TRUSTED_IPS: "10.0.0.0/16,0.0.0.0/0" }, /- KONG_TRUSTED_IPS must not be all addresses/],
  [{ ...BEHIND, KONG_TRUSTED_IPS: UNSET }, /- KONG_TRUSTED_IPS must name the networks of the load balancer/],
  [{ ...BEHIND, KONG_REAL_IP_HEADER: "X-Real-IP" }, /- KONG_REAL_IP_HEADER must be X-Forwarded-For/],
  [{ ...BEHIND, KONG_REAL_IP_RECURSIVE: UNSET }, /- KONG_REAL_IP_RECURSIVE must be on/],
];

for (const [environment, message] of REFUSED) {
  const shown = Object.entries(environment)
    .map(([name, value]) => (value === UNSET ? `no ${name}` : `${name}=${value}`))
    .join(" ");
  test(`refused: ${JSON.stringify(shown).slice(1, -1).slice(0, 90)}`, () => {
    const { status, stderr, text, calls } = start({ ...PROTECTED, ...environment });
    assert.equal(status, 1, stderr);
    assert.match(stderr, message);
    assert.equal(text, undefined, "nothing is rendered");
    assert.deepEqual(calls, [], "nothing is started");
    for (const credential of [SECRET, PARTNER_API_KEY, PARTNER_TOKEN, JWT_SECRET]) {
      assert.ok(!stderr.includes(credential.slice(0, 16)), "a refusal shows no credential");
    }
  });
}

test("a key that is not one, or that could not keep anybody out, is refused", () => {
  const good = publicKey("ed25519");
  for (const [pem, message] of [
    ["", /must be a file with one public key in PEM/],
    [SECRET, /must be a file with one public key in PEM/],
    [good + good, /must be a file with one public key in PEM/],
    [good.replaceAll("PUBLIC", "PRIVATE"), /must be a file with one public key in PEM/],
    [good.replace("\n-----END", '"\n-----END'), /must be a file with one public key in PEM/],
    [publicKey("rsa", { modulusLength: 1024 }), /must be a key of RSA with 2048 bits or more, of P-256, or of Ed25519/],
    [publicKey("ec", { namedCurve: "P-384" }), /must be a key of RSA with 2048 bits or more/],
    [publicKey("ed448"), /must be a key of RSA with 2048 bits or more/],
  ]) {
    const { status, stderr, calls } = start({ ...PROTECTED, JWT_SECRET: UNSET }, undefined, { pem });
    assert.equal(status, 1);
    assert.match(stderr, message);
    assert.ok(!stderr.includes(SECRET));
    assert.deepEqual(calls, []);
  }
});

test("a template that the script does not understand is refused with its line", () => {
  for (const [template, message] of [
    ["a: 1\nb: ${NOBODY_KNOWS}\n", /line 2: start\.sh gives NOBODY_KNOWS no value/],
    ["#if nobody_knows\na: 1\n#end\n", /line 1: start\.sh knows no condition nobody_knows/],
    ["a: 1\n#end\n", /line 2: #end without #if/],
    ["#if protected\na: 1\n", /line 2: #if without #end/],
  ]) {
    const { status, stderr, calls } = start(PROTECTED, undefined, { template });
    assert.equal(status, 1);
    assert.match(stderr, message);
    assert.deepEqual(calls, []);
  }
});

test("parts within parts that are dropped are dropped, and their ends end only them", () => {
  const template =
    "#if protected\na: 1\n  #if cors\nb: ${CORS_ORIGINS}\n    #if traces\nc: 1\n    #end\nd: 1\n  #end\ne: ${JWT_ISSUER}${JWT_ISSUER}\n#end\nf: 1";
  assert.equal(start(PROTECTED, undefined, { template }).text, "a: 1\ne: https://id.examplehttps://id.example\nf: 1\n");
  assert.equal(start(OPEN, undefined, { template }).text, "f: 1\n");
});

test("a value that looks like a name is a value", () => {
  const JWT_SECRET = "${JWT_ISSUER}-$JWT_ISSUER-#-$(id)-`id`-&-%s";
  assert.ok(start({ ...PROTECTED, JWT_SECRET }).text.includes(`secret: "${JWT_SECRET}"`));
});

test("all problems are told at once", () => {
  const { stderr } = start({
    ...PROTECTED,
    APP_ENV: "x",
    ORDERS_URL: "",
    RATE_LIMIT_PER_MINUTE: "-1",
    JWT_SECRET: "",
    KONG_DATABASE: "",
  });
  assert.deepEqual(stderr.match(/^- \w+/gm), [
    "- APP_ENV",
    "- ORDERS_URL",
    "- RATE_LIMIT_PER_MINUTE",
    "- JWT_SECRET",
    "- KONG_DATABASE",
  ]);
});

test("what local work needs is allowed", () => {
  for (const environment of [
    { ...ADMIN, KONG_ADMIN_GUI_URL: "http://localhost:8002" },
    BEHIND,
    { CORS_ORIGINS: "" },
    { OTEL_EXPORTER_OTLP_ENDPOINT: "" },
    { OTEL_EXPORTER_OTLP_ENDPOINT: "http://jaeger:4318/" },
    { ...TRACES, OTEL_TRACES_SAMPLER_ARG: "0.25" },
  ]) {
    const { status, stderr } = start({ ...PROTECTED, ...environment });
    assert.equal(status, 0, stderr);
  }
});

test("the README names every setting of the image and of the script, with the image's value", () => {
  const rows = [...source("kong/README.md").matchAll(/^\| `([A-Z_]+)` \| (.*?) \|/gm)];
  const documented = new Map(rows.map(([, name, value]) => [name, value]));
  for (const [name, value] of Object.entries(imageEnvironment())) {
    assert.equal(documented.get(name), `\`${value}\``, `${name} in kong/README.md`);
  }
  const used = source("kong/start.sh").match(
    /\b(?:KONG|JWT|PARTNER|CORS|OTEL|RATE|APP|GATEWAY|ORDERS|INVOICES|BFF)_[A-Z_]*[A-Z]\b/g,
  );
  // Where things are in the image, and what the script makes of a file: nobody sets them.
  const own = ["KONG_PREFIX", "KONG_STOCK_ENTRYPOINT", "JWT_ALGORITHM", "JWT_PUBLIC_KEY"];
  for (const name of new Set(used)) {
    if (!own.includes(name)) assert.ok(documented.has(name), `${name} is not in kong/README.md`);
  }
  for (const name of documented.keys()) {
    assert.ok(used.includes(name) || name in imageEnvironment(), `kong/README.md has ${name}, which nothing reads`);
  }
});

test("the image is healthy when Kong is ready, and only then", async () => {
  let status = 503;
  const asked = [];
  const server = createServer((request, response) => {
    asked.push(request.url);
    response.writeHead(status).end();
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const health = async (listen) => {
    const check = spawn(path.join(ROOT, "kong/healthcheck.sh"), {
      env: { PATH: process.env.PATH, KONG_STATUS_LISTEN: listen },
      stdio: "ignore",
    });
    return (await once(check, "exit"))[0];
  };
  const listen = `0.0.0.0:${server.address().port}`;
  assert.notEqual(await health(listen), 0);
  status = 200;
  assert.equal(await health(listen), 0);
  assert.equal(await health(`${listen} reuseport`), 0);
  assert.deepEqual(new Set(asked), new Set(["/status/ready"]));
  server.close();
  await once(server, "close");
  assert.notEqual(await health(listen), 0);
});
