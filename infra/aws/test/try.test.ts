import { expect, it } from "vitest";
import { configurationOf, plan, printed } from "./plan";
import { writeFileSync } from "node:fs";
it("plans", async () => {
  const p = await plan("dev", configurationOf("dev"));
  writeFileSync("/tmp/dev-plan.json", printed(p));
  console.log([...new Set(p.resources.map((r) => r.type))].join("\n"));
  expect(p.resources.length).toBeGreaterThan(10);
});
