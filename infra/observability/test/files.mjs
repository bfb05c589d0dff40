// Where things are, and what is in them.

import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { parse } from "yaml";

export const OBSERVABILITY = fileURLToPath(new URL("..", import.meta.url)).replace(/\/$/, "");
export const ROOT = path.resolve(OBSERVABILITY, "../..");

export const inside = (...names) => path.join(OBSERVABILITY, ...names);
export const readText = (...names) => readFileSync(inside(...names), "utf8");
export const readYaml = (...names) => parse(readText(...names));

/** The names of the files of a folder that end so, in their order. */
export const filesIn = (folder, ending) =>
  readdirSync(folder)
    .filter((name) => name.endsWith(ending))
    .sort();

/** The groups of all rules. */
export const ruleGroups = () =>
  filesIn(inside("prometheus", "rules"), ".yml").flatMap((name) => readYaml("prometheus", "rules", name).groups);

/** The unit tests of all rules. */
export const unitTests = () =>
  filesIn(inside("prometheus", "tests"), ".yml").flatMap((name) => readYaml("prometheus", "tests", name).tests);

export const dashboards = () =>
  filesIn(inside("grafana", "dashboards"), ".json").map((name) => JSON.parse(readText("grafana", "dashboards", name)));

/** The pages of docs/runbooks but their index, without .md. */
export const runbooks = () =>
  filesIn(path.join(ROOT, "docs", "runbooks"), ".md")
    .filter((name) => name !== "README.md")
    .map((name) => name.replace(/\.md$/, ""));
