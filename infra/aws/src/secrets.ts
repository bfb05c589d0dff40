// Credentials: made here, kept in Secrets Manager under a key of ours, and named in task definitions, never written there.

import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import type { Context } from "./context";
import type { Keys } from "./keys";

/** A credential in Secrets Manager. */
export class StoredSecret {
  constructor(
    readonly secret: aws.secretsmanager.Secret,
    /** Changes with the value. */
    readonly version: pulumi.Output<string>,
  ) {}

  /**
   * What a container names to get the whole value, or one member of it: of this version, so that a task definition waits
   * until it is there, and a changed credential is a new one, and so a deployment.
   */
  reference(member = ""): SecretReference {
    return { arn: this.secret.arn, valueFrom: pulumi.interpolate`${this.secret.arn}:${member}::${this.version}` };
  }
}

/** The secret, which the execution role may read, and what the container names. */
export interface SecretReference {
  arn: pulumi.Output<string>;
  valueFrom: pulumi.Output<string>;
}

export class Secrets extends pulumi.ComponentResource {
  constructor(
    private readonly context: Context,
    private readonly keys: Keys,
    options: pulumi.ComponentResourceOptions,
  ) {
    super("tandem:aws:Secrets", "secrets", {}, options);
    this.registerOutputs({});
  }

  /** Letters and digits, so that it can stand in a URL. */
  password(name: string): pulumi.Output<string> {
    return pulumi.secret(new random.RandomPassword(name, { length: 40, special: false }, { parent: this }).result);
  }

  store(name: string, description: string, value: pulumi.Input<string> | Record<string, pulumi.Input<string>>): StoredSecret {
    const { stack, protect } = this.context.settings;
    const secret = new aws.secretsmanager.Secret(
      name,
      {
        name: `tandem/${stack}/${name}`,
        description,
        kmsKeyId: this.keys.secrets.arn,
        // At once where a stack comes and goes: a name is taken until its secret is really gone.
        recoveryWindowInDays: protect ? 30 : 0,
      },
      { parent: this },
    );
    const text = pulumi.output(value).apply((known) => (typeof known === "string" ? known : JSON.stringify(known)));
    const version = new aws.secretsmanager.SecretVersion(
      name,
      { secretId: secret.id, secretString: pulumi.secret(text) },
      { parent: this },
    );
    return new StoredSecret(secret, version.versionId);
  }
}
