// Whether everything that names a setting, a port, an account or a program means the same by it. Each function returns
// what is wrong: a sentence with the file, the name, and what to do.
//
// The truth of settings is each program's `--help`; that of ports is ports.mjs; that of accounts are the files that make
// them. Nothing here starts a container.

import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

import { DATABASES, PATHS, PORTS, PROGRAMS, hasPort, portsOf, PUBLIC_PATHS, VIRTUAL_HOST } from "./ports.mjs";
import { ROOT } from "./repository.mjs";
import { complaint, everySetting, once, settings } from "./settings.mjs";

const COMPOSE = "docker-compose.yml";
const DIRECT = "docker-compose.direct.yml";

/** Read by the C library of our images. */
const OF_THE_SYSTEM = ["MALLOC_ARENA_MAX"];

/** Everything. */
export function agreementProblems(repository) {
  return [
    programProblems,
    composeSettingProblems,
    composeAddressProblems,
    publishedPortProblems,
    imageProblems,
    gatewayProblems,
    exampleProblems,
    scrapeProblems,
    workflowSettingProblems,
    planProblems,
  ].flatMap((check) => check(repository));
}

// --- The programs ------------------------------------------------------------------------------------------------

/** Their defaults are the ports of the system. */
export function programProblems() {
  const problems = [];
  const compare = (name, variable, expected) => {
    const given = everySetting(name).get(variable)?.default;
    if (given !== String(expected)) {
      problems.push(`${name} --help: ${variable} is ${given ?? "no setting"}, and infra/test/ports.mjs says ${expected}: change one of them`);
    }
  };
  for (const name of PROGRAMS) {
    compare(name, "PORT", PORTS[name].http);
    compare(name, "METRICS_PORT", PORTS[name].metrics);
  }
  compare("bff", "ORDERS_URL", `http://localhost:${PORTS.orders.http}`);
  compare("bff", "INVOICES_URL", `http://localhost:${PORTS.invoices.http}`);
  compare("tandem", "PORT", PORTS.kong.proxy);
  compare("tandem", "METRICS_PORT", PORTS.orders.metrics);
  return problems;
}

// --- docker-compose.yml ------------------------------------------------------------------------------------------

/** The settings of one of our containers, by who reads them. */
function settingsOf(repository, service) {
  const command = [].concat(service.entrypoint ?? []).concat(service.command ?? []);
  if (command.some((word) => word.endsWith("/migration"))) return { name: "migration", known: settings("migration", ["up"]) };
  const name = service.image?.match(/^tandem\/(\w+):/)?.[1];
  if (name === "kong") return { name, known: gatewaySettings(repository) };
  return name && { name, known: settings(name) };
}

export function composeSettingProblems(repository) {
  const { services } = repository.yaml(COMPOSE);
  const problems = [];
  for (const [name, service] of Object.entries(services)) {
    const reader = settingsOf(repository, service);
    if (!reader) continue;
    const environment = service.environment ?? {};
    for (const variable of Object.keys(environment)) {
      if (!reader.known.has(variable)) {
        problems.push(`${COMPOSE}: ${name}: ${variable} is no setting of ${reader.name}: name one that it has, or add it there`);
      }
    }
    for (const [variable, { required }] of reader.known) {
      if (required && environment[variable] === undefined) {
        problems.push(`${COMPOSE}: ${name}: ${variable} is missing: ${reader.name} does not start without`);
      }
    }
    if (PROGRAMS.includes(reader.name)) {
      const refusal = complaint(reader.name, given(environment));
      if (refusal) problems.push(`${COMPOSE}: ${name}: ${reader.name} refuses its settings: ${refusal}`);
    }
  }
  const refusal = gatewayRefusal(repository, given(services.kong.environment));
  if (refusal) problems.push(`${COMPOSE}: kong: start.sh refuses its settings: ${refusal}`);
  return problems;
}

/** What a container gets when nothing is set here: names without a value are left out, defaults are filled in. */
function given(environment) {
  return Object.fromEntries(
    Object.entries(environment)
      .filter(([, value]) => value !== null && value !== undefined)
      .map(([name, value]) => [name, String(value).replaceAll(/\$\{\w+:-([^}]*)\}/g, "$1")]),
  );
}

