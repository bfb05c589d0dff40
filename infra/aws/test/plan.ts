// Plans a stack without AWS: Pulumi runs the program against answers of ours, and every resource that it asks for is
// remembered with its inputs.

import * as pulumi from "@pulumi/pulumi";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import * as path from "node:path";
import { parse } from "yaml";
import { account, readAccountSettings } from "../src/account";
import { platform } from "../src/platform";
import type { PlannedResource } from "../src/policies/resource";
import { readSettings } from "../src/settings";

/** A resource, as policies see it. */
export interface Resource extends PlannedResource {
  /** What the program says of it; `props` has also what AWS would answer. */
  inputs: Record<string, any>;
  /** What Pulumi is told about it, where that is not the default. */
  options: { protect?: true; ignoreChanges?: string[] };
  /** Type and name of all that has to be there before. */
  after: string[];
}

export interface Plan {
  stack: string;
  resources: Resource[];
  outputs: Record<string, unknown>;
}

/** What stands for every credential: it must be in no input but those that AWS itself keeps secret. */
export const CANARY = "canary-of-a-credential";

const ACCOUNT = "123456789012";

/** The configuration of a stack as its file says it, and what a file does not hold. */
export function configurationOf(stack: string, changes: Record<string, unknown> = {}): Record<string, unknown> {
  const file = path.join(__dirname, "..", `Pulumi.${stack}.yaml`);
  const { config } = parse(readFileSync(file, "utf8")) as { config: Record<string, unknown> };
  const images = ["orders", "invoices", "bff", "kong", "collector", "toolbox", "postgres", "rabbitmq"];
  return {
    ...config,
    ...(stack !== "account" && {
      "tandem:images": Object.fromEntries(images.map((name) => [name, digest(name)])),
      "tandem:grafanaAuthorization": `Basic ${CANARY}`,
      "tandem:neonApiKey": `napi_${CANARY}`,
      "tandem:partnerApiKey": CANARY,
      "tandem:partnerToken": `${CANARY}.e30.c2ln`,
    }),
    ...changes,
  };
}

/** The digest of no image, the same each time. */
function digest(name: string): string {
  return `sha256:${createHash("sha256").update(name).digest("hex")}`;
}

/** The keys that `pulumi config set --secret` sets. */
export const SECRET_KEYS = ["tandem:grafanaAuthorization", "tandem:neonApiKey", "tandem:partnerApiKey", "tandem:partnerToken"];

/** As Pulumi hands a configuration to the program. */
export function asTexts(configuration: Record<string, unknown>): Record<string, string> {
  const values = Object.entries(configuration).filter(([, value]) => value !== undefined);
  return Object.fromEntries(values.map(([key, value]) => [key, typeof value === "string" ? value : JSON.stringify(value)]));
}

/** Runs the program. One at a time in a process. */
export async function plan(stack: string, configuration: Record<string, unknown>): Promise<Plan> {
  pulumi.runtime.setAllConfig(asTexts(configuration), SECRET_KEYS);
  const resources: Resource[] = [];
  await pulumi.runtime.setMocks(amazon(stack, resources), "tandem", stack, false);
  observeRegistrations(resources);
  let outputs: Record<string, unknown> = {};
  try {
    const result = stack === "account" ? account(readAccountSettings()) : platform(readSettings());
    outputs = await known(pulumi.output(result as Record<string, unknown>));
  } finally {
    await pulumi.runtime.disconnect();
  }
  resources.sort((a, b) => order(a.type, b.type) || order(a.name, b.name));
  return { stack, resources, outputs };
}

/** Answers as AWS would, and remembers what it is asked for. */
export function amazon(stack: string, resources: Resource[]): pulumi.runtime.Mocks {
  let defaultTags: Record<string, string> = {};
  return {
    newResource({ type, name, inputs, provider, id }) {
      const state = { ...inputs, ...answers(type, name, inputs) };
      const made = id || `${name}-${shortType(type)}`;
      if (!type.startsWith("tandem:") && type !== "pulumi:pulumi:Stack") {
        const urn = `urn:pulumi:${stack}::tandem::${type}::${name}`;
        // The provider gives its tags to everything that it makes.
        if (type === "pulumi:providers:aws") defaultTags = JSON.parse(inputs.defaultTags).tags;
        const tagsAll = provider?.includes("::pulumi:providers:aws::aws::") ? { ...defaultTags, ...inputs.tags } : inputs.tags;
        resources.push({ type, name, urn, inputs: masked(inputs), props: masked({ ...state, id: made, tagsAll }), options: {}, after: [] });
      }
      return { id: made, state };
    },
    call: ({ token, inputs }) => {
      if (token === "aws:index/getAvailabilityZones:getAvailabilityZones") {
        return { id: "zones", names: ["a", "b", "c", "d"].map((letter) => `eu-central-1${letter}`) };
      }
      throw new Error(`no answer to ${token} ${JSON.stringify(inputs)}`);
    },
  };
}

/** Mocks do not tell what a resource depends on, nor its options: the requests do. */
function observeRegistrations(resources: Resource[]): void {
  const monitor = pulumi.runtime.getMonitor() as any;
  const register = monitor.registerResource.bind(monitor);
  monitor.registerResource = (request: any, done: any) =>
    register(request, (error: any, answer: any) => {
      const made = resources.find(({ type, name }) => type === request.getType() && name === request.getName());
      if (made) {
        if (request.getProtect()) made.options.protect = true;
        if (request.getIgnorechangesList().length) made.options.ignoreChanges = request.getIgnorechangesList();
        made.after = request.getDependenciesList().map((urn: string) => urn.split("::").slice(2).join(" ").replace(/^.*\$/, ""));
      }
      done(error, answer);
    });
}

