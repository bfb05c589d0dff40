// The network: three zones, and in each a public subnet (load balancer, NAT), one for tasks, and one for data, which has
// no way out and none in but from the tasks.

import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import type { Archive } from "./archive";
import type { Context } from "./context";

const ZONES = 3;

/** What tasks need of AWS without leaving the network. */
const ENDPOINTS = ["ecr.api", "ecr.dkr", "logs", "secretsmanager"];

export interface NetworkArgs {
  /** Where flow logs go. */
  archive: Archive;
}

export class Network extends pulumi.ComponentResource {
  readonly vpc: aws.ec2.Vpc;
  readonly publicSubnets: aws.ec2.Subnet[] = [];
  readonly taskSubnets: aws.ec2.Subnet[] = [];
  readonly dataSubnets: aws.ec2.Subnet[] = [];
  /** Where the load balancer's addresses come from. */
  readonly publicCidrs: string[] = [];
  private readonly endpointGroup?: aws.ec2.SecurityGroup;

  constructor(
    private readonly context: Context,
    { archive }: NetworkArgs,
    options: pulumi.ComponentResourceOptions,
  ) {
    super("tandem:aws:Network", "network", {}, options);
    const { cidr, natGateways, endpoints } = context.settings.network;
    const named = (name: string) => ({ Name: context.name(name) });
    const zones = aws.getAvailabilityZonesOutput(
      { state: "available", filters: [{ name: "opt-in-status", values: ["opt-in-not-required"] }] },
      { parent: this },
    );
    const zone = (index: number) =>
      zones.names.apply((names) => {
        const found = names[index];
        if (!found) throw new Error(`the region ${context.settings.region} has ${names.length} zones, and this needs ${ZONES}`);
        return found;
      });
    const parent = { parent: this };

    this.vpc = new aws.ec2.Vpc(
      "vpc",
      { cidrBlock: cidr, enableDnsHostnames: true, enableDnsSupport: true, tags: named("vpc") },
      parent,
    );
    // A group that is used by mistake lets nothing through.
    new aws.ec2.DefaultSecurityGroup("default", { vpcId: this.vpc.id, ingress: [], egress: [] }, parent);
    new aws.ec2.FlowLog(
      "flow-log",
      {
        vpcId: this.vpc.id,
        trafficType: "ALL",
        logDestinationType: "s3",
        logDestination: pulumi.interpolate`${archive.logs.arn}/flows`,
        maxAggregationInterval: 60,
        destinationOptions: { fileFormat: "parquet", perHourPartition: true },
      },
      { parent: this, dependsOn: archive.policies },
    );

    const gateway = new aws.ec2.InternetGateway("internet", { vpcId: this.vpc.id, tags: named("internet") }, parent);
    const publicRoutes = new aws.ec2.RouteTable("public", { vpcId: this.vpc.id, tags: named("public") }, parent);
    new aws.ec2.Route(
      "public-internet",
      { routeTableId: publicRoutes.id, destinationCidrBlock: "0.0.0.0/0", gatewayId: gateway.id },
      parent,
    );
    const dataRoutes = new aws.ec2.RouteTable("data", { vpcId: this.vpc.id, tags: named("data") }, parent);

    const prefix = cidr.split(".").slice(0, 2).join(".");
    const subnet = (kind: string, index: number, cidrBlock: string, routes: aws.ec2.RouteTable) => {
      const name = `${kind}-${index}`;
      const made = new aws.ec2.Subnet(
        name,
        {
          vpcId: this.vpc.id,
          availabilityZone: zone(index),
          cidrBlock,
          mapPublicIpOnLaunch: false,
          tags: named(name),
        },
        parent,
      );
      new aws.ec2.RouteTableAssociation(name, { subnetId: made.id, routeTableId: routes.id }, parent);
      return made;
    };
    const nats: aws.ec2.NatGateway[] = [];
    const taskRoutes: aws.ec2.RouteTable[] = [];
    for (let index = 0; index < ZONES; index++) {
      const publicCidr = `${prefix}.${index}.0/24`;
      this.publicCidrs.push(publicCidr);
      this.publicSubnets.push(subnet("public", index, publicCidr, publicRoutes));
      this.dataSubnets.push(subnet("data", index, `${prefix}.${4 + index}.0/24`, dataRoutes));
      if (index < natGateways) {
        const address = new aws.ec2.Eip(`nat-${index}`, { domain: "vpc", tags: named(`nat-${index}`) }, parent);
        nats.push(
          new aws.ec2.NatGateway(
            `nat-${index}`,
            { subnetId: this.publicSubnets[index]!.id, allocationId: address.id, tags: named(`nat-${index}`) },
            { parent: this, dependsOn: gateway },
          ),
        );
      }
      const routes = new aws.ec2.RouteTable(`tasks-${index}`, { vpcId: this.vpc.id, tags: named(`tasks-${index}`) }, parent);
      taskRoutes.push(routes);
      new aws.ec2.Route(
        `tasks-${index}-internet`,
        { routeTableId: routes.id, destinationCidrBlock: "0.0.0.0/0", natGatewayId: (nats[index] ?? nats[0]!).id },
        parent,
      );
      this.taskSubnets.push(subnet("tasks", index, `${prefix}.${16 * (index + 1)}.0/20`, routes));
    }

    // Images come from S3, so this one saves money; it costs nothing.
    new aws.ec2.VpcEndpoint(
      "s3",
      {
        vpcId: this.vpc.id,
        serviceName: `com.amazonaws.${context.settings.region}.s3`,
        vpcEndpointType: "Gateway",
        routeTableIds: taskRoutes.map(({ id }) => id),
        tags: named("s3"),
      },
      parent,
    );
    if (endpoints) this.endpointGroup = this.endpoints();
    this.registerOutputs({});
  }

