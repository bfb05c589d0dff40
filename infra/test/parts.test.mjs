// ./test.sh in parts, as CI asks for them.

import assert from "node:assert/strict";
import { test } from "node:test";

import { run } from "./stand-in.mjs";

test("a part runs alone", async () => {
  const { status, out, calls } = await run(["./test.sh", "--only", "format,dependencies"], {
    programs: { cargo: [[0, ""]], npm: [[0, ""]], node: [[1, ""]], "cargo-deny": [[0, ""]] },
    env: { HOME: process.env.HOME },
  });
  assert.equal(status, 0, out);
  assert.deepEqual(calls.cargo, ["fmt --all --check", "deny check bans licenses sources"]);
  assert.match(out, /^formatting +ok +\d+ *\ndependencies +ok +\d+ *\nnpm audit +skipped/m);
});

test("a part that starts programs builds them first, once", async () => {
  const { status, out, calls } = await run(["./test.sh", "--only", "pages,playground"], {
    programs: { cargo: [[1, "it does not compile"]] },
    env: { HOME: process.env.HOME },
  });
  assert.equal(status, 1);
  assert.deepEqual(calls.cargo, ["build --workspace --locked"]);
  assert.match(out, /^build +failed[\s\S]*the steps after it did not run/m);
});

test("a part that is not there is refused with those that are", async () => {
  for (const [options, expected] of [
    [["--only", "format,clipy"], /--only: there is no part clipy; the parts are: format clippy sqlite servers .* packaging/],
    [["--only"], /Usage: \.\/test\.sh/],
  ]) {
    const { status, err, calls } = await run(["./test.sh", ...options], { programs: { cargo: [[0, ""]] } });
    assert.equal(status, 2);
    assert.match(err, expected);
    assert.deepEqual(calls.cargo, []);
  }
});
