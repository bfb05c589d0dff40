// The whole of a stack, in the order in which it comes into being.

import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import { Alarms } from "./alarms";
import { Archive } from "./archive";
import { Broker } from "./broker";
import { Context, policyDocument } from "./context";
import { Databases } from "./database";
import { Edge } from "./edge";
import { Keys } from "./keys";
import { Network } from "./network";
import { AMQPS_PORT, GATEWAY_STATUS_PORT, PORTS, POSTGRES_PORT } from "./ports";
import { byQueueDepth, byRequests } from "./scaling";
import { Secrets } from "./secrets";
import { Service, type ServiceArgs } from "./service";
import { SERVICES, type ServiceName, type Settings } from "./settings";
import { Setup } from "./setup";
import { Telemetry } from "./telemetry";
import { serviceTasks } from "./workloads";

/** Every resource has these, and cost reports go by them. */
export function tagsOf(settings: Settings): Record<string, string> {
  return { project: "tandem", environment: settings.stack, "managed-by": "pulumi", repository: "tandem" };
}

/** Plans the stack and returns its outputs. */
export function platform(settings: Settings) {
  const context = new Context(settings);
  const provider = new aws.Provider("aws", {
    region: settings.region as aws.Region,
    // Whoever is logged in to another account is refused, before anything is made there.
    allowedAccountIds: [settings.accountId],
    defaultTags: { tags: tagsOf(settings) },
  });
  const options = { providers: { aws: provider } };

  const keys = new Keys(context, options);
  const archive = new Archive(context, options);
  const network = new Network(context, { archive }, options);
  const secrets = new Secrets(context, keys, options);
  const edge = new Edge(context, { network, archive }, options);

  const cluster = new aws.ecs.Cluster(
    "cluster",
    { name: context.name(), settings: [{ name: "containerInsights", value: "enhanced" }] },
    { provider },
  );
  const capacity = new aws.ecs.ClusterCapacityProviders(
    "cluster",
    { clusterName: cluster.name, capacityProviders: ["FARGATE", "FARGATE_SPOT"] },
    { provider },
  );
  const namespace = new aws.servicediscovery.HttpNamespace(
    "services",
    { name: context.name(), description: "How the services find each other" },
    { provider },
  );

  const databases = new Databases(context, { network, keys, secrets }, options).all;
  const broker = new Broker(context, { network, edge, keys, secrets, cluster }, options);
  const telemetry = new Telemetry(context, { keys, secrets }, options);
  const tokenSecret = settings.tokens.publicKey
    ? undefined
    : secrets.store("token-secret", "The key of tokens (HS256): whoever has it may sign any", secrets.password("token-secret"));
  const { partner } = settings.gateway;
  const work = {
    network,
    keys,
    databases,
    broker,
    telemetry,
    tokenSecret,
    partner: partner && secrets.store("partner", "The partner's key, and the token that it stands for", { apiKey: partner.apiKey, token: partner.token }),
  };
  const setup = new Setup(context, { ...work, cluster }, options);
  const tasks = serviceTasks(context, work, options);

  const groups = Object.fromEntries(SERVICES.map((name) => [name, network.taskSecurityGroup(name, `the service ${name}`)])) as Record<
    ServiceName,
    aws.ec2.SecurityGroup
  >;
  const end = (name: ServiceName): [string, aws.ec2.SecurityGroup] => [name, groups[name]];
  network.allow({ from: ["balancer", edge.securityGroup], to: end("kong"), port: PORTS.kong });
  network.allow({ from: ["balancer", edge.securityGroup], to: end("kong"), port: GATEWAY_STATUS_PORT });
  for (const name of ["orders", "invoices", "bff"] as const) {
    network.allow({ from: end("kong"), to: end(name), port: PORTS[name] });
    network.allow({ from: end(name), to: broker.group, port: AMQPS_PORT });
  }
  for (const { name, group } of databases) {
    network.allow({ from: end("bff"), to: end(name), port: PORTS[name] });
    if (group) network.allow({ from: end(name), to: group, port: POSTGRES_PORT });
  }

  const alarms = new Alarms(context, { keys, edge, broker, databases }, options);
  const service = (name: ServiceName, args: Partial<ServiceArgs>, after: pulumi.Resource[]) =>
    new Service(
      context,
      name,
      {
        network,
        cluster,
        namespace,
        task: tasks[name],
        securityGroup: groups[name],
        deploymentAlarms: alarms.ofDeployments,
        after: [capacity, network, ...after],
        ...args,
      },
      options,
    );
  const tls = serviceTls(context, keys, provider);
  // A task learns of the services that are there when it starts: what is asked comes before who asks.
  const orders = service("orders", { offers: { port: PORTS.orders }, tls }, setup.done);
  const invoices = service(
    "invoices",
    {
      offers: { port: PORTS.invoices },
      tls,
      scaleOn: [{ name: "queue", configuration: byQueueDepth(broker, cluster.name, context.name("invoices")) }],
    },
    setup.done,
  );
  const bff = service("bff", { offers: { port: PORTS.bff, streams: true }, tls }, [...setup.done, orders, invoices]);
  const kong = service(
    "kong",
    { targets: { group: edge.targets, port: PORTS.kong }, scaleOn: [{ name: "requests", configuration: byRequests(edge) }] },
    [edge.listener, orders, invoices, bff],
  );

  const url = `https://${settings.domain}`;
  const services = { orders, invoices, bff, kong };
  return {
    kongServiceUrl: url,
    ordersServiceUrl: `${url}/orders`,
    invoicesServiceUrl: `${url}/invoices`,
    graphqlUrl: `${url}/graphql`,
    /** From inside the network only. */
    rabbitmqManagementUrl: pulumi.interpolate`https://${broker.host}`,
    loadBalancerDns: edge.balancer.dnsName,
    registry: context.registry,
    cluster: cluster.name,
    /** For whoever verifies a release: Pulumi says success after a deployment that ECS has taken back, too. */
    services: Object.fromEntries(SERVICES.map((name) => [name, services[name].service.name])),
    taskDefinitions: Object.fromEntries(SERVICES.map((name) => [name, tasks[name].definition.arn])),
    logGroups: Object.fromEntries(SERVICES.map((name) => [name, tasks[name].logGroup.name])),
    ...(tokenSecret && { tokenSecretArn: tokenSecret.secret.arn }),
    ...(telemetry.workspace && { prometheusEndpoint: telemetry.workspace.prometheusEndpoint }),
  };
}

/** The role by which ECS gets certificates for the services, where there is an authority of our own. */
function serviceTls(context: Context, keys: Keys, provider: aws.Provider): ServiceArgs["tls"] {
  const { privateCaArn, accountId } = context.settings;
  if (!privateCaArn) return undefined;
  const role = new aws.iam.Role(
    "service-tls",
    {
      name: context.name("service-tls"),
      path: context.rolePath,
      permissionsBoundary: context.permissionsBoundary,
      assumeRolePolicy: policyDocument({
        Effect: "Allow",
        Principal: { Service: "ecs.amazonaws.com" },
        Action: "sts:AssumeRole",
        Condition: { StringEquals: { "aws:SourceAccount": accountId } },
      }),
    },
    { provider },
  );
  new aws.iam.RolePolicyAttachment(
    "service-tls",
    { role: role.name, policyArn: "arn:aws:iam::aws:policy/service-role/AmazonECSInfrastructureRolePolicyForServiceConnectTransportLayerSecurity" },
    { provider },
  );
  return { authorityArn: privateCaArn, keyArn: keys.secrets.arn, roleArn: role.arn };
}
