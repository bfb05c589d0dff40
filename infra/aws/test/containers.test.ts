// Containers in the form that AWS gives back, and what they say.

import { describe, expect, it } from "vitest";
import { authorityOf } from "../src/database";
import { DATABASE_CA, prepare } from "../src/files";
import { containerDefinitions } from "../src/task";
import type { CollectorConfiguration } from "../src/telemetry";
import { X509Certificate } from "node:crypto";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { planOf, type StackName } from "./stacks";

const LOGS = { group: "/tandem/test/orders", region: "eu-central-1" };

describe("a container definition", () => {
  it("has every default and one order, so that AWS's own form of it is no change", () => {
    const definitions = containerDefinitions(
      [
        { name: "orders", image: "image@sha256:0", user: "65532", environment: { PORT: "3333", HOST: "0.0.0.0" }, secrets: { Z: "arn:z", A: "arn:a" } },
        { name: "collector", image: "image@sha256:1", user: "65532", dependsOn: {}, ports: [{ name: "otlp", port: 4318, http: true }] },
      ],
      LOGS,
    );
    const common = {
      cpu: 0,
      essential: true,
      mountPoints: [],
      volumesFrom: [],
      systemControls: [],
      dependsOn: [],
      user: "65532",
      privileged: false,
      readonlyRootFilesystem: true,
      linuxParameters: { capabilities: { drop: ["ALL"] }, initProcessEnabled: false },
      stopTimeout: 30,
    };
    const logConfiguration = (prefix: string) => ({
      logDriver: "awslogs",
      options: {
        "awslogs-group": "/tandem/test/orders",
        "awslogs-region": "eu-central-1",
        "awslogs-stream-prefix": prefix,
        mode: "non-blocking",
        "max-buffer-size": "4m",
      },
    });
    expect(definitions).toEqual([
      {
        ...common,
        name: "collector",
        image: "image@sha256:1",
        environment: [],
        secrets: [],
        portMappings: [{ name: "otlp", containerPort: 4318, hostPort: 4318, protocol: "tcp", appProtocol: "http" }],
        logConfiguration: logConfiguration("collector"),
      },
      {
        ...common,
        name: "orders",
        image: "image@sha256:0",
        environment: [
          { name: "HOST", value: "0.0.0.0" },
          { name: "PORT", value: "3333" },
        ],
        secrets: [
          { name: "A", valueFrom: "arn:a" },
          { name: "Z", valueFrom: "arn:z" },
        ],
        portMappings: [],
        logConfiguration: logConfiguration("orders"),
      },
    ]);
  });

  it("is the same whatever order it is written in", () => {
    const written = (names: string[]) =>
      JSON.stringify(
        containerDefinitions(
          names.map((name) => ({ name, image: "i", environment: Object.fromEntries(names.map((each) => [each, each])) })),
          LOGS,
        ),
      );
    expect(written(["b", "a", "c"])).toBe(written(["c", "b", "a"]));
  });

  it("has no name twice, as a variable and as a secret", () => {
    const twice = { name: "orders", image: "i", environment: { JWT_SECRET: "x" }, secrets: { JWT_SECRET: "arn" } };
    expect(() => containerDefinitions([twice], LOGS)).toThrow("JWT_SECRET of the container orders is a variable and a secret: it must be one");
  });
});

type Definition = Record<string, any>;

async function containers(stack: StackName, task: string): Promise<Record<string, Definition>> {
  const { resources } = await planOf(stack);
  const found = resources.find(({ type, name }) => type === "aws:ecs/taskDefinition:TaskDefinition" && name === task)!;
  const definitions = JSON.parse(found.inputs.containerDefinitions) as Definition[];
  return Object.fromEntries(definitions.map((definition) => [definition.name, definition]));
}

const STACKS = ["dev", "prod", "alternatives"] as const;
const SERVICES = ["orders", "invoices", "bff", "kong"] as const;
const PORTS = { orders: [3333], invoices: [3334], bff: [4000], kong: [8000, 8100] };

