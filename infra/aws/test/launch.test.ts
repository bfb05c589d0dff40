// The compiled program and the compiled policies as Pulumi starts them: its own launchers, talking to an engine over gRPC.
// The engine is ours and answers as the tests' AWS does.

import * as grpc from "@grpc/grpc-js";
import * as pulumi from "@pulumi/pulumi";
import * as analyzer from "@pulumi/pulumi/proto/analyzer_pb";
import { AnalyzerClient } from "@pulumi/pulumi/proto/analyzer_grpc_pb";
import { EngineService } from "@pulumi/pulumi/proto/engine_grpc_pb";
import { ResourceMonitorService } from "@pulumi/pulumi/proto/resource_grpc_pb";
import { SupportsFeatureResponse } from "@pulumi/pulumi/proto/resource_pb";
import { Empty } from "google-protobuf/google/protobuf/empty_pb";
import { Struct } from "google-protobuf/google/protobuf/struct_pb";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import * as path from "node:path";
import { afterEach, beforeAll, expect, it } from "vitest";
import { policies } from "../src/policies";
import { amazon, asTexts, configurationOf, type Resource, SECRET_KEYS } from "./plan";
import { planOf } from "./stacks";

const FOLDER = path.join(__dirname, "..");
const LAUNCHERS = path.join(FOLDER, "node_modules", "@pulumi", "pulumi", "cmd");

let server: grpc.Server | undefined;
let child: ChildProcess | undefined;

beforeAll(() => {
  // The types are another step's: here it is about what comes out.
  execFileSync(process.execPath, [path.join(FOLDER, "node_modules", "typescript", "bin", "tsc"), "-p", "tsconfig.build.json", "--noCheck"], { cwd: FOLDER });
});

afterEach(() => {
  child?.kill("SIGKILL");
  server?.forceShutdown();
});

/** What Pulumi's engine offers to a program, as far as this one asks. */
async function engine(resources: Resource[], said: string[], outputs: (values: unknown) => void): Promise<string> {
  await pulumi.runtime.setMocks(amazon("dev", resources), "tandem", "dev", false);
  const monitor = pulumi.runtime.getMonitor() as any;
  const empty = (_call: unknown, done: grpc.sendUnaryData<Empty>) => done(null, new Empty());
  server = new grpc.Server({ "grpc.max_receive_message_length": -1 });
  server.addService(ResourceMonitorService as never, {
    supportsFeature: (_call: unknown, done: grpc.sendUnaryData<SupportsFeatureResponse>) => {
      const { request } = _call as { request: { getId(): string } };
      const answer = new SupportsFeatureResponse();
      answer.setHassupport(!["outputValues", "transforms"].includes(request.getId()));
      done(null, answer);
    },
    invoke: ({ request }: any, done: any) => monitor.invoke(request, done),
    readResource: ({ request }: any, done: any) => monitor.readResource(request, done),
    registerResource: ({ request }: any, done: any) => monitor.registerResource(request, done),
    registerResourceOutputs: ({ request }: any, done: any) => {
      if (/::pulumi:pulumi:Stack::/.test(request.getUrn())) outputs(request.getOutputs().toJavaScript());
      done(null, new Empty());
    },
    registerPackage: ({ request }: any, done: any) => monitor.registerPackage(request, done),
    signalAndWaitForShutdown: empty,
  } as never);
  server.addService(EngineService as never, {
    log: ({ request }: any, done: any) => {
      if (request.getSeverity() >= 2) said.push(request.getMessage());
      done(null, new Empty());
    },
  } as never);
  const port = await new Promise<number>((resolve, reject) =>
    server!.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound))),
  );
  return `127.0.0.1:${port}`;
}

it("the program plans the same stack when Pulumi starts it", async () => {
  const resources: Resource[] = [];
  const said: string[] = [];
  let outputs: any;
  const address = await engine(resources, said, (values) => (outputs = values));
  child = spawn(
    process.execPath,
    [
      path.join(LAUNCHERS, "run"),
      `--monitor=${address}`,
      `--engine=${address}`,
      "--project=tandem",
      "--stack=dev",
      `--pwd=${FOLDER}`,
      "--parallel=64",
      // As main of Pulumi.yaml.
      "dist/index.js",
    ],
    {
      stdio: ["ignore", "inherit", "inherit"],
      env: {
        PATH: process.env.PATH,
        PULUMI_NODEJS_TYPESCRIPT: "false",
        PULUMI_CONFIG: JSON.stringify(asTexts(configurationOf("dev"))),
        PULUMI_CONFIG_SECRET_KEYS: JSON.stringify(SECRET_KEYS),
      },
    },
  );
  const code = await new Promise((resolve) => child!.on("exit", resolve));
  expect([code, said]).toEqual([0, []]);
  const named = (all: Resource[]) => all.map(({ type, name }) => `${type} ${name}`).sort();
  const planned = await planOf("dev");
  expect(named(resources)).toEqual(named(planned.resources));
  expect(outputs.kongServiceUrl).toBe("https://api.dev.tandem.example");
  expect(Object.keys(outputs).sort()).toEqual(Object.keys(planned.outputs).sort());
});

it("the policies answer when Pulumi asks the pack", async () => {
  const said: string[] = [];
  const address = await engine([], said, () => {});
  child = spawn(process.execPath, [path.join(LAUNCHERS, "run-policy-pack"), address, "."], {
    cwd: FOLDER,
    stdio: ["ignore", "pipe", "inherit"],
    env: { PATH: process.env.PATH },
  });
  // It says the port that it listens on.
  const port = await new Promise<string>((resolve, reject) => {
    child!.stdout!.once("data", (text) => resolve(String(text).trim()));
    child!.once("exit", (code) => reject(new Error(`the pack ended with ${code}: ${said.join("\n")}`)));
  });
  const client = new AnalyzerClient(`127.0.0.1:${port}`, grpc.credentials.createInsecure());
  const ask = <T>(method: string, request: unknown) =>
    new Promise<T>((resolve, reject) => (client as any)[method](request, (error: Error | null, answer: T) => (error ? reject(error) : resolve(answer))));

  const info = await ask<analyzer.AnalyzerInfo>("getAnalyzerInfo", new Empty());
  expect(info.getPoliciesList().map((policy) => policy.getName()).sort()).toEqual(policies.map(({ name }) => name).sort());

  const instance = new analyzer.AnalyzerResource();
  instance.setType("aws:rds/instance:Instance");
  instance.setName("orders");
  instance.setUrn("urn:pulumi:dev::tandem::aws:rds/instance:Instance::orders");
  instance.setProperties(Struct.fromJavaScript({ publiclyAccessible: true, storageEncrypted: false }));
  const options = new analyzer.AnalyzerResourceOptions();
  options.setCustomtimeouts(new analyzer.AnalyzerResourceOptions.CustomTimeouts());
  instance.setOptions(options);
  const request = new analyzer.AnalyzeStackRequest();
  request.setResourcesList([instance]);
  const answer = await ask<analyzer.AnalyzeResponse>("analyzeStack", request);
  const found = answer.getDiagnosticsList().map((each) => `${each.getPolicyname()}: ${each.getMessage()}`);
  expect(found.join("\n")).toContain("instance orders: may be reached from the internet; set publiclyAccessible to false");
  expect(found.join("\n")).toContain("instance orders: is not encrypted; set storageEncrypted to true");
  client.close();
});
