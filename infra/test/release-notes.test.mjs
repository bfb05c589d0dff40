// The notes of a release are the section of its version, and a tag without one makes no release.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";

import { Repository } from "./repository.mjs";
import { run } from "./stand-in.mjs";

const VERSION = new Repository().text("Cargo.toml").match(/^version = "(.*)"/m)[1];

async function notes(tag, changelog) {
  const folder = mkdtempSync(path.join(tmpdir(), "tandem-notes-"));
  try {
    const file = path.join(folder, "CHANGELOG.md");
    writeFileSync(file, changelog);
    return await run(["scripts/release-notes.sh", tag, file]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const CHANGELOG = `# Changelog

## [Unreleased]

- Not yet.

## [${VERSION}] - 2026-12-01

### Added

- This.

## [0.0.9] - 2026-01-01

- Long ago.

[Unreleased]: https://example.com
`;

test("the section of the version, and nothing of its neighbours", async () => {
  const { status, out } = await notes(`v${VERSION}`, CHANGELOG);
  assert.equal(status, 0);
  assert.equal(out, "### Added\n\n- This.\n");
});

test("the last section ends before the links", async () => {
  const { out } = await notes(`v${VERSION}`, `## [${VERSION}]\n\n- This.\n\n[${VERSION}]: https://example.com\n`);
  assert.equal(out, "- This.\n");
});

test("no notes, no release", async () => {
  for (const [tag, changelog, expected] of [
    [`v${VERSION}`, "# Changelog\n\n## [Unreleased]\n\n- This.\n", /has no section \[.*\], or an empty one: rename \[Unreleased\]/],
    [`v${VERSION}`, `## [${VERSION}]\n\n## [0.0.9]\n\n- Long ago.\n`, /or an empty one/],
    ["v99.0.0", CHANGELOG, /the tag is v99\.0\.0, and Cargo\.toml says/],
    ["latest", CHANGELOG, /must be a tag like v1\.2\.3, not 'latest'|must be a tag like v1\.2\.0, not 'latest'/],
  ]) {
    const { status, out, err } = await notes(tag, changelog);
    assert.equal(status, 1);
    assert.equal(out, "");
    assert.match(err, expected);
  }
});
