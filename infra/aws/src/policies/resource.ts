// What a policy sees of a stack: every resource with its properties, and ways to ask how they hang together.

/** What stands for a value that nobody knows before its resource is made: it is there, and equal to every other. */
export const NOT_KNOWN_YET = "[not known yet]";

/** A resource as Pulumi gives it to a policy, and as the tests plan it. */
export interface PlannedResource {
  type: string;
  name: string;
  urn: string;
  props: Record<string, any>;
}

export interface Finding {
  urn: string;
  /** What is wrong with which resource, and what to do. */
  message: string;
}

export interface Policy {
  name: string;
  /** What must hold, and why. */
  description: string;
  check(stack: Stack): Iterable<Finding>;
}

/** The resources of one stack. */
export class Stack {
  constructor(readonly resources: PlannedResource[]) {}

  /** `of("ecs/service:Service")`, all of them. */
  of(type: string): PlannedResource[] {
    return this.resources.filter((resource) => resource.type === `aws:${type}`);
  }

  /** Where the world is, for a subnet: at the other end of its routes, by their kind. */
  waysOut(subnetId: unknown): ("internet" | "nat")[] {
    const tables = this.of("ec2/routeTableAssociation:RouteTableAssociation")
      .filter(({ props }) => props.subnetId === subnetId && subnetId !== NOT_KNOWN_YET)
      .map(({ props }) => props.routeTableId)
      .filter((id) => id !== NOT_KNOWN_YET);
    return this.of("ec2/route:Route")
      .filter(({ props }) => tables.includes(props.routeTableId))
      .flatMap(({ props }) => [...(props.gatewayId ? ["internet" as const] : []), ...(props.natGatewayId ? ["nat" as const] : [])]);
  }

  /** The containers of every task definition. Unknown ones, before they can be known, are none. */
  containers(): { task: PlannedResource; container: Record<string, any> }[] {
    return this.of("ecs/taskDefinition:TaskDefinition").flatMap((task) =>
      (parsed(task.props.containerDefinitions) ?? []).map((container: Record<string, any>) => ({ task, container })),
    );
  }

  /** The statements of every policy of a role, managed ones too. */
  grants(): { policy: PlannedResource; statement: Statement }[] {
    return [...this.of("iam/rolePolicy:RolePolicy"), ...this.of("iam/policy:Policy")].flatMap((policy) =>
      statements(policy.props.policy).map((statement) => ({ policy, statement })),
    );
  }
}

export interface Statement {
  Sid?: string;
  Effect: string;
  Principal?: any;
  Action: string[];
  Resource: string[];
  Condition?: Record<string, Record<string, unknown>>;
}

export function statements(document: unknown): Statement[] {
  const list = (value: unknown): string[] => (value === undefined ? [] : Array.isArray(value) ? value : [String(value)]);
  return list(parsed(document)?.Statement).map((statement: any) => ({
    ...statement,
    Action: list(statement.Action),
    Resource: list(statement.Resource),
  }));
}

export function parsed(text: unknown): any {
  if (typeof text !== "string") return text;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** `RDS instance orders` … and what to do. */
export function finding({ urn, name, type }: PlannedResource, message: string): Finding {
  const kind = type.replace(/^.*:/, "").replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();
  return { urn, message: `${kind} ${name}: ${message}` };
}
