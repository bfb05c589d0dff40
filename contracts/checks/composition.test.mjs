// The BFF's schema is the API schema of the supergraph composed from the two services, nothing more and nothing less:
// so it cannot drift from them, and any Federation router can serve the same graph.

import assert from "node:assert/strict";
import { test } from "node:test";

import { createTwoFilesPatch } from "diff";
import { buildSchema } from "graphql";

import { canonical, compose, readSchema } from "./compose.mjs";

const composed = compose(); // throws on any error or hint of a composer
const bff = canonical(buildSchema(readSchema("bff.graphql")));

for (const [composer, { api }] of Object.entries(composed)) {
  test(`the BFF serves the API schema that ${composer} composes`, () => {
    assertSame({ name: `composed by ${composer}`, text: canonical(api) }, { name: "bff.graphql", text: bff });
  });
}

test("supergraph.graphql is the composed supergraph; `npm run compose` rewrites it", () => {
  assertSame(
    { name: "composed", text: composed.guild.supergraph },
    { name: "supergraph.graphql", text: readSchema("supergraph.graphql") },
  );
});

function assertSame(expected, actual) {
  if (expected.text !== actual.text) {
    assert.fail(createTwoFilesPatch(expected.name, actual.name, expected.text, actual.text));
  }
}
