// What a stack is told: the only place that reads Pulumi's configuration.
//
// Every value is checked before anything is planned. All that is wrong is told at once, each with the name of its key,
// the value, and what is allowed; never with the value of a secret.

import * as pulumi from "@pulumi/pulumi";

/** The images that we build. */
export const OWN_IMAGES = ["orders", "invoices", "bff", "kong"] as const;
/** The images of others, which `npm run mirror` copies into our own registry. */
export const FOREIGN_IMAGES = ["collector", "toolbox", "postgres", "rabbitmq"] as const;
export const IMAGES = [...OWN_IMAGES, ...FOREIGN_IMAGES];
export type ImageName = (typeof IMAGES)[number];

export const SERVICES = ["orders", "invoices", "bff", "kong"] as const;
export type ServiceName = (typeof SERVICES)[number];

/** What Fargate offers: CPU units (1024 are one vCPU) and the MiB of memory that go with them. */
const FARGATE_SIZES: Record<number, { from: number; to: number; step: number }> = {
  256: { from: 512, to: 2048, step: 512 },
  512: { from: 1024, to: 4096, step: 1024 },
  1024: { from: 2048, to: 8192, step: 1024 },
  2048: { from: 4096, to: 16384, step: 1024 },
  4096: { from: 8192, to: 30720, step: 1024 },
};

export interface Size {
  cpu: number;
  /** MiB. */
  memory: number;
}

export interface ServiceSettings extends Size {
  /** Tasks. */
  min: number;
  max: number;
}

export interface RdsSettings {
  engine: "rds";
  /** One instance with both databases, or one for each service. */
  instances: "shared" | "separate";
  class: string;
  multiAz: boolean;
  /** GiB; grows by itself to four times that. */
  storage: number;
  backupDays: number;
}

export interface NeonSettings {
  engine: "neon";
  /** For example `aws-eu-central-1`. */
  region: string;
}

export interface AmazonMqSettings {
  kind: "amazonmq";
  class: string;
  deployment: "SINGLE_INSTANCE" | "CLUSTER_MULTI_AZ";
}

export interface FargateBrokerSettings extends Size {
  kind: "fargate";
}

export interface Settings {
  stack: string;
  region: string;
  accountId: string;
  /** The one name that the system has: `api.example.com`. */
  domain: string;
  /** The Route 53 zone that it is in. */
  hostedZoneId: string;
  /** The digest of each image that this stack runs. */
  digests: Partial<Record<ImageName, string>>;
  network: {
    /** A /16. */
    cidr: string;
    natGateways: 1 | 3;
    /** What tasks need of AWS inside the network, too, and not by the NAT gateways only. Paid for by the hour and the zone. */
    endpoints: boolean;
  };
  database: RdsSettings | NeonSettings;
  broker: AmazonMqSettings | FargateBrokerSettings;
  services: Record<ServiceName, ServiceSettings>;
  /** Tasks on capacity that AWS may take away with two minutes' notice. */
  spot: boolean;
  tokens: {
    issuer: string;
    audience: string;
    /** PEM, of the issuer. Not set: a secret for HS256 is made, and kept in Secrets Manager. */
    publicKey?: string;
  };
  gateway: {
    /** Requests of one address in a minute, for each replica of the gateway. */
    ratePerMinute: number;
    /** Origins whose pages may use the API beside our own. */
    corsOrigins: string[];
    /** Requests of one address in five minutes, before WAF blocks it. */
    wafRate: number;
    partner?: { apiKey: pulumi.Output<string>; token: pulumi.Output<string>; ratePerMinute: number };
  };
  telemetry: {
    destination: "grafana" | "aws";
    /** Of traces that begin at the gateway, the share to record. */
    traceShare: number;
    grafana?: { endpoint: string; authorization: pulumi.Output<string> };
  };
  /** Where alarms go. */
  alarmEmail: string;
  logDays: number;
  /** Days that the archive in S3 keeps logs of access and of flows. */
  archiveDays: number;
  /** Data cannot be deleted by mistake: deletion protection, final snapshots, no forced deletion. */
  protect: boolean;
  /** AWS Private CA for TLS between the services; not set: plain HTTP inside the VPC. */
  privateCaArn?: string;
  /** The paid Shield Advanced. Standard is always there. */
  shieldAdvanced: boolean;
  neonApiKey?: pulumi.Output<string>;
}

