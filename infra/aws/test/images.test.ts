// The digests of a stack's images. `aws`, `pulumi` and `docker` are stand-ins, which write down what they are asked.

import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { FOREIGN_IMAGES, OWN_IMAGES } from "../src/settings";

const FOLDER = path.join(__dirname, "..");
const REVISION = "0123456789abcdef0123456789abcdef01234567";
const FOREIGN = JSON.parse(readFileSync(path.join(FOLDER, "images.json"), "utf8")) as Record<string, { source: string; tag: string }>;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "tandem-images-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** @param missing the repository that has no such image */
function images(command: string[], missing = "none") {
  const program = (name: string, text: string) => {
    writeFileSync(path.join(folder, name), `#!/bin/sh\necho "${name} $*" >>"${folder}/calls"\n${text}\n`);
    chmodSync(path.join(folder, name), 0o755);
  };
  program(
    "aws",
    `case "$*" in
      *tandem/${missing}*) echo "An error occurred (ImageNotFoundException)" >&2; exit 254 ;;
      *tandem/denied*) echo "AccessDenied" >&2; exit 254 ;;
      *describe-images*) echo "sha256:$(echo "$4" | sha256sum | cut -c1-64)" ;;
      *get-caller-identity*) echo 123456789012 ;;
    esac`,
  );
  program("pulumi", "");
  program("docker", "");
  const { status, stdout, stderr } = spawnSync(process.execPath, [path.join(FOLDER, "scripts", "images.mjs"), ...command], {
    encoding: "utf8",
    env: { PATH: `${folder}:${process.env.PATH}`, AWS_REGION: "eu-central-1" },
  });
  let calls: string[] = [];
  try {
    calls = readFileSync(path.join(folder, "calls"), "utf8").trim().split("\n");
  } catch {
    // Nothing was asked.
  }
  return { status, stdout, stderr: stderr.trim(), calls };
}

it("are set for all that a stack runs, ours by the commit, and others by the version that was mirrored", () => {
  const { status, stdout, calls } = images(["images", "dev", REVISION]);
  expect(status).toBe(0);
  const names = [...OWN_IMAGES, ...FOREIGN_IMAGES];
  expect(calls.filter((call) => call.includes("describe-images")).map((call) => call.match(/tandem\/(\w+) --image-ids imageTag=(\S+)/)!.slice(1))).toEqual([
    ...OWN_IMAGES.map((name) => [name, REVISION]),
    ...FOREIGN_IMAGES.map((name) => [name, FOREIGN[name]!.tag]),
  ]);
  const set = calls.at(-1)!;
  expect(set).toMatch(/^pulumi config set-all --stack dev --path /);
  expect([...set.matchAll(/--plaintext tandem:images\.(\w+)=sha256:[0-9a-f]{64}/g)].map(([, name]) => name)).toEqual(names);
  expect(stdout.trim().split("\n")).toHaveLength(names.length);
});

it("of a commit that was not built change nothing", () => {
  const { status, stderr, calls } = images(["images", "dev", REVISION], "bff");
  expect([status, stderr]).toEqual([1, `images: tandem/bff has no image ${REVISION}; build it first: the workflow \`images\``]);
  expect(calls.some((call) => call.startsWith("pulumi"))).toBe(false);
});

it("of others that were not mirrored say how to", () => {
  expect(images(["images", "dev", REVISION], "collector").stderr).toBe(
    `images: tandem/collector has no image ${FOREIGN.collector!.tag}; npm run mirror -- collector`,
  );
});

it.each([
  [["images", "dev", "main"], "the revision must be a commit of 40 hexadecimal digits, not main"],
  [["images", "Dev!", REVISION], "the stack must be a name like dev, not Dev!"],
  [["mirror", "redis"], "redis: not in images.json, which has collector, toolbox, postgres, rabbitmq"],
  [[], "usage: npm run images -- STACK REVISION, or npm run mirror -- [NAME…]"],
])("%j is refused", (command, message) => {
  expect(images(command)).toMatchObject({ status: 1, stderr: `images: ${message}`, calls: [] });
});

it("of others are mirrored once, with their publisher's digest", () => {
  const { status, stdout, calls } = images(["mirror"], "collector");
  expect(status).toBe(0);
  const { source, tag } = FOREIGN.collector!;
  expect(calls.filter((call) => call.startsWith("docker"))).toEqual([
    `docker buildx imagetools create --tag 123456789012.dkr.ecr.eu-central-1.amazonaws.com/tandem/collector:${tag} ${source}:${tag}`,
  ]);
  expect(stdout).toContain(`toolbox ${FOREIGN.toolbox!.tag} is there`);
});
