// Writes ../dashboards, or with --check compares it with what the sources give.

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { graphql } from "./graphql.mjs";
import { messaging } from "./messaging.mjs";
import { overview } from "./overview.mjs";
import { runtime } from "./runtime.mjs";

const FOLDER = fileURLToPath(new URL("../dashboards", import.meta.url));

const check = process.argv.includes("--check");
for (const dashboard of [overview, messaging, graphql, runtime]) {
  const file = path.join(FOLDER, `${dashboard.uid}.json`);
  const text = `${JSON.stringify(dashboard, null, 2)}\n`;
  if (!check) {
    writeFileSync(file, text);
  } else if (!existsSync(file) || readFileSync(file, "utf8") !== text) {
    console.error(`${path.relative(process.cwd(), file)} is not what its source gives: npm run dashboards`);
    process.exitCode = 1;
  }
}
