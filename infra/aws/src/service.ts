// A service: tasks that are kept running, found by name, replaced one after the other, and more or fewer of them.

import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import type { Context } from "./context";
import type { Network } from "./network";
import type { ServiceName } from "./settings";
import type { Task } from "./task";

/** Seconds from the start of a task in which its health checks may fail: migrations are over, it only has to connect. */
const GRACE_SECONDS = 60;

/** The seconds between measurements count: more quickly than this, tasks would come and go. */
const SCALE_OUT_SECONDS = 60;
const SCALE_IN_SECONDS = 300;

export interface ServiceArgs {
  network: Network;
  cluster: aws.ecs.Cluster;
  namespace: aws.servicediscovery.HttpNamespace;
  task: Task;
  securityGroup: aws.ec2.SecurityGroup;
  /** How other tasks find it; the name is the service's. */
  offers?: {
    port: number;
    /** A request's time is limited elsewhere; a proxy's own limit would end event streams. */
    streams?: boolean;
  };
  /** Where the world's requests come from. */
  targets?: { group: aws.lb.TargetGroup; port: number };
  /** What has to be there first. A component's own `dependsOn` is not its children's. */
  after: pulumi.Input<pulumi.Resource>[];
  /** A deployment that raises one of them is taken back. */
  deploymentAlarms: pulumi.Input<string>[];
  /** For TLS between the services. */
  tls?: { authorityArn: string; keyArn: pulumi.Input<string>; roleArn: pulumi.Input<string> };
  /** What to keep at a value, beside the CPU. */
  scaleOn?: { name: string; configuration: aws.types.input.appautoscaling.PolicyTargetTrackingScalingPolicyConfiguration }[];
}

export class Service extends pulumi.ComponentResource {
  readonly service: aws.ecs.Service;

  constructor(context: Context, name: ServiceName, args: ServiceArgs, options: pulumi.ComponentResourceOptions) {
    super("tandem:aws:Service", name, {}, options);
    const { spot, stack, region } = context.settings;
    const { min, max } = context.settings.services[name];
    const { network, cluster, namespace, task, offers, targets, tls } = args;
    const parent = { parent: this };

    this.service = new aws.ecs.Service(
      name,
      {
        name: context.name(name),
        cluster: cluster.arn,
        taskDefinition: task.definition.arn,
        capacityProviderStrategies: [{ capacityProvider: spot ? "FARGATE_SPOT" : "FARGATE", weight: 1 }],
        platformVersion: "1.4.0",
        desiredCount: min,
        // A new task is healthy before an old one goes.
        deploymentMinimumHealthyPercent: 100,
        deploymentMaximumPercent: 200,
        deploymentCircuitBreaker: { enable: true, rollback: true },
        alarms: { enable: true, rollback: true, alarmNames: args.deploymentAlarms },
        availabilityZoneRebalancing: "ENABLED",
        ...(targets && { healthCheckGracePeriodSeconds: GRACE_SECONDS }),
        enableExecuteCommand: false,
        enableEcsManagedTags: true,
        propagateTags: "SERVICE",
        // Until the tasks are the new ones. A deployment that ECS takes back ends well here, too: README, "Roll back".
        waitForSteadyState: true,
        networkConfiguration: {
          assignPublicIp: false,
          subnets: network.taskSubnets.map(({ id }) => id),
          securityGroups: [args.securityGroup.id],
        },
        ...(targets && {
          loadBalancers: [{ targetGroupArn: targets.group.arn, containerName: name, containerPort: targets.port }],
        }),
        serviceConnectConfiguration: {
          enabled: true,
          namespace: namespace.arn,
          ...(offers && {
            services: [
              {
                portName: "api",
                discoveryName: name,
                clientAlias: [{ dnsName: name, port: offers.port }],
                ...(!offers.streams && { timeout: { idleTimeoutSeconds: 75, perRequestTimeoutSeconds: 30 } }),
                ...(tls && {
                  tls: {
                    issuerCertAuthority: { awsPcaAuthorityArn: tls.authorityArn },
                    kmsKey: tls.keyArn,
                    roleArn: tls.roleArn,
                  },
                }),
              },
            ],
          }),
          logConfiguration: {
            logDriver: "awslogs",
            options: {
              "awslogs-group": task.logGroup.name,
              "awslogs-region": region,
              "awslogs-stream-prefix": "service-connect",
              mode: "non-blocking",
              "max-buffer-size": "4m",
            },
          },
        },
        tags: { Name: `tandem ${stack} ${name}` },
      },
      // How many there are is autoscaling's business.
      { ...parent, ignoreChanges: ["desiredCount"], dependsOn: args.after },
    );

    const scalable = new aws.appautoscaling.Target(
      name,
      {
        serviceNamespace: "ecs",
        scalableDimension: "ecs:service:DesiredCount",
        resourceId: pulumi.interpolate`service/${cluster.name}/${this.service.name}`,
        minCapacity: min,
        maxCapacity: max,
      },
      parent,
    );
    const follow = (what: string, configuration: aws.types.input.appautoscaling.PolicyTargetTrackingScalingPolicyConfiguration) =>
      new aws.appautoscaling.Policy(
        `${name}-${what}`,
        {
          name: context.name(name, what),
          policyType: "TargetTrackingScaling",
          serviceNamespace: scalable.serviceNamespace,
          scalableDimension: scalable.scalableDimension,
          resourceId: scalable.resourceId,
          targetTrackingScalingPolicyConfiguration: {
            scaleOutCooldown: SCALE_OUT_SECONDS,
            scaleInCooldown: SCALE_IN_SECONDS,
            ...configuration,
          },
        },
        parent,
      );
    follow("cpu", { targetValue: 60, predefinedMetricSpecification: { predefinedMetricType: "ECSServiceAverageCPUUtilization" } });
    for (const { name: what, configuration } of args.scaleOn ?? []) follow(what, configuration);
    this.registerOutputs({});
  }
}
