// docker-compose.yml by itself: what the specification allows, and the manners that every container here keeps.

import Ajv2020 from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

export const FILES = ["docker-compose.yml", "docker-compose.direct.yml"];

const schemas = new WeakMap();

/** What the schema of the Compose Specification says against a file. */
export function schemaProblems(repository, file) {
  let validate = schemas.get(repository);
  if (!validate) {
    const ajv = new Ajv2020({ strict: false, allErrors: true });
    addFormats(ajv);
    // Compose reads durations more freely than the format of JSON Schema.
    ajv.addFormat("duration", true);
    validate = ajv.compile(repository.json("infra/test/compose-spec.json"));
    schemas.set(repository, validate);
  }
  if (validate(repository.yaml(file))) return [];
  return validate.errors.map(({ instancePath, message, params }) => {
    const what = params.additionalProperty ?? params.unevaluatedProperty ?? params.allowedValues?.join(", ") ?? "";
    return `${file}: ${instancePath || "/"} ${message} ${what}`.trimEnd();
  });
}

/** Images that have no pinned version, capabilities that somebody forgot, and so on: each with what to do. */
export function mannerProblems(repository) {
  const { services, networks, volumes } = repository.yaml("docker-compose.yml");
  const problems = [];
  for (const [name, service] of Object.entries(services)) {
    const say = (text) => problems.push(`docker-compose.yml: ${name}: ${text}`);
    const job = service.restart === "no";

    if (job ? service.healthcheck?.disable !== true : !Array.isArray(service.healthcheck?.test)) {
      say(job ? "a job has no health: healthcheck: { disable: true }" : "has no healthcheck.test: say what healthy means");
    }
    if (!job && service.healthcheck?.test?.[0] !== "CMD") say("healthcheck.test must begin with CMD: our images have no shell");
    for (const setting of job ? [] : ["interval", "timeout", "retries"]) {
      if (service.healthcheck?.[setting] === undefined) say(`healthcheck.${setting} is missing: Docker's own is 30 s`);
    }
    if (service.restart === undefined) say('restart is missing: unless-stopped, or "no" for a job');
    if (service.read_only !== true) say("read_only: true is missing: name what it writes as tmpfs or as a volume");
    if (service.cap_drop?.[0] !== "ALL") say("cap_drop: [ALL] is missing");
    const added = (service.cap_add ?? []).filter((capability) => name !== "kong" || capability !== "NET_BIND_SERVICE");
    if (added.length) say(`cap_add has ${added}: only the gateway needs one, NET_BIND_SERVICE`);
    if (!service.security_opt?.includes("no-new-privileges:true")) say("security_opt: [no-new-privileges:true] is missing");
    for (const setting of ["privileged", "network_mode", "pid", "ipc", "devices", "userns_mode"]) {
      if (setting in service) say(`${setting} opens the host: take it away`);
    }
    if (service.container_name) say("container_name keeps it from being scaled: take it away");

    const limits = service.deploy?.resources?.limits ?? {};
    for (const limit of ["cpus", "memory", "pids"]) {
      if (limits[limit] === undefined) say(`deploy.resources.limits.${limit} is missing`);
    }
    if (!service.logging?.options?.["max-size"]) say("logging has no max-size: it would fill the disk");
    if (!/:\D*\d+\.\d+|:local$/.test(service.image ?? "")) say(`image ${service.image} has no pinned version`);

    for (const port of service.ports ?? []) {
      if (!/^127\.0\.0\.1:\d+:\d+$/.test(port)) say(`port ${port} must be on the loopback: 127.0.0.1:PORT:PORT`);
    }
    const zones = service.networks ?? [];
    if (!zones.length) say("has no networks: it would be in the default one, with everybody");
    for (const zone of zones) if (!(zone in networks)) say(`network ${zone} is not defined`);
    if (service.ports?.length && zones.every((zone) => networks[zone]?.internal)) {
      say("publishes a port, and an internal network cannot: it needs one that is not");
    }

    for (const mount of service.volumes ?? []) {
      const [source, target, mode] = mount.split(":");
      if (source.startsWith("./")) {
        if (mode !== "ro") say(`${source} must be mounted read-only (:ro)`);
        if (!repository.has(source.slice(2))) say(`${source} is mounted on ${target} and is not there: Docker would make a folder`);
      } else if (!(source in volumes)) say(`volume ${source} is not defined`);
    }

    for (const [other, { condition }] of Object.entries(entries(service.depends_on))) {
      if (!(other in services)) say(`depends_on ${other}, which is no service`);
      else {
        const awaits = services[other].restart === "no" ? "service_completed_successfully" : "service_healthy";
        if (condition !== awaits) say(`depends_on ${other} needs condition: ${awaits}, not ${condition}`);
      }
    }
    // `docker compose up --wait` takes the end of a container for a failure, unless somebody waits for just that.
    if (job && !Object.values(services).some((other) => entries(other.depends_on)[name])) {
      say("nobody depends on this job, so `up --wait` would take its end for a failure");
    }
  }
  const built = Object.values(services).filter(({ build }) => build).map(({ image }) => image);
  for (const [name, { image, build, pull_policy: policy }] of Object.entries(services)) {
    const say = (text) => problems.push(`docker-compose.yml: ${name}: ${text}`);
    if (build && built.filter((other) => other === image).length > 1) say(`${image} is built by several services at once: by one, and the others have pull_policy: never`);
    if (!build && image?.endsWith(":local") && (policy !== "never" || !built.includes(image))) say(`${image} is in no registry: pull_policy: never, and a service that builds it`);
  }
  return problems.concat(zoneProblems(services, networks));
}

/** Who may be with whom. A network is a zone of trust, so that these are statements about attackers. */
function zoneProblems(services, networks) {
  const problems = [];
  const zonesOf = (name) => services[name]?.networks ?? [];
  const apart = (a, b) => {
    const shared = zonesOf(a).filter((zone) => zonesOf(b).includes(zone));
    if (shared.length) problems.push(`docker-compose.yml: ${a} and ${b} share the network ${shared}: ${a} has no business with ${b}`);
  };
  for (const inner of ["postgres", "rabbitmq"]) apart("kong", inner);
  apart("bff", "postgres");
  apart("rabbitmq", "postgres");
  for (const name of ["orders", "invoices", "bff", "migrate-orders", "migrate-invoices", "postgres"]) {
    const ways = zonesOf(name).filter((zone) => !networks[zone]?.internal);
    if (ways.length) problems.push(`docker-compose.yml: ${name} is in ${ways}, which has a way out: its networks must be internal`);
  }
  return problems;
}

function entries(dependencies = {}) {
  return Array.isArray(dependencies) ? Object.fromEntries(dependencies.map((name) => [name, {}])) : dependencies;
}
