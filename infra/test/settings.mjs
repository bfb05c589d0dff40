// What a program takes from its environment, as its own `--help` says, which clap prints from the Config itself.

import { spawnSync } from "node:child_process";

import { program } from "./repository.mjs";

/** The variables of the OpenTelemetry specification that the SDK reads by itself; help says `OTEL_*`. */
const OPENTELEMETRY = [
  "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG",
  ...["ENDPOINT", "HEADERS", "TIMEOUT", "COMPRESSION", "PROTOCOL"].flatMap((name) => [
    `OTEL_EXPORTER_OTLP_${name}`,
    `OTEL_EXPORTER_OTLP_TRACES_${name}`,
  ]),
  "OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "OTEL_BSP_EXPORT_TIMEOUT",
  "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_SPAN_EVENT_COUNT_LIMIT", "OTEL_SPAN_LINK_COUNT_LIMIT",
];

const known = new Map();

/**
 * The settings of a program: for each variable its default, if it has one, and whether the program starts without.
 * `commands` are subcommands, as `["up"]`; without, those of the program itself.
 */
export function settings(name, commands = []) {
  return once([name, ...commands].join(" "), () => parseHelp(run(name, [...commands, "--help"])));
}

/** Every variable that any form of the program takes: its subcommands, too. */
export function everySetting(name) {
  const all = new Map(settings(name));
  for (const command of once(`commands of ${name}`, () => commandsOf(run(name, ["--help"])))) {
    for (const [variable, setting] of settings(name, [command])) all.has(variable) || all.set(variable, setting);
  }
  return all;
}

/** Whether the program takes these values. Returns its complaint, or undefined. */
export function complaint(name, environment) {
  return once(`${name} ${JSON.stringify(environment)}`, () => {
    const { status, stderr } = spawnSync(program(name), ["schema"], { env: environment, encoding: "utf8" });
    return status === 0 ? undefined : stderr.trim();
  });
}

/** The same question, asked for every variant, is asked once. */
export function once(key, ask) {
  if (!known.has(key)) known.set(key, ask());
  return known.get(key);
}

function run(name, command) {
  const { status, stdout, stderr, error } = spawnSync(program(name), command, { env: {}, encoding: "utf8" });
  if (status !== 0) throw new Error(`${program(name)} ${command.join(" ")}: ${error ?? stderr}: cargo build --workspace`);
  return stdout;
}

export function parseHelp(text) {
  const found = new Map();
  const usage = text.match(/^Usage: .*$/m)?.[0] ?? "";
  const [options, others = ""] = text.split(/^Environment, besides the variables above:$/m);
  for (const block of options.split(/\n(?=\s+(?:-\w, )?--[a-z])/).slice(1)) {
    const variable = block.match(/\[env:\s+(\w+)/)?.[1];
    if (!variable) continue;
    const option = block.match(/--[a-z-]+/)[0];
    const fallback = block.replaceAll(/\s+/g, " ").match(/\[default: ([^\]]*)\]/)?.[1];
    found.set(variable, { default: fallback, required: usage.includes(`${option} <`) && !usage.includes(`[${option} <`) });
  }
  for (const [, variable] of others.matchAll(/^ {2}([A-Z_]+\*?) /gm)) {
    for (const each of variable === "OTEL_*" ? OPENTELEMETRY : [variable]) {
      if (!found.has(each)) found.set(each, { required: false });
    }
  }
  return found;
}

function commandsOf(text) {
  const list = text.match(/^Commands:\n([\s\S]*?)\n\n/m)?.[1] ?? "";
  return [...list.matchAll(/^ {2}([a-z-]+)/gm)].map(([, name]) => name).filter((name) => name !== "help");
}
