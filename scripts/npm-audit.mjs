// Asks npm's registry which of our packages have known vulnerabilities.
//
//   node scripts/npm-audit.mjs          fails for high or critical ones in packages that we ship
//   node scripts/npm-audit.mjs --probe  only whether the registry answers
//
// Where the registry does not answer nothing is known, so that fails the probe and not the audit. Packages for development
// and tests are counted and fail nothing: they never meet a stranger's input.

import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** Every folder with a package of ours. */
function packages(folder = "") {
  const here = existsSync(path.join(ROOT, folder, "package-lock.json")) ? [folder] : [];
  const inner = readdirSync(path.join(ROOT, folder), { withFileTypes: true })
    .filter(
      (entry) =>
        entry.isDirectory() &&
        !["node_modules", "target", "data", "dist"].includes(entry.name) &&
        !entry.name.startsWith("."),
    )
    .flatMap(({ name }) => packages(path.join(folder, name)));
  return [...here, ...inner];
}

function audit(folder, ...options) {
  const all = [
    "--prefix",
    folder,
    "audit",
    "--package-lock-only",
    "--json",
    "--fetch-retries=0",
    "--fetch-timeout=20000",
    ...options,
  ];
  const { stdout } = spawnSync("npm", all, { cwd: ROOT, encoding: "utf8" });
  try {
    const report = JSON.parse(stdout);
    return report.auditReportVersion ? report : undefined;
  } catch {
    return undefined;
  }
}

function main(probe) {
  const folders = packages();
  if (probe) return audit(folders[0]) ? 0 : 1;
  let found = 0;
  for (const folder of folders) {
    const shipped = audit(folder, "--omit=dev");
    const everything = audit(folder);
    if (!shipped || !everything) {
      console.log(`${folder}: the registry does not say which packages have vulnerabilities`);
      continue;
    }
    const serious = Object.values(shipped.vulnerabilities).filter(({ severity }) =>
      ["high", "critical"].includes(severity),
    );
    console.log(
      `${folder}: ${serious.length} high or critical in what is shipped, ${everything.metadata.vulnerabilities.total} of any kind in all packages`,
    );
    for (const { name, severity, via } of serious) {
      console.log(`  ${severity}: ${name}: ${via.map((cause) => cause.title ?? `by ${cause}`).join("; ")}`);
    }
    found += serious.length;
  }
  return found === 0 ? 0 : 1;
}

process.exitCode = main(process.argv.includes("--probe"));
