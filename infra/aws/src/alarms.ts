// Alarms: what a person has to look at, and what takes a deployment back. Those of the application itself (SLOs, outbox,
// saga) are rules of Prometheus; these watch what AWS runs.

import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import type { Broker } from "./broker";
import { VIRTUAL_HOST } from "./broker";
import { type Context, policyDocument } from "./context";
import type { Database } from "./database";
import type { Edge } from "./edge";
import type { Keys } from "./keys";
import { queueDepth } from "./scaling";

export interface AlarmsArgs {
  keys: Keys;
  edge: Edge;
  broker: Broker;
  databases: Database[];
}

interface Watch {
  namespace: string;
  metricName: string;
  dimensions: Record<string, pulumi.Input<string>>;
  statistic: "Average" | "Maximum" | "Minimum" | "Sum" | `p${number}`;
  above?: number;
  below?: number;
  /** Of one minute each. */
  minutes: number;
  /** What somebody should do. */
  description: string;
  silenceIsFine?: boolean;
}

/** The queues where messages end that can never be processed (infra/rabbitmq/definitions.json). */
export const DEAD_LETTER_QUEUES = ["orders.dlq", "invoices.order-canceled.dlq", "orders.invoice-events.dlq"];

/** GiB. */
const LITTLE_STORAGE = 5;

export class Alarms extends pulumi.ComponentResource {
  /** Raised by a release that is no good. */
  readonly ofDeployments: pulumi.Output<string>[];
  private readonly topic: aws.sns.Topic;

