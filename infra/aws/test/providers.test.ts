// Our own two providers as Pulumi runs them: serialised, and read again by another process, where nothing of the program is
// left. Against servers that answer as ECS and Neon do.

import * as pulumi from "@pulumi/pulumi";
import { createServer, type IncomingMessage, type Server } from "node:http";
import { type AddressInfo } from "node:net";
import { createRequire } from "node:module";
import * as path from "node:path";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { neonProvider } from "../src/neon";
import { runProvider } from "../src/run";

type Provider = Record<string, (...args: any[]) => Promise<any>>;

/** What Pulumi keeps in its state of a provider, made into one again. */
async function asPulumiRunsIt(provider: pulumi.dynamic.ResourceProvider): Promise<Provider> {
  const { text } = await pulumi.runtime.serializeFunction(() => provider);
  const module = { exports: {} as { handler: () => Provider } };
  // As @pulumi/pulumi/cmd/dynamic-provider: a module in the folder of the program.
  new Function("exports", "module", "require", text)(module.exports, module, createRequire(path.join(__dirname, "..", "index.js")));
  return module.exports.handler();
}

let server: Server | undefined;
let requests: { method: string; url: string; target: string; authorization: string; body: any }[];

async function serve(answer: (request: (typeof requests)[number]) => [status: number, body: unknown]): Promise<string> {
  requests = [];
  server = createServer(async (request: IncomingMessage, response) => {
    let text = "";
    for await (const chunk of request) text += String(chunk);
    const seen = {
      method: request.method!,
      url: request.url!,
      target: String(request.headers["x-amz-target"] ?? "").replace(/^.*\./, ""),
      authorization: request.headers.authorization ?? "",
      body: text ? JSON.parse(text) : undefined,
    };
    requests.push(seen);
    const [status, body] = answer(seen);
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server!.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server!.address() as AddressInfo).port}`;
}

afterEach(async () => {
  await new Promise((resolve) => (server ? server.close(resolve) : resolve(undefined)));
  server = undefined;
  delete process.env.AWS_ENDPOINT_URL_ECS;
});

describe("a task that runs to its end", () => {
  const INPUTS = {
    region: "eu-central-1",
    cluster: "arn:cluster",
    taskDefinition: "arn:aws:ecs:eu-central-1:1:task-definition/tandem-dev-migrate-orders:7",
    subnets: ["subnet-a", "subnet-b"],
    securityGroups: ["sg-setup"],
    logGroup: "/tandem/dev/migrate-orders",
    triggers: ["1"],
  };
  const TASK = "arn:aws:ecs:eu-central-1:1:task/tandem-dev/0";
  let provider: Provider;
  beforeAll(async () => {
    process.env.AWS_ACCESS_KEY_ID = "test";
    process.env.AWS_SECRET_ACCESS_KEY = "test";
    provider = await asPulumiRunsIt(runProvider);
  });
  /** ECS, where the task has run and its containers have ended so. */
  const ecs = async (containers: object[], run: object = { tasks: [{ taskArn: TASK }], failures: [] }) => {
    process.env.AWS_ENDPOINT_URL_ECS = await serve(({ target }) =>
      target === "RunTask" ? [200, run] : [200, { tasks: [{ taskArn: TASK, lastStatus: "STOPPED", stoppedReason: "Essential container in task exited", containers }] }],
    );
  };

  it("runs in the private network, once, and is over when it has succeeded", async () => {
    await ecs([
      { name: "files", exitCode: 0 },
      { name: "migration", exitCode: 0 },
    ]);
    const created = await provider.create!(INPUTS);
    expect(created).toEqual({ id: TASK, outs: { ...INPUTS, taskArn: TASK } });
    const [run, ...rest] = requests;
    expect(run!.target).toBe("RunTask");
    expect(run!.body).toMatchObject({
      cluster: "arn:cluster",
      taskDefinition: INPUTS.taskDefinition,
      launchType: "FARGATE",
      count: 1,
      networkConfiguration: { awsvpcConfiguration: { subnets: ["subnet-a", "subnet-b"], securityGroups: ["sg-setup"], assignPublicIp: "DISABLED" } },
    });
    expect(rest.every(({ target, body }) => target === "DescribeTasks" && body.tasks[0] === TASK)).toBe(true);
  });

  it("fails the deployment with the code of its container and the place of its log", async () => {
    await ecs([
      { name: "files", exitCode: 0 },
      { name: "migration", exitCode: 1 },
    ]);
    await expect(provider.create!(INPUTS)).rejects.toThrow(
      "the task tandem-dev-migrate-orders:7 failed: migration ended with 1; Essential container in task exited; its log is /tandem/dev/migrate-orders",
    );
  });

  it("fails when a container was never started", async () => {
    await ecs([{ name: "migration", reason: "CannotPullContainerError: not found" }]);
    await expect(provider.create!(INPUTS)).rejects.toThrow("migration ended with CannotPullContainerError: not found");
  });

  it("fails when ECS starts nothing", async () => {
    await ecs([], { tasks: [], failures: [{ reason: "RESOURCE:CPU", detail: "no room" }] });
    await expect(provider.create!(INPUTS)).rejects.toThrow("the task tandem-dev-migrate-orders:7 was not started: RESOURCE:CPU: no room");
  });

  it("runs again when its image, its network or a trigger has changed, and only then", async () => {
    expect(await provider.diff!("id", { ...INPUTS, taskArn: TASK }, INPUTS)).toEqual({ changes: false });
    for (const change of [{ triggers: ["2"] }, { taskDefinition: "arn:8" }, { subnets: ["subnet-a"] }]) {
      expect(await provider.diff!("id", { ...INPUTS, taskArn: TASK }, { ...INPUTS, ...change })).toEqual({ changes: true });
    }
    await ecs([{ name: "migration", exitCode: 0 }]);
    expect((await provider.update!("id", INPUTS, { ...INPUTS, triggers: ["2"] })).outs.triggers).toEqual(["2"]);
  });
});

describe("a Neon project", () => {
  const inputs = { apiKey: "napi_secret", api: "", name: "tandem-dev-orders", region: "aws-eu-central-1", postgres: 17, database: "orders", owner: "orders_owner" };
  let provider: Provider;
  beforeAll(async () => {
    provider = await asPulumiRunsIt(neonProvider as pulumi.dynamic.ResourceProvider);
  });

  it("is made with its database and owner, and says where it is", async () => {
    const api = await serve(() => [
      201,
      {
        project: { id: "quiet-sun-1" },
        connection_uris: [{ connection_uri: "postgresql://orders_owner:p%40ss@ep-1.eu-central-1.aws.neon.tech/orders?sslmode=require" }],
      },
    ]);
    const { id, outs } = await provider.create!({ ...inputs, api });
    expect([id, outs.host, outs.password]).toEqual(["quiet-sun-1", "ep-1.eu-central-1.aws.neon.tech", "p@ss"]);
    expect(requests).toEqual([
      {
        method: "POST",
        url: "/projects",
        target: "",
        authorization: "Bearer napi_secret",
        body: {
          project: {
            name: "tandem-dev-orders",
            region_id: "aws-eu-central-1",
            pg_version: 17,
            store_passwords: true,
            branch: { name: "main", database_name: "orders", role_name: "orders_owner" },
          },
        },
      },
    ]);
  });

  it("tells what Neon says, and never the key", async () => {
    const api = await serve(() => [402, { message: "projects limit exceeded" }]);
    const error: Error = await provider.create!({ ...inputs, api }).catch((thrown) => thrown);
    expect(error.message).toBe("Neon refused POST /projects (402): projects limit exceeded");
    expect(error.message).not.toContain("napi_secret");
  });

  it("that is gone is made again; one that is gone already can be deleted", async () => {
    const api = await serve(() => [404, { message: "not found" }]);
    expect(await provider.read!("quiet-sun-1", { ...inputs, api })).toEqual({});
    await expect(provider.delete!("quiet-sun-1", { ...inputs, api })).resolves.toBeUndefined();
  });

  it("is never made anew for a change that would lose its data", async () => {
    await expect(provider.diff!("quiet-sun-1", inputs, { ...inputs, region: "aws-us-east-1" })).rejects.toThrow(
      "region of the Neon project tandem-dev-orders cannot change: make another project, and move the data",
    );
    expect(await provider.diff!("quiet-sun-1", inputs, { ...inputs, name: "other" })).toEqual({ changes: true });
  });

  it("can be renamed", async () => {
    const api = await serve(() => [200, {}]);
    await provider.update!("quiet-sun-1", { ...inputs, api, host: "h", password: "p" }, { ...inputs, api, name: "other" });
    expect(requests.map(({ method, url, body }) => [method, url, body])).toEqual([["PATCH", "/projects/quiet-sun-1", { project: { name: "other" } }]]);
  });
});
