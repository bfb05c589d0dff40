// Programs that the scripts start and that are not here: each writes down how it was called and answers what it is told.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

import { ROOT } from "./repository.mjs";

/**
 * Runs a command of the repository. `programs` maps a name to answers, each `[status, text]`, given one after the other;
 * the last one stays.
 */
export async function run(command, { programs = {}, input = "", env = {} } = {}) {
  const folder = mkdtempSync(path.join(tmpdir(), "tandem-stand-in-"));
  try {
    for (const [name, answers] of Object.entries(programs)) {
      answers.forEach(([, text], index) => writeFileSync(path.join(folder, `${name}.${index}`), text));
      const statuses = answers.map(([status]) => status).join(" ");
      writeFileSync(
        path.join(folder, name),
        `#!/usr/bin/env bash
cd ${folder}
echo "$*" >>${name}.calls
statuses=(${statuses})
index=$(($(wc -l <${name}.calls) - 1))
((index < \${#statuses[@]})) || index=$((\${#statuses[@]} - 1))
if ((\${statuses[index]})); then cat ${name}.$index >&2; else cat ${name}.$index; fi
exit "\${statuses[index]}"
`,
      );
      chmodSync(path.join(folder, name), 0o755);
    }
    const child = spawn(command[0], command.slice(1), {
      cwd: ROOT,
      env: { PATH: `${folder}:${process.env.PATH}`, ...env },
    });
    let out = "";
    let err = "";
    child.stdout.on("data", (data) => (out += data));
    child.stderr.on("data", (data) => (err += data));
    child.stdin.on("error", () => {}); // it may end without reading
    child.stdin.end(input);
    const [status] = await once(child, "close");
    const calls = (name) => {
      const file = path.join(folder, `${name}.calls`);
      return existsSync(file) ? readFileSync(file, "utf8").trim().split("\n") : [];
    };
    return { status, out, err, calls: Object.fromEntries(Object.keys(programs).map((name) => [name, calls(name)])) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