/** As a text that a person reads: JSON inside of JSON is unfolded, what is secret is not shown. */
export function printed({ resources, outputs }: Plan): string {
  const shown = resources.map(({ type, name, options, inputs }) => ({
    type,
    name,
    ...(Object.keys(options).length && { options }),
    inputs: unfolded(inputs),
  }));
  return `${JSON.stringify({ resources: shown, outputs }, undefined, 2)}\n`;
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Unlike `apply`, this fails when what it waits for has failed. */
function known<T>(output: pulumi.Output<T>): Promise<T> {
  return (output as unknown as { promise(): Promise<T> }).promise();
}

/** Under mocks Pulumi keeps secrets as `{ [signature]: secret, value }`, however deep. */
function masked(value: any): any {
  if (Array.isArray(value)) return value.map(masked);
  if (typeof value !== "object" || value === null) return value;
  if ("4dabf18193072939515e22adb298388d" in value) return SECRET;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, masked(inner)]));
}

export const SECRET = "[secret]";

function unfolded(value: any): any {
  if (Array.isArray(value)) return value.map(unfolded);
  if (typeof value === "string" && /^[[{]/.test(value)) {
    try {
      return unfolded(JSON.parse(value));
    } catch {
      return value;
    }
  }
  if (typeof value === "string" && value.includes("-----BEGIN CERTIFICATE-----")) {
    return `[certificate ${createHash("sha256").update(value).digest("hex").slice(0, 16)}]`;
  }
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.keys(value)
      .sort()
      .filter((key) => key !== "__provider") // the text of a dynamic provider, which has tests of its own
      .map((key) => [key, unfolded(value[key])]),
  );
}

function shortType(type: string): string {
  return type.replace(/^.*:/, "").toLowerCase();
}

/** What AWS would say of a resource that it has made. */
function answers(type: string, name: string, inputs: any): Record<string, unknown> {
  const arn = `arn:aws:${type.split(":")[1]?.split("/")[0]}:eu-central-1:${ACCOUNT}:${name}`;
  switch (type) {
    case "aws:acm/certificate:Certificate":
      return {
        arn,
        domainValidationOptions: [inputs.domainName, ...(inputs.subjectAlternativeNames ?? [])].map((domainName: string) => ({
          domainName,
          resourceRecordName: `_verify.${domainName}`,
          resourceRecordType: "CNAME",
          resourceRecordValue: `_verify.${domainName}.acm-validations.aws`,
        })),
      };
    case "aws:acm/certificateValidation:CertificateValidation":
      return { certificateArn: inputs.certificateArn };
    case "aws:route53/record:Record":
      return { fqdn: inputs.name };
    case "aws:rds/instance:Instance":
      return {
        arn,
        address: `${inputs.identifier}.abc.eu-central-1.rds.amazonaws.com`,
        resourceId: `db-${name}`,
        masterUserSecrets: [{ secretArn: `arn:aws:secretsmanager:eu-central-1:${ACCOUNT}:secret:rds!db-${name}` }],
      };
    case "aws:mq/broker:Broker":
      return { arn, instances: [{ endpoints: ["amqps://b-0.mq.eu-central-1.on.aws:5671"] }] };
    case "aws:lb/loadBalancer:LoadBalancer":
      return { arn, arnSuffix: `app/${inputs.name}/0`, dnsName: `${inputs.name}.eu-central-1.elb.amazonaws.com`, zoneId: "ZBALANCER" };
    case "aws:lb/targetGroup:TargetGroup":
      return { arn, arnSuffix: `targetgroup/${inputs.name}/0` };
    case "aws:amp/workspace:Workspace":
      return { arn, prometheusEndpoint: "https://aps-workspaces.eu-central-1.amazonaws.com/workspaces/ws-0/" };
    case "aws:kms/key:Key":
      return { arn: `arn:aws:kms:eu-central-1:${ACCOUNT}:key/${name}`, keyId: name };
    case "aws:secretsmanager/secret:Secret":
      return { arn: `arn:aws:secretsmanager:eu-central-1:${ACCOUNT}:secret:${inputs.name}` };
    case "aws:secretsmanager/secretVersion:SecretVersion":
      return { arn, versionId: `${name}-1` };
    case "aws:cloudwatch/logGroup:LogGroup":
      return { arn: `arn:aws:logs:eu-central-1:${ACCOUNT}:log-group:${inputs.name}` };
    case "aws:s3/bucket:Bucket":
      return { arn: `arn:aws:s3:::${inputs.bucket}` };
    case "aws:ecs/taskDefinition:TaskDefinition":
      return { arn: `arn:aws:ecs:eu-central-1:${ACCOUNT}:task-definition/${inputs.family}:1` };
    case "random:index/randomPassword:RandomPassword":
      return { result: CANARY };
    case "pulumi-nodejs:dynamic/tandem:NeonProject":
    case "pulumi-nodejs:dynamic/tandem.NeonProject":
      return { host: `${inputs.name}.eu-central-1.aws.neon.tech`, password: CANARY };
    default:
      return { arn, name: inputs.name ?? name };
  }
}