const DIGEST = /^sha256:[0-9a-f]{64}$/;
const DIGEST_MEANING = 'the digest of the image, sha256:… (README.md, "Images"); what a tag names may change';

/** CloudWatch keeps logs for one of these numbers of days. */
const RETENTION_DAYS = [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827];

/** Reads the configuration of the stack. Throws one error that names everything that is wrong. */
export function readSettings(): Settings {
  const stack = pulumi.getStack();
  const source = new pulumi.Config("tandem");
  const check = new Checker(source);

  const database = check.object("database", (at) => {
    const engine = at.one("engine", ["rds", "neon"] as const);
    return engine === "neon"
      ? { engine, region: at.text("region", /^aws-[a-z0-9-]+$/, "a region of Neon, e.g. aws-eu-central-1") }
      : {
          engine,
          instances: at.one("instances", ["shared", "separate"] as const),
          class: at.text("class", /^db\.[a-z0-9]+\.[a-z0-9]+$/, "a class of RDS, e.g. db.t4g.micro"),
          multiAz: at.flag("multiAz"),
          storage: at.whole("storage", 20, 16384),
          backupDays: at.whole("backupDays", 1, 35),
        };
  });
  const broker = check.object("broker", (at) => {
    const kind = at.one("kind", ["amazonmq", "fargate"] as const);
    return kind === "fargate"
      ? { kind, ...size(at) }
      : {
          kind,
          class: at.text("class", /^mq\.m7g\.[a-z0-9]+$/, "a class of Amazon MQ for RabbitMQ 4, e.g. mq.m7g.medium"),
          deployment: at.one("deployment", ["SINGLE_INSTANCE", "CLUSTER_MULTI_AZ"] as const),
        };
  });
  const telemetry = check.object("telemetry", (at) => {
    const destination = at.one("destination", ["grafana", "aws"] as const);
    const traceShare = at.share("traceShare");
    const grafana =
      destination === "grafana"
        ? {
            endpoint: at.text("endpoint", /^https:\/\/[^\s/]+(\/[^\s]*)?[^/]$/, "the OTLP endpoint of Grafana Cloud, https://…/otlp"),
            authorization: check.secret("grafanaAuthorization", "the header that Grafana Cloud wants, `Basic <base64 of instance:token>`"),
          }
        : undefined;
    return { destination, traceShare, grafana };
  });
  const needed = (name: ImageName) => name !== "rabbitmq" || broker?.kind === "fargate";

  const settings = {
    stack,
    region: check.region(),
    accountId: check.text("accountId", /^\d{12}$/, "the account that this stack belongs to, 12 digits"),
    domain: check.text("domain", /^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}$/, "a name like api.example.com"),
    hostedZoneId: check.text("hostedZoneId", /^Z[A-Z0-9]+$/, "the id of the Route 53 zone of the domain, e.g. Z0123456789"),
    digests: check.object("images", (at) =>
      Object.fromEntries(
        IMAGES.map((name) => [
          name,
          needed(name) ? at.text(name, DIGEST, DIGEST_MEANING) : at.optional(name, DIGEST, DIGEST_MEANING),
        ]),
      ),
    ),
    network: check.object("network", (at) => ({
      cidr: at.text("cidr", /^(10\.\d{1,3}|172\.(1[6-9]|2\d|3[01])|192\.168)\.0\.0\/16$/, "a private /16, e.g. 10.20.0.0/16"),
      natGateways: at.oneNumber("natGateways", [1, 3] as const),
      endpoints: at.flag("endpoints"),
    })),
    database,
    broker,
    services: check.object("services", (at) =>
      Object.fromEntries(
        SERVICES.map((name) => [
          name,
          at.object(name, (service) => {
            const min = service.whole("min", 1, 100);
            return { ...size(service), min, max: service.whole("max", min ?? 1, 100) };
          }),
        ]),
      ),
    ),
    spot: check.flag("spot"),
    tokens: check.object("tokens", (at) => ({
      issuer: at.text("issuer", /^[A-Za-z0-9._~:/@+-]{1,255}$/, "the claim iss of the tokens, a URL or a name"),
      audience: at.text("audience", /^\S{1,255}$/, "the claim aud of the tokens"),
      publicKey: at.optional(
        "publicKey",
        /^-----BEGIN PUBLIC KEY-----\n([A-Za-z0-9+/=]+\n)+-----END PUBLIC KEY-----\n?$/,
        "one public key in PEM, or not set",
      ),
    })),
    gateway: check.object("gateway", (at) => ({
      ratePerMinute: at.whole("ratePerMinute", 1, 9_999_999),
      corsOrigins: at.list("corsOrigins", /^https:\/\/[a-z0-9.-]+(:\d{1,5})?$/, "origins like https://shop.example"),
      wafRate: at.whole("wafRate", 100, 20_000_000),
      partner: at.has("partnerRatePerMinute")
        ? {
            apiKey: check.secret("partnerApiKey", "the partner's key, of 32 to 255 letters, digits and . _ ~ -"),
            token: check.secret("partnerToken", "the partner's own signed token"),
            ratePerMinute: at.whole("partnerRatePerMinute", 1, 9_999_999),
          }
        : undefined,
    })),
    telemetry,
    alarmEmail: check.text("alarmEmail", /^[^\s@]+@[^\s@]+\.[^\s@]+$/, "the address that alarms are sent to"),
    logDays: check.oneNumber("logDays", RETENTION_DAYS),
    archiveDays: check.whole("archiveDays", 31, 3650),
    protect: check.flag("protect"),
    privateCaArn: check.optional("privateCaArn", /^arn:aws:acm-pca:\S+$/, "the ARN of an authority of AWS Private CA, or not set"),
    shieldAdvanced: check.flag("shieldAdvanced"),
    neonApiKey: database?.engine === "neon" ? check.secret("neonApiKey", "an API key of Neon") : undefined,
  };
  check.finish(`the stack ${stack} cannot be planned`);
  return settings as Settings; // nothing is undefined that may not be: `finish` would have thrown
}

