// The images that a stack runs, by their digests.
//
//   npm run images -- STACK REVISION   sets the digests in the stack's configuration: of ours, those that the commit was
//                                      built to; of others, those that were mirrored
//   npm run mirror -- [NAME…]          copies the images of others (images.json) into our registry, all of them by default
//
// Needs the AWS command line, logged in; the first also Pulumi, the second Docker with buildx. A tag of our registry never
// moves, so the digests of one commit are always the same. A newer version of somebody else's image is another tag in
// images.json, and the same two commands.

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const FOLDER = fileURLToPath(new URL("..", import.meta.url));
const OURS = ["orders", "invoices", "bff", "kong"];
const foreign = JSON.parse(readFileSync(path.join(FOLDER, "images.json"), "utf8"));

class Failure extends Error {}

function run(program, ...command) {
  const { status, stdout, stderr, error } = spawnSync(program, command, { cwd: FOLDER, encoding: "utf8" });
  if (error) throw new Failure(`${program} cannot be started (${error.code}): install it`);
  return { status, stdout: stdout.trim(), stderr: stderr.trim() };
}

function must(program, ...command) {
  const { status, stdout, stderr } = run(program, ...command);
  if (status !== 0) throw new Failure(`${program} ${command.slice(0, 3).join(" ")}: ${stderr}`);
  return stdout;
}

/** Of a tag in our registry; undefined when there is none. */
function digestOf(name, tag) {
  const { status, stdout, stderr } = run(
    "aws", "ecr", "describe-images", "--repository-name", `tandem/${name}`, "--image-ids", `imageTag=${tag}`,
    "--query", "imageDetails[0].imageDigest", "--output", "text",
  );
  if (status === 0) return stdout;
  if (/ImageNotFoundException/.test(stderr)) return undefined;
  throw new Failure(`aws ecr describe-images tandem/${name}: ${stderr}`);
}

function images(stack, revision) {
  if (!/^[a-z][a-z0-9-]*$/.test(stack ?? "")) throw new Failure(`the stack must be a name like dev, not ${stack}`);
  if (!/^[0-9a-f]{40}$/.test(revision ?? "")) throw new Failure(`the revision must be a commit of 40 hexadecimal digits, not ${revision}`);
  const tags = [
    ...OURS.map((name) => [name, revision, "build it first: the workflow `images`"]),
    ...Object.entries(foreign).map(([name, { tag }]) => [name, tag, `npm run mirror -- ${name}`]),
  ];
  const digests = tags.map(([name, tag, remedy]) => {
    const digest = digestOf(name, tag);
    if (!digest) throw new Failure(`tandem/${name} has no image ${tag}; ${remedy}`);
    return [name, digest];
  });
  const values = digests.flatMap(([name, digest]) => ["--plaintext", `tandem:images.${name}=${digest}`]);
  must("pulumi", "config", "set-all", "--stack", stack, "--path", ...values);
  for (const [name, digest] of digests) console.log(`${name} ${digest}`);
}

function mirror(...names) {
  const unknown = names.filter((name) => !(name in foreign));
  if (unknown.length) throw new Failure(`${unknown.join(", ")}: not in images.json, which has ${Object.keys(foreign).join(", ")}`);
  const account = must("aws", "sts", "get-caller-identity", "--query", "Account", "--output", "text");
  const region = process.env.AWS_REGION ?? process.env.AWS_DEFAULT_REGION ?? must("aws", "configure", "get", "region");
  for (const name of names.length ? names : Object.keys(foreign)) {
    const { source, tag } = foreign[name];
    if (digestOf(name, tag)) {
      console.log(`${name} ${tag} is there`);
      continue;
    }
    // The whole index, so that every processor is there, and its digest is the publisher's.
    must("docker", "buildx", "imagetools", "create", "--tag", `${account}.dkr.ecr.${region}.amazonaws.com/tandem/${name}:${tag}`, `${source}:${tag}`);
    console.log(`${name} ${tag} copied from ${source}`);
  }
}

const [command, ...args] = process.argv.slice(2);
try {
  if (command === "images") images(...args);
  else if (command === "mirror") mirror(...args);
  else throw new Failure("usage: npm run images -- STACK REVISION, or npm run mirror -- [NAME…]");
} catch (error) {
  if (!(error instanceof Failure)) throw error;
  console.error(`images: ${error.message}`);
  process.exitCode = 1;
}
