// What every component needs to know about the stack that it is part of.

import * as pulumi from "@pulumi/pulumi";
import type { Settings } from "./settings";

export class Context {
  constructor(readonly settings: Settings) {}

  /** `tandem-prod-orders`: unique in the account and the region. */
  name(...parts: string[]): string {
    return ["tandem", this.settings.stack, ...parts].join("-");
  }

  /** The path that all roles of a stack have, which the deploying role is limited to. */
  get rolePath(): string {
    return `/tandem/${this.settings.stack}/`;
  }

  /** What no role of a stack can exceed, whatever its policies say. The account's stack makes it (src/account.ts). */
  get permissionsBoundary(): string {
    return `arn:aws:iam::${this.settings.accountId}:policy/tandem/tandem-boundary`;
  }

  arn(service: string, resource: string): string {
    return `arn:aws:${service}:${this.settings.region}:${this.settings.accountId}:${resource}`;
  }

  get registry(): string {
    return `${this.settings.accountId}.dkr.ecr.${this.settings.region}.amazonaws.com`;
  }
}

/** A policy document with its statements as they are. */
export function policyDocument(...statements: pulumi.Input<PolicyStatement>[]): pulumi.Output<string> {
  return pulumi.jsonStringify({ Version: "2012-10-17", Statement: statements });
}

export interface PolicyStatement {
  Sid?: string;
  Effect: "Allow" | "Deny";
  Principal?: unknown;
  Action: string | string[];
  /** Left out in the policy of a role: who may take it. */
  Resource?: pulumi.Input<string> | pulumi.Input<pulumi.Input<string>[]>;
  Condition?: Record<string, Record<string, pulumi.Input<string> | pulumi.Input<string>[]>>;
}
