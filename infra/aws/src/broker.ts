// The broker: Amazon MQ for RabbitMQ, or a RabbitMQ of our own as one task with its data on EFS, which is for development:
// it is one node, and away while it is replaced. Both are reached over TLS, from inside the network only.

import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import { readFileSync } from "node:fs";
import * as path from "node:path";
import { type Context, type PolicyStatement, policyDocument } from "./context";
import type { Edge } from "./edge";
import type { Keys } from "./keys";
import type { Network } from "./network";
import { AMQPS_PORT, AMQP_PORT, BROKER_ADMIN_PORT } from "./ports";
import type { Secrets, StoredSecret } from "./secrets";
import type { AmazonMqSettings, FargateBrokerSettings } from "./settings";
import { Task } from "./task";

const ADMINISTRATOR = "tandem-admin";
export const VIRTUAL_HOST = "tandem";
export const BROKER_USERS = ["orders", "invoices", "bff"] as const;
export type BrokerUser = (typeof BROKER_USERS)[number];

/** The user and the group that the image of RabbitMQ runs as. */
const RABBITMQ_ID = 999;

export interface BrokerArgs {
  network: Network;
  edge: Edge;
  keys: Keys;
  secrets: Secrets;
  cluster: aws.ecs.Cluster;
}

/** Where it is reached. */
interface Address {
  host: pulumi.Output<string>;
  group: aws.ec2.SecurityGroup;
  administrator: StoredSecret;
  ready: pulumi.Resource;
}

export class Broker extends pulumi.ComponentResource {
  /** Of AMQPS at 5671, and of the management API at 443. */
  readonly host: pulumi.Output<string>;
  readonly group: [string, aws.ec2.SecurityGroup];
  /** Members: url (of the management API, with user and password), user, password. */
  readonly administrator: StoredSecret;
  /** Members: url, password. */
  readonly clients: Record<BrokerUser, StoredSecret>;
  /** The users with their permissions, in the form of RabbitMQ's definitions. */
  readonly users: StoredSecret;
  /** Where it is Amazon MQ: its metrics are in CloudWatch. */
  readonly amazonMq?: aws.mq.Broker;
  /** It answers when this is there. */
  readonly ready: pulumi.Resource;

  constructor(
    private readonly context: Context,
    private readonly args: BrokerArgs,
    options: pulumi.ComponentResourceOptions,
  ) {
    super("tandem:aws:Broker", "broker", {}, options);
    const { broker } = context.settings;
    const { secrets } = args;
    const password = secrets.password("broker-administrator");
    const address = broker.kind === "amazonmq" ? this.managed(broker, password) : this.own(broker, password);
    if (address.ready instanceof aws.mq.Broker) this.amazonMq = address.ready;
    this.ready = address.ready;
    this.host = address.host;
    this.group = ["broker", address.group];
    this.administrator = address.administrator;

    const passwords = Object.fromEntries(BROKER_USERS.map((user) => [user, secrets.password(`${user}-broker`)]));
    this.clients = Object.fromEntries(
      BROKER_USERS.map((user) => [
        user,
        secrets.store(`${user}-broker`, `The service ${user} at the broker`, {
          password: passwords[user]!,
          url: pulumi.interpolate`amqps://${user}:${passwords[user]!}@${this.host}:${AMQPS_PORT}/${VIRTUAL_HOST}`,
        }),
      ]),
    ) as Record<BrokerUser, StoredSecret>;
    this.users = secrets.store(
      "broker-users",
      "Users of the broker and what they may do, as RabbitMQ imports it",
      pulumi.all(passwords).apply((known) => JSON.stringify(usersAndPermissions(known))),
    );
    this.registerOutputs({});
  }

  private managed(settings: AmazonMqSettings, password: pulumi.Output<string>): Address {
    const { network } = this.args;
    const group = network.securityGroup("broker", "RabbitMQ");
    const cluster = settings.deployment === "CLUSTER_MULTI_AZ";
    const broker = new aws.mq.Broker(
      "broker",
      {
        brokerName: this.context.name(),
        engineType: "RabbitMQ",
        engineVersion: "4.2",
        autoMinorVersionUpgrade: true,
        hostInstanceType: settings.class,
        deploymentMode: settings.deployment,
        publiclyAccessible: false,
        subnetIds: (cluster ? network.dataSubnets : network.dataSubnets.slice(0, 1)).map(({ id }) => id),
        securityGroups: [group.id],
        // Encrypted at rest with a key of AWS's own: for RabbitMQ, Amazon MQ refuses any other.
        users: [{ username: ADMINISTRATOR, password }],
        maintenanceWindowStartTime: { dayOfWeek: "SUNDAY", timeOfDay: "05:00", timeZone: "UTC" },
        // Amazon MQ would make the log group itself, without an end to what it keeps and without our key. Its metrics and
        // the services' own logs say what happens.
        logs: { general: false },
      },
      { parent: this, protect: this.context.settings.protect },
    );
    // amqps://b-….mq.eu-central-1.on.aws:5671
    const host = broker.instances.apply((instances) => {
      const endpoint = instances[0]?.endpoints?.[0];
      if (!endpoint) throw new Error("Amazon MQ does not say where the broker is");
      return new URL(endpoint).hostname;
    });
    return { host, group, administrator: this.storeAdministrator(password, host), ready: broker };
  }

