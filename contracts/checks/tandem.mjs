// The embedded system, `tandem`, for a check: on free ports, in a new folder that is removed at the end, or in one that
// stays.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { eventually } from "./system.mjs";

/** Where cargo builds. */
export const TARGET = process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL("../../target", import.meta.url));

export class Tandem {
  #process;
  #folder;
  #output = "";

  /** Starts what was built before; resolves when it is ready. */
  static async start({ data, options = [] } = {}) {
    const tandem = new Tandem();
    if (!data) tandem.#folder = mkdtempSync(path.join(tmpdir(), "tandem-check-"));
    const ports = ["port", "orders-port", "invoices-port", "bff-port", "metrics-port"].flatMap((port) => [`--${port}`, "0"]);
    const all = ["--no-seed", "--data", data ?? tandem.#folder, ...ports, ...options];
    // Nothing of the developer's own settings.
    const env = { PATH: process.env.PATH, RUST_LOG: "error", OTEL_SDK_DISABLED: "true" };
    tandem.#process = spawn(path.join(TARGET, "debug", "tandem"), all, { env, stdio: ["ignore", "pipe", "pipe"] });
    tandem.#process.on("error", (error) => (tandem.#output += error));
    for (const stream of [tandem.#process.stdout, tandem.#process.stderr]) {
      stream.on("data", (data) => (tandem.#output += data));
    }
    await eventually("the system is ready", () => {
      if (tandem.#hasEnded()) throw new Error(`tandem ended before it was ready:\n${tandem.#output}`);
      return tandem.#output.includes("Ready in ");
    });
    const url = (pattern) => pattern.exec(tandem.#output)[1];
    tandem.url = url(/GraphQL +(\S+)/);
    tandem.socketUrl = url(/GraphQL +\S+ +(\S+)/);
    tandem.bffUrl = url(/Directly .* (\S+\/graphql)/);
    tandem.ordersUrl = url(/Directly +(\S+)\/orders/);
    tandem.invoicesUrl = url(/Directly .* (\S+)\/invoices/);
    return tandem;
  }

  /** Stops it by Ctrl+C; its exit code. Everything is written when this resolves. */
  async stop() {
    if (!this.#hasEnded()) {
      const ended = once(this.#process, "exit");
      this.#process.kill("SIGINT");
      await ended;
    }
    if (this.#folder) rmSync(this.#folder, { recursive: true, force: true });
    return this.#process.exitCode;
  }

  /** Sends a GraphQL request to the BFF; its whole answer. */
  async ask(query, variables) {
    const answer = await fetch(this.bffUrl, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ query, variables }),
    });
    return answer.json();
  }

  /** The folder that is removed at the end. */
  get folder() {
    return this.#folder;
  }

  /** What it has printed. */
  get output() {
    return this.#output;
  }

  #hasEnded() {
    return this.#process.exitCode !== null || this.#process.signalCode !== null;
  }
}
