// What autoscaling follows beside the CPU.

import type * as aws from "@pulumi/aws";
import type { Broker } from "./broker";
import { VIRTUAL_HOST } from "./broker";
import type { Edge } from "./edge";
import { METRICS_NAMESPACE, QUEUE_DEPTH } from "./telemetry";
import * as pulumi from "@pulumi/pulumi";

type Configuration = aws.types.input.appautoscaling.PolicyTargetTrackingScalingPolicyConfiguration;

/** Messages of new orders that wait, for each task of invoices: some seconds' work. */
const WAITING_PER_TASK = 500;

/** Requests in a minute for each task of the gateway, of which it can do several times as many. */
const REQUESTS_PER_TASK = 6000;

/** The queue that invoices are made from. */
export const ORDERS_QUEUE = "orders";

/** The depth of the queue `orders`, where the broker or the collector says it. */
export function queueDepth(broker: Broker): { namespace: string; metricName: string; dimensions: { name: string; value: pulumi.Input<string> }[] } {
  return broker.amazonMq
    ? {
        namespace: "AWS/AmazonMQ",
        metricName: "MessageReadyCount",
        dimensions: [
          { name: "Broker", value: broker.amazonMq.brokerName },
          { name: "Queue", value: ORDERS_QUEUE },
          { name: "VirtualHost", value: VIRTUAL_HOST },
        ],
      }
    : { namespace: METRICS_NAMESPACE, metricName: QUEUE_DEPTH, dimensions: [{ name: "queue", value: ORDERS_QUEUE }] };
}

/** As many tasks as the queue needs: what waits, divided by the tasks that there are. */
export function byQueueDepth(broker: Broker, cluster: pulumi.Input<string>, service: string): Configuration {
  const depth = queueDepth(broker);
  return {
    targetValue: WAITING_PER_TASK,
    customizedMetricSpecification: {
      metrics: [
        {
          id: "waiting",
          returnData: false,
          metricStat: { stat: "Maximum", metric: { namespace: depth.namespace, metricName: depth.metricName, dimensions: depth.dimensions } },
        },
        {
          id: "tasks",
          returnData: false,
          metricStat: {
            stat: "Average",
            metric: {
              namespace: "ECS/ContainerInsights",
              metricName: "RunningTaskCount",
              dimensions: [
                { name: "ClusterName", value: cluster },
                { name: "ServiceName", value: service },
              ],
            },
          },
        },
        { id: "waitingPerTask", returnData: true, label: "messages that wait, for each task", expression: "waiting / tasks" },
      ],
    },
  };
}

export function byRequests(edge: Edge): Configuration {
  return {
    targetValue: REQUESTS_PER_TASK,
    predefinedMetricSpecification: {
      predefinedMetricType: "ALBRequestCountPerTarget",
      resourceLabel: pulumi.interpolate`${edge.balancer.arnSuffix}/${edge.targets.arnSuffix}`,
    },
  };
}
