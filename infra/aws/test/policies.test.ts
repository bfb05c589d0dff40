// Each policy finds what it is for: a plan that is good but for one thing, and the sentence that says so.

import { beforeAll, describe, expect, it } from "vitest";
import { findings, policies, stackPolicies } from "../src/policies";
import type { PlannedResource } from "../src/policies/resource";
import type { Plan } from "./plan";
import { planOf, type StackName } from "./stacks";

type Change = (resources: PlannedResource[]) => void;
interface Mutation {
  stack?: StackName;
  what: string;
  change: Change;
  policy: string;
  /** All that is found, or the beginning of it. */
  found: string[];
}

const AWS = "aws:";

function get(resources: PlannedResource[], type: string, name: string): PlannedResource {
  const found = resources.find((resource) => resource.type === AWS + type && resource.name === name);
  if (!found) throw new Error(`no ${type} ${name} in the plan`);
  return found;
}

const set =
  (type: string, name: string, props: Record<string, unknown>): Change =>
  (resources) => {
    Object.assign(get(resources, type, name).props, props);
  };

const without =
  (type: string, name: string): Change =>
  (resources) => {
    resources.splice(resources.indexOf(get(resources, type, name)), 1);
  };

/** Changes one container, whose definitions are JSON. */
const container =
  (task: string, name: string, change: (definition: Record<string, any>) => void): Change =>
  (resources) => {
    const { props } = get(resources, "ecs/taskDefinition:TaskDefinition", task);
    const definitions = JSON.parse(props.containerDefinitions) as Record<string, any>[];
    change(definitions.find((definition) => definition.name === name)!);
    props.containerDefinitions = JSON.stringify(definitions);
  };

/** Changes a policy document. */
const document =
  (type: string, name: string, property: string, change: (statements: Record<string, any>[]) => void): Change =>
  (resources) => {
    const { props } = get(resources, type, name);
    const text = JSON.parse(props[property]) as { Statement: Record<string, any>[] };
    change(text.Statement);
    props[property] = JSON.stringify(text);
  };

const variable = (name: string, value: string): Change =>
  container("orders", "orders", ({ environment }) => environment.push({ name, value }));

