// The plan of each stack is in test/plans: what a change of the program would do to AWS is a difference that a reviewer
// reads. `npm test -- --update` writes them again.

import * as path from "node:path";
import { describe, expect, it } from "vitest";
import { findings } from "../src/policies";
import { statements } from "../src/policies/resource";
import { CANARY, printed } from "./plan";
import { planOf, type StackName, STACKS } from "./stacks";

describe.each(Object.keys(STACKS) as StackName[])("the stack %s", (name) => {
  it("is planned as its snapshot says", async () => {
    await expect(printed(await planOf(name))).toMatchFileSnapshot(path.join(__dirname, "plans", `${name}.json`));
  });

  it("holds to every policy", async () => {
    expect(findings((await planOf(name)).resources)).toEqual([]);
  });

  it("has no credential in a place where one could be read", async () => {
    const { resources, outputs } = await planOf(name);
    const shown = resources.filter(({ inputs, type }) => JSON.stringify({ inputs, type }).includes(CANARY));
    expect(shown.map(({ type, name }) => `${type} ${name}`)).toEqual([]);
    expect(JSON.stringify(outputs)).not.toContain(CANARY);
  });

  it("makes everything with the provider that knows the account and gives the tags", async () => {
    const { resources } = await planOf(name);
    const others = resources.filter(({ type, props }) => type.startsWith("aws:") && props.tagsAll === undefined);
    expect(others.map(({ type, name }) => `${type} ${name}`)).toEqual([]);
    const [provider, ...more] = resources.filter(({ type }) => type === "pulumi:providers:aws");
    expect(more).toEqual([]);
    expect(JSON.parse(provider!.inputs.allowedAccountIds)).toEqual(["123456789012"]);
  });
});

describe("the order of a stack", () => {
  it.each(["dev", "prod", "alternatives"] as const)("%s: databases, roles, migrations and users of the broker, then the services", async (name) => {
    const { resources } = await planOf(name);
    const before = (type: string, resource: string) => resources.find((each) => each.type === type && each.name === resource)!.after;
    const run = "pulumi-nodejs:dynamic/tandem:Run";
    const service = "aws:ecs/service:Service";
    const setup = [`${run} broker`, `${run} migrate-invoices`, `${run} migrate-orders`];
    for (const database of ["orders", "invoices"]) {
      expect(before(run, `migrate-${database}`)).toContain(`${run} roles-of-${database}`);
    }
    expect(before(service, "orders")).toEqual(expect.arrayContaining(setup));
    expect(before(service, "invoices")).toEqual(expect.arrayContaining(setup));
    // A task finds by Service Connect only what was there when it started.
    expect(before(service, "bff")).toEqual(expect.arrayContaining([...setup, `${service} orders`, `${service} invoices`]));
    expect(before(service, "kong")).toEqual(expect.arrayContaining([`${service} orders`, `${service} invoices`, `${service} bff`]));
  });

  it("a task definition waits for its credentials, and names their versions, so that a changed one is a deployment", async () => {
    const { resources } = await planOf("dev");
    const orders = resources.find(({ type, name }) => type === "aws:ecs/taskDefinition:TaskDefinition" && name === "orders")!;
    expect(orders.after).toEqual(
      expect.arrayContaining(["orders-broker", "orders-database", "token-secret"].map((secret) => `aws:secretsmanager/secretVersion:SecretVersion ${secret}`)),
    );
    expect(orders.inputs.containerDefinitions).toContain("secret:tandem/dev/orders-database:url::orders-database-1");
  });

  it("roles wait for their database, users for their broker", async () => {
    const { resources } = await planOf("prod");
    const after = (resource: string) => resources.find(({ type, name }) => type.endsWith(":Run") && name === resource)!.after;
    expect(after("roles-of-orders")).toContain("aws:rds/instance:Instance orders");
    expect(after("broker")).toContain("aws:mq/broker:Broker broker");
  });

  it("what holds data in production is protected from Pulumi itself", async () => {
    const { resources } = await planOf("prod");
    const kept = resources.filter(({ type }) => /:(Instance|Broker)$/.test(type));
    expect(kept.map(({ name, options }) => [name, options.protect])).toEqual([
      ["broker", true],
      ["invoices", true],
      ["orders", true],
    ]);
  });

  it("autoscaling's number of tasks is not taken back by the next deployment", async () => {
    const { resources } = await planOf("prod");
    for (const { options } of resources.filter(({ type }) => type === "aws:ecs/service:Service")) {
      expect(options.ignoreChanges).toEqual(["desiredCount"]);
    }
  });
});

describe("the boundary of the account", () => {
  it.each(["dev", "prod", "alternatives"] as const)("allows what the roles of %s are granted, or they could not do it", async (name) => {
    const boundary = (await planOf("account")).resources.find(({ type, name: each }) => type === "aws:iam/policy:Policy" && each === "boundary")!;
    const allowed = statements(boundary.props.policy).flatMap(({ Action }) => Action);
    const { resources } = await planOf(name);
    const granted = resources.filter(({ type }) => type === "aws:iam/rolePolicy:RolePolicy").flatMap(({ props }) => statements(props.policy).flatMap(({ Action }) => Action));
    expect([...new Set(granted)].filter((action) => !allowed.includes(action))).toEqual([]);
    const roles = resources.filter(({ type }) => type === "aws:iam/role:Role");
    const arn = `arn:aws:iam::123456789012:policy${boundary.props.path}${boundary.props.name}`;
    expect([...new Set(roles.map(({ props }) => props.permissionsBoundary))]).toEqual([arn]);
  });

  it("is one that the role of a deployment can only hand on, and only to roles of its own stack", async () => {
    const { resources } = await planOf("account");
    for (const stack of ["dev", "prod"]) {
      const { props } = resources.find(({ type, name }) => type === "aws:iam/policy:Policy" && name === `deploy-${stack}`)!;
      const iam = statements(props.policy).filter(({ Action, Sid }) => Sid !== "RolesOfAwsItself" && Action.some((action) => action.startsWith("iam:")));
      expect(iam.map(({ Resource }) => Resource)).toEqual(iam.map(() => [`arn:aws:iam::123456789012:role/tandem/${stack}/*`]));
      const making = iam.find(({ Action }) => Action.includes("iam:CreateRole"))!;
      expect(making.Action).toEqual(expect.arrayContaining(["iam:PutRolePolicy", "iam:AttachRolePolicy"]));
      expect(making.Condition!.StringEquals).toHaveProperty("iam:PermissionsBoundary");
      expect(iam.flatMap(({ Action }) => Action)).not.toContain("iam:DeleteRolePermissionsBoundary");
    }
  });
});
