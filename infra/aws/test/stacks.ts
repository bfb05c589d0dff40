// The stacks that are planned, each once for all tests.

import { configurationOf, plan, type Plan } from "./plan";

/** Everything that the files of configuration do not choose. */
const ALTERNATIVES = {
  "tandem:database": { engine: "neon", region: "aws-eu-central-1" },
  "tandem:broker": { kind: "fargate", cpu: 512, memory: 1024 },
  "tandem:telemetry": { destination: "aws", traceShare: 0.5 },
  "tandem:privateCaArn": "arn:aws:acm-pca:eu-central-1:123456789012:certificate-authority/0",
  "tandem:shieldAdvanced": true,
};

export const STACKS = {
  account: () => configurationOf("account"),
  dev: () => configurationOf("dev"),
  prod: () => configurationOf("prod"),
  alternatives: () => configurationOf("dev", ALTERNATIVES),
};
export type StackName = keyof typeof STACKS;

const planned = new Map<StackName, Promise<Plan>>();

export function planOf(name: StackName): Promise<Plan> {
  const found = planned.get(name) ?? plan(name === "alternatives" ? "dev" : name, STACKS[name]());
  planned.set(name, found);
  return found;
}
