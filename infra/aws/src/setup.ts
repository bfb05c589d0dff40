// What has to be done before the services start, each by a task that runs to its end inside the network: roles of the
// databases, migrations, the virtual host of the broker and its users.
//
// Each may run as often as it likes, and does when something that it is made of has changed.

import type * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import { readFileSync } from "node:fs";
import * as path from "node:path";
import type { Broker } from "./broker";
import type { Context } from "./context";
import type { Database } from "./database";
import { DATABASE_CA, prepare } from "./files";
import { POSTGRES_PORT } from "./ports";
import { runToEnd } from "./run";
import { Task } from "./task";
import { migrationTask, type WorkloadsArgs } from "./workloads";

const SIZE = { cpu: 256, memory: 512 };

/** Without the files of an interactive shell, which `bash` reads when it takes its standard input for a network's. */
export const BASH = ["/bin/bash", "--norc", "-euc"];

export interface SetupArgs extends WorkloadsArgs {
  cluster: aws.ecs.Cluster;
}

export class Setup extends pulumi.ComponentResource {
  /** The services wait for these. */
  readonly done: pulumi.Resource[];

  constructor(
    private readonly context: Context,
    private readonly args: SetupArgs,
    options: pulumi.ComponentResourceOptions,
  ) {
    super("tandem:aws:Setup", "setup", {}, options);
    const { network, broker, databases } = args;
    const group = network.taskSecurityGroup("setup", "tasks that prepare databases and broker");
    network.allow({ from: ["setup", group], to: broker.group, port: 443 });
    const databaseGroup = databases.find((database) => database.group)?.group;
    if (databaseGroup) network.allow({ from: ["setup", group], to: databaseGroup, port: POSTGRES_PORT });
    const run = (name: string, task: Task, triggers: pulumi.Input<string>[], dependsOn: pulumi.Resource[]) =>
      runToEnd(
        name,
        {
          task,
          region: context.settings.region,
          cluster: args.cluster.arn,
          subnets: network.taskSubnets.map(({ id }) => id),
          securityGroup: group.id,
          triggers,
        },
        { parent: this, dependsOn: [network, ...dependsOn] },
      );

    const migrated = databases.map((database) => {
      const { name, owner, service, instance } = database;
      const roles = run(
        `roles-of-${name}`,
        this.rolesTask(database),
        [owner.version, service.version, ...(instance ? [instance.resourceId] : [database.host])],
        instance ? [instance] : [],
      );
      return run(`migrate-${name}`, migrationTask(context, args, database, { parent: this }), [database.host], [roles]);
    });
    const users = run("broker", this.brokerTask(broker), [broker.users.version, broker.host], [broker.ready]);
    this.done = [...migrated, users];
    this.registerOutputs({});
  }

  private rolesTask(database: Database): Task {
    const { name, administrator, owner, service, authority } = database;
    const prepared = prepare(authority === undefined ? {} : { [DATABASE_CA]: authority });
    return new Task(
      this.context,
      `roles-of-${name}`,
      {
        keys: this.args.keys,
        size: SIZE,
        scratch: prepared.scratch,
        containers: [
          {
            name: "roles",
            image: "postgres",
            user: "postgres",
            entryPoint: BASH,
            command: [script("database.sh")],
            environment: {
              PGHOST: database.host,
              PGPORT: String(POSTGRES_PORT),
              PGUSER: administrator.user,
              PGSSLMODE: "verify-full",
              // Without a file of its own: those that everybody trusts.
              PGSSLROOTCERT: authority === undefined ? "system" : DATABASE_CA,
              DATABASE: name,
              MAINTENANCE_DATABASE: administrator.maintenance,
              OWNER: `${name}_owner`,
              ROLE: name,
            },
            secrets: {
              PGPASSWORD: administrator.password,
              OWNER_PASSWORD: owner.reference("password"),
              ROLE_PASSWORD: service.reference("password"),
            },
            mounts: prepared.mounts,
            dependsOn: prepared.dependsOn,
          },
          ...prepared.containers,
        ],
      },
      { parent: this },
    );
  }

  /** The virtual host and its topology by our own command, then who may do what in it. */
  private brokerTask(broker: Broker): Task {
    return new Task(
      this.context,
      "broker-setup",
      {
        keys: this.args.keys,
        size: SIZE,
        containers: [
          {
            name: "topology",
            image: "orders",
            user: "65532:65532",
            command: ["broker-setup"],
            essential: false, // it ends, and the next begins
            secrets: { BROKER_ADMIN_URL: broker.administrator.reference("url") },
          },
          {
            name: "users",
            image: "toolbox",
            user: "65532:65532",
            entryPoint: BASH,
            command: [script("broker.sh")],
            secrets: {
              BROKER_ADMIN_URL: broker.administrator.reference("url"),
              BROKER_USERS: broker.users.reference(),
            },
            dependsOn: { topology: "SUCCESS" },
          },
        ],
      },
      { parent: this },
    );
  }
}

/** The text of a script, without the comments that explain it. */
export function script(name: string): string {
  const text = readFileSync(path.join(__dirname, "..", "src", "setup", name), "utf8");
  return text.replace(/^#.*\n/gm, "").trim();
}