/** Every URL leads to somebody who listens there, on a network that both are in, with an account that exists. */
export function composeAddressProblems(repository) {
  const { services } = repository.yaml(COMPOSE);
  const problems = [];
  for (const [name, service] of Object.entries(services)) {
    for (const [variable, value] of Object.entries(given(service.environment ?? {}))) {
      const url = toUrl(variable === "DATA_SOURCE_URI" ? `postgres://${value}` : value);
      if (!url) continue;
      const host = url.hostname;
      const say = (text) => problems.push(`${COMPOSE}: ${name}: ${variable}: ${text}`);
      if (host === "localhost") {
        const port = Number(url.port);
        if (!publishedPorts(services).has(port)) say(`nobody publishes port ${port} on this machine`);
        continue;
      }
      if (!services[host]) {
        say(`there is no service ${host}`);
        continue;
      }
      const port = url.port || (url.protocol === "amqp:" ? PORTS.rabbitmq.amqp : undefined);
      if (!hasPort(host, port)) say(`${host} does not listen on ${port}, but on ${portsOf(host)}`);
      if (!service.networks.some((zone) => services[host].networks.includes(zone))) say(`${name} and ${host} have no network in common`);
      const awaited = host === "jaeger" || service.depends_on?.[host] || Object.keys(service.depends_on ?? {}).some((job) => services[job]?.depends_on?.[host]);
      if (!awaited) say(`${name} does not wait for ${host}: depends_on`);
      if (url.protocol === "postgres:") problems.push(...databaseProblems(repository, name, service, url));
      if (url.protocol === "amqp:") problems.push(...brokerProblems(repository, name, url));
    }
  }
  return problems;
}

function toUrl(text) {
  return /^(https?|postgres|amqp):\/\//.test(text) ? new URL(text) : undefined;
}

function databaseProblems(repository, name, service, url) {
  const problems = [];
  const say = (text) => problems.push(`${COMPOSE}: ${name}: ${text}`);
  const roles = repository.text("infra/postgres/roles.sql") + repository.text("infra/postgres/monitoring.sql");
  const passwords = repository.text("infra/local/postgres-passwords.sql");
  const user = url.username || service.environment.DATA_SOURCE_USER;
  const password = url.password || service.environment.DATA_SOURCE_PASS;
  const database = url.pathname.slice(1);
  if (!new RegExp(`^CREATE ROLE ${user} LOGIN;$`, "m").test(roles)) say(`infra/postgres makes no role ${user}`);
  if (!passwords.includes(`ALTER ROLE ${user} PASSWORD '${password}';`)) {
    say(`infra/local/postgres-passwords.sql gives ${user} another password`);
  }
  if (database !== "postgres" && !DATABASES.includes(database)) say(`there is no database ${database}: ${DATABASES.join(", ")}`);
  const owner = `${database}_owner`;
  const job = service.restart === "no";
  if (DATABASES.includes(database) && user !== (job ? owner : database)) {
    say(`${user} is not whom this is for: ${job ? `migrations run as ${owner}` : `a service runs as ${database}`}`);
  }
  if (job && ![].concat(service.command).includes(database)) say(`migrates the database ${database} with the schema of ${service.command}`);
  return problems;
}

function brokerProblems(repository, name, url) {
  const problems = [];
  const { users } = repository.json("infra/local/rabbitmq-users.json");
  const { permissions } = repository.json("infra/rabbitmq/permissions.json");
  const vhost = decodeURIComponent(url.pathname.slice(1));
  const user = users.find((each) => each.name === url.username);
  const say = (text) => problems.push(`${COMPOSE}: ${name}: BROKER_URL: ${text}`);
  if (vhost !== VIRTUAL_HOST) say(`the virtual host is ${VIRTUAL_HOST}, not ${vhost}`);
  if (user?.password !== url.password) say(`infra/local/rabbitmq-users.json has no user ${url.username} with this password`);
  if (user?.tags.length) say(`${user.name} is ${user.tags}: a program has a user of its own without tags`);
  if (!permissions.some((each) => each.user === url.username && each.vhost === vhost)) {
    say(`infra/rabbitmq/permissions.json gives ${url.username} nothing in ${vhost}`);
  }
  return problems;
}

