// The embedded system, `tandem`, for a check: in a new folder, on free ports, stopped and removed at the end.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { eventually } from "./system.mjs";

const TARGET = process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL("../../target", import.meta.url));

export class Tandem {
  #process;
  #folder;
  #output = "";

  /** Starts what was built before; resolves when it is ready. */
  static async start() {
    const tandem = new Tandem();
    tandem.#folder = mkdtempSync(path.join(tmpdir(), "tandem-check-"));
    const ports = ["port", "orders-port", "invoices-port", "bff-port", "metrics-port"].flatMap((port) => [`--${port}`, "0"]);
    const env = { ...process.env, RUST_LOG: "error" };
    tandem.#process = spawn(path.join(TARGET, "debug", "tandem"), ["--no-seed", "--data", tandem.#folder, ...ports], {
      env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    tandem.#process.on("error", (error) => (tandem.#output += error));
    for (const stream of [tandem.#process.stdout, tandem.#process.stderr]) {
      stream.on("data", (data) => (tandem.#output += data));
    }
    const banner = await eventually("the system is ready", () => {
      if (tandem.#process.exitCode !== null) throw new Error(`tandem ended before it was ready:\n${tandem.#output}`);
      return tandem.#output.match(/GraphQL +(http\S+) +(ws\S+)/);
    });
    [, tandem.url, tandem.socketUrl] = banner;
    return tandem;
  }

  /** Stops it by Ctrl+C; its exit code. */
  async stop() {
    if (this.#process.exitCode === null) {
      const ended = once(this.#process, "exit");
      this.#process.kill("SIGINT");
      await ended;
    }
    rmSync(this.#folder, { recursive: true, force: true });
    return this.#process.exitCode;
  }

  /** What it has printed. */
  get output() {
    return this.#output;
  }
}
