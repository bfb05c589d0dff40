// Who may do what, and whose it is.

import { finding, type Policy, statements } from "./resource";

/** Actions that AWS knows no resource for. */
const WITHOUT_RESOURCE = [
  "ecr:GetAuthorizationToken",
  "route53:ChangeResourceRecordSets",
  "route53:Get*",
  "route53:List*",
  "shield:CreateProtection",
  "shield:DeleteProtection",
  "shield:DescribeProtection",
  "xray:PutTelemetryRecords",
  "xray:PutTraceSegments",
];

/** A boundary grants nothing: it says what others may grant at most. */
const BOUNDARY = "tandem-boundary";

const GITHUB = "token.actions.githubusercontent.com";

/** Kinds that cost something or keep something, and that AWS can tag. */
const TAGGED = [
  "amp/workspace:Workspace",
  "cloudwatch/logGroup:LogGroup",
  "cloudwatch/metricAlarm:MetricAlarm",
  "ec2/eip:Eip",
  "ec2/natGateway:NatGateway",
  "ec2/securityGroup:SecurityGroup",
  "ec2/subnet:Subnet",
  "ec2/vpc:Vpc",
  "ec2/vpcEndpoint:VpcEndpoint",
  "ecr/repository:Repository",
  "ecs/cluster:Cluster",
  "ecs/service:Service",
  "ecs/taskDefinition:TaskDefinition",
  "efs/fileSystem:FileSystem",
  "iam/role:Role",
  "kms/key:Key",
  "lb/loadBalancer:LoadBalancer",
  "mq/broker:Broker",
  "rds/instance:Instance",
  "s3/bucket:Bucket",
  "secretsmanager/secret:Secret",
  "sns/topic:Topic",
];
const TAGS = ["project", "environment", "managed-by"];

export const identityPolicies: Policy[] = [
  {
    name: "least-privilege",
    description: "Roles name what they may do and to what",
    *check(stack) {
      for (const { policy, statement } of stack.grants()) {
        const { Effect, Action, Resource, Condition, Sid } = statement;
        if (Effect !== "Allow" || policy.props.name === BOUNDARY) continue;
        if (Action.includes("*")) yield finding(policy, `${Sid ?? "a statement"} allows everything; name the actions`);
        if (!Resource.includes("*") || Condition) continue;
        const wide = Action.filter((action) => !WITHOUT_RESOURCE.includes(action));
        if (wide.length) yield finding(policy, `${Sid ?? "a statement"} allows ${wide.join(", ")} on everything; name the resources`);
      }
      for (const attachment of stack.of("iam/rolePolicyAttachment:RolePolicyAttachment")) {
        if (/\/(AdministratorAccess|PowerUserAccess|IAMFullAccess)$/.test(attachment.props.policyArn)) {
          yield finding(attachment, `gives ${attachment.props.policyArn.replace(/^.*\//, "")}; write a policy of what is needed`);
        }
      }
    },
  },
  {
    name: "roles-are-bounded",
    description: "A task's role is taken by tasks of this account, and cannot exceed the boundary, whoever writes its policy",
    *check(stack) {
      for (const role of stack.of("iam/role:Role")) {
        for (const { Principal, Condition } of statements(role.props.assumeRolePolicy)) {
          if (Principal === "*" || Principal?.AWS === "*") yield finding(role, "may be taken by anybody; name who may");
          if (Principal?.Federated) {
            const exact = Condition?.StringEquals ?? {};
            const subject = exact[`${GITHUB}:sub`];
            if (exact[`${GITHUB}:aud`] !== "sts.amazonaws.com" || typeof subject !== "string" || subject.includes("*")) {
              yield finding(role, "may be taken by workflows of others; require aud and one exact sub by StringEquals");
            }
          } else {
            if (!role.props.permissionsBoundary) yield finding(role, "has no boundary; set permissionsBoundary to that of the account");
            if (!Condition?.StringEquals?.["aws:SourceAccount"]) {
              yield finding(role, "may be taken for other accounts (confused deputy); require aws:SourceAccount");
            }
          }
        }
      }
    },
  },
  {
    name: "everything-has-tags",
    description: "Whose it is, and who pays for it",
    *check(stack) {
      for (const type of TAGGED) {
        for (const resource of stack.of(type)) {
          const tags = { ...resource.props.tags, ...resource.props.tagsAll };
          const missing = TAGS.filter((tag) => !tags[tag]);
          if (missing.length) yield finding(resource, `lacks the tags ${missing.join(", ")}; make it with the stack's provider, which gives them`);
        }
      }
    },
  },
  {
    name: "alarms-tell-somebody",
    description: "An alarm that nobody hears is none",
    *check(stack) {
      for (const alarm of stack.of("cloudwatch/metricAlarm:MetricAlarm")) {
        if (!alarm.props.alarmActions?.length) yield finding(alarm, "tells nobody; set alarmActions to the topic of alarms");
        if (!alarm.props.alarmDescription) yield finding(alarm, "does not say what to do; set alarmDescription");
      }
    },
  },
];