// --- Ports of this machine ---------------------------------------------------------------------------------------

function publishedPorts(services) {
  return new Set(Object.values(services).flatMap((service) => (service.ports ?? []).map((port) => Number(port.split(":")[1]))));
}

export function publishedPortProblems(repository) {
  const problems = [];
  const groups = { always: [], observability: [], direct: [] };
  for (const file of [COMPOSE, DIRECT]) {
    for (const [name, service] of Object.entries(repository.yaml(file).services)) {
      for (const port of service.ports ?? []) {
        const [, outside, inside] = port.split(":");
        if (!hasPort(name, inside)) problems.push(`${file}: ${name} does not listen on ${inside}, but on ${portsOf(name)}`);
        if (outside !== inside) problems.push(`${file}: ${name}: port ${inside} must be ${inside} outside, too, not ${outside}`);
        groups[file === DIRECT ? "direct" : (service.profiles?.[0] ?? "always")].push(Number(outside));
      }
    }
  }
  const script = repository.text("scripts/compose.sh");
  for (const [group, ports] of Object.entries(groups)) {
    const told = (script.match(new RegExp(`\\[${group}\\]='([\\d ]*)'`))?.[1] ?? "").split(" ").map(Number);
    if (String(told.sort()) !== String([...ports].sort())) {
      problems.push(`scripts/compose.sh: PUBLISHED_PORTS[${group}] is ${told}, and docker-compose publishes ${ports}`);
    }
  }
  const all = new Set(Object.values(groups).flat());
  for (const file of ["scripts/compose.sh", "scripts/smoke.mjs"]) {
    for (const [, port] of repository.text(file).matchAll(/localhost:(\d+)/g)) {
      if (!all.has(Number(port))) problems.push(`${file}: nobody publishes port ${port} on this machine`);
    }
  }
  return problems;
}

// --- Images ------------------------------------------------------------------------------------------------------