describe.each(STACKS.flatMap((stack) => SERVICES.map((service) => ({ stack, service }))))("$service in $stack", ({ stack, service }) => {
  it("is in production, listens where the others look for it, and asks for tokens", async () => {
    const { [service]: container } = await containers(stack, service);
    const variables = Object.fromEntries(container!.environment.map(({ name, value }: Definition) => [name, value]));
    const secrets = container!.secrets.map(({ name }: Definition) => name);
    expect(container!.portMappings.map(({ containerPort }: Definition) => containerPort)).toEqual(PORTS[service]);
    expect(variables.APP_ENV).toBe("production");
    expect(variables.JWT_ISSUER).toMatch(/^https:/);
    // One key, and the same for all.
    expect([...secrets, ...Object.keys(variables)].filter((name) => /^JWT_(SECRET|PUBLIC_KEY_FILE|JWKS_FILE)$/.test(name))).toEqual(
      stack === "prod" ? ["JWT_PUBLIC_KEY_FILE"] : ["JWT_SECRET"],
    );
    if (service === "kong") {
      expect(variables.GATEWAY_PROFILE).toBe("protected");
    } else {
      expect([variables.HOST, variables.PORT, variables.METRICS_PORT]).toEqual(["0.0.0.0", String(PORTS[service][0]), "9464"]);
      expect(secrets).toContain("BROKER_URL");
      expect(secrets.includes("DATABASE_URL")).toBe(service !== "bff");
    }
  });

  it("has a collector whose every pipeline is complete, and that knows no credential", async () => {
    const { collector } = await containers(stack, service);
    const text = collector!.environment.find(({ name }: Definition) => name === "AOT_CONFIG_CONTENT").value as string;
    const { service: wiring, ...parts } = JSON.parse(text) as CollectorConfiguration;
    for (const [name, pipeline] of Object.entries(wiring.pipelines)) {
      for (const kind of ["receivers", "processors", "exporters"] as const) {
        expect(pipeline[kind].length, name).toBeGreaterThan(0);
        for (const part of pipeline[kind]) expect(Object.keys(parts[kind]), name).toContain(part);
      }
    }
    expect(Object.keys(parts.extensions)).toEqual(wiring.extensions);
    const named = [...text.matchAll(/\$\{env:(\w+)\}/g)].map(([, name]) => name);
    expect(collector!.secrets.map(({ name }: Definition) => name)).toEqual(named);
    expect(collector!.essential).toBe(false);
  });

  it("writes only where a volume is", async () => {
    const all = await containers(stack, service);
    const { mountPoints, readonlyRootFilesystem, dependsOn } = all[service]!;
    expect(readonlyRootFilesystem).toBe(true);
    if (mountPoints.length) expect(dependsOn).toContainEqual({ containerName: "files", condition: "SUCCESS" });
    else expect(all.files).toBeUndefined();
  });
});

describe("files for a program", () => {
  it("are written by the container that goes before", () => {
    const { containers, mounts, dependsOn } = prepare({ [DATABASE_CA]: "-----BEGIN…\n" });
    expect(mounts).toEqual({ files: "/run/tandem" });
    expect(dependsOn).toEqual({ files: "SUCCESS" });
    const [shell, ...options] = containers[0]!.entryPoint!;
    const folder = mkdtempSync(path.join(tmpdir(), "tandem-files-"));
    const file = path.join(folder, "ca.pem");
    execFileSync(shell!, [...options, containers[0]!.command![0]!.replaceAll(DATABASE_CA, file)], {
      env: containers[0]!.environment as never,
    });
    expect(readFileSync(file, "utf8")).toBe("-----BEGIN…\n");
    rmSync(folder, { recursive: true });
  });

  it("need no container where there are none", () => {
    expect(prepare({})).toEqual({ containers: [], scratch: [], mounts: {}, dependsOn: {} });
  });
});

describe("the authority of RDS", () => {
  it.each(["eu-central-1", "us-east-1", "ap-southeast-2", "sa-east-1"])("of %s signs itself and is good for years", (region) => {
    const certificate = new X509Certificate(authorityOf(region));
    expect(certificate.subject).toContain(`CN=Amazon RDS ${region} Root CA RSA2048 G1`);
    expect(certificate.verify(certificate.publicKey)).toBe(true);
    expect(certificate.ca).toBe(true);
    expect(new Date(certificate.validTo).getFullYear()).toBeGreaterThan(2040);
  });

  it("of no region is an error", () => {
    expect(() => authorityOf("xx-north-1")).toThrow('no certificate "CN=Amazon RDS xx-north-1 Root CA RSA2048 G1"');
  });
});
