// What must hold for every stack. The tests hold each plan to them, and `pulumi preview --policy-pack .` what is about to
// be made (src/policy-pack.ts).

import type { StackValidationPolicy } from "@pulumi/policy";
import { computePolicies } from "./compute";
import { dataPolicies } from "./data";
import { identityPolicies } from "./identity";
import { networkPolicies } from "./network";
import { type Finding, type PlannedResource, type Policy, Stack } from "./resource";

export const policies: Policy[] = [...networkPolicies, ...dataPolicies, ...computePolicies, ...identityPolicies];

/** All that is wrong with a stack, each with the name of the policy. */
export function findings(resources: PlannedResource[]): (Finding & { policy: string })[] {
  const stack = new Stack(resources);
  return policies.flatMap((policy) => [...policy.check(stack)].map((found) => ({ ...found, policy: policy.name })));
}

/** The same in the form that Pulumi asks. */
export const stackPolicies: StackValidationPolicy[] = policies.map(({ name, description, check }) => ({
  name,
  description,
  enforcementLevel: "mandatory",
  validateStack({ resources }, report) {
    for (const { message, urn } of check(new Stack(resources))) report(message, urn);
  },
}));
