// The archive: buckets for the logs of the load balancer, the network and the firewall, which AWS itself writes.
//
// Encrypted with S3's own keys, because the load balancer can write to no others.

import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import { type Context, type PolicyStatement, policyDocument } from "./context";

export class Archive extends pulumi.ComponentResource {
  /** Of the load balancer, under `balancer/`, and of the network, under `flows/`. */
  readonly logs: aws.s3.Bucket;
  /** Of the firewall; AWS wants a bucket whose name begins with `aws-waf-logs-`. */
  readonly firewall: aws.s3.Bucket;
  /** Whoever lets AWS write has to wait for these. */
  readonly policies: pulumi.Resource[] = [];

  constructor(
    private readonly context: Context,
    options: pulumi.ComponentResourceOptions,
  ) {
    super("tandem:aws:Archive", "archive", {}, options);
    const account = context.settings.accountId;
    const delivery = (arn: pulumi.Output<string>): PolicyStatement[] => [
      {
        Sid: "AWSLogDeliveryWrite",
        Effect: "Allow",
        Principal: { Service: "delivery.logs.amazonaws.com" },
        Action: "s3:PutObject",
        Resource: pulumi.interpolate`${arn}/*`,
        Condition: {
          StringEquals: { "aws:SourceAccount": account, "s3:x-amz-acl": "bucket-owner-full-control" },
          ArnLike: { "aws:SourceArn": context.arn("logs", "*") },
        },
      },
      {
        Sid: "AWSLogDeliveryAclCheck",
        Effect: "Allow",
        Principal: { Service: "delivery.logs.amazonaws.com" },
        Action: ["s3:GetBucketAcl", "s3:ListBucket"],
        Resource: arn,
        Condition: { StringEquals: { "aws:SourceAccount": account }, ArnLike: { "aws:SourceArn": context.arn("logs", "*") } },
      },
    ];
    const balancer = (arn: pulumi.Output<string>): PolicyStatement => ({
      Sid: "LoadBalancer",
      Effect: "Allow",
      Principal: { Service: "logdelivery.elasticloadbalancing.amazonaws.com" },
      Action: "s3:PutObject",
      Resource: pulumi.interpolate`${arn}/balancer/AWSLogs/${account}/*`,
      Condition: { ArnLike: { "aws:SourceArn": context.arn("elasticloadbalancing", "loadbalancer/*") } },
    });
    this.logs = this.bucket("logs", `${context.name("logs")}-${account}`, (arn) => [...delivery(arn), balancer(arn)]);
    this.firewall = this.bucket("firewall-logs", `aws-waf-logs-${context.name()}-${account}`, delivery);
    this.registerOutputs({});
  }

  private bucket(name: string, bucket: string, statements: (arn: pulumi.Output<string>) => PolicyStatement[]): aws.s3.Bucket {
    const { archiveDays, protect } = this.context.settings;
    const parent = { parent: this };
    const made = new aws.s3.Bucket(name, { bucket, forceDestroy: !protect }, parent);
    const of = { bucket: made.id };
    new aws.s3.BucketPublicAccessBlock(
      name,
      { ...of, blockPublicAcls: true, blockPublicPolicy: true, ignorePublicAcls: true, restrictPublicBuckets: true },
      parent,
    );
    new aws.s3.BucketOwnershipControls(name, { ...of, rule: { objectOwnership: "BucketOwnerEnforced" } }, parent);
    new aws.s3.BucketServerSideEncryptionConfiguration(
      name,
      { ...of, rules: [{ applyServerSideEncryptionByDefault: { sseAlgorithm: "AES256" } }] },
      parent,
    );
    new aws.s3.BucketVersioning(name, { ...of, versioningConfiguration: { status: "Enabled" } }, parent);
    new aws.s3.BucketLifecycleConfiguration(
      name,
      {
        ...of,
        rules: [
          {
            id: "archive",
            status: "Enabled",
            filter: { prefix: "" },
            transitions: [{ days: 30, storageClass: "STANDARD_IA" }],
            expiration: { days: archiveDays },
            noncurrentVersionExpiration: { noncurrentDays: 30 },
            abortIncompleteMultipartUpload: { daysAfterInitiation: 7 },
          },
        ],
      },
      parent,
    );
    this.policies.push(
      new aws.s3.BucketPolicy(
        name,
        {
          ...of,
          policy: policyDocument(
            {
              Sid: "OnlyTls",
              Effect: "Deny",
              Principal: "*",
              Action: "s3:*",
              Resource: [made.arn, pulumi.interpolate`${made.arn}/*`],
              Condition: { Bool: { "aws:SecureTransport": "false" } },
            },
            ...statements(made.arn),
          ),
        },
        parent,
      ),
    );
    return made;
  }
}
