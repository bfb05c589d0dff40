// Telemetry: a collector beside each program takes its spans, reads its metrics, and sends both to Grafana Cloud or to
// X-Ray and Amazon Managed Prometheus. Fargate has no place for one collector a machine.

import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import type { Context, PolicyStatement } from "./context";
import type { Keys } from "./keys";
import { OTLP_PORT } from "./ports";
import type { Secrets, StoredSecret } from "./secrets";
import type { Container } from "./task";

/** Of the collector's metrics in CloudWatch, which autoscaling looks at. */
export const METRICS_NAMESPACE = "Tandem";
export const QUEUE_DEPTH = "amqp_queue_messages";

/** What a program has to be watched. */
export interface Watched {
  /** Its name in traces and metrics. */
  service: string;
  /** Where it serves its metrics, on the loopback address of the task. */
  metricsPort: number;
  /** Its queues' depths go to CloudWatch, too. */
  queueDepth?: boolean;
}

export class Telemetry extends pulumi.ComponentResource {
  /** Amazon Managed Prometheus, where metrics go there. */
  readonly workspace?: aws.amp.Workspace;
  private readonly authorization?: StoredSecret;
  private readonly metricsLogs?: aws.cloudwatch.LogGroup;

  constructor(
    private readonly context: Context,
    { keys, secrets }: { keys: Keys; secrets: Secrets },
    options: pulumi.ComponentResourceOptions,
  ) {
    super("tandem:aws:Telemetry", "telemetry", {}, options);
    const { telemetry, stack, logDays, broker } = context.settings;
    const parent = { parent: this };
    if (telemetry.grafana) {
      this.authorization = secrets.store("grafana-cloud", "The header that Grafana Cloud wants of the collectors", telemetry.grafana.authorization);
    } else {
      this.workspace = new aws.amp.Workspace("metrics", { alias: context.name(), kmsKeyArn: keys.data.arn }, parent);
    }
    // Amazon MQ has metrics of its own in CloudWatch.
    if (broker.kind === "fargate") {
      this.metricsLogs = new aws.cloudwatch.LogGroup(
        "metrics",
        { name: `/tandem/${stack}/metrics`, retentionInDays: logDays, kmsKeyId: keys.logs.arn },
        parent,
      );
    }
    this.registerOutputs({});
  }

  /** The collector beside a program. */
  collector(watched: Watched): Container {
    return {
      name: "collector",
      image: "collector",
      // A program goes on without its collector.
      essential: false,
      user: "65532",
      environment: {
        AOT_CONFIG_CONTENT: this.configuration(watched),
        AWS_REGION: this.context.settings.region,
      },
      secrets: this.authorization ? { GRAFANA_CLOUD_AUTHORIZATION: this.authorization.reference() } : {},
      healthCheck: { command: ["CMD", "/healthcheck"], startPeriod: 10 },
      memoryReservation: 64,
    };
  }

  /** What a collector may do in AWS. */
  permissions({ queueDepth }: Watched): PolicyStatement[] {
    return [
      ...(this.workspace
        ? [
            { Sid: "Metrics", Effect: "Allow" as const, Action: "aps:RemoteWrite", Resource: this.workspace.arn },
            {
              Sid: "Traces",
              Effect: "Allow" as const,
              Action: ["xray:PutTelemetryRecords", "xray:PutTraceSegments"],
              Resource: "*",
            },
          ]
        : []),
      ...(this.metricsLogs && queueDepth
        ? [
            {
              Sid: "QueueDepth",
              Effect: "Allow" as const,
              Action: ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"],
              Resource: [this.metricsLogs.arn, pulumi.interpolate`${this.metricsLogs.arn}:log-stream:*`],
            },
          ]
        : []),
    ];
  }

  /** The collector's configuration: JSON is YAML. */
  private configuration({ service, metricsPort, queueDepth }: Watched): pulumi.Output<string> {
    const { telemetry, region, stack } = this.context.settings;
    const exporters: Record<string, unknown> = {};
    const extensions: Record<string, unknown> = { health_check: { endpoint: "localhost:13133" } };
    const traces: string[] = [];
    const metrics: string[] = [];
    if (telemetry.grafana) {
      exporters["otlphttp"] = {
        endpoint: telemetry.grafana.endpoint,
        headers: { authorization: "${env:GRAFANA_CLOUD_AUTHORIZATION}" },
        compression: "gzip",
      };
      traces.push("otlphttp");
      metrics.push("otlphttp");
    } else {
      extensions["sigv4auth"] = { region, service: "aps" };
      exporters["awsxray"] = { region };
      exporters["prometheusremotewrite"] = {
        endpoint: pulumi.interpolate`${this.workspace!.prometheusEndpoint}api/v1/remote_write`,
        auth: { authenticator: "sigv4auth" },
        resource_to_telemetry_conversion: { enabled: true },
      };
      traces.push("awsxray");
      metrics.push("prometheusremotewrite");
    }
    const processors = ["memory_limiter", "resourcedetection", "resource", "batch"];
    const pipelines: CollectorConfiguration["service"]["pipelines"] = {
      traces: { receivers: ["otlp"], processors, exporters: traces },
      metrics: { receivers: ["prometheus"], processors, exporters: metrics },
    };
    const depth = this.metricsLogs && queueDepth;
    if (depth) {
      exporters["awsemf"] = {
        region,
        namespace: METRICS_NAMESPACE,
        log_group_name: this.metricsLogs.name,
        log_stream_name: "queues",
        dimension_rollup_option: "NoDimensionRollup",
        metric_declarations: [{ dimensions: [["queue"]], metric_name_selectors: [`^${QUEUE_DEPTH}$`] }],
      };
      pipelines["metrics/queues"] = { receivers: ["prometheus"], processors: ["memory_limiter", "filter/queues", "batch"], exporters: ["awsemf"] };
    }
    return pulumi.jsonStringify({
      extensions,
      receivers: {
        otlp: { protocols: { http: { endpoint: `localhost:${OTLP_PORT}` } } },
        prometheus: {
          config: {
            scrape_configs: [
              {
                job_name: service,
                scrape_interval: "30s",
                scrape_timeout: "10s",
                static_configs: [{ targets: [`localhost:${metricsPort}`] }],
              },
            ],
          },
        },
      },
      processors: {
        memory_limiter: { check_interval: "1s", limit_mib: 128, spike_limit_mib: 32 },
        resourcedetection: { detectors: ["env", "ecs"], timeout: "2s", override: false },
        resource: {
          attributes: [{ key: "deployment.environment.name", value: stack, action: "upsert" }],
        },
        batch: {},
        ...(depth && { "filter/queues": { metrics: { include: { match_type: "strict", metric_names: [QUEUE_DEPTH] } } } }),
      },
      exporters,
      service: {
        extensions: Object.keys(extensions),
        pipelines,
        telemetry: { logs: { level: "warn" }, metrics: { level: "none" } },
      },
    } satisfies CollectorConfiguration);
  }
}

export interface CollectorConfiguration {
  extensions: Record<string, unknown>;
  receivers: Record<string, unknown>;
  processors: Record<string, unknown>;
  exporters: Record<string, unknown>;
  service: {
    extensions: string[];
    pipelines: Record<string, { receivers: string[]; processors: string[]; exporters: string[] }>;
    telemetry: unknown;
  };
}
