// Whether ECS runs what was deployed. Pulumi says success, too, when ECS has given up on a new task and gone back to the
// one before; so after `pulumi up` each service is asked: its deployment has to be complete, and of the task definition
// that the stack has as output.
//
//   pulumi stack output --json | node scripts/verify-rollout.mjs
//
// Needs the AWS command line. ECS_DEADLINE_SECONDS is how long the rollouts together may take (900).

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import process from "node:process";

const DEADLINE_SECONDS = Number(process.env.ECS_DEADLINE_SECONDS ?? 900);

const { cluster, services, taskDefinitions } = JSON.parse(readFileSync(0, "utf8"));
if (!cluster || !services || !taskDefinitions) fail("the outputs of the stack have no cluster, services or taskDefinitions");

const waiting = new Map(Object.entries(services));
const deadline = Date.now() + DEADLINE_SECONDS * 1000;
while (waiting.size) {
  for (const { serviceName, deployments, events } of describe([...waiting.values()])) {
    const [name] = [...waiting].find(([, each]) => each === serviceName);
    const now = deployments.find(({ status }) => status === "PRIMARY");
    const last = events.slice(0, 5).map(({ message }) => `    ${message}`).join("\n");
    if (now.rolloutState === "FAILED") fail(`${name}: the rollout failed: ${now.rolloutStateReason}\n${last}`);
    if (now.rolloutState !== "COMPLETED") continue;
    if (now.taskDefinition !== taskDefinitions[name]) {
      fail(`${name}: ECS has gone back to ${now.taskDefinition}; deployed was ${taskDefinitions[name]}\n${last}`);
    }
    console.log(`${name}: ${now.runningCount} of ${now.desiredCount} run ${now.taskDefinition}`);
    waiting.delete(name);
  }
  if (waiting.size && Date.now() > deadline) fail(`not complete after ${DEADLINE_SECONDS} s: ${[...waiting.keys()].join(", ")}`);
  if (waiting.size) await new Promise((resolve) => setTimeout(resolve, Math.min(10_000, Math.max(0, deadline - Date.now() + 1))));
}

function describe(names) {
  const command = ["ecs", "describe-services", "--cluster", cluster, "--services", ...names, "--output", "json"];
  const { status, stdout, stderr, error } = spawnSync("aws", command, { encoding: "utf8" });
  if (status !== 0) fail(`aws ${command.slice(0, 2).join(" ")}: ${error?.message ?? stderr.trim()}`);
  const answer = JSON.parse(stdout);
  if (answer.failures?.length) fail(`no such service: ${answer.failures.map(({ arn, reason }) => `${arn} ${reason}`).join(", ")}`);
  return answer.services;
}

function fail(text) {
  console.error(`verify-rollout: ${text}`);
  process.exit(1);
}
