// What must hold for every stack. The tests hold each plan to them, and `pulumi preview --policy-pack .` what is about to
// be made (src/policy-pack.ts).

import type { StackValidationPolicy } from "@pulumi/policy";
import { computePolicies } from "./compute";
import { dataPolicies } from "./data";
import { identityPolicies } from "./identity";
import { networkPolicies } from "./network";
import { type Finding, NOT_KNOWN_YET, type PlannedResource, type Policy, Stack } from "./resource";

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
    const seen = resources.map(({ type, name, urn, props }) => ({ type, name, urn, props: known(props) as Record<string, any> }));
    for (const { message, urn } of check(new Stack(seen))) report(message, urn);
  },
}));

/**
 * A copy without what is not known yet. Pulumi throws where such a value is touched, and leaves out the whole policy: the
 * first preview of a stack, where hardly an id is known, would check nothing.
 */
function known(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.keys(value).map((key) => {
    try {
      return [key, known((value as Record<string, unknown>)[key])] as const;
    } catch {
      return [key, NOT_KNOWN_YET] as const;
    }
  });
  return Array.isArray(value) ? entries.map(([, item]) => item) : Object.fromEntries(entries);
}
