// A Neon project as a resource. Neon has no provider for Pulumi of its own, so this is a dynamic one over its REST API
// (https://api-docs.neon.tech/reference).
//
// The provider is serialised by Pulumi: its methods use nothing from outside of themselves but the functions of this file.

import * as pulumi from "@pulumi/pulumi";

const API = "https://console.neon.tech/api/v2";

export interface NeonInputs {
  apiKey: string;
  api: string;
  name: string;
  region: string;
  postgres: number;
  /** The database, and the role that owns it. */
  database: string;
  owner: string;
}

interface NeonOutputs extends NeonInputs {
  host: string;
  password: string;
}

interface NeonAnswer {
  project?: { id?: string };
  connection_uris?: { connection_uri?: string }[];
  message?: string;
}

/** One request. Throws what Neon says, never the key. */
async function ask(inputs: Pick<NeonInputs, "api" | "apiKey">, method: string, path: string, body?: unknown): Promise<{ status: number; answer: NeonAnswer }> {
  const response = await fetch(`${inputs.api}${path}`, {
    method,
    headers: { authorization: `Bearer ${inputs.apiKey}`, "content-type": "application/json", accept: "application/json" },
    body: body === undefined ? null : JSON.stringify(body),
    signal: AbortSignal.timeout(60_000),
  });
  const text = await response.text();
  let answer: NeonAnswer = {};
  try {
    answer = JSON.parse(text) as NeonAnswer;
  } catch {
    // A proxy's page: the status says enough.
  }
  if (!response.ok && response.status !== 404) {
    throw new Error(`Neon refused ${method} ${path} (${response.status}): ${answer.message ?? "without a reason"}`);
  }
  return { status: response.status, answer };
}

export const neonProvider: pulumi.dynamic.ResourceProvider<NeonInputs, NeonOutputs> = {
  async diff(_id, before, after) {
    // A database is never made anew because of its name or place: that would lose it.
    const fixed = (["region", "postgres", "database", "owner"] as const).filter((name) => before[name] !== after[name]);
    if (fixed.length) {
      throw new Error(`${fixed.join(", ")} of the Neon project ${before.name} cannot change: make another project, and move the data`);
    }
    return { changes: before.name !== after.name || before.apiKey !== after.apiKey || before.api !== after.api };
  },

  async create(inputs) {
    const { answer } = await ask(inputs, "POST", "/projects", {
      project: {
        name: inputs.name,
        region_id: inputs.region,
        pg_version: inputs.postgres,
        store_passwords: true,
        branch: { name: "main", database_name: inputs.database, role_name: inputs.owner },
      },
    });
    const id = answer.project?.id;
    const uri = answer.connection_uris?.[0]?.connection_uri;
    if (!id || !uri) throw new Error("Neon made a project and did not say how to reach it");
    const { hostname, password } = new URL(uri);
    return { id, outs: { ...inputs, host: hostname, password: decodeURIComponent(password) } };
  },

  async read(id, outs) {
    const { status } = await ask(outs!, "GET", `/projects/${id}`);
    // Gone: without an id Pulumi makes it again.
    return status === 404 ? {} : { id, props: outs! };
  },

  async update(id, before, inputs) {
    if (before.name !== inputs.name) await ask(inputs, "PATCH", `/projects/${id}`, { project: { name: inputs.name } });
    return { outs: { ...before, ...inputs } };
  },

  async delete(id, outs) {
    await ask(outs, "DELETE", `/projects/${id}`); // one that is gone already is deleted
  },
};

export class NeonProject extends pulumi.dynamic.Resource {
  declare readonly host: pulumi.Output<string>;
  /** Of the owner. */
  declare readonly password: pulumi.Output<string>;

  constructor(name: string, inputs: Record<keyof Omit<NeonInputs, "api">, pulumi.Input<string | number>>, options: pulumi.CustomResourceOptions) {
    super(
      neonProvider,
      name,
      { host: undefined, password: undefined, api: API, ...inputs },
      { ...options, additionalSecretOutputs: ["apiKey", "password"] },
      "tandem",
      "NeonProject",
    );
  }
}
