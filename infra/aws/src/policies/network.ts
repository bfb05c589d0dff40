// Who can be reached.

import { type Finding, finding, type PlannedResource, type Policy, type Stack } from "./resource";

const WORLD = ["0.0.0.0/0", "::/0"];

function* subnetsOf(stack: Stack, resource: PlannedResource, ids: unknown, allowed: "nothing" | "nat"): Iterable<Finding> {
  for (const id of Array.isArray(ids) ? ids : []) {
    const ways = stack.waysOut(id);
    if (ways.includes("internet")) {
      yield finding(resource, `is in the public subnet ${String(id)}; put it into one of the network's ${allowed === "nat" ? "task" : "data"} subnets`);
    } else if (allowed === "nothing" && ways.length) {
      yield finding(resource, `is in the subnet ${String(id)}, which has a way out; put it into one of the network's data subnets`);
    }
  }
}

export const networkPolicies: Policy[] = [
  {
    name: "data-is-private",
    description: "Databases, brokers and file systems are reached from our network only, and reach nothing themselves",
    *check(stack) {
      for (const instance of stack.of("rds/instance:Instance")) {
        if (instance.props.publiclyAccessible !== false) {
          yield finding(instance, "may be reached from the internet; set publiclyAccessible to false");
        }
        const group = stack.of("rds/subnetGroup:SubnetGroup").find(({ props }) => props.name === instance.props.dbSubnetGroupName);
        if (!group) yield finding(instance, "has no subnet group of this stack; set dbSubnetGroupName to that of the data subnets");
        else yield* subnetsOf(stack, instance, group.props.subnetIds, "nothing");
      }
      for (const broker of stack.of("mq/broker:Broker")) {
        if (broker.props.publiclyAccessible !== false) {
          yield finding(broker, "may be reached from the internet; set publiclyAccessible to false");
        }
        yield* subnetsOf(stack, broker, broker.props.subnetIds, "nothing");
      }
      for (const target of stack.of("efs/mountTarget:MountTarget")) yield* subnetsOf(stack, target, [target.props.subnetId], "nothing");
    },
  },
  {
    name: "tasks-are-private",
    description: "No task has an address in the internet",
    *check(stack) {
      for (const service of stack.of("ecs/service:Service")) {
        const network = service.props.networkConfiguration ?? {};
        if (network.assignPublicIp !== false) yield finding(service, "gives its tasks public addresses; set assignPublicIp to false");
        yield* subnetsOf(stack, service, network.subnets, "nat");
      }
      for (const subnet of stack.of("ec2/subnet:Subnet")) {
        if (subnet.props.mapPublicIpOnLaunch) yield finding(subnet, "gives public addresses away; set mapPublicIpOnLaunch to false");
      }
    },
  },
  {
    name: "only-the-edge-is-open",
    description: "The world reaches ports 80 and 443 of the load balancer, and nothing else",
    *check(stack) {
      const open = stack
        .of("lb/loadBalancer:LoadBalancer")
        .filter(({ props }) => props.internal === false)
        .flatMap(({ props }) => props.securityGroups ?? []);
      for (const rule of stack.of("vpc/securityGroupIngressRule:SecurityGroupIngressRule")) {
        const { cidrIpv4, cidrIpv6, securityGroupId, fromPort, toPort } = rule.props;
        if (!WORLD.includes(cidrIpv4) && !WORLD.includes(cidrIpv6)) continue;
        const fits = open.includes(securityGroupId) && fromPort === toPort && [80, 443].includes(fromPort);
        if (!fits) yield finding(rule, `lets the world in at ${fromPort}; name the security group that may, with referencedSecurityGroupId`);
      }
      for (const rule of stack.of("vpc/securityGroupEgressRule:SecurityGroupEgressRule")) {
        const { cidrIpv4, cidrIpv6, fromPort, toPort, ipProtocol } = rule.props;
        if (!WORLD.includes(cidrIpv4) && !WORLD.includes(cidrIpv6)) continue;
        if (ipProtocol !== "tcp" || fromPort !== 443 || toPort !== 443) {
          yield finding(rule, `lets everything out at ${ipProtocol === "-1" ? "every port" : fromPort}; only 443 is for the world, name a security group for the rest`);
        }
      }
      for (const group of [...stack.of("ec2/securityGroup:SecurityGroup"), ...stack.of("ec2/defaultSecurityGroup:DefaultSecurityGroup")]) {
        if ((group.props.ingress ?? []).length || (group.props.egress ?? []).length) {
          yield finding(group, "has rules of its own; use Network.allow, so that each rule is a resource that says who reaches whom");
        }
      }
      if (stack.of("ec2/vpc:Vpc").length && !stack.of("ec2/defaultSecurityGroup:DefaultSecurityGroup").length) {
        yield finding(stack.of("ec2/vpc:Vpc")[0]!, "keeps its default security group, which lets its members reach each other; manage it, without rules");
      }
    },
  },
  {
    name: "the-edge-speaks-tls",
    description: "Nobody talks to a load balancer of ours without TLS 1.2 or later",
    *check(stack) {
      for (const listener of stack.of("lb/listener:Listener")) {
        const { protocol, sslPolicy, defaultActions, port } = listener.props;
        if (protocol === "HTTPS" || protocol === "TLS") {
          if (!/TLS13-1-[23]/.test(sslPolicy ?? "")) {
            yield finding(listener, `has the TLS policy ${sslPolicy ?? "of long ago"}; set sslPolicy to ELBSecurityPolicy-TLS13-1-2-2021-06`);
          }
        } else if (!(protocol === "HTTP" && defaultActions?.[0]?.redirect?.protocol === "HTTPS")) {
          yield finding(listener, `speaks ${protocol} at ${port}; use HTTPS or TLS with a certificate, or redirect to it`);
        }
      }
    },
  },
  {
    name: "the-edge-has-a-firewall",
    description: "Every public load balancer has WAF in front of it, which limits rates and logs without credentials, and access logs",
    *check(stack) {
      for (const balancer of stack.of("lb/loadBalancer:LoadBalancer")) {
        const { internal, arn, loadBalancerType, dropInvalidHeaderFields, accessLogs } = balancer.props;
        if (internal !== false) continue;
        const association = stack.of("wafv2/webAclAssociation:WebAclAssociation").find(({ props }) => props.resourceArn === arn);
        if (!association) yield finding(balancer, "has no firewall; associate a web ACL with it");
        if (!accessLogs?.enabled) yield finding(balancer, "logs no accesses; set accessLogs to the bucket of the archive");
        if (loadBalancerType === "application" && !dropInvalidHeaderFields) {
          yield finding(balancer, "passes malformed headers on; set dropInvalidHeaderFields");
        }
      }
      for (const acl of stack.of("wafv2/webAcl:WebAcl")) {
        const rules: any[] = acl.props.rules ?? [];
        if (!rules.some(({ statement }) => statement?.rateBasedStatement)) yield finding(acl, "limits no rates; add a rateBasedStatement");
        const logging = stack.of("wafv2/webAclLoggingConfiguration:WebAclLoggingConfiguration").find(({ props }) => props.resourceArn === acl.props.arn);
        const redacted: string[] = (logging?.props.redactedFields ?? []).map((field: any) => field.singleHeader?.name);
        for (const header of ["authorization", "cookie", "apikey"]) {
          if (!redacted.includes(header)) yield finding(acl, `${logging ? `logs the header ${header}` : "has no log"}; add a logging configuration that redacts ${header}`);
        }
      }
    },
  },
  {
    name: "networks-have-flow-logs",
    description: "Who talked to whom can be found out afterwards",
    *check(stack) {
      for (const vpc of stack.of("ec2/vpc:Vpc")) {
        const log = stack.of("ec2/flowLog:FlowLog").find(({ props }) => props.vpcId === vpc.props.id);
        if (!log) yield finding(vpc, "has no flow log; add one that goes to the archive");
        else if (log.props.trafficType !== "ALL") yield finding(log, `logs ${log.props.trafficType} only; set trafficType to ALL`);
      }
    },
  },
];
