// The gateway as its image would start it: the environment of the Dockerfile, the real start-up script, and for `kong`
// and for the image's own entry point small programs that write down how they were called.

import { spawnSync } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { chmodSync, copyFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { parse } from "yaml";

export const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** A file of the repository. */
export function source(file) {
  return readFileSync(path.join(ROOT, file), "utf8");
}

/** The ENV instructions of the Dockerfile. */
export function imageEnvironment() {
  const environment = {};
  const text = source("kong/Dockerfile").replaceAll(/\\\n/g, " ");
  for (const [, settings] of text.matchAll(/^ENV (.*)$/gm)) {
    for (const [, name, value] of settings.matchAll(/(\w+)=(\S*)/g)) environment[name] = value;
  }
  return environment;
}

export const JWT_SECRET = "not-a-secret-0123456789-$abc#def%";
export const PARTNER_API_KEY = "not-a-key.0123456789-abcdefghijklmnop";
export const PARTNER_TOKEN = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJwYXJ0bmVyIn0.c2lnbmF0dXJl";

export const OPEN = { GATEWAY_PROFILE: "open" };
export const PROTECTED = { GATEWAY_PROFILE: "protected", JWT_ISSUER: "https://id.example", JWT_SECRET };
export const PARTNER = { PARTNER_API_KEY, PARTNER_TOKEN, PARTNER_RATE_LIMIT_PER_MINUTE: "1200" };
export const PREVIOUS_KEY = "not-a-key.9876543210-abcdefghijklmnop";
export const ORIGINS = { CORS_ORIGINS: "https://shop.example, http://localhost:5173" };
export const TRACES = { OTEL_EXPORTER_OTLP_ENDPOINT: "http://jaeger:4318" };

/** A public key in PEM. */
export function publicKey(kind, options) {
  return generateKeyPairSync(kind, { ...options, publicKeyEncoding: { type: "spki", format: "pem" } }).publicKey;
}

/** Everything that the template can hold, in the profile that production has. */
export const FULL = {
  APP_ENV: "production",
  ...PROTECTED,
  ...PARTNER,
  PARTNER_API_KEY_PREVIOUS: PREVIOUS_KEY,
  ...ORIGINS,
  ...TRACES,
};

/**
 * Runs the start-up script. `undefined` takes a variable of the image away, `pem` is put into the file of the key, and
 * `template` is rendered instead of the one that is committed.
 */
export function start(environment = {}, command = ["kong", "docker-start"], { parses = true, pem, template } = {}) {
  const folder = mkdtempSync(path.join(tmpdir(), "tandem-kong-"));
  try {
    const script = (name, body) => {
      writeFileSync(path.join(folder, name), `#!/usr/bin/env bash\n${body}\n`);
      chmodSync(path.join(folder, name), 0o755);
    };
    script("kong", `echo "kong $*" >>"$KONG_PREFIX/calls"; ${parses ? "" : "echo 'in services: invalid' >&2; exit 1"}`);
    script(
      "entrypoint",
      `echo "entrypoint $*" >>"$KONG_PREFIX/calls"; umask >"$KONG_PREFIX/umask"; env >"$KONG_PREFIX/environment"`,
    );
    const env = {
      PATH: `${folder}:${process.env.PATH}`,
      ...imageEnvironment(),
      KONG_PREFIX: folder,
      KONG_STOCK_ENTRYPOINT: path.join(folder, "entrypoint"),
      ...environment,
    };
    if (pem !== undefined) {
      env.JWT_PUBLIC_KEY_FILE = path.join(folder, "key.pem");
      writeFileSync(env.JWT_PUBLIC_KEY_FILE, pem);
    }
    for (const name of Object.keys(env)) if (env[name] === undefined) delete env[name];
    let program = path.join(ROOT, "kong/start.sh");
    if (template !== undefined) {
      copyFileSync(program, path.join(folder, "start.sh"));
      program = path.join(folder, "start.sh");
      writeFileSync(path.join(folder, "kong.template.yml"), template);
    }
    const { status, stdout, stderr } = spawnSync(program, command, { env, encoding: "utf8" });
    const file = (name) => {
      try {
        return readFileSync(path.join(folder, name), "utf8");
      } catch {
        return undefined;
      }
    };
    const text = file("kong.yml");
    const mode = text === undefined ? undefined : statSync(path.join(folder, "kong.yml")).mode & 0o777;
    const calls = (file("calls") ?? "")
      .trimEnd()
      .split("\n")
      .filter(Boolean)
      .map((call) => call.replaceAll(folder, ""));
    return {
      status,
      stdout,
      stderr,
      text,
      mode,
      calls,
      umask: file("umask")?.trim(),
      environment: file("environment"),
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The text of the configuration for an environment that must be good. */
export function render(environment, pem) {
  const { status, stderr, text } = start(environment, undefined, { pem });
  if (status !== 0) throw new Error(`the start-up script refused ${JSON.stringify(environment)}:\n${stderr}`);
  return text;
}

/** The same as Kong reads it. Throws on what YAML does not allow, a repeated key included, which Kong would not notice. */
export function read(text) {
  return parse(text, { uniqueKeys: true, strict: true, maxAliasCount: 1000 });
}
