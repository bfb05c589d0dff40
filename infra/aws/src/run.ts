// A task that runs once, to its end, before what depends on it: roles of the databases, migrations, the broker's topology.
//
// Pulumi has no resource that runs a task, so this is a dynamic one. Its provider is serialised by Pulumi and runs in a
// process of its own: its methods use nothing from outside of themselves but what they require there.

import * as pulumi from "@pulumi/pulumi";
import type { Task } from "./task";

export interface RunInputs {
  region: string;
  cluster: string;
  taskDefinition: string;
  subnets: string[];
  securityGroups: string[];
  /** Where its words are, for the message when it fails. */
  logGroup: string;
  /** It runs again when one of these changes. */
  triggers: string[];
}

/** How long a task may take, from the request to its end. */
const DEADLINE_SECONDS = 900;

export const runProvider: pulumi.dynamic.ResourceProvider<RunInputs, RunInputs & { taskArn: string }> = {
  async diff(_id, before, after) {
    const names = ["region", "cluster", "taskDefinition", "logGroup", "subnets", "securityGroups", "triggers"] as const;
    const changes = names.some((name) => JSON.stringify(before[name]) !== JSON.stringify(after[name]));
    return { changes };
  },

  async create(inputs) {
    const taskArn = await run(inputs);
    return { id: taskArn, outs: { ...inputs, taskArn } };
  },

  async update(_id, _before, inputs) {
    return { outs: { ...inputs, taskArn: await run(inputs) } };
  },

  // There is nothing to take back.
  async delete() {},
};

/** Runs the task and waits for its end. Throws what went wrong, with the place of its log. */
async function run(inputs: RunInputs): Promise<string> {
  const { ECS, waitUntilTasksStopped } = require("@aws-sdk/client-ecs") as typeof import("@aws-sdk/client-ecs");
  const ecs = new ECS({ region: inputs.region, maxAttempts: 5 });
  const name = inputs.taskDefinition.replace(/^.*\//, "");
  const started = await ecs.runTask({
    cluster: inputs.cluster,
    taskDefinition: inputs.taskDefinition,
    launchType: "FARGATE",
    count: 1,
    startedBy: "pulumi",
    propagateTags: "TASK_DEFINITION",
    networkConfiguration: {
      awsvpcConfiguration: { subnets: inputs.subnets, securityGroups: inputs.securityGroups, assignPublicIp: "DISABLED" },
    },
  });
  const taskArn = started.tasks?.[0]?.taskArn;
  if (!taskArn) {
    const reasons = (started.failures ?? []).map(({ reason, detail }) => [reason, detail].filter(Boolean).join(": "));
    throw new Error(`the task ${name} was not started: ${reasons.join("; ") || "ECS gives no reason"}`);
  }
  const wanted = { cluster: inputs.cluster, tasks: [taskArn] };
  try {
    await waitUntilTasksStopped({ client: ecs, maxWaitTime: DEADLINE_SECONDS, minDelay: 2, maxDelay: 6 }, wanted);
  } catch {
    throw new Error(`the task ${name} has not ended after ${DEADLINE_SECONDS} s; its log is ${inputs.logGroup}`);
  }
  const task = (await ecs.describeTasks(wanted)).tasks?.[0];
  const failed = (task?.containers ?? []).filter(({ exitCode }) => exitCode !== 0);
  if (!task || failed.length) {
    const codes = failed.map((container) => `${container.name} ended with ${container.exitCode ?? container.reason ?? "no exit code"}`);
    throw new Error(`the task ${name} failed: ${[...codes, task?.stoppedReason].filter(Boolean).join("; ")}; its log is ${inputs.logGroup}`);
  }
  return taskArn;
}

class RunResource extends pulumi.dynamic.Resource {
  constructor(name: string, inputs: pulumi.Inputs, options: pulumi.CustomResourceOptions) {
    super(runProvider, name, { taskArn: undefined, ...inputs }, options, "tandem", "Run");
  }
}

export interface RunArgs {
  task: Task;
  cluster: pulumi.Input<string>;
  region: string;
  subnets: pulumi.Input<string>[];
  securityGroup: pulumi.Input<string>;
  triggers: pulumi.Input<string>[];
}

/** Runs the task now, and again whenever it or a trigger changes. */
export function runToEnd(name: string, args: RunArgs, options: pulumi.CustomResourceOptions): pulumi.Resource {
  return new RunResource(
    name,
    {
      region: args.region,
      cluster: args.cluster,
      taskDefinition: args.task.definition.arn,
      subnets: args.subnets,
      securityGroups: [args.securityGroup],
      logGroup: args.task.logGroup.name,
      triggers: args.triggers,
    },
    options,
  );
}
