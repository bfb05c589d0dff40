// The whole system in one process for a check: the program `tandem` in a folder of its own, on free ports.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

const TARGET = process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL("../../target", import.meta.url));
const ANY_PORTS = ["", "orders-", "invoices-", "bff-", "metrics-"].flatMap((name) => [`--${name}port`, "0"]);

export class Tandem {
  #process;

  /** Starts what was built before; resolves when it is ready. */
  static async start(data, ...options) {
    const tandem = new Tandem();
    // Nothing of the developer's own settings.
    const env = { PATH: process.env.PATH, HOST: "127.0.0.1", RUST_LOG: "warn", OTEL_SDK_DISABLED: "true" };
    tandem.#process = spawn(`${TARGET}/debug/tandem`, ["--data", data, "--no-seed", ...ANY_PORTS, ...options], {
      env,
      stdio: ["ignore", "pipe", "inherit"],
    });
    const banner = await tandem.#banner();
    const url = (pattern) => pattern.exec(banner)[1];
    tandem.gateway = url(/GraphQL +(\S+)\/graphql/);
    tandem.orders = url(/Directly +(\S+)\/orders/);
    tandem.invoices = url(/Directly .* (\S+)\/invoices/);
    tandem.bff = url(/Directly .* (\S+)\/graphql/);
    return tandem;
  }

  /** Stops it as Ctrl+C would; everything is written when this resolves. */
  async stop() {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = once(this.#process, "exit");
    this.#process.kill("SIGINT");
    await ended;
  }

  #banner() {
    return new Promise((resolve, reject) => {
      let banner = "";
      this.#process.on("error", reject);
      this.#process.on("exit", (code) => reject(new Error(`tandem ended with ${code} before it was ready:\n${banner}`)));
      this.#process.stdout.setEncoding("utf8").on("data", (text) => {
        banner += text;
        if (banner.includes("Ready in ")) resolve(banner);
      });
    });
  }
}

/** Sends a GraphQL request; its whole answer. */
export async function ask(url, query, variables) {
  const answer = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ query, variables }),
  });
  return answer.json();
}