const MUTATIONS: Mutation[] = [
  // --- Who can be reached --------------------------------------------------------------------------------------------
  {
    what: "a public subnet for the database",
    change: set("rds/subnetGroup:SubnetGroup", "databases", { subnetIds: ["public-0-subnet", "data-1-subnet"] }),
    policy: "data-is-private",
    found: ["instance shared: is in the public subnet public-0-subnet; put it into one of the network's data subnets"],
  },
  {
    what: "a route to the internet for the data subnets",
    change: (resources) => {
      const route = get(resources, "ec2/route:Route", "public-internet");
      resources.push({ ...route, name: "data-internet", props: { ...route.props, routeTableId: "data-routetable" } });
    },
    policy: "data-is-private",
    found: [
      ...[0, 1, 2].map((zone) => `instance shared: is in the public subnet data-${zone}-subnet; put it into one of the network's data subnets`),
      "broker broker: is in the public subnet data-0-subnet; put it into one of the network's data subnets",
    ],
  },
  {
    what: "a task subnet for the database: it could call home",
    change: set("rds/subnetGroup:SubnetGroup", "databases", { subnetIds: ["tasks-0-subnet"] }),
    policy: "data-is-private",
    found: ["instance shared: is in the subnet tasks-0-subnet, which has a way out; put it into one of the network's data subnets"],
  },
  {
    what: "a public database",
    change: set("rds/instance:Instance", "shared", { publiclyAccessible: true }),
    policy: "data-is-private",
    found: ["instance shared: may be reached from the internet; set publiclyAccessible to false"],
  },
  {
    what: "a public broker",
    change: set("mq/broker:Broker", "broker", { publiclyAccessible: true }),
    policy: "data-is-private",
    found: ["broker broker: may be reached from the internet; set publiclyAccessible to false"],
  },
  {
    stack: "alternatives",
    what: "files of the broker in a public subnet",
    change: set("efs/mountTarget:MountTarget", "broker-0", { subnetId: "public-0-subnet" }),
    policy: "data-is-private",
    found: ["mount target broker-0: is in the public subnet public-0-subnet; put it into one of the network's data subnets"],
  },
  {
    what: "tasks with public addresses",
    change: (resources) => {
      get(resources, "ecs/service:Service", "orders").props.networkConfiguration.assignPublicIp = true;
    },
    policy: "tasks-are-private",
    found: ["service orders: gives its tasks public addresses; set assignPublicIp to false"],
  },
  {
    what: "tasks in a public subnet",
    change: (resources) => {
      get(resources, "ecs/service:Service", "bff").props.networkConfiguration.subnets = ["public-2-subnet"];
    },
    policy: "tasks-are-private",
    found: ["service bff: is in the public subnet public-2-subnet; put it into one of the network's task subnets"],
  },
  {
    what: "the database open to the world",
    change: set("vpc/securityGroupIngressRule:SecurityGroupIngressRule", "orders-to-database-5432", { cidrIpv4: "0.0.0.0/0" }),
    policy: "only-the-edge-is-open",
    found: ["security group ingress rule orders-to-database-5432: lets the world in at 5432; name the security group that may, with referencedSecurityGroupId"],
  },
  {
    what: "another port of the load balancer open, over IPv6",
    change: set("vpc/securityGroupIngressRule:SecurityGroupIngressRule", "world-to-balancer-80", {
      cidrIpv6: "::/0",
      fromPort: 8001,
      toPort: 8001,
    }),
    policy: "only-the-edge-is-open",
    found: ["security group ingress rule world-to-balancer-80: lets the world in at 8001; name the security group that may, with referencedSecurityGroupId"],
  },
  {
    what: "a task that may call everything",
    change: set("vpc/securityGroupEgressRule:SecurityGroupEgressRule", "orders-to-https", { ipProtocol: "-1" }),
    policy: "only-the-edge-is-open",
    found: ["security group egress rule orders-to-https: lets everything out at every port; only 443 is for the world, name a security group for the rest"],
  },
  {
    what: "rules inside of a security group",
    change: set("ec2/securityGroup:SecurityGroup", "database", { ingress: [{ cidrBlocks: ["0.0.0.0/0"] }] }),
    policy: "only-the-edge-is-open",
    found: ["security group database: has rules of its own; use Network.allow, so that each rule is a resource that says who reaches whom"],
  },
  {
    what: "an unmanaged default security group",
    change: without("ec2/defaultSecurityGroup:DefaultSecurityGroup", "default"),
    policy: "only-the-edge-is-open",
    found: ["vpc vpc: keeps its default security group, which lets its members reach each other; manage it, without rules"],
  },
  {
    what: "plain HTTP at the edge",
    change: set("lb/listener:Listener", "http", { defaultActions: [{ type: "forward" }] }),
    policy: "the-edge-speaks-tls",
    found: ["listener http: speaks HTTP at 80; use HTTPS or TLS with a certificate, or redirect to it"],
  },
  {
    what: "TLS of long ago",
    change: set("lb/listener:Listener", "https", { sslPolicy: "ELBSecurityPolicy-2016-08" }),
    policy: "the-edge-speaks-tls",
    found: ["listener https: has the TLS policy ELBSecurityPolicy-2016-08; set sslPolicy to ELBSecurityPolicy-TLS13-1-2-2021-06"],
  },
  {
    stack: "alternatives",
    what: "AMQP without TLS",
    change: set("lb/listener:Listener", "broker-amqp", { protocol: "TCP", port: 5672 }),
    policy: "the-edge-speaks-tls",
    found: ["listener broker-amqp: speaks TCP at 5672; use HTTPS or TLS with a certificate, or redirect to it"],
  },
  {
    stack: "alternatives",
    what: "the broker's load balancer made public",
    change: set("lb/loadBalancer:LoadBalancer", "broker", { internal: false }),
    policy: "the-edge-has-a-firewall",
    found: [
      "load balancer broker: has no firewall; associate a web ACL with it",
      "load balancer broker: logs no accesses; set accessLogs to the bucket of the archive",
    ],
  },
  {
    what: "no firewall",
    change: without("wafv2/webAclAssociation:WebAclAssociation", "firewall"),
    policy: "the-edge-has-a-firewall",
    found: ["load balancer balancer: has no firewall; associate a web ACL with it"],
  },
  {
    what: "a firewall that logs tokens",
    change: (resources) => {
      get(resources, "wafv2/webAclLoggingConfiguration:WebAclLoggingConfiguration", "firewall").props.redactedFields.shift();
    },
    policy: "the-edge-has-a-firewall",
    found: ["web acl firewall: logs the header authorization; add a logging configuration that redacts authorization"],
  },
  {
    what: "a firewall without a limit of rates",
    change: (resources) => {
      get(resources, "wafv2/webAcl:WebAcl", "firewall").props.rules.shift();
    },
    policy: "the-edge-has-a-firewall",
    found: ["web acl firewall: limits no rates; add a rateBasedStatement"],
  },
  {
    what: "no flow log",
    change: without("ec2/flowLog:FlowLog", "flow-log"),
    policy: "networks-have-flow-logs",
    found: ["vpc vpc: has no flow log; add one that goes to the archive"],
  },

  // --- What is kept --------------------------------------------------------------------------------------------------
  {
    what: "an unencrypted database",
    change: set("rds/instance:Instance", "shared", { storageEncrypted: false }),
    policy: "data-is-encrypted",
    found: ["instance shared: is not encrypted; set storageEncrypted to true"],
  },
  {
    what: "a broker that Amazon MQ would refuse to make",
    change: set("mq/broker:Broker", "broker", { encryptionOptions: { useAwsOwnedKey: false, kmsKeyId: "arn:aws:kms:data" } }),
    policy: "data-is-encrypted",
    found: ["broker broker: names a key, which Amazon MQ refuses for RabbitMQ; leave encryptionOptions out, it is encrypted with a key of AWS's own"],
  },
  {
    what: "a secret without our key",
    change: set("secretsmanager/secret:Secret", "orders-database", { kmsKeyId: undefined }),
    policy: "data-is-encrypted",
    found: ["secret orders-database: is not encrypted with a key of ours; set kmsKeyId"],
  },
  {
    what: "a key that never changes",
    change: set("kms/key:Key", "data", { enableKeyRotation: false }),
    policy: "data-is-encrypted",
    found: ["key data: never changes; set enableKeyRotation"],
  },
  {
    stack: "account",
    what: "images without our key",
    change: set("ecr/repository:Repository", "orders", { encryptionConfigurations: [] }),
    policy: "data-is-encrypted",
    found: ["repository orders: is not encrypted with a key of ours; set encryptionConfigurations.kmsKey"],
  },
  {
    what: "a database that takes connections without TLS",
    change: set("rds/parameterGroup:ParameterGroup", "databases", { parameters: [{ name: "rds.force_ssl", value: "0" }] }),
    policy: "databases-insist-on-tls",
    found: ["instance shared: takes connections without TLS; set rds.force_ssl to 1 in its parameter group"],
  },
  {
    what: "backups of one day",
    change: set("rds/instance:Instance", "shared", { backupRetentionPeriod: 1 }),
    policy: "databases-can-be-restored",
    found: ["instance shared: keeps backups for 1 days; set database.backupDays to 7 or more"],
  },
  {
    stack: "prod",
    what: "a database in one zone, in production",
    change: set("rds/instance:Instance", "orders", { multiAz: false, deletionProtection: false }),
    policy: "databases-can-be-restored",
    found: [
      "instance orders: can be deleted without a trace in production; set protect to true in the configuration",
      "instance orders: is in one zone in production; set database.multiAz to true",
    ],
  },
  {
    stack: "prod",
    what: "one node of the broker, in production",
    change: set("mq/broker:Broker", "broker", { deploymentMode: "SINGLE_INSTANCE" }),
    policy: "databases-can-be-restored",
    found: ["broker broker: is one node in production; set broker.deployment to CLUSTER_MULTI_AZ"],
  },
  {
    what: "a bucket that may be made public",
    change: without("s3/bucketPublicAccessBlock:BucketPublicAccessBlock", "logs"),
    policy: "buckets-are-closed",
    found: ["bucket logs: may be made public; add a BucketPublicAccessBlock"],
  },
  {
    what: "a bucket that takes requests without TLS",
    change: document("s3/bucketPolicy:BucketPolicy", "logs", "policy", (statements) => statements.shift()),
    policy: "buckets-are-closed",
    found: ["bucket policy logs: lets requests without TLS pass; deny them where aws:SecureTransport is false"],
  },
  {
    what: "a bucket that keeps logs for ever",
    change: without("s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration", "firewall-logs"),
    policy: "buckets-are-closed",
    found: ["bucket firewall-logs: keeps everything for ever; add a BucketLifecycleConfiguration"],
  },
  {
    what: "a missing log group",
    change: without("cloudwatch/logGroup:LogGroup", "migrate-orders"),
    policy: "logs-have-an-end",
    found: ["files", "migration"].map(
      (name) => `task definition migrate-orders: the log group /tandem/dev/migrate-orders of the container ${name} is not planned; add a LogGroup with retentionInDays`,
    ),
  },
  {
    what: "logs for ever",
    change: set("cloudwatch/logGroup:LogGroup", "orders", { retentionInDays: undefined }),
    policy: "logs-have-an-end",
    found: ["log group orders: keeps its logs for ever; set retentionInDays"],
  },
  {
    what: "a log group that RDS would make",
    change: without("cloudwatch/logGroup:LogGroup", "shared-database-postgresql"),
    policy: "logs-have-an-end",
    found: ["instance shared: RDS would make the log group /aws/rds/instance/tandem-dev-database/postgresql, without an end; add a LogGroup of that name"],
  },
  {
    what: "a container that logs nowhere",
    change: container("orders", "collector", (definition) => delete definition.logConfiguration),
    policy: "logs-have-an-end",
    found: ["task definition orders: the container collector logs nowhere; give it a logConfiguration with awslogs"],
  },

  // --- What runs -----------------------------------------------------------------------------------------------------
  {
    what: "a plaintext secret",
    change: variable("DATABASE_URL", "postgres://orders:hunter2@db/orders"),
    policy: "no-plaintext-secrets",
    found: ["task definition orders: DATABASE_URL of the container orders is a URL with a password in plain text; store it with Secrets.store and name it in secrets"],
  },
  {
    what: "a plaintext secret by its name only",
    change: variable("JWT_SECRET", "0123456789abcdef0123456789abcdef"),
    policy: "no-plaintext-secrets",
    found: ["task definition orders: JWT_SECRET of the container orders is a credential in plain text; store it with Secrets.store and name it in secrets"],
  },
  {
    what: "a plaintext secret under an innocent name",
    change: variable("GREETING", `Basic ${Buffer.from("user:password").toString("base64")}`),
    policy: "no-plaintext-secrets",
    found: ["task definition orders: GREETING of the container orders is an authorization header in plain text; store it with Secrets.store and name it in secrets"],
  },
  {
    what: "a secret in a command",
    change: container("broker-setup", "users", ({ command }) => command.push("curl https://admin:hunter2@broker/")),
    policy: "no-plaintext-secrets",
    found: ["task definition broker-setup: the command of the container users has a URL with a password in plain text; pass it by secrets"],
  },
  {
    what: "an image by tag",
    change: container("orders", "orders", (definition) => {
      definition.image = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/tandem/orders:latest";
    }),
    policy: "images-by-digest",
    found: [
      "task definition orders: the image 123456789012.dkr.ecr.eu-central-1.amazonaws.com/tandem/orders:latest of the container orders may change; push it to our registry and name it by digest",
    ],
  },
  {
    stack: "account",
    what: "tags that can be moved",
    change: set("ecr/repository:Repository", "bff", { imageTagMutability: "MUTABLE" }),
    policy: "images-by-digest",
    found: ["repository bff: lets tags be moved; set imageTagMutability to IMMUTABLE"],
  },
  {
    what: "a program as root",
    change: container("orders", "orders", (definition) => {
      definition.user = "0:0";
    }),
    policy: "containers-are-confined",
    found: ["task definition orders: the container orders runs as 0:0; give it a user that is not root"],
  },
  {
    what: "a writable root",
    change: container("kong", "kong", (definition) => {
      definition.readonlyRootFilesystem = false;
    }),
    policy: "containers-are-confined",
    found: ["task definition kong: the container kong can write to its root; set readonlyRootFilesystem, and mount a volume where it has to write"],
  },
  {
    what: "capabilities",
    change: container("orders", "collector", (definition) => {
      definition.linuxParameters.capabilities = { drop: [] };
    }),
    policy: "containers-are-confined",
    found: ["task definition orders: the container collector keeps capabilities; drop ALL"],
  },
  {
    what: "a release that is never taken back",
    change: set("ecs/service:Service", "invoices", { deploymentCircuitBreaker: { enable: true, rollback: false } }),
    policy: "deployments-are-safe",
    found: ["service invoices: goes on with a release that fails; set deploymentCircuitBreaker with enable and rollback"],
  },
  {
    what: "a deployment that alarms do not stop",
    change: set("ecs/service:Service", "invoices", { alarms: { enable: false, rollback: true, alarmNames: [] } }),
    policy: "deployments-are-safe",
    found: ["service invoices: is not taken back by alarms; set alarms with enable, rollback and alarmNames"],
  },
  {
    what: "no task left during a deployment",
    change: set("ecs/service:Service", "orders", { deploymentMinimumHealthyPercent: 50 }),
    policy: "deployments-are-safe",
    found: ["service orders: has 50 % of its tasks during a deployment, of one task none; set deploymentMinimumHealthyPercent to 100"],
  },
  {
    what: "a shell into the containers",
    change: set("ecs/service:Service", "kong", { enableExecuteCommand: true }),
    policy: "deployments-are-safe",
    found: ["service kong: lets people into its containers; set enableExecuteCommand to false"],
  },
  {
    what: "a service that does not scale",
    change: without("appautoscaling/target:Target", "invoices"),
    policy: "deployments-are-safe",
    found: ["service invoices: does not scale; add an autoscaling target"],
  },
  {
    what: "a program that is asked for no health",
    change: container("orders", "orders", (definition) => delete definition.healthCheck),
    policy: "deployments-are-safe",
    found: ["task definition orders: the container orders is asked for no health; give it a healthCheck"],
  },

  // --- Who may do what -----------------------------------------------------------------------------------------------
  {
    what: "a role that may do everything",
    change: document("iam/rolePolicy:RolePolicy", "orders-execution", "policy", (statements) =>
      statements.push({ Sid: "Convenient", Effect: "Allow", Action: "*", Resource: "*" }),
    ),
    policy: "least-privilege",
    found: [
      "role policy orders-execution: Convenient allows everything; name the actions",
      "role policy orders-execution: Convenient allows * on everything; name the resources",
    ],
  },
  {
    what: "a role that may read every secret",
    change: document("iam/rolePolicy:RolePolicy", "orders-execution", "policy", (statements) => {
      statements.find(({ Sid }) => Sid === "Secrets")!.Resource = "*";
    }),
    policy: "least-privilege",
    found: ["role policy orders-execution: Secrets allows secretsmanager:GetSecretValue on everything; name the resources"],
  },
  {
    stack: "account",
    what: "an administrator of everything",
    change: set("iam/rolePolicyAttachment:RolePolicyAttachment", "preview", { policyArn: "arn:aws:iam::aws:policy/AdministratorAccess" }),
    policy: "least-privilege",
    found: ["role policy attachment preview: gives AdministratorAccess; write a policy of what is needed"],
  },
  {
    what: "a role without a boundary",
    change: set("iam/role:Role", "orders-task", { permissionsBoundary: undefined }),
    policy: "roles-are-bounded",
    found: ["role orders-task: has no boundary; set permissionsBoundary to that of the account"],
  },
  {
    what: "a role for tasks of any account",
    change: document("iam/role:Role", "orders-task", "assumeRolePolicy", ([statement]) => delete statement!.Condition),
    policy: "roles-are-bounded",
    found: ["role orders-task: may be taken for other accounts (confused deputy); require aws:SourceAccount"],
  },
  {
    stack: "account",
    what: "a deployment from any branch",
    change: document("iam/role:Role", "deploy-prod", "assumeRolePolicy", ([statement]) => {
      statement!.Condition.StringEquals["token.actions.githubusercontent.com:sub"] = "repo:example/tandem:*";
    }),
    policy: "roles-are-bounded",
    found: ["role deploy-prod: may be taken by workflows of others; require aud and one exact sub by StringEquals"],
  },
  {
    what: "a resource of nobody",
    change: set("rds/instance:Instance", "shared", { tagsAll: { project: "tandem" }, tags: undefined }),
    policy: "everything-has-tags",
    found: ["instance shared: lacks the tags environment, managed-by; make it with the stack's provider, which gives them"],
  },
  {
    what: "an alarm that nobody hears",
    change: set("cloudwatch/metricAlarm:MetricAlarm", "latency", { alarmActions: [] }),
    policy: "alarms-tell-somebody",
    found: ["metric alarm latency: tells nobody; set alarmActions to the topic of alarms"],
  },
];

