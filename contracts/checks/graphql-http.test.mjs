// GraphQL over HTTP, by the audits of the reference implementation: all of them, warnings included, at the BFF and
// behind everything that stands in front of it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { getIntrospectionQuery } from "graphql";
import { serverAudits } from "graphql-http";

import { Tandem } from "./tandem.mjs";

let tandem;

before(async () => {
  tandem = await Tandem.start();
});

after(async () => {
  if (!tandem) return; // it did not start, and `before` has said why
  assert.equal(await tandem.stop(), 0, tandem.output);
});

for (const [place, url] of [["bff", () => tandem.bffUrl], ["gateway", () => tandem.url]]) {
  test(`all audits of graphql-http pass at the ${place}`, async (t) => {
    const audits = serverAudits({ url });
    assert.equal(audits.length, 61);
    for (const audit of audits) {
      await t.test(`${audit.id} ${audit.name}`, async () => {
        const result = await audit.fn();
        assert.equal(result.status, "ok", result.reason);
      });
    }
  });
}

test("the introspection of every tool is answered", async () => {
  const options = ["descriptions", "specifiedByUrl", "directiveIsRepeatable", "schemaDescription", "inputValueDeprecation", "oneOf"];
  for (let choice = 0; choice < 2 ** options.length; choice++) {
    const chosen = Object.fromEntries(options.map((option, bit) => [option, Boolean(choice & (1 << bit))]));
    const answer = await tandem.ask(getIntrospectionQuery(chosen));
    assert.equal(answer.errors, undefined, `${JSON.stringify(chosen)}: ${JSON.stringify(answer.errors)}`);
    assert.ok(answer.data.__schema.types.length > 20);
  }
});
