// Which metrics there are, and which an expression asks for.

import { readFileSync } from "node:fs";
import path from "node:path";

import { readText, ROOT, ruleGroups } from "./files.mjs";

/**
 * Name → type, of everything that can be asked for: what docs/metrics.md lists with the series of its histograms, what
 * recording rules make, and what others serve (foreign-metrics.txt).
 */
export function knownMetrics() {
  const known = new Set();
  for (const { name, type } of ourMetrics()) {
    if (type !== "histogram") known.add(name);
    else for (const suffix of ["_bucket", "_count", "_sum"]) known.add(name + suffix);
  }
  for (const { rules } of ruleGroups()) for (const { record } of rules) if (record) known.add(record);
  for (const name of foreignMetrics()) known.add(name);
  return known;
}

/** Those that only rise, as far as they are ours or are named like it. */
export function counters() {
  const ours = ourMetrics().flatMap(({ name, type }) =>
    type === "histogram" ? [`${name}_bucket`, `${name}_count`, `${name}_sum`] : type === "counter" ? [name] : [],
  );
  const foreign = foreignMetrics().filter((name) => /_(total|bucket)$/.test(name) && !NO_COUNTERS.has(name));
  return new Set([...ours, ...foreign]);
}

/** Named like a counter. */
const NO_COUNTERS = new Set(["kong_nginx_connections_total"]);

/** The rows of the tables in docs/metrics.md: their first column has names, the second begins with the type. */
export function ourMetrics(text = readFileSync(path.join(ROOT, "docs", "metrics.md"), "utf8")) {
  return text
    .split("\n")
    .filter((line) => /^\|\s*`?[a-z]/.test(line))
    .map((line) => line.split("|").map((cell) => cell.replaceAll("`", "").trim()))
    .filter(([, names]) => names !== "name")
    .flatMap(([, names, type]) => names.split(/,\s*/).map((name) => ({ name, type: type.match(/^[a-z]+/i)?.[0] })));
}

export const foreignMetrics = () =>
  readText("test", "foreign-metrics.txt")
    .split("\n")
    .map((line) => line.replace(/#.*/, "").trim())
    .filter(Boolean);

/** Words of PromQL that look like metrics. */
const WORDS = new Set(["and", "or", "unless", "bool", "offset", "inf", "nan", "start", "end"]);

/** The names of the metrics in an expression of PromQL. */
export function metricsIn(expr) {
  const bare = expr
    .replace(/"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'/g, '""') // values of labels
    .replace(/\{[^}]*\}/g, " ") // labels
    .replace(/\[[^\]]*\]/g, " ") // ranges
    .replace(/\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)/g, " ")
    .replace(/\boffset\s+\S+/g, " ");
  const names = bare.matchAll(/(?<![\w:.$])([a-zA-Z_:][\w:]*)(?!\s*\(|[\w:])/g);
  return [...new Set([...names].map(([, name]) => name))].filter((name) => !WORDS.has(name.toLowerCase()));
}

/** Grafana's variables as Prometheus may read them. */
export const substituted = (expr, interval = "1m") =>
  expr
    .replaceAll("$__rate_interval", interval)
    .replaceAll("$__interval", interval)
    .replaceAll("$__range", "1h")
    .replaceAll(/\$\{?[a-z]\w*\}?/g, ".+");