describe("a mistake is found", () => {
  const plans = new Map<StackName, Plan>();
  beforeAll(async () => {
    for (const name of ["account", "dev", "prod", "alternatives"] as const) plans.set(name, await planOf(name));
  });
  /** The policies ask for what they need: all else of the plan stays as it is. */
  const changed = ({ stack = "dev", change }: Mutation): PlannedResource[] => {
    const resources = structuredClone(plans.get(stack)!.resources) as PlannedResource[];
    change(resources);
    return resources;
  };

  it.each(MUTATIONS)("$what", (mutation) => {
    const found = findings(changed(mutation));
    expect(found.map(({ policy, message }) => [policy, message])).toEqual(mutation.found.map((message) => [mutation.policy, message]));
  });

  it("every policy has a mistake here that only it finds", () => {
    expect(policies.map(({ name }) => name).filter((name) => !MUTATIONS.some(({ policy }) => policy === name))).toEqual([]);
  });

  /** As Pulumi hands a plan over before anything is made: to touch what is not known throws. */
  const beforeItIsMade = (resources: PlannedResource[], unknown: RegExp): PlannedResource[] => {
    const guarded = (value: any): any =>
      typeof value === "object" && value !== null
        ? new Proxy(value, {
            get(target, key) {
              const found = target[key];
              if (typeof found === "string" && unknown.test(found)) throw new Error(`${String(key)} can't be known during preview`);
              return guarded(found);
            },
          })
        : value;
    return resources.map((resource) => ({ ...resource, props: guarded(resource.props) }));
  };
  const reported = async (resources: PlannedResource[]): Promise<string[]> => {
    const messages: string[] = [];
    for (const policy of stackPolicies) {
      await policy.validateStack({ resources } as never, (message) => messages.push(`${policy.name}: ${message}`));
    }
    return messages;
  };
  /** What AWS gives: ARNs and ids; and so the texts that have one in them. */
  const GIVEN = /arn:aws:(?!iam::aws:)|-(subnet|securitygroup|vpc|routetable|bucket|natgateway|internetgateway)$/;

  it.each(["account", "dev", "prod", "alternatives"] as const)("a first preview of %s, where hardly an id is known, finds nothing wrong", async (stack) => {
    expect(await reported(beforeItIsMade(plans.get(stack)!.resources, GIVEN))).toEqual([]);
  });

  it("a first preview finds what does not hang on an id", async () => {
    for (const what of ["a public database", "logs for ever", "a broker that Amazon MQ would refuse to make", "no task left during a deployment"]) {
      const mutation = MUTATIONS.find((each) => each.what === what)!;
      expect(await reported(beforeItIsMade(changed(mutation), GIVEN))).toEqual(mutation.found.map((message) => `${mutation.policy}: ${message}`));
    }
  });

  it("Pulumi's own form of the policies reports the same", async () => {
    const [mutation] = MUTATIONS;
    expect(await reported(changed(mutation!))).toEqual(mutation!.found.map((message) => `${mutation!.policy}: ${message}`));
  });
});