function size(at: Checker): Partial<Size> {
  const cpu = at.oneNumber("cpu", Object.keys(FARGATE_SIZES).map(Number));
  const range = FARGATE_SIZES[cpu ?? 0];
  return { cpu, memory: range ? at.whole("memory", range.from, range.to, range.step) : at.unchecked("memory") };
}

type Source = { get(key: string): string | undefined; getSecret?(key: string): pulumi.Output<string> | undefined };

/** Collects what is wrong. A value that is not allowed reads as undefined, and `finish` throws. */
export class Checker {
  constructor(
    private readonly source: Source | pulumi.Config,
    private readonly path: string = "",
    readonly problems: string[] = [],
  ) {}

  text(key: string, pattern: RegExp, allowed: string): string | undefined {
    const value = this.value(key);
    if (value === undefined) return this.problem(key, `is not set: it must be ${allowed}`);
    return pattern.test(value) ? value : this.problem(key, `must be ${allowed}, not ${JSON.stringify(value)}`);
  }

  optional(key: string, pattern: RegExp, allowed: string): string | undefined {
    return this.has(key) ? this.text(key, pattern, allowed) : undefined;
  }

  one<const T extends string>(key: string, values: readonly T[]): T | undefined {
    return this.text(key, new RegExp(`^(${values.join("|")})$`), values.join(" or ")) as T | undefined;
  }

