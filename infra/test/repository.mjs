// The files of the repository as the checks see them. For a broken variant, some of them read differently.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { parse } from "yaml";

export const ROOT = fileURLToPath(new URL("../../", import.meta.url));

export class Repository {
  #changed;

  /** `changed` maps a path to the text that is read instead; null is a file that is not there. */
  constructor(changed = {}) {
    this.#changed = changed;
  }

  /** This repository with `from` replaced by `to` in one file. Throws when nothing would change. */
  static with(file, from, to) {
    const text = new Repository().text(file);
    const broken = text.replaceAll(from, to);
    if (broken === text) throw new Error(`${file} does not have ${from}: the variant would not be broken`);
    return new Repository({ [file]: broken });
  }

  has(file) {
    return file in this.#changed ? this.#changed[file] !== null : existsSync(path.join(ROOT, file));
  }

  text(file) {
    return this.#changed[file] ?? readFileSync(path.join(ROOT, file), "utf8");
  }

  yaml(file) {
    return parse(this.text(file), { merge: true, uniqueKeys: true, strict: true });
  }

  json(file) {
    return JSON.parse(this.text(file));
  }

  /** Names of the files in a folder, sorted; none when it is not there. */
  list(folder) {
    const there = existsSync(path.join(ROOT, folder)) ? readdirSync(path.join(ROOT, folder)) : [];
    return there.sort();
  }
}

/** Where cargo has put the programs. */
export function program(name) {
  return path.join(process.env.CARGO_TARGET_DIR ?? path.join(ROOT, "target"), "debug", name);
}
