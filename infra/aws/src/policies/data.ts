// What is kept: encrypted, backed up, and not longer than meant.

import { type Finding, finding, NOT_KNOWN_YET, type PlannedResource, type Policy, statements } from "./resource";

/** Where the key is named, for each kind that keeps something. */
const KEYS: [type: string, path: string[]][] = [
  ["rds/instance:Instance", ["kmsKeyId"]],
  ["efs/fileSystem:FileSystem", ["kmsKeyId"]],
  ["secretsmanager/secret:Secret", ["kmsKeyId"]],
  ["cloudwatch/logGroup:LogGroup", ["kmsKeyId"]],
  ["sns/topic:Topic", ["kmsMasterKeyId"]],
  ["amp/workspace:Workspace", ["kmsKeyArn"]],
  ["ecr/repository:Repository", ["encryptionConfigurations", "0", "kmsKey"]],
];

const FLAGS: [type: string, property: string][] = [
  ["rds/instance:Instance", "storageEncrypted"],
  ["efs/fileSystem:FileSystem", "encrypted"],
];

/** Kinds of a bucket's companions, and what it lacks without one. */
const OF_BUCKETS: [type: string, lacks: string][] = [
  ["s3/bucketPublicAccessBlock:BucketPublicAccessBlock", "may be made public; add a BucketPublicAccessBlock"],
  ["s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration", "does not say how it is encrypted; add a BucketServerSideEncryptionConfiguration"],
  ["s3/bucketVersioning:BucketVersioning", "forgets what is overwritten; add a BucketVersioning"],
  ["s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration", "keeps everything for ever; add a BucketLifecycleConfiguration"],
  ["s3/bucketPolicy:BucketPolicy", "takes requests without TLS; add a BucketPolicy that denies them"],
];

const MINIMUM_BACKUP_DAYS = 7;
/** Of logs, in CloudWatch. */
const MAXIMUM_DAYS = 731;

