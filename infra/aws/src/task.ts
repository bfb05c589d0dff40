// A task definition of ours: its containers in a canonical form, its two roles, its log group.
//
// The form is canonical because AWS answers with its own: containers, variables and secrets in some order, and every
// default written out. What differs from that form is a new revision, and so a deployment, with each `pulumi up`.

import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import { type Context, type PolicyStatement, policyDocument } from "./context";
import type { Keys } from "./keys";
import type { SecretReference } from "./secrets";
import type { ImageName, Size } from "./settings";

/** A container, in words of ours. */
export interface Container {
  name: string;
  image: ImageName;
  /** Instead of the image's entry point and command. */
  entryPoint?: string[];
  command?: string[];
  environment?: Record<string, pulumi.Input<string>>;
  secrets?: Record<string, SecretReference>;
  /** The first is the one that others find it by, if the task is a service. */
  ports?: { name: string; port: number; http?: boolean }[];
  /** In the container's own words: exit code 0 is healthy. */
  healthCheck?: { command: string[]; startPeriod: number };
  /** Not root. Left out: who the image says. */
  user?: string;
  /** Default yes. */
  readonlyRoot?: boolean;
  /** The task ends with it. Default yes. */
  essential?: boolean;
  /** Volume to path. */
  mounts?: Record<string, string>;
  dependsOn?: Record<string, "SUCCESS" | "HEALTHY" | "START" | "COMPLETE">;
  /** Seconds between SIGTERM and SIGKILL. */
  stopTimeout?: number;
  /** Open files. */
  openFiles?: number;
  memoryReservation?: number;
}

type Json = Record<string, unknown>;

/**
 * The definitions as AWS gives them back: sorted by name, with every default written out.
 *
 * @param logs log group and region of each container
 */
export function containerDefinitions(
  containers: (Omit<Container, "image" | "environment" | "secrets"> & {
    image: string;
    environment?: Record<string, string>;
    secrets?: Record<string, string>;
  })[],
  logs: { group: string; region: string },
): Json[] {
  const byName = <T>(members: Record<string, T> = {}) => Object.entries(members).sort(([a], [b]) => (a < b ? -1 : 1));
  return [...containers]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map((container) => {
      const { environment = {}, secrets = {} } = container;
      const twice = Object.keys(environment).find((name) => name in secrets);
      if (twice !== undefined) throw new Error(`${twice} of the container ${container.name} is a variable and a secret: it must be one`);
      return {
        name: container.name,
        image: container.image,
        cpu: 0,
        essential: container.essential ?? true,
        ...(container.entryPoint && { entryPoint: container.entryPoint }),
        ...(container.command && { command: container.command }),
        environment: byName(environment).map(([name, value]) => ({ name, value })),
        secrets: byName(secrets).map(([name, valueFrom]) => ({ name, valueFrom })),
        portMappings: (container.ports ?? []).map(({ name, port, http }) => ({
          name,
          containerPort: port,
          hostPort: port,
          protocol: "tcp",
          ...(http && { appProtocol: "http" }),
        })),
        mountPoints: byName(container.mounts).map(([sourceVolume, containerPath]) => ({
          sourceVolume,
          containerPath,
          readOnly: false,
        })),
        volumesFrom: [],
        systemControls: [],
        dependsOn: byName(container.dependsOn).map(([containerName, condition]) => ({ containerName, condition })),
        ...(container.user && { user: container.user }),
        privileged: false,
        readonlyRootFilesystem: container.readonlyRoot ?? true,
        linuxParameters: { capabilities: { drop: ["ALL"] }, initProcessEnabled: false },
        ...(container.memoryReservation && { memoryReservation: container.memoryReservation }),
        ...(container.openFiles && {
          ulimits: [{ name: "nofile", softLimit: container.openFiles, hardLimit: container.openFiles }],
        }),
        ...(container.healthCheck && {
          healthCheck: { ...container.healthCheck, interval: 10, timeout: 5, retries: 3 },
        }),
        stopTimeout: container.stopTimeout ?? 30,
        logConfiguration: {
          logDriver: "awslogs",
          options: {
            "awslogs-group": logs.group,
            "awslogs-region": logs.region,
            "awslogs-stream-prefix": container.name,
            // The other mode stops the program while CloudWatch is slow.
            mode: "non-blocking",
            "max-buffer-size": "4m",
          },
        },
      };
    });
}

export interface TaskArgs {
  keys: Keys;
  size: Size;
  containers: Container[];
  /** What its programs may do in AWS. Nothing, unless said. */
  permissions?: PolicyStatement[];
  /** Names, of volumes that live as long as the task. */
  scratch?: string[];
  volumes?: pulumi.Input<aws.types.input.ecs.TaskDefinitionVolume>[];
}