  constructor(
    private readonly context: Context,
    { keys, edge, broker, databases }: AlarmsArgs,
    options: pulumi.ComponentResourceOptions,
  ) {
    super("tandem:aws:Alarms", "alarms", {}, options);
    const { alarmEmail, accountId } = context.settings;
    const parent = { parent: this };
    this.topic = new aws.sns.Topic("alarms", { name: context.name("alarms"), kmsMasterKeyId: keys.logs.id }, parent);
    new aws.sns.TopicPolicy(
      "alarms",
      {
        arn: this.topic.arn,
        policy: policyDocument({
          Sid: "CloudWatch",
          Effect: "Allow",
          Principal: { Service: "cloudwatch.amazonaws.com" },
          Action: "sns:Publish",
          Resource: this.topic.arn,
          Condition: { StringEquals: { "aws:SourceAccount": accountId } },
        }),
      },
      parent,
    );
    new aws.sns.TopicSubscription("alarms", { topic: this.topic.arn, protocol: "email", endpoint: alarmEmail }, parent);

    const balancer = { LoadBalancer: edge.balancer.arnSuffix };
    const targets = { ...balancer, TargetGroup: edge.targets.arnSuffix };
    const errors = this.alarm("gateway-errors", {
      namespace: "AWS/ApplicationELB",
      metricName: "HTTPCode_Target_5XX_Count",
      dimensions: targets,
      statistic: "Sum",
      above: 10,
      minutes: 3,
      description: "Requests fail behind the gateway: look at the traces with an error, and at the last release",
      silenceIsFine: true,
    });
    const unhealthy = this.alarm("gateway-unhealthy", {
      namespace: "AWS/ApplicationELB",
      metricName: "UnHealthyHostCount",
      dimensions: targets,
      statistic: "Minimum",
      above: 0,
      minutes: 5,
      description: "A task of the gateway is not ready: look at its log",
      silenceIsFine: true,
    });
    this.ofDeployments = [errors.name, unhealthy.name];
    this.alarm("balancer-errors", {
      namespace: "AWS/ApplicationELB",
      metricName: "HTTPCode_ELB_5XX_Count",
      dimensions: balancer,
      statistic: "Sum",
      above: 10,
      minutes: 3,
      description: "The load balancer reaches no gateway: are there healthy tasks of kong?",
      silenceIsFine: true,
    });
    this.alarm("latency", {
      namespace: "AWS/ApplicationELB",
      metricName: "TargetResponseTime",
      dimensions: targets,
      statistic: "p99",
      above: 1,
      minutes: 10,
      description: "One request in a hundred takes more than a second: look at the slowest traces, and at the databases",
      silenceIsFine: true,
    });

    const instances = new Map(databases.flatMap(({ instance, name }) => (instance ? [[instance, name] as const] : [])));
    for (const [instance, last] of instances) {
      const name = [...databases.values()].filter((each) => each.instance === instance).length > 1 ? "shared" : last;
      const of = { namespace: "AWS/RDS", dimensions: { DBInstanceIdentifier: instance.identifier } };
      this.alarm(`${name}-database-storage`, {
        ...of,
        metricName: "FreeStorageSpace",
        statistic: "Minimum",
        below: LITTLE_STORAGE * 1024 ** 3,
        minutes: 15,
        description: `Less than ${LITTLE_STORAGE} GiB are left and storage does not grow any more: raise database.storage`,
      });
      this.alarm(`${name}-database-cpu`, {
        ...of,
        metricName: "CPUUtilization",
        statistic: "Average",
        above: 80,
        minutes: 15,
        description: "The database is busy: look at Performance Insights; a larger database.class if it is the load",
      });
      this.alarm(`${name}-database-memory`, {
        ...of,
        metricName: "FreeableMemory",
        statistic: "Minimum",
        below: 128 * 1024 ** 2,
        minutes: 15,
        description: "The database has little memory left: fewer connections, or a larger database.class",
      });
    }

    this.alarm("orders-waiting", {
      ...named(queueDepth(broker)),
      statistic: "Maximum",
      above: 5000,
      minutes: 15,
      description: "Orders wait for their invoices although there are more tasks: are the tasks of invoices healthy, and their database?",
      silenceIsFine: true,
    });
    if (broker.amazonMq) {
      const of = { namespace: "AWS/AmazonMQ", dimensions: { Broker: broker.amazonMq.brokerName } };
      this.alarm("broker-cpu", {
        ...of,
        metricName: "SystemCpuUtilization",
        statistic: "Average",
        above: 80,
        minutes: 15,
        description: "The broker is busy: look at its queues; a larger broker.class if it is the load",
        silenceIsFine: true,
      });
      this.alarm("broker-disk", {
        ...of,
        metricName: "RabbitMQDiskFree",
        statistic: "Minimum",
        below: 2 * 1024 ** 3,
        minutes: 5,
        description: "The broker is about to refuse messages: which queue is nobody reading?",
        silenceIsFine: true,
      });
      for (const queue of DEAD_LETTER_QUEUES) {
        this.alarm(`dead-letters-${queue.replace(/\.dlq$/, "").replaceAll(".", "-")}`, {
          namespace: "AWS/AmazonMQ",
          metricName: "MessageCount",
          dimensions: { Broker: broker.amazonMq.brokerName, Queue: queue, VirtualHost: VIRTUAL_HOST },
          statistic: "Maximum",
          above: 0,
          minutes: 1,
          description: `Messages in ${queue} can never be processed: dead-letters list, README of the project`,
          silenceIsFine: true,
        });
      }
    }
    this.registerOutputs({});
  }

  private alarm(name: string, watch: Watch): aws.cloudwatch.MetricAlarm {
    const percentile = watch.statistic.startsWith("p");
    return new aws.cloudwatch.MetricAlarm(
      name,
      {
        name: this.context.name(name),
        alarmDescription: watch.description,
        namespace: watch.namespace,
        metricName: watch.metricName,
        dimensions: watch.dimensions,
        ...(percentile ? { extendedStatistic: watch.statistic } : { statistic: watch.statistic }),
        comparisonOperator: watch.above === undefined ? "LessThanThreshold" : "GreaterThanThreshold",
        threshold: (watch.above ?? watch.below)!,
        period: 60,
        evaluationPeriods: watch.minutes,
        treatMissingData: watch.silenceIsFine ? "notBreaching" : "breaching",
        alarmActions: [this.topic.arn],
        okActions: [this.topic.arn],
      },
      { parent: this },
    );
  }
}

function named({ namespace, metricName, dimensions }: ReturnType<typeof queueDepth>) {
  return { namespace, metricName, dimensions: Object.fromEntries(dimensions.map(({ name, value }) => [name, value])) };
}