  /** One RabbitMQ, with its data on EFS, behind a load balancer that speaks TLS for it. */
  private own(settings: FargateBrokerSettings, password: pulumi.Output<string>): Address {
    const { network, edge, keys, cluster } = this.args;
    const { domain, hostedZoneId, protect } = this.context.settings;
    const parent = { parent: this };
    const host = pulumi.output(`broker.${domain}`);
    const group = network.securityGroup("broker", "the load balancer of RabbitMQ");
    const node = network.taskSecurityGroup("broker-node", "RabbitMQ");
    network.allow({ from: ["broker", group], to: ["broker-node", node], port: AMQP_PORT });
    network.allow({ from: ["broker", group], to: ["broker-node", node], port: BROKER_ADMIN_PORT });

    const files = new aws.efs.FileSystem("broker", { encrypted: true, kmsKeyId: keys.data.arn, throughputMode: "elastic" }, { ...parent, protect });
    new aws.efs.BackupPolicy("broker", { fileSystemId: files.id, backupPolicy: { status: "ENABLED" } }, parent);
    const filesGroup = network.securityGroup("broker-files", "the files of RabbitMQ");
    network.allow({ from: ["broker-node", node], to: ["broker-files", filesGroup], port: 2049 });
    const mountTargets = network.dataSubnets.map(
      ({ id }, index) =>
        new aws.efs.MountTarget(`broker-${index}`, { fileSystemId: files.id, subnetId: id, securityGroups: [filesGroup.id] }, parent),
    );
    const ids = { uid: RABBITMQ_ID, gid: RABBITMQ_ID };
    const access = new aws.efs.AccessPoint(
      "broker",
      {
        fileSystemId: files.id,
        posixUser: ids,
        rootDirectory: { path: "/rabbitmq", creationInfo: { ownerUid: ids.uid, ownerGid: ids.gid, permissions: "0700" } },
      },
      parent,
    );
    new aws.efs.FileSystemPolicy(
      "broker",
      {
        fileSystemId: files.id,
        policy: policyDocument(
          {
            Sid: "OnlyTls",
            Effect: "Deny",
            Principal: { AWS: "*" },
            Action: "*",
            Resource: files.arn,
            Condition: { Bool: { "aws:SecureTransport": "false" } },
          },
          {
            Sid: "OnlyTheBroker",
            Effect: "Allow",
            Principal: { AWS: `arn:aws:iam::${this.context.settings.accountId}:root` },
            Action: ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"],
            Resource: files.arn,
            Condition: { StringEquals: { "elasticfilesystem:AccessPointArn": access.arn } },
          },
        ),
      },
      parent,
    );

    const balancer = new aws.lb.LoadBalancer(
      "broker",
      {
        name: this.context.name("broker"),
        loadBalancerType: "network",
        internal: true,
        subnets: network.taskSubnets.map(({ id }) => id),
        securityGroups: [group.id],
        enableCrossZoneLoadBalancing: true,
        enableDeletionProtection: protect,
      },
      parent,
    );
    new aws.route53.Record(
      "broker",
      {
        zoneId: hostedZoneId,
        name: host,
        type: "A",
        aliases: [{ name: balancer.dnsName, zoneId: balancer.zoneId, evaluateTargetHealth: false }],
      },
      parent,
    );
    const through = (name: string, outside: number, inside: number) => {
      const targets = new aws.lb.TargetGroup(
        name,
        {
          name: this.context.name(name),
          vpcId: network.vpc.id,
          targetType: "ip",
          port: inside,
          protocol: "TCP",
          deregistrationDelay: 10,
          connectionTermination: true,
          healthCheck: { protocol: "TCP", interval: 10, healthyThreshold: 2, unhealthyThreshold: 2 },
        },
        parent,
      );
      const listener = new aws.lb.Listener(
        name,
        {
          loadBalancerArn: balancer.arn,
          port: outside,
          protocol: "TLS",
          sslPolicy: "ELBSecurityPolicy-TLS13-1-2-2021-06",
          certificateArn: edge.certificateArn,
          defaultActions: [{ type: "forward", targetGroupArn: targets.arn }],
        },
        parent,
      );
      return { targets, listener, inside };
    };
    const ways = [through("broker-amqp", AMQPS_PORT, AMQP_PORT), through("broker-admin", 443, BROKER_ADMIN_PORT)];

    const administrator = this.storeAdministrator(password, host);
    const mount: PolicyStatement = {
      Sid: "Files",
      Effect: "Allow",
      Action: ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"],
      Resource: files.arn,
      Condition: { StringEquals: { "elasticfilesystem:AccessPointArn": access.arn } },
    };
    const task = new Task(
      this.context,
      "broker",
      {
        keys,
        size: settings,
        permissions: [mount],
        volumes: [
          {
            name: "data",
            efsVolumeConfiguration: {
              fileSystemId: files.id,
              transitEncryption: "ENABLED",
              authorizationConfig: { accessPointId: access.id, iam: "ENABLED" },
            },
          },
        ],
        containers: [
          {
            name: "rabbitmq",
            image: "rabbitmq",
            user: `${RABBITMQ_ID}:${RABBITMQ_ID}`,
            // Its start-up writes beside its data, too.
            readonlyRoot: false,
            environment: {
              // The data belong to the node's name, which would otherwise be the task's address: a new one each time.
              RABBITMQ_NODENAME: "rabbit@localhost",
              RABBITMQ_DEFAULT_VHOST: VIRTUAL_HOST,
            },
            secrets: {
              RABBITMQ_DEFAULT_USER: administrator.reference("user"),
              RABBITMQ_DEFAULT_PASS: administrator.reference("password"),
            },
            ports: ways.map(({ inside }, index) => ({ name: index === 0 ? "amqp" : "admin", port: inside })),
            mounts: { data: "/var/lib/rabbitmq" },
            healthCheck: { command: ["CMD", "rabbitmq-diagnostics", "-q", "check_port_connectivity"], startPeriod: 60 },
            stopTimeout: 120,
            openFiles: 65536,
          },
        ],
      },
      parent,
    );
    const service = new aws.ecs.Service(
      "broker",
      {
        name: this.context.name("broker"),
        cluster: cluster.arn,
        taskDefinition: task.definition.arn,
        launchType: "FARGATE",
        platformVersion: "1.4.0",
        desiredCount: 1,
        // Never two nodes on the same files: the old one goes before the new one comes.
        deploymentMinimumHealthyPercent: 0,
        deploymentMaximumPercent: 100,
        deploymentCircuitBreaker: { enable: true, rollback: true },
        availabilityZoneRebalancing: "DISABLED",
        enableExecuteCommand: false,
        enableEcsManagedTags: true,
        propagateTags: "SERVICE",
        waitForSteadyState: true,
        networkConfiguration: {
          assignPublicIp: false,
          subnets: network.taskSubnets.map(({ id }) => id),
          securityGroups: [node.id],
        },
        loadBalancers: ways.map(({ targets, inside }) => ({
          targetGroupArn: targets.arn,
          containerName: "rabbitmq",
          containerPort: inside,
        })),
      },
      { parent: this, dependsOn: [...mountTargets, ...ways.map(({ listener }) => listener)] },
    );
    return { host, group, administrator, ready: service };
  }

  private storeAdministrator(password: pulumi.Output<string>, host: pulumi.Output<string>): StoredSecret {
    return this.args.secrets.store("broker-administrator", "Administrator of the broker", {
      user: ADMINISTRATOR,
      password,
      url: pulumi.interpolate`https://${ADMINISTRATOR}:${password}@${host}`,
    });
  }
}

/** What infra/rabbitmq/permissions.json says, with the users and their passwords. */
export function usersAndPermissions(passwords: Record<string, string>): Record<string, unknown[]> {
  const file = path.join(__dirname, "..", "..", "rabbitmq", "permissions.json");
  const granted = JSON.parse(readFileSync(file, "utf8")) as Record<"permissions" | "topic_permissions", { user: string }[]>;
  const named = [...new Set(granted.permissions.map(({ user }) => user))].sort();
  const known = Object.keys(passwords).sort();
  if (named.join() !== known.join()) {
    throw new Error(`infra/rabbitmq/permissions.json is about ${named.join(", ")}, and the services are ${known.join(", ")}`);
  }
  return {
    users: known.map((name) => ({ name, password: passwords[name], tags: "" })),
    permissions: granted.permissions,
    topic_permissions: granted.topic_permissions,
  };
}
