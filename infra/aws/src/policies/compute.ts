// What runs: from known images, without credentials in sight, replaced safely.

import { finding, type Policy } from "./resource";

/** Names of what nobody may read in a task definition. `_FILE` is a path. */
const SECRET_NAME = /(PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIAL|AUTHORIZATION|API_?KEY|PRIVATE|DATABASE_URL|BROKER_URL|ADMIN_URL)/i;
/** What a credential looks like, whatever its name. */
const SECRET_VALUES: [pattern: RegExp, what: string][] = [
  [/[a-z][a-z0-9+.-]*:\/\/[^\s/:@]+:[^\s/@]+@/i, "a URL with a password"],
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----/, "a private key"],
  [/\b(Basic|Bearer) [A-Za-z0-9+/=_.-]{8,}/, "an authorization header"],
  [/\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+/, "a token"],
  [/\bAKIA[0-9A-Z]{16}\b/, "an access key of AWS"],
];

/** Containers that cannot do without, and why. */
const MAY_BE_ROOT = ["files"]; // prepares volumes, which belong to root, and ends before the program starts
const MAY_WRITE = ["rabbitmq"]; // its start-up writes beside its data

/** Services that are not replaced one task after the other. */
const SINGLE = ["broker"]; // two nodes must not share their files

export const computePolicies: Policy[] = [
  {
    name: "no-plaintext-secrets",
    description: "Whoever may look at a task definition learns no credential: those are named, and ECS fetches them",
    *check(stack) {
      for (const { task, container } of stack.containers()) {
        for (const { name, value } of container.environment ?? []) {
          const what = SECRET_VALUES.find(([pattern]) => pattern.test(value ?? ""))?.[1];
          if (what !== undefined || (SECRET_NAME.test(name) && !/_FILE$/.test(name))) {
            yield finding(
              task,
              `${name} of the container ${container.name} ${what ? `is ${what} in plain text` : "is a credential in plain text"}; store it with Secrets.store and name it in secrets`,
            );
          }
        }
        for (const text of [...(container.command ?? []), ...(container.entryPoint ?? [])]) {
          const what = SECRET_VALUES.find(([pattern]) => pattern.test(text))?.[1];
          if (what !== undefined) yield finding(task, `the command of the container ${container.name} has ${what} in plain text; pass it by secrets`);
        }
      }
    },
  },
  {
    name: "images-by-digest",
    description: "What was tested is what runs: images of our own registry, by their digest",
    *check(stack) {
      for (const { task, container } of stack.containers()) {
        if (!/^\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com\/tandem\/[a-z]+@sha256:[0-9a-f]{64}$/.test(container.image)) {
          yield finding(task, `the image ${container.image} of the container ${container.name} may change; push it to our registry and name it by digest`);
        }
      }
      for (const repository of stack.of("ecr/repository:Repository")) {
        if (repository.props.imageTagMutability !== "IMMUTABLE") yield finding(repository, "lets tags be moved; set imageTagMutability to IMMUTABLE");
        if (!repository.props.imageScanningConfiguration?.scanOnPush) yield finding(repository, "looks for no vulnerabilities; set scanOnPush");
      }
    },
  },
  {
    name: "containers-are-confined",
    description: "No root, no writable root, no capabilities, on Fargate",
    *check(stack) {
      for (const { task, container } of stack.containers()) {
        const { name, user } = container;
        if (!MAY_BE_ROOT.includes(name) && (!user || /^(0|root)(:|$)/.test(user))) {
          yield finding(task, `the container ${name} runs as ${user ?? "whoever its image says"}; give it a user that is not root`);
        }
        if (MAY_BE_ROOT.includes(name) && container.essential !== false) {
          yield finding(task, `the container ${name} runs as root for as long as the task; only one that ends before the program may`);
        }
        if (!MAY_WRITE.includes(name) && container.readonlyRootFilesystem !== true) {
          yield finding(task, `the container ${name} can write to its root; set readonlyRootFilesystem, and mount a volume where it has to write`);
        }
        if (container.privileged || !container.linuxParameters?.capabilities?.drop?.includes("ALL")) {
          yield finding(task, `the container ${name} keeps capabilities; drop ALL`);
        }
      }
    },
  },
  {
    name: "deployments-are-safe",
    description: "A release that does not get well is taken back, and nobody notices one that does",
    *check(stack) {
      for (const service of stack.of("ecs/service:Service")) {
        const { deploymentCircuitBreaker, alarms, deploymentMinimumHealthyPercent, enableExecuteCommand, name } = service.props;
        if (!deploymentCircuitBreaker?.enable || !deploymentCircuitBreaker.rollback) {
          yield finding(service, "goes on with a release that fails; set deploymentCircuitBreaker with enable and rollback");
        }
        if (enableExecuteCommand) yield finding(service, "lets people into its containers; set enableExecuteCommand to false");
        if (SINGLE.includes(service.name)) continue;
        if (!alarms?.enable || !alarms.rollback || !alarms.alarmNames?.length) {
          yield finding(service, "is not taken back by alarms; set alarms with enable, rollback and alarmNames");
        }
        if (!(deploymentMinimumHealthyPercent >= 100)) {
          yield finding(
            service,
            `has ${deploymentMinimumHealthyPercent ?? 0} % of its tasks during a deployment, of one task none; set deploymentMinimumHealthyPercent to 100`,
          );
        }
        const scaled = stack.of("appautoscaling/target:Target").some(({ props }) => String(props.resourceId).endsWith(`/${name}`));
        if (!scaled) yield finding(service, "does not scale; add an autoscaling target");
      }
      for (const { task, container } of stack.containers()) {
        if (container.portMappings?.length && !container.healthCheck) {
          yield finding(task, `the container ${container.name} is asked for no health; give it a healthCheck`);
        }
      }
    },
  },
];