export class Task extends pulumi.ComponentResource {
  readonly definition: aws.ecs.TaskDefinition;
  readonly logGroup: aws.cloudwatch.LogGroup;

  constructor(
    private readonly context: Context,
    name: string,
    { keys, size, containers, permissions = [], scratch = [], volumes = [] }: TaskArgs,
    options: pulumi.ComponentResourceOptions,
  ) {
    super("tandem:aws:Task", name, {}, options);
    const { region, stack, logDays } = context.settings;
    const parent = { parent: this };

    this.logGroup = new aws.cloudwatch.LogGroup(
      name,
      { name: `/tandem/${stack}/${name}`, retentionInDays: logDays, kmsKeyId: keys.logs.arn },
      parent,
    );
    const execution = this.role(`${name}-execution`, this.executionPermissions(containers, keys));
    const task = this.role(`${name}-task`, permissions);
    const images = Object.fromEntries(containers.map(({ image }) => [image, this.image(image)]));
    this.definition = new aws.ecs.TaskDefinition(
      name,
      {
        family: context.name(name),
        cpu: String(size.cpu),
        memory: String(size.memory),
        networkMode: "awsvpc",
        requiresCompatibilities: ["FARGATE"],
        runtimePlatform: { cpuArchitecture: "ARM64", operatingSystemFamily: "LINUX" },
        executionRoleArn: execution.arn,
        taskRoleArn: task.arn,
        containerDefinitions: pulumi
          .all([
            this.logGroup.name,
            pulumi.all(
              containers.map((container) =>
                pulumi.all({
                  ...container,
                  image: images[container.image]!,
                  environment: pulumi.all(container.environment ?? {}),
                  secrets: pulumi.all(
                    Object.fromEntries(Object.entries(container.secrets ?? {}).map(([key, { valueFrom }]) => [key, valueFrom])),
                  ),
                }),
              ),
            ),
          ])
          .apply(([group, known]) => JSON.stringify(containerDefinitions(known as never, { group, region }))),
        volumes: [...scratch.map((volume) => ({ name: volume })), ...volumes],
      },
      parent,
    );
    this.registerOutputs({});
  }

  private image(name: ImageName): string {
    return `${this.context.registry}/tandem/${name}@${this.context.settings.digests[name]}`;
  }

  private role(name: string, statements: PolicyStatement[]): aws.iam.Role {
    const { accountId } = this.context.settings;
    const role = new aws.iam.Role(
      name,
      {
        name: this.context.name(name),
        path: this.context.rolePath,
        permissionsBoundary: this.context.permissionsBoundary,
        assumeRolePolicy: policyDocument({
          Effect: "Allow",
          Principal: { Service: "ecs-tasks.amazonaws.com" },
          Action: "sts:AssumeRole",
          // Only for tasks of this account: nobody else can have ECS act for them.
          Condition: {
            StringEquals: { "aws:SourceAccount": accountId },
            ArnLike: { "aws:SourceArn": this.context.arn("ecs", "*") },
          },
        }),
      },
      { parent: this },
    );
    if (statements.length) {
      new aws.iam.RolePolicy(name, { name, role: role.id, policy: policyDocument(...statements) }, { parent: this });
    }
    return role;
  }

  /** What ECS needs to start the task: its images, its logs, its secrets, and nobody else's. */
  private executionPermissions(containers: Container[], keys: Keys): PolicyStatement[] {
    const { region } = this.context.settings;
    const images = [...new Set(containers.map(({ image }) => image))].sort();
    const secrets = containers.flatMap((container) => Object.values(container.secrets ?? {}).map(({ arn }) => arn));
    return [
      { Sid: "LogIn", Effect: "Allow", Action: "ecr:GetAuthorizationToken", Resource: "*" },
      {
        Sid: "Images",
        Effect: "Allow",
        Action: ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
        Resource: images.map((image) => this.context.arn("ecr", `repository/tandem/${image}`)),
      },
      {
        Sid: "Logs",
        Effect: "Allow",
        Action: ["logs:CreateLogStream", "logs:PutLogEvents"],
        Resource: pulumi.interpolate`${this.logGroup.arn}:log-stream:*`,
      },
      ...(secrets.length
        ? [
            {
              Sid: "Secrets",
              Effect: "Allow" as const,
              Action: "secretsmanager:GetSecretValue",
              Resource: pulumi.all(secrets).apply((arns) => [...new Set(arns)].sort()),
            },
            {
              Sid: "KeyOfTheSecrets",
              Effect: "Allow" as const,
              Action: "kms:Decrypt",
              Resource: keys.secrets.arn,
              Condition: { StringEquals: { "kms:ViaService": `secretsmanager.${region}.amazonaws.com` } },
            },
          ]
        : []),
    ];
  }
}