export function imageProblems(repository) {
  const problems = [];
  const say = (text) => problems.push(`Dockerfile: ${text}`);
  const text = repository.text("Dockerfile").replaceAll(/\\\n\s*/g, " ");
  const stages = Object.fromEntries(text.split(/^FROM /m).slice(1).map((stage) => [stage.match(/ AS (\w+)/)[1], stage]));

  const channel = repository.text("rust-toolchain.toml").match(/channel = "(.*)"/)[1];
  const version = text.match(/^ARG RUST_VERSION=(.*)$/m)?.[1];
  if (version !== channel) say(`RUST_VERSION is ${version}, and rust-toolchain.toml says ${channel}`);
  const packages = (command) => text.match(new RegExp(`${command}[^\\n]*`))?.[0].match(/--package \w+|--release|--locked|--bins/g)?.sort().join(" ");
  if (packages("cargo chef cook") !== packages("cargo auditable build")) {
    say("`cargo chef cook` and `cargo auditable build` differ in packages or profile: dependencies would be compiled twice");
  }

  const members = repository.text("Cargo.toml").match(/members = \[([^\]]*)\]/)[1].match(/"([^"]+)"/g).map((name) => name.slice(1, -1));
  const allowed = repository.text(".dockerignore").split("\n");
  for (const name of [...members, "Cargo.toml", "Cargo.lock"]) {
    if (!allowed.includes(`!${name}`)) problems.push(`.dockerignore: !${name} is missing: cargo does not read the workspace without`);
  }

  const { services } = repository.yaml(COMPOSE);
  for (const name of PROGRAMS) {
    const stage = stages[name];
    if (!stage) {
      say(`there is no target ${name}`);
      continue;
    }
    const exposed = stage.match(/^EXPOSE (.*)$/m)?.[1].split(" ").map(Number) ?? [];
    for (const port of Object.values(PORTS[name])) if (!exposed.includes(port)) say(`${name}: EXPOSE ${port} is missing`);
    for (const port of exposed) if (!hasPort(name, port)) say(`${name}: EXPOSE ${port}: it listens on ${portsOf(name)}`);
    const [, copied, folder] = stage.match(/^COPY --from=builder (.*) (\S+)$/m) ?? [];
    const files = (copied ?? "").split(" ").map((file) => path.posix.join(folder ?? "", path.posix.basename(file)));
    const entry = JSON.parse(stage.match(/^ENTRYPOINT (.*)$/m)?.[1] ?? "[]")[0];
    const health = JSON.parse(stage.match(/^HEALTHCHECK .* CMD (.*)$/m)?.[1] ?? "[]");
    const compose = services[name]?.healthcheck?.test?.slice(1) ?? [];
    for (const [where, file] of [["ENTRYPOINT", entry], ["HEALTHCHECK", health[0]], [`${COMPOSE}: healthcheck`, compose[0]]]) {
      if (!files.includes(file)) say(`${name}: ${where} starts ${file}, and the image has ${files.join(", ")}`);
    }
    for (const command of [health, compose]) {
      if (command[1] !== "healthcheck") say(`${name}: a health check must be its own: ${entry} healthcheck`);
    }
    const target = services[name]?.build?.target;
    if (target !== name) problems.push(`${COMPOSE}: ${name} builds the target ${target}`);
  }
  for (const [name, service] of Object.entries(services)) {
    const program = [].concat(service.entrypoint ?? [])[0];
    const image = service.image.match(/^tandem\/(\w+):/)?.[1];
    if (program && !stages[image]?.match(/^COPY --from=builder .*$/m)[0].includes(`/${path.posix.basename(program)} `)) {
      problems.push(`${COMPOSE}: ${name} starts ${program}, which the image ${image} does not have`);
    }
  }

  const base = stages.base ?? "";
  for (const [, names] of base.matchAll(/^ENV (.*)$/gm)) {
    for (const [, variable] of names.matchAll(/(\w+)=/g)) {
      for (const name of PROGRAMS) {
        if (!OF_THE_SYSTEM.includes(variable) && !settings(name).has(variable)) say(`ENV ${variable} is no setting of ${name}`);
      }
    }
  }
  const user = base.match(/^USER (\d+)/m)?.[1];
  if (!user || user === "0") say("USER must be a number other than 0: orchestrators refuse what may be root");
  return problems;
}

// --- The gateway -------------------------------------------------------------------------------------------------

/** What the image reads: its README has a row for each, and start.sh itself. */
export function gatewaySettings(repository) {
  const known = new Map();
  for (const [, name] of repository.text("kong/README.md").matchAll(/^\| `([A-Z_]+)` \|/gm)) known.set(name, { required: false });
  for (const [name] of repository.text("kong/start.sh").matchAll(/\bKONG_PREFIX\b/g)) known.set(name, { required: false });
  return known;
}

function imageEnvironment(repository) {
  const text = repository.text("kong/Dockerfile").replaceAll(/\\\n/g, " ");
  const settings = [...text.matchAll(/^ENV (.*)$/gm)].flatMap(([, line]) => [...line.matchAll(/(\w+)=(\S*)/g)]);
  return Object.fromEntries(settings.map(([, name, value]) => [name, value]));
}

/** What the image's start-up script has against these settings, if anything. Kong itself is not needed to ask it. */
function gatewayRefusal(repository, environment) {
  const whole = { ...imageEnvironment(repository), ...environment };
  return once(`start.sh ${JSON.stringify(whole)}`, () => askGateway(whole));
}

