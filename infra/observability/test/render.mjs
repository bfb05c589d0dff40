// Writes the real configurations for a system on other ports, and one that does not wait: targets by address instead of
// by name, a second instead of fifteen, an Alertmanager that tells at once. Everything else stays as it is.
//
//   render.mjs FOLDER PORT… of the exporter, Alertmanager and Prometheus
//
// reads FOLDER/addresses.json and adds the three.

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

import { parse, stringify } from "yaml";

import { OBSERVABILITY } from "./files.mjs";

const [folder, exporter, alertmanager, prometheus] = process.argv.slice(2);
const addresses = JSON.parse(readFileSync(path.join(folder, "addresses.json"), "utf8"));
addresses.prometheus = `http://127.0.0.1:${prometheus}`;
addresses.alertmanager = `http://127.0.0.1:${alertmanager}`;
writeFileSync(path.join(folder, "addresses.json"), `${JSON.stringify(addresses)}\n`);

const TARGETS = {
  "orders:9464": addresses.metrics.orders,
  "invoices:9464": addresses.metrics.invoices,
  "bff:9464": addresses.metrics.bff,
  "rabbitmq:15692": addresses.metrics.rabbitmq,
  "postgres-exporter:9187": `127.0.0.1:${exporter}`,
  "localhost:9090": `127.0.0.1:${prometheus}`,
  "alertmanager:9093": `127.0.0.1:${alertmanager}`,
};
/** They cannot run here. */
const ABSENT = ["kong:8100", "jaeger:8888"];

function here(target) {
  if (TARGETS[target]) return [TARGETS[target]];
  if (ABSENT.includes(target)) return [];
  throw new Error(`prometheus.yml has the target ${target}: say in render.mjs where it is in the test`);
}

const read = (...names) => parse(readFileSync(path.join(OBSERVABILITY, ...names), "utf8"));

const config = read("prometheus", "prometheus.yml");
Object.assign(config.global, { scrape_interval: "1s", scrape_timeout: "1s", evaluation_interval: "1s" });
for (const job of config.scrape_configs) {
  const dns = (job.dns_sd_configs ?? []).flatMap(({ names, port }) => names.map((name) => `${name}:${port}`));
  const fixed = (job.static_configs ?? []).flatMap(({ targets }) => targets);
  delete job.dns_sd_configs;
  job.static_configs = [{ targets: [...dns, ...fixed].flatMap(here) }];
}
for (const { static_configs: [group] } of config.alerting.alertmanagers) group.targets = group.targets.flatMap(here);
writeFileSync(path.join(folder, "prometheus.yml"), stringify(config));

mkdirSync(path.join(folder, "rules"));
for (const name of readdirSync(path.join(OBSERVABILITY, "prometheus", "rules"))) {
  const rules = read("prometheus", "rules", name);
  for (const group of rules.groups) delete group.interval;
  writeFileSync(path.join(folder, "rules", name), stringify(rules));
}

const routing = read("alertmanager", "alertmanager.yml");
for (const receiver of routing.receivers) {
  for (const kind of Object.keys(receiver)) if (kind !== "name") delete receiver[kind];
}
writeFileSync(path.join(folder, "alertmanager.yml"), stringify(routing));
