// Writes NOTICE.txt: the licence of every package that the build may contain, in full.

import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8'));

/** The texts of a package, those of its fonts and icons included. */
function texts(folder) {
  const files = readdirSync(folder, { withFileTypes: true }).filter((file) => file.isFile());
  const names = files.map(({ name }) => name).filter((name) => /^(licen[cs]e|copying|notice|thirdpartynotices)/i.test(name));
  return names.sort().map((name) => readFileSync(join(folder, name), 'utf8').replaceAll('\r\n', '\n').trim());
}

const sections = Object.entries(packages)
  .filter(([folder, { dev, optional }]) => folder && !dev && !optional && existsSync(folder))
  .map(([folder, { version, license }]) => {
    const name = folder.split('node_modules/').at(-1);
    return [`${name} ${version} (${license ?? 'see below'})`, ...texts(folder)].join('\n\n');
  })
  .sort();

const head = `The playground (bff/web/playground/dist, embedded in the programs bff and tandem) is built from the packages below.
Within graphiql's styles are the fonts Roboto (Apache License 2.0) and Fira Code (SIL Open Font License 1.1); within
monaco-editor's the icons Codicons (Creative Commons Attribution 4.0). Texts that several packages share are repeated.`;

writeFileSync('NOTICE.txt', `${[head, ...new Set(sections)].join(`\n\n${'-'.repeat(80)}\n\n`)}\n`);