  oneNumber<const T extends number>(key: string, values: readonly T[]): T | undefined {
    const text = this.text(key, new RegExp(`^(${values.join("|")})$`), `one of ${values.join(", ")}`);
    return text === undefined ? undefined : (Number(text) as T);
  }

  whole(key: string, from: number, to: number, step = 1): number | undefined {
    const allowed = `a whole number from ${from} to ${to}${step === 1 ? "" : ` in steps of ${step}`}`;
    const text = this.text(key, /^-?\d+(\.\d+)?$/, allowed);
    if (text === undefined) return undefined;
    const value = Number(text);
    const fits = Number.isInteger(value) && value >= from && value <= to && (value - from) % step === 0;
    return fits ? value : this.problem(key, `must be ${allowed}, not ${text}`);
  }

  share(key: string): number | undefined {
    const allowed = "a share above 0 and at most 1";
    const text = this.text(key, /^\d+(\.\d+)?$/, allowed);
    if (text === undefined) return undefined;
    const value = Number(text);
    return value > 0 && value <= 1 ? value : this.problem(key, `must be ${allowed}, not ${text}`);
  }

  flag(key: string): boolean | undefined {
    const text = this.text(key, /^(true|false)$/, "true or false");
    return text === undefined ? undefined : text === "true";
  }

  list(key: string, pattern: RegExp, allowed: string): string[] {
    const text = this.value(key);
    if (text === undefined) return [];
    const items: unknown = parsed(text);
    if (Array.isArray(items) && items.every((item) => typeof item === "string" && pattern.test(item))) return items;
    this.problem(key, `must be a list of ${allowed}, not ${text}`);
    return [];
  }

  /** A value that `pulumi config set --secret` has set. It is never looked at here. */
  secret(key: string, meaning: string): pulumi.Output<string> | undefined {
    const value = this.source.getSecret?.(key);
    return value ?? this.problem(key, `is not set: it must be ${meaning}; pulumi config set --secret tandem:${key}`);
  }

  object<T>(key: string, read: (at: Checker) => T): T | undefined {
    const text = this.value(key);
    const object = text === undefined ? undefined : parsed(text);
    if (typeof object !== "object" || object === null || Array.isArray(object)) {
      return this.problem(key, text === undefined ? "is not set" : `must be an object, not ${text}`);
    }
    const members = object as Record<string, unknown>;
    const asked = new Set<string>();
    const inner = new Checker(
      {
        get(name: string) {
          asked.add(name);
          const value = members[name];
          return value === undefined || typeof value === "string" ? value : JSON.stringify(value);
        },
      },
      `${this.path}${key}.`,
      this.problems,
    );
    const result = read(inner);
    for (const name of Object.keys(members)) {
      if (!asked.has(name)) inner.problem(name, `is not known here; known are ${[...asked].join(", ")}`);
    }
    return result;
  }

  region(): string | undefined {
    return new Checker(new pulumi.Config("aws"), "aws:", this.problems).text(
      "region",
      /^[a-z]{2}(-[a-z]+)+-\d$/,
      "a region, e.g. eu-central-1",
    );
  }

  /** A member that is known, of which nothing can be said because another is wrong. */
  unchecked(key: string): undefined {
    this.value(key);
  }

  has(key: string): boolean {
    return this.value(key) !== undefined;
  }

  finish(sentence: string): void {
    if (this.problems.length) throw new Error([`${sentence}:`, ...this.problems.map((text) => `- ${text}`)].join("\n"));
  }

  private value(key: string): string | undefined {
    return this.source.get(key);
  }

  private problem(key: string, text: string): undefined {
    this.problems.push(`${this.path.startsWith("aws:") ? "" : "tandem:"}${this.path}${key} ${text}`);
    return undefined;
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