export const dataPolicies: Policy[] = [
  {
    name: "data-is-encrypted",
    description: "What is kept is encrypted, with a key of ours where AWS lets us",
    *check(stack) {
      for (const [type, property] of FLAGS) {
        for (const resource of stack.of(type)) {
          if (resource.props[property] !== true) yield finding(resource, `is not encrypted; set ${property} to true`);
        }
      }
      for (const [type, path] of KEYS) {
        for (const resource of stack.of(type)) {
          if (!path.reduce((value: any, key) => value?.[key], resource.props)) {
            yield finding(resource, `is not encrypted with a key of ours; set ${path.filter((key) => key !== "0").join(".")}`);
          }
        }
      }
      for (const broker of stack.of("mq/broker:Broker")) {
        if (broker.props.engineType === "RabbitMQ" && broker.props.encryptionOptions) {
          yield finding(broker, "names a key, which Amazon MQ refuses for RabbitMQ; leave encryptionOptions out, it is encrypted with a key of AWS's own");
        }
      }
      for (const key of stack.of("kms/key:Key")) {
        if (!key.props.enableKeyRotation) yield finding(key, "never changes; set enableKeyRotation");
      }
    },
  },
  {
    name: "databases-insist-on-tls",
    description: "PostgreSQL refuses connections without TLS",
    *check(stack) {
      for (const instance of stack.of("rds/instance:Instance")) {
        const group = stack.of("rds/parameterGroup:ParameterGroup").find(({ props }) => props.name === instance.props.parameterGroupName);
        const forced = (group?.props.parameters ?? []).some(({ name, value }: any) => name === "rds.force_ssl" && value === "1");
        if (!forced) yield finding(instance, "takes connections without TLS; set rds.force_ssl to 1 in its parameter group");
      }
    },
  },
  {
    name: "databases-can-be-restored",
    description: "Backups of a week at least; in production two zones, and no deletion by mistake",
    *check(stack) {
      for (const instance of stack.of("rds/instance:Instance")) {
        const { backupRetentionPeriod, deletionProtection, skipFinalSnapshot, multiAz, manageMasterUserPassword } = instance.props;
        if (!(backupRetentionPeriod >= MINIMUM_BACKUP_DAYS)) {
          yield finding(instance, `keeps backups for ${backupRetentionPeriod ?? 0} days; set database.backupDays to ${MINIMUM_BACKUP_DAYS} or more`);
        }
        if (!manageMasterUserPassword) yield finding(instance, "has a password that somebody knows; set manageMasterUserPassword");
        if (!isProduction(instance.props)) continue;
        if (!deletionProtection || skipFinalSnapshot) {
          yield finding(instance, "can be deleted without a trace in production; set protect to true in the configuration");
        }
        if (!multiAz) yield finding(instance, "is in one zone in production; set database.multiAz to true");
      }
      for (const broker of stack.of("mq/broker:Broker")) {
        if (isProduction(broker.props) && broker.props.deploymentMode !== "CLUSTER_MULTI_AZ") {
          yield finding(broker, "is one node in production; set broker.deployment to CLUSTER_MULTI_AZ");
        }
      }
    },
  },
  {
    name: "buckets-are-closed",
    description: "Nobody makes a bucket public, reads it without TLS, or fills it for ever",
    *check(stack) {
      for (const bucket of stack.of("s3/bucket:Bucket")) {
        for (const [type, lacks] of OF_BUCKETS) {
          if (!stack.of(type).some(({ props }) => props.bucket === bucket.props.id)) yield finding(bucket, lacks);
        }
      }
      for (const block of stack.of(OF_BUCKETS[0]![0])) {
        const open = ["blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"].filter((name) => block.props[name] !== true);
        if (open.length) yield finding(block, `leaves a way to make the bucket public; set ${open.join(", ")} to true`);
      }
      for (const policy of stack.of("s3/bucketPolicy:BucketPolicy")) {
        const denied = statements(policy.props.policy).some(
          ({ Effect, Condition }) => Effect === "Deny" && Condition?.Bool?.["aws:SecureTransport"] === "false",
        );
        if (!denied && policy.props.policy !== NOT_KNOWN_YET) yield finding(policy, "lets requests without TLS pass; deny them where aws:SecureTransport is false");
      }
    },
  },
  {
    name: "logs-have-an-end",
    description: "Everything that logs has a log group that is planned, and no log group keeps its logs for ever",
    *check(stack) {
      const groups = stack.of("cloudwatch/logGroup:LogGroup");
      for (const group of groups) {
        const days = group.props.retentionInDays;
        if (!days) yield finding(group, "keeps its logs for ever; set retentionInDays");
        else if (days > MAXIMUM_DAYS) yield finding(group, `keeps its logs for ${days} days; ${MAXIMUM_DAYS} at most, the archive is for longer`);
      }
      const names = groups.map(({ props }) => props.name);
      for (const { task, container } of stack.containers()) {
        const { logDriver, options } = container.logConfiguration ?? {};
        if (logDriver !== "awslogs") yield finding(task, `the container ${container.name} logs nowhere; give it a logConfiguration with awslogs`);
        else if (!names.includes(options["awslogs-group"])) {
          yield finding(task, `the log group ${options["awslogs-group"]} of the container ${container.name} is not planned; add a LogGroup with retentionInDays`);
        } else if (options.mode !== "non-blocking") {
          yield finding(task, `the container ${container.name} stops while CloudWatch is slow; set mode to non-blocking`);
        }
      }
      for (const instance of stack.of("rds/instance:Instance")) yield* exported(instance, names);
    },
  },
];

function* exported(instance: PlannedResource, names: string[]): Iterable<Finding> {
  for (const kind of instance.props.enabledCloudwatchLogsExports ?? []) {
    const name = `/aws/rds/instance/${instance.props.identifier}/${kind}`;
    if (!names.includes(name)) yield finding(instance, `RDS would make the log group ${name}, without an end; add a LogGroup of that name`);
  }
}

function isProduction(props: Record<string, any>): boolean {
  return (props.tagsAll ?? props.tags)?.environment === "prod";
}
