// Builds the playground again and compares it with what is committed: content by content, as the compressed forms may
// differ between versions of zlib.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';

const unpack = { br: brotliDecompressSync, gz: gunzipSync };

/** The contents of a folder by their names. */
function contents(folder) {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((file) => file.isFile());
  const entry = ({ parentPath, name }) => {
    const path = join(parentPath, name);
    return [relative(folder, path), unpack[name.split('.').pop()](readFileSync(path))];
  };
  return new Map(files.map(entry));
}

const built = mkdtempSync(join(tmpdir(), 'playground-'));
try {
  execFileSync('npx', ['vite', 'build', '--logLevel', 'error', '--emptyOutDir', '--outDir', built], { stdio: 'inherit' });
  const [committed, again] = [contents('dist'), contents(built)];
  const names = [...new Set([...committed.keys(), ...again.keys()])];
  const different = names.filter((name) => !committed.get(name)?.equals(again.get(name) ?? Buffer.of()));
  for (const name of different) console.error(`${name} is not what the sources give: run npm run build and commit dist`);
  if (different.length) process.exitCode = 1;
  else console.log(`${names.length} files are what the sources give`);
} finally {
  rmSync(built, { recursive: true });
}
