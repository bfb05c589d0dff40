// A system of its own for a check: `./dev.sh --local` in a new folder, on free ports, stopped and removed at the end.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const DEV_SCRIPT = fileURLToPath(new URL("../../dev.sh", import.meta.url));

export class System {
  #script;
  #folder;
  #output = "";

  /** Starts what was built before; resolves when every service is ready. */
  static async start() {
    const system = new System();
    system.#folder = mkdtempSync(path.join(tmpdir(), "tandem-check-"));
    const ports = ["orders", "invoices", "bff"].flatMap((service) => [`--${service}-port`, "0"]);
    // Undefined: never the servers that the developer's own environment names.
    const env = { ...process.env, ORDERS_DATABASE_URL: undefined, INVOICES_DATABASE_URL: undefined, BROKER_URL: undefined };
    system.#script = spawn(DEV_SCRIPT, ["--local", "--no-build", "--data", system.#folder, ...ports], {
      env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const stream of [system.#script.stdout, system.#script.stderr]) {
      stream.on("data", (data) => (system.#output += data));
    }

    const file = path.join(system.#folder, "endpoints.json");
    await eventually("the system is ready", () => existsSync(file) || system.#hasEnded(), 180);
    if (system.#hasEnded()) {
      rmSync(system.#folder, { recursive: true, force: true });
      throw new Error(`dev.sh ended before the system was ready:\n${system.#output}`);
    }
    Object.assign(system, JSON.parse(readFileSync(file, "utf8")));
    return system;
  }

  /** Stops one service as an operator would, and waits for its end. */
  async stopService(name) {
    process.kill(this.pids[name], "SIGTERM");
    await eventually(`${name} has ended`, () => !isRunning(this.pids[name]));
  }

  /** Stops everything by Ctrl+C; the exit code of dev.sh. */
  async stop() {
    if (!this.#hasEnded()) {
      const ended = once(this.#script, "exit");
      this.#script.kill("SIGINT");
      await ended;
    }
    rmSync(this.#folder, { recursive: true, force: true });
    return this.#script.exitCode;
  }

  /** What dev.sh has printed. */
  get output() {
    return this.#output;
  }

  #hasEnded() {
    return this.#script.exitCode !== null || this.#script.signalCode !== null;
  }
}

/** Asks until the condition gives something, and returns it. */
export async function eventually(what, condition, seconds = 30) {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    const found = await condition();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`not within ${seconds} s: ${what}`);
    await pause(50);
  }
}

function isRunning(pid) {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