function askGateway(environment) {
  const folder = mkdtempSync(path.join(tmpdir(), "tandem-gateway-"));
  try {
    writeFileSync(path.join(folder, "kong"), "#!/bin/sh\n");
    chmodSync(path.join(folder, "kong"), 0o755);
    const env = { ...environment, PATH: `${folder}:${process.env.PATH}`, KONG_PREFIX: folder };
    const { status, stderr } = spawnSync(path.join(ROOT, "kong/start.sh"), ["check"], { env, encoding: "utf8" });
    return status === 0 ? undefined : stderr.trim();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export function gatewayProblems(repository) {
  const problems = [];
  const environment = imageEnvironment(repository);
  const say = (text) => problems.push(`kong/Dockerfile: ${text}`);
  for (const [name, expected] of Object.entries({
    KONG_PROXY_LISTEN: `0.0.0.0:${PORTS.kong.proxy}`,
    KONG_STATUS_LISTEN: `0.0.0.0:${PORTS.kong.status}`,
    ORDERS_URL: `http://orders:${PORTS.orders.http}`,
    INVOICES_URL: `http://invoices:${PORTS.invoices.http}`,
    BFF_URL: `http://bff:${PORTS.bff.http}`,
  })) {
    if (environment[name] !== expected) say(`${name} is ${environment[name]}, and infra/test/ports.mjs says ${expected}`);
  }
  const exposed = repository.text("kong/Dockerfile").match(/^EXPOSE (.*)$/m)?.[1];
  if (exposed !== `${PORTS.kong.proxy} ${PORTS.kong.status}`) say(`EXPOSE is ${exposed}: the administration is not for the outside`);
  if (!repository.text("kong/healthcheck.sh").includes(`GET ${PATHS.gatewayReady} `)) {
    problems.push(`kong/healthcheck.sh: does not ask ${PATHS.gatewayReady}`);
  }
  const { KONG_ADMIN_LISTEN, KONG_ADMIN_GUI_LISTEN, KONG_ADMIN_GUI_URL } = repository.yaml(COMPOSE).services.kong.environment;
  for (const [name, value, port] of [
    ["KONG_ADMIN_LISTEN", KONG_ADMIN_LISTEN, PORTS.kong.admin],
    ["KONG_ADMIN_GUI_LISTEN", KONG_ADMIN_GUI_LISTEN, PORTS.kong.manager],
    ["KONG_ADMIN_GUI_URL", KONG_ADMIN_GUI_URL, PORTS.kong.manager],
  ]) {
    if (!value?.endsWith(`:${port}`)) problems.push(`${COMPOSE}: kong: ${name} is ${value}, and the port is ${port}`);
  }

  const template = repository.text("kong/kong.template.yml");
  const patterns = [...template.matchAll(/"~(\/[^"]*)"/g)].map(([, pattern]) => new RegExp(`^${pattern.replaceAll("\\\\", "\\")}`));
  for (const url of PUBLIC_PATHS) {
    if (!patterns.some((pattern) => pattern.test(url))) problems.push(`kong/kong.template.yml: no route has ${url}`);
  }
  return problems;
}

// --- .env.example ------------------------------------------------------------------------------------------------

/** Sections of .env.example whose variables are not of a program: where each name must occur. */
const SCRIPTS = { "./dev.sh": ["dev.sh", "scripts/compose.sh"], "The tests": ["test.sh", "testkit/src/broker.rs", "testkit/src/database.rs", "testkit/src/lib.rs", ".ci/run"] };

export function exampleProblems(repository) {
  const problems = [];
  const say = (text) => problems.push(`.env.example: ${text}`);
  const text = repository.text(".env.example");
  const sections = text.split(/^# --- /m).slice(1).map((section) => ({
    title: section.match(/^(.*?) -{3,}/)[1],
    variables: new Map([...section.matchAll(/^#?([A-Z][A-Z0-9_]*)=(.*)$/gm)].map(([, name, value]) => [name, value])),
  }));
  const documented = new Set(sections.flatMap(({ variables }) => [...variables.keys()]));

  const everyone = ["orders", "invoices", "bff", "tandem", "migration"];
  const known = new Map([...everyone.map((name) => [name, everySetting(name)]), ["gateway", gatewaySettings(repository)]]);
  for (const [name, all] of known) {
    for (const variable of all.keys()) {
      const standard = variable.startsWith("OTEL_") || variable.startsWith("KONG_"); // documented by their owners
      if (!standard && !documented.has(variable)) say(`${variable} of ${name} is missing`);
    }
  }
  for (const { title, variables } of sections) {
    const script = Object.keys(SCRIPTS).find((name) => title.startsWith(name));
    const programs = ["orders", "invoices", "bff", "tandem", "migration"].filter((name) => title.split(" ")[0] === name);
    for (const [variable, value] of variables) {
      if (script) {
        if (!SCRIPTS[script].some((file) => repository.has(file) && repository.text(file).includes(variable))) {
          say(`${variable}, under "${title}", is in none of ${SCRIPTS[script].join(", ")}`);
        }
        continue;
      }
      const readers = [...known].filter(([name, all]) => all.has(variable) && (!programs.length || programs.includes(name)));
      if (!readers.length) {
        say(`${variable}, under "${title}", is no setting of ${programs.length ? programs : "any program"}`);
        continue;
      }
      const defaults = readers.map(([, all]) => all.get(variable).default).filter((each) => each !== undefined && !each.includes(" ")); // "that of HOST" is told, not given
      const example = /[:/]|^$/.test(value) && !value.startsWith("./") && !value.startsWith("http://localhost");
      if (defaults.length && !example && !defaults.includes(value)) say(`${variable}=${value}, and its default is ${defaults[0]}`);
    }
  }
  return problems;
}

// --- Observability -----------------------------------------------------------------------------------------------

/** Prometheus asks who is there, where they have their metrics, and what it can reach; Grafana and Jaeger likewise. */
export function scrapeProblems(repository) {
  const folder = "infra/observability";
  const problems = [];
  const { services } = repository.yaml(COMPOSE);
  const file = `${folder}/prometheus/prometheus.yml`;
  if (!repository.has(file)) return [`${file} is missing: ${COMPOSE} mounts it`];
  const config = repository.yaml(file);
  const meet = (a, b) => a === b || services[a].networks.some((zone) => services[b]?.networks.includes(zone));
  const check = (where, asker, host, port) => {
    const known = host === "localhost" ? asker : host;
    if (!services[known]) problems.push(`${where}: there is no service ${host} in ${COMPOSE}`);
    else if (!hasPort(known, port)) problems.push(`${where}: ${host} does not listen on ${port}, but on ${portsOf(known)}`);
    else if (!meet(asker, known)) problems.push(`${where}: ${asker} and ${host} have no network in common in ${COMPOSE}`);
  };
  const seen = new Set();
  for (const job of config.scrape_configs) {
    const targets = (job.static_configs ?? []).flatMap(({ targets: list }) => list.map((target) => target.split(":")));
    for (const { names, port } of job.dns_sd_configs ?? []) targets.push(...names.map((name) => [name, port]));
    for (const [host, port] of targets) {
      seen.add(host);
      check(`${file}: ${job.job_name}`, "prometheus", host, port);
    }
  }
  for (const name of [...PROGRAMS, "kong", "rabbitmq", "postgres-exporter"]) {
    if (!seen.has(name)) problems.push(`${file}: nobody asks ${name} for its metrics`);
  }
  for (const { static_configs: list } of config.alerting?.alertmanagers ?? []) {
    for (const target of list.flatMap(({ targets }) => targets)) check(`${file}: alerting`, "prometheus", ...target.split(":"));
  }
  const sources = `${folder}/grafana/provisioning/datasources/datasources.yml`;
  for (const { name, url } of repository.yaml(sources).datasources) {
    check(`${sources}: ${name}`, "grafana", new URL(url).hostname, new URL(url).port);
  }
  const jaeger = `${folder}/jaeger/config.yaml`;
  for (const [, port] of repository.text(jaeger).matchAll(/endpoint: [^\n]*:(\d+)$/gm)) {
    if (!hasPort("jaeger", port)) problems.push(`${jaeger}: port ${port} is not in infra/test/ports.mjs: ${portsOf("jaeger")}`);
  }
  for (const port of [PORTS.jaeger.ui, PORTS.jaeger.otlp]) {
    if (!repository.text(jaeger).includes(`:${port}`)) problems.push(`${jaeger}: does not listen on ${port}`);
  }
  return problems;
}

// --- Workflows ---------------------------------------------------------------------------------------------------

/** Names that belong to tools, by their beginning. */
const OF_TOOLS = /^(CARGO|RUST|RUSTUP|RUSTDOC|GH|GITHUB|AWS|PULUMI|DOCKER|BUILDX|NODE|NPM|ECS)_|^(RUSTFLAGS|RUSTDOCFLAGS)$/;

/** What a workflow sets for our programs and scripts is something that they read. Its own names are lower case. */
export function workflowSettingProblems(repository) {
  const problems = [];
  const documented = new Set([...repository.text(".env.example").matchAll(/^#?([A-Z][A-Z0-9_]*)=/gm)].map(([, name]) => name));
  for (const name of repository.list(".github/workflows")) {
    const file = `.github/workflows/${name}`;
    const text = repository.text(file);
    const workflow = repository.yaml(file);
    const steps = Object.values(workflow.jobs).flatMap((job) => job.steps ?? []);
    for (const holder of [workflow, ...Object.values(workflow.jobs), ...steps]) {
      for (const variable of Object.keys(holder.env ?? {})) {
        const inStep = holder.run && new RegExp(`\\$\\{?${variable}\\b`).test(holder.run);
        const used = inStep || text.includes(`env.${variable} `);
        if (!used && !OF_TOOLS.test(variable) && !documented.has(variable)) {
          problems.push(`${file}: ${variable} is in no .env.example, and the step does not use it: nobody reads it`);
        }
      }
    }
  }
  return problems;
}

// --- AWS ---------------------------------------------------------------------------------------------------------

/** What the plans in infra/aws start: the same settings, ports and health checks as everywhere. */
export function planProblems(repository) {
  const folder = "infra/aws/test/plans";
  const plans = repository.list(folder).filter((name) => name.endsWith(".json"));
  if (!plans.length) return [`${folder} has no plan: write them (infra/aws/README.md), or tell infra/test/agreement.mjs where they are`];
  return plans.flatMap((name) => {
    const file = `${folder}/${name}`;
    const plan = repository.json(file);
    const containers = containersIn(plan);
    const problems = containers.flatMap((container) => containerProblems(repository, file, container));
    // What an account needs once has no cluster, and so no programs.
    const cluster = JSON.stringify(plan).includes('"aws:ecs/cluster:Cluster"');
    for (const program of cluster ? [...PROGRAMS, "kong"] : []) {
      if (!containers.some((container) => container.name === program)) problems.push(`${file}: no task runs ${program}`);
    }
    return problems;
  });
}

/** Container definitions, wherever a plan has them: as JSON in a text, or as objects. */
export function containersIn(value) {
  if (typeof value === "string") {
    if (!/^\[\s*\{/.test(value)) return [];
    try {
      return containersIn(JSON.parse(value));
    } catch {
      return [];
    }
  }
  if (Array.isArray(value) && value.length && value.every((item) => item?.name && item?.image)) return value;
  return value && typeof value === "object" ? Object.values(value).flatMap(containersIn) : [];
}

export function containerProblems(repository, file, container) {
  const problems = [];
  const say = (text) => problems.push(`${file}: ${container.name}: ${text}`);
  const known = containerSettings(repository, container);
  if (!known) return []; // somebody else's image
  const names = [...(container.environment ?? []), ...(container.secrets ?? [])].map(({ name }) => name);
  for (const name of names) {
    if (!known.has(name) && !OF_THE_SYSTEM.includes(name)) say(`${name} is no setting of it: name one that it has, or add it there`);
  }
  for (const [name, { required }] of known) {
    if (required && !names.includes(name)) say(`${name} is missing: it does not start without`);
  }
  if (PORTS[container.name]) {
    for (const { containerPort } of container.portMappings ?? []) {
      if (!hasPort(container.name, containerPort)) say(`port ${containerPort}: it listens on ${portsOf(container.name)}`);
    }
  }
  if (PROGRAMS.includes(container.name) && !container.healthCheck?.command?.includes("healthcheck")) {
    say(`its health check must be its own: CMD /usr/local/bin/${container.name} healthcheck`);
  }
  return problems;
}

function containerSettings(repository, container) {
  const command = [...(container.entryPoint ?? []), ...(container.command ?? [])].join(" ");
  if (/\bmigration\b/.test(`${command} ${container.name}`)) return settings("migration", ["up"]);
  if (PROGRAMS.includes(container.name)) return settings(container.name);
  return container.name === "kong" ? gatewaySettings(repository) : undefined;
}