  private endpoints(): aws.ec2.SecurityGroup {
    const group = this.securityGroup("endpoints", "what AWS offers inside the network");
    for (const name of ENDPOINTS) {
      new aws.ec2.VpcEndpoint(
        name.replace(".", "-"),
        {
          vpcId: this.vpc.id,
          serviceName: `com.amazonaws.${this.context.settings.region}.${name}`,
          vpcEndpointType: "Interface",
          privateDnsEnabled: true,
          subnetIds: this.taskSubnets.map(({ id }) => id),
          securityGroupIds: [group.id],
          tags: { Name: this.context.name(name) },
        },
        { parent: this },
      );
    }
    return group;
  }

  /** A group without rules: nothing comes in, and nothing goes out. */
  securityGroup(name: string, description: string): aws.ec2.SecurityGroup {
    return new aws.ec2.SecurityGroup(
      name,
      {
        vpcId: this.vpc.id,
        description: `Tandem ${this.context.settings.stack}: ${description}`,
        // The rules are resources of their own, so that two groups can name each other.
        ingress: [],
        egress: [],
        tags: { Name: this.context.name(name) },
      },
      { parent: this, ignoreChanges: ["ingress", "egress"] },
    );
  }

  /** The group of a task: it reaches AWS and, over TLS, what is outside. */
  taskSecurityGroup(name: string, description: string): aws.ec2.SecurityGroup {
    const group = this.securityGroup(name, description);
    if (this.endpointGroup) this.allow({ from: [name, group], to: ["endpoints", this.endpointGroup], port: 443 });
    new aws.vpc.SecurityGroupEgressRule(
      `${name}-to-https`,
      {
        securityGroupId: group.id,
        description: "AWS and telemetry, over TLS",
        cidrIpv4: "0.0.0.0/0",
        ipProtocol: "tcp",
        fromPort: 443,
        toPort: 443,
      },
      { parent: this },
    );
    return group;
  }

  /** Lets one group reach a TCP port of another: a rule at each end. */
  allow({ from: [fromName, from], to: [toName, to], port }: Way): void {
    const name = `${fromName}-to-${toName}-${port}`;
    const rule = { ipProtocol: "tcp", fromPort: port, toPort: port };
    new aws.vpc.SecurityGroupEgressRule(
      name,
      { ...rule, securityGroupId: from.id, referencedSecurityGroupId: to.id, description: `to ${toName}` },
      { parent: this },
    );
    new aws.vpc.SecurityGroupIngressRule(
      name,
      { ...rule, securityGroupId: to.id, referencedSecurityGroupId: from.id, description: `from ${fromName}` },
      { parent: this },
    );
  }

  /** Lets the world reach a TCP port: of the load balancer, and of nothing else. */
  allowWorld(name: string, group: aws.ec2.SecurityGroup, port: number): void {
    const rule = { securityGroupId: group.id, ipProtocol: "tcp", fromPort: port, toPort: port, description: "everybody" };
    new aws.vpc.SecurityGroupIngressRule(`world-to-${name}-${port}`, { ...rule, cidrIpv4: "0.0.0.0/0" }, { parent: this });
  }
}

/** Who reaches whom; each with the name that the rules get. */
export interface Way {
  from: [string, aws.ec2.SecurityGroup];
  to: [string, aws.ec2.SecurityGroup];
  port: number;
}
