// The keys of a stack: one for data at rest, one for secrets, one for logs and alarms. Whoever may use one may not
// therefore use another.

import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import { type Context, type PolicyStatement, policyDocument } from "./context";

export class Keys extends pulumi.ComponentResource {
  /** Databases, files of the broker, metrics. */
  readonly data: aws.kms.Key;
  readonly secrets: aws.kms.Key;
  /** Log groups, and the topic of alarms. */
  readonly logs: aws.kms.Key;

  constructor(context: Context, options: pulumi.ComponentResourceOptions) {
    super("tandem:aws:Keys", "keys", {}, options);
    const { region, protect } = context.settings;
    const key = (name: string, description: string, ...statements: PolicyStatement[]) => {
      const made = new aws.kms.Key(
        name,
        {
          description: `Tandem ${context.settings.stack}: ${description}`,
          enableKeyRotation: true,
          deletionWindowInDays: protect ? 30 : 7,
          // Without the account's own statement nobody could change the key again, its policies would not count.
          policy: policyDocument(
            {
              Sid: "PoliciesOfTheAccount",
              Effect: "Allow",
              Principal: { AWS: `arn:aws:iam::${context.settings.accountId}:root` },
              Action: "kms:*",
              Resource: "*",
            },
            ...statements,
          ),
        },
        { parent: this },
      );
      new aws.kms.Alias(name, { name: `alias/${context.name(name)}`, targetKeyId: made.keyId }, { parent: this });
      return made;
    };
    this.data = key("data", "databases, files, metrics");
    this.secrets = key("secrets", "credentials");
    this.logs = key(
      "logs",
      "logs and alarms",
      {
        Sid: "LogGroups",
        Effect: "Allow",
        Principal: { Service: `logs.${region}.amazonaws.com` },
        Action: ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"],
        Resource: "*",
        Condition: { ArnLike: { "kms:EncryptionContext:aws:logs:arn": context.arn("logs", "log-group:*") } },
      },
      {
        Sid: "Alarms",
        Effect: "Allow",
        Principal: { Service: "cloudwatch.amazonaws.com" },
        Action: ["kms:Decrypt", "kms:GenerateDataKey*"],
        Resource: "*",
        Condition: { StringEquals: { "aws:SourceAccount": context.settings.accountId } },
      },
    );
    this.registerOutputs({});
  }
}
