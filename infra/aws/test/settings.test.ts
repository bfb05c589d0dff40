// What a stack is told is checked before anything is planned: all that is wrong at once, by name, with what is allowed.

import * as pulumi from "@pulumi/pulumi";
import { describe, expect, it } from "vitest";
import { readAccountSettings } from "../src/account";
import { readSettings, type Settings } from "../src/settings";
import { asTexts, CANARY, configurationOf, SECRET_KEYS } from "./plan";

async function read<T>(changes: Record<string, unknown>, reader: () => T, stack = "dev"): Promise<T> {
  pulumi.runtime.setAllConfig(asTexts(configurationOf(stack, changes)), SECRET_KEYS);
  await pulumi.runtime.setMocks({ newResource: () => ({ id: "", state: {} }), call: () => ({}) }, "tandem", stack, false);
  return reader();
}

const config = configurationOf("dev") as Record<string, any>;
const within = (key: string, changes: Record<string, unknown>) => ({ [`tandem:${key}`]: { ...config[`tandem:${key}`], ...changes } });
const service = (changes: Record<string, unknown>) => within("services", { orders: { ...config["tandem:services"].orders, ...changes } });

describe("a configuration is refused", () => {
  const cases: [what: string, changes: Record<string, unknown>, problem: string][] = [
    ["no domain", { "tandem:domain": undefined }, "tandem:domain is not set: it must be a name like api.example.com"],
    ["no name", { "tandem:domain": "localhost" }, 'tandem:domain must be a name like api.example.com, not "localhost"'],
    ["no account", { "tandem:accountId": "12" }, 'tandem:accountId must be the account that this stack belongs to, 12 digits, not "12"'],
    ["no region", { "aws:region": "Frankfurt" }, 'aws:region must be a region, e.g. eu-central-1, not "Frankfurt"'],
    ["an image by tag", within("images", { orders: "v1.2.3" }), "tandem:images.orders must be the digest of the image, sha256:…"],
    ["an image that nobody knows", within("images", { ordres: `sha256:${"0".repeat(64)}` }), "tandem:images.ordres is not known here; known are orders, invoices,"],
    ["a network of the internet", within("network", { cidr: "8.8.0.0/16" }), 'tandem:network.cidr must be a private /16, e.g. 10.20.0.0/16, not "8.8.0.0/16"'],
    ["two NAT gateways", within("network", { natGateways: 2 }), 'tandem:network.natGateways must be one of 1, 3, not "2"'],
    ["another database", within("database", { engine: "mysql" }), 'tandem:database.engine must be rds or neon, not "mysql"'],
    ["backups for ever", within("database", { backupDays: 36 }), "tandem:database.backupDays must be a whole number from 1 to 35, not 36"],
    ["a flag that is none", within("database", { multiAz: "yes" }), 'tandem:database.multiAz must be true or false, not "yes"'],
    ["a broker of yesterday", within("broker", { class: "mq.t3.micro" }), 'tandem:broker.class must be a class of Amazon MQ for RabbitMQ 4, e.g. mq.m7g.medium, not "mq.t3.micro"'],
    ["a size that Fargate has not", service({ cpu: 300 }), 'tandem:services.orders.cpu must be one of 256, 512, 1024, 2048, 4096, not "300"'],
    ["memory that does not go with it", service({ memory: 768 }), "tandem:services.orders.memory must be a whole number from 512 to 2048 in steps of 512, not 768"],
    ["fewer at most than at least", service({ min: 3, max: 2 }), "tandem:services.orders.max must be a whole number from 3 to 100, not 2"],
    ["a misspelt member", service({ maximum: 4 }), "tandem:services.orders.maximum is not known here; known are min, cpu, memory, max"],
    ["no services at all", { "tandem:services": undefined }, "tandem:services is not set"],
    ["a list instead of an object", { "tandem:services": ["orders"] }, 'tandem:services must be an object, not ["orders"]'],
    ["any page", within("gateway", { corsOrigins: ["*"] }), 'tandem:gateway.corsOrigins must be a list of origins like https://shop.example, not ["*"]'],
    ["a private key for a public one", within("tokens", { publicKey: "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----" }), "tandem:tokens.publicKey must be one public key in PEM, or not set"],
    ["no share of traces", within("telemetry", { traceShare: 0 }), "tandem:telemetry.traceShare must be a share above 0 and at most 1, not 0"],
    ["telemetry over plain HTTP", within("telemetry", { endpoint: "http://grafana/otlp" }), "tandem:telemetry.endpoint must be the OTLP endpoint of Grafana Cloud, https://…/otlp, not"],
    ["days that CloudWatch has not", { "tandem:logDays": "10" }, "tandem:logDays must be one of 1, 3, 5, 7, 14,"],
    ["no secret", { "tandem:grafanaAuthorization": undefined }, "tandem:grafanaAuthorization is not set: it must be the header that Grafana Cloud wants"],
    ["no key of Neon", { ...{ "tandem:database": { engine: "neon", region: "aws-eu-central-1" } }, "tandem:neonApiKey": undefined }, "pulumi config set --secret tandem:neonApiKey"],
  ];
  it.each(cases)("%s", async (_what, changes, problem) => {
    const error = await read(changes, readSettings).then(
      () => undefined,
      (thrown: Error) => thrown.message,
    );
    const [sentence, ...problems] = (error ?? "").split("\n");
    expect(sentence).toBe("the stack dev cannot be planned:");
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(problem);
  });

  it("with everything that is wrong at once, and no secret", async () => {
    const wrong = { "tandem:domain": "x", "tandem:logDays": "1000", ...service({ min: 0 }) };
    const message = await read(wrong, readSettings).catch(({ message }: Error) => message as string);
    expect(String(message).match(/^- tandem:/gm)).toHaveLength(3);
    expect(message).not.toContain(CANARY);
  });

  it("of an account, too", async () => {
    const wrong = { "tandem:repository": "tandem", "tandem:stacks": ["Prod!"] };
    await expect(read(wrong, readAccountSettings, "account")).rejects.toThrow(
      "the account cannot be planned:\n" +
        '- tandem:repository must be owner/name on GitHub, not "tandem"\n' +
        '- tandem:stacks must be a list of names of stacks, e.g. [dev, prod], not ["Prod!"]',
    );
  });
});

it.each(["dev", "prod"])("the file of the stack %s is complete but for images and secrets", async (stack) => {
  const settings: Settings = await read({}, readSettings, stack);
  expect(settings.services.orders.min).toBeGreaterThan(0);
});

it.each(["dev", "prod"])("the databases of %s take the connections of every task, while one release replaces another", async (stack) => {
  const { services, database } = await read({}, readSettings, stack);
  if (database.engine !== "rds") throw new Error("not RDS");
  // LEAST(memory / 9531392, 5000) of the class, of which RDS and the migrations need some themselves; 20 for each task (README.md, "Deploy").
  const memory = { "db.t4g.small": 2, "db.m7g.large": 8 }[database.class]! * 1024 ** 3;
  const connections = memory / 9531392 - 15;
  const tasks = database.instances === "shared" ? services.orders.max + services.invoices.max : Math.max(services.orders.max, services.invoices.max);
  expect(tasks * 2 * 20).toBeLessThanOrEqual(connections);
});
