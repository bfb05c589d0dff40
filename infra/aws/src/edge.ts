// The edge: one name, a certificate, a load balancer that speaks TLS to the world, and a firewall in front of it.
// Behind it is the gateway, and nothing else.

import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import type { Archive } from "./archive";
import type { Context } from "./context";
import type { Network } from "./network";
import { GATEWAY_STATUS_PORT, PORTS } from "./ports";

export interface EdgeArgs {
  network: Network;
  archive: Archive;
}

export class Edge extends pulumi.ComponentResource {
  readonly securityGroup: aws.ec2.SecurityGroup;
  readonly balancer: aws.lb.LoadBalancer;
  /** The gateway's tasks. */
  readonly targets: aws.lb.TargetGroup;
  readonly listener: aws.lb.Listener;
  /** Verified: what names it waits for the verification. */
  readonly certificateArn: pulumi.Output<string>;

  constructor(
    private readonly context: Context,
    { network, archive }: EdgeArgs,
    options: pulumi.ComponentResourceOptions,
  ) {
    super("tandem:aws:Edge", "edge", {}, options);
    const { domain, hostedZoneId, protect } = context.settings;
    const parent = { parent: this };

    this.certificateArn = this.certificate();
    this.securityGroup = network.securityGroup("balancer", "the load balancer, which everybody reaches");
    network.allowWorld("balancer", this.securityGroup, 443);
    network.allowWorld("balancer", this.securityGroup, 80);
    this.balancer = new aws.lb.LoadBalancer(
      "balancer",
      {
        name: context.name(),
        loadBalancerType: "application",
        internal: false,
        subnets: network.publicSubnets.map(({ id }) => id),
        securityGroups: [this.securityGroup.id],
        dropInvalidHeaderFields: true,
        desyncMitigationMode: "strictest",
        enableDeletionProtection: protect,
        // Longer than an event stream's or a WebSocket's silence: the bff pings both every 15 s.
        idleTimeout: 120,
        accessLogs: { enabled: true, bucket: archive.logs.bucket, prefix: "balancer" },
      },
      { parent: this, dependsOn: archive.policies },
    );
    this.targets = new aws.lb.TargetGroup(
      "gateway",
      {
        name: context.name("gateway"),
        vpcId: network.vpc.id,
        targetType: "ip",
        port: PORTS.kong,
        protocol: "HTTP",
        // What is left of a request when its task is told to go.
        deregistrationDelay: 15,
        healthCheck: {
          port: String(GATEWAY_STATUS_PORT),
          path: "/status/ready",
          matcher: "200",
          interval: 10,
          timeout: 5,
          healthyThreshold: 2,
          unhealthyThreshold: 2,
        },
      },
      parent,
    );
    this.listener = new aws.lb.Listener(
      "https",
      {
        loadBalancerArn: this.balancer.arn,
        port: 443,
        protocol: "HTTPS",
        sslPolicy: "ELBSecurityPolicy-TLS13-1-2-2021-06",
        certificateArn: this.certificateArn,
        defaultActions: [{ type: "forward", targetGroupArn: this.targets.arn }],
        routingHttpResponseStrictTransportSecurityHeaderValue: "max-age=31536000",
        routingHttpResponseServerEnabled: false,
      },
      parent,
    );
    new aws.lb.Listener(
      "http",
      {
        loadBalancerArn: this.balancer.arn,
        port: 80,
        protocol: "HTTP",
        defaultActions: [{ type: "redirect", redirect: { port: "443", protocol: "HTTPS", statusCode: "HTTP_301" } }],
      },
      parent,
    );
    new aws.route53.Record(
      "domain",
      {
        zoneId: hostedZoneId,
        name: domain,
        type: "A",
        aliases: [{ name: this.balancer.dnsName, zoneId: this.balancer.zoneId, evaluateTargetHealth: true }],
      },
      parent,
    );
    this.firewall(archive);
    if (context.settings.shieldAdvanced) {
      new aws.shield.Protection("shield", { name: context.name(), resourceArn: this.balancer.arn }, parent);
    }
    this.registerOutputs({});
  }

  /** For the domain, and for the broker's name under it where the broker is ours. */
  private certificate(): pulumi.Output<string> {
    const { domain, hostedZoneId, broker } = this.context.settings;
    const names = [domain, ...(broker.kind === "fargate" ? [`broker.${domain}`] : [])];
    const certificate = new aws.acm.Certificate(
      "certificate",
      { domainName: domain, subjectAlternativeNames: names.slice(1), validationMethod: "DNS" },
      { parent: this },
    );
    const records = names.map((name, index) => {
      const option = certificate.domainValidationOptions.apply((options) => {
        const found = options.find(({ domainName }) => domainName === name);
        if (!found) throw new Error(`the certificate has no record to verify ${name} with`);
        return found;
      });
      return new aws.route53.Record(
        `certificate-${index}`,
        {
          zoneId: hostedZoneId,
          name: option.resourceRecordName,
          type: option.resourceRecordType,
          records: [option.resourceRecordValue],
          ttl: 300,
          allowOverwrite: true,
        },
        { parent: this },
      );
    });
    return new aws.acm.CertificateValidation(
      "certificate",
      { certificateArn: certificate.arn, validationRecordFqdns: records.map(({ fqdn }) => fqdn) },
      { parent: this },
    ).certificateArn;
  }

  private firewall(archive: Archive): void {
    const { gateway } = this.context.settings;
    const metric = (metricName: string) => ({
      cloudwatchMetricsEnabled: true,
      sampledRequestsEnabled: false, // samples hold headers, tokens too
      metricName,
    });
    const managed = (name: string, priority: number, counted: string[] = []) => ({
      name,
      priority,
      overrideAction: { none: {} },
      statement: {
        managedRuleGroupStatement: {
          vendorName: "AWS",
          name,
          ruleActionOverrides: counted.map((rule) => ({ name: rule, actionToUse: { count: {} } })),
        },
      },
      visibilityConfig: metric(name),
    });
    const acl = new aws.wafv2.WebAcl(
      "firewall",
      {
        name: this.context.name(),
        scope: "REGIONAL",
        defaultAction: { allow: {} },
        rules: [
          {
            name: "rate",
            priority: 0,
            action: { block: { customResponse: { responseCode: 429 } } },
            statement: { rateBasedStatement: { aggregateKeyType: "IP", limit: gateway.wafRate, evaluationWindowSec: 300 } },
            visibilityConfig: metric("rate"),
          },
          managed("AWSManagedRulesAmazonIpReputationList", 1),
          managed("AWSManagedRulesKnownBadInputsRuleSet", 2),
          // Its limit of 8 KiB for a body is less than a GraphQL document may have; the gateway and the bff have limits
          // of their own.
          managed("AWSManagedRulesCommonRuleSet", 3, ["SizeRestrictions_BODY"]),
        ],
        visibilityConfig: metric("firewall"),
      },
      { parent: this },
    );
    new aws.wafv2.WebAclAssociation("firewall", { resourceArn: this.balancer.arn, webAclArn: acl.arn }, { parent: this });
    new aws.wafv2.WebAclLoggingConfiguration(
      "firewall",
      {
        resourceArn: acl.arn,
        logDestinationConfigs: [archive.firewall.arn],
        redactedFields: ["authorization", "cookie", "apikey", "idempotency-key"].map((name) => ({ singleHeader: { name } })),
      },
      { parent: this, dependsOn: archive.policies },
    );
  }
}
