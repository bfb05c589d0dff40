// Holds both services to their OpenAPI documents with Schemathesis, through the gateway of `cargo run`, as clients see them:
// requests that the documents allow, requests that they do not, and sequences of requests along their links. With tokens,
// as in production, and without, as in development. SCHEMATHESIS is the program, SEED another order of things,
// EXAMPLES how many requests to make up for each operation.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { Tandem, TARGET } from "../tandem.mjs";

const { SCHEMATHESIS = "schemathesis", SEED = "1", EXAMPLES = "50" } = process.env;
const [HOOKS, CONFIG] = ["hooks.py", "schemathesis.toml"].map((name) => fileURLToPath(new URL(name, import.meta.url)));
const CUSTOMER = "customer-123";
const IDENTITY = { JWT_SECRET: "of-nobody-but-this-check-and-32-bytes-long", JWT_ISSUER: "https://issuer.test" };

/** A token as `tandem token` makes it. */
async function token() {
  const command = path.join(TARGET, "debug", "tandem");
  const { stdout } = await promisify(execFile)(command, ["token", "--customer", CUSTOMER], { env: IDENTITY });
  return stdout.trim();
}

/** Orders to find, cancel and pay from the beginning. */
async function place(url, headers) {
  for (let amount = 1; amount <= 5; amount++) {
    const body = JSON.stringify({ amount });
    const answer = await fetch(`${url}/orders`, {
      method: "POST",
      headers: { ...headers, "content-type": "application/json" },
      body,
    });
    if (answer.status !== 201) throw new Error(`an order was answered ${answer.status}: ${await answer.text()}`);
  }
}

/** Without keys nobody is refused, so only what is about tokens is left out. */
const modes = [
  {
    name: "without tokens",
    options: [],
    headers: async () => ({}),
    checks: ["--exclude-checks", "ignored_auth", "--generation-with-security-parameters", "false"],
  },
  {
    name: "with tokens",
    options: ["--jwt-secret", IDENTITY.JWT_SECRET, "--jwt-issuer", IDENTITY.JWT_ISSUER],
    headers: async () => ({ Authorization: `Bearer ${await token()}` }),
    checks: [],
  },
];

for (const { name, options, headers, checks } of modes) {
  const tandem = await Tandem.start({ options });
  try {
    const url = new URL(tandem.url).origin;
    const sent = await headers();
    await place(url, sent);
    for (const service of ["orders", "invoices"]) {
      console.log(`\n--- ${service}, ${name}`);
      const all = ["--config-file", CONFIG, "run", `${url}/${service}/openapi.json`, "--url", url, ...checks, "--no-color"];
      all.push("--seed", SEED, "--max-examples", EXAMPLES, "--continue-on-failure", "--generation-database", "none");
      for (const [header, value] of Object.entries(sent)) all.push("--header", `${header}: ${value}`);
      // Nothing is written here: not its caches either.
      const env = { PATH: process.env.PATH, SCHEMATHESIS_HOOKS: HOOKS, PYTHONDONTWRITEBYTECODE: "1" };
      const run = spawn(SCHEMATHESIS, all, { env, cwd: tandem.folder, stdio: ["ignore", "inherit", "inherit"] });
      const [code] = await once(run, "exit");
      if (code !== 0) process.exitCode = 1;
    }
  } finally {
    await tandem.stop();
  }
}
