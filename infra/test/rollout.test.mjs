// What is asked of AWS after a deployment, and what is made of the answers. `aws` is a stand-in: its answers have the form
// of ECS's and ECR's, cut down to what is read.

import assert from "node:assert/strict";
import { test } from "node:test";

import { run } from "./stand-in.mjs";

const ARN = (name, revision) => `arn:aws:ecs:eu-central-1:123456789012:task-definition/tandem-dev-${name}:${revision}`;
const OUTPUTS = {
  cluster: "tandem-dev",
  services: { orders: "orders-1a2b", kong: "kong-3c4d" },
  taskDefinitions: { orders: ARN("orders", 7), kong: ARN("kong", 3) },
};

function service(name, rolloutState, revision, more = {}) {
  const deployment = { status: "PRIMARY", rolloutState, taskDefinition: ARN(name, revision), runningCount: 2, desiredCount: 2, ...more };
  return { serviceName: OUTPUTS.services[name], deployments: [deployment], events: [{ message: `(service ${name}) has reached a steady state.` }] };
}

const verify = (answers, outputs = OUTPUTS, env = {}) =>
  run([process.execPath, "scripts/verify-rollout.mjs"], {
    programs: { aws: answers.map((answer) => (Array.isArray(answer) ? answer : [0, JSON.stringify(answer)])) },
    input: JSON.stringify(outputs),
    env: { ECS_DEADLINE_SECONDS: "1", ...env },
  });

test("complete, and with the task that was meant", async () => {
  const { status, out, calls } = await verify([{ services: [service("orders", "COMPLETED", 7), service("kong", "COMPLETED", 3)] }]);
  assert.equal(status, 0);
  assert.match(out, /orders: 2 of 2 run .*tandem-dev-orders:7\nkong: 2 of 2 run/);
  assert.deepEqual(calls.aws, ["ecs describe-services --cluster tandem-dev --services orders-1a2b kong-3c4d --output json"]);
});

test("one that is not complete is asked again, alone", async () => {
  const { status, calls } = await verify([
    { services: [service("orders", "IN_PROGRESS", 7), service("kong", "COMPLETED", 3)] },
    { services: [service("orders", "COMPLETED", 7)] },
  ]);
  assert.equal(status, 0);
  assert.match(calls.aws[1], /--services orders-1a2b --output/);
});

test("a rollout that ECS has taken back is a failure, although it is complete", async () => {
  const { status, err } = await verify([{ services: [service("orders", "COMPLETED", 6), service("kong", "COMPLETED", 3)] }]);
  assert.equal(status, 1);
  assert.match(err, /orders: ECS has gone back to .*orders:6; deployed was .*orders:7\n {4}\(service orders\)/);
});

test("a rollout that failed says why", async () => {
  const reason = { rolloutStateReason: "ECS deployment circuit breaker: tasks failed to start." };
  const { status, err } = await verify([{ services: [service("orders", "FAILED", 7, reason), service("kong", "COMPLETED", 3)] }]);
  assert.equal(status, 1);
  assert.match(err, /orders: the rollout failed: ECS deployment circuit breaker/);
});

test("one that never ends is a failure after the deadline", async () => {
  const { status, err } = await verify([{ services: [service("orders", "IN_PROGRESS", 7), service("kong", "COMPLETED", 3)] }, { services: [service("orders", "IN_PROGRESS", 7)] }]);
  assert.equal(status, 1);
  assert.match(err, /not complete after 1 s: orders$/m);
});

test("what AWS refuses is told", async () => {
  for (const [answers, outputs, expected] of [
    [[[254, "AccessDenied: not for you"]], OUTPUTS, /aws ecs describe-services: AccessDenied/],
    [[{ services: [], failures: [{ arn: "orders-1a2b", reason: "MISSING" }] }], OUTPUTS, /no such service: orders-1a2b MISSING/],
    [[{}], { cluster: "x" }, /the outputs of the stack have no cluster, services or taskDefinitions/],
  ]) {
    const { status, err } = await verify(answers, outputs);
    assert.equal(status, 1);
    assert.match(err, expected);
  }
});

const REVISION = "0123456789abcdef0123456789abcdef01234567";
const DIGEST = `sha256:${"ab".repeat(32)}`;

const before = (outputs, image, tags) =>
  run(["scripts/last-deployed.sh"], {
    input: JSON.stringify(outputs),
    programs: {
      aws: [
        [0, JSON.stringify({ taskDefinition: { containerDefinitions: [{ name: "collector", image: "x" }, { name: "orders", image }] } })],
        [0, JSON.stringify({ imageDetails: [{ imageTags: tags }] })],
      ],
    },
  });

test("the commit that runs is the tag of the image that runs", async () => {
  const image = `123456789012.dkr.ecr.eu-central-1.amazonaws.com/tandem/orders@${DIGEST}`;
  const { status, out, calls } = await before(OUTPUTS, image, ["latest", REVISION]);
  assert.equal(status, 0);
  assert.equal(out, `${REVISION}\n`);
  assert.deepEqual(calls.aws, [
    `ecs describe-task-definition --task-definition ${ARN("orders", 7)} --output json`,
    `ecr describe-images --repository-name tandem/orders --image-ids imageDigest=${DIGEST} --output json`,
  ]);
  assert.equal((await before(OUTPUTS, image, ["latest"])).out, "");
});

test("a stack that runs nothing has nothing to go back to, and an image by its tag is a fault", async () => {
  const first = await before({}, "", []);
  assert.deepEqual([first.status, first.out, first.calls.aws], [0, "", []]);
  const tagged = await before(OUTPUTS, "tandem/orders:latest", []);
  assert.equal(tagged.status, 1);
  assert.match(tagged.err, /runs 'tandem\/orders:latest', not an image of ours by its digest/);
});
