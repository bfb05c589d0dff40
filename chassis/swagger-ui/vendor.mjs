// Copies what the pages need of Swagger UI from its package to `dist`, in the two compressed forms that the programs
// embed, with its licences. `--check` compares instead: content by content, as the compressed forms may differ between
// versions of zlib.

import { readFileSync, writeFileSync } from "node:fs";
import { brotliCompressSync, brotliDecompressSync, constants, gunzipSync, gzipSync } from "node:zlib";

const FILES = ["swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"];
const LICENSES = ["LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt"];

const { BROTLI_PARAM_LGWIN, BROTLI_PARAM_QUALITY, BROTLI_PARAM_SIZE_HINT } = constants;
const here = (path) => new URL(path, import.meta.url);
const published = (name) => readFileSync(here(`node_modules/swagger-ui-dist/${name}`));
const { version, license } = JSON.parse(published("package.json"));

/** The maps of the sources are not embedded, so nothing may ask for them. */
function content(name) {
  const bytes = published(name);
  if (!/\.(js|css)$/.test(name)) return bytes;
  return Buffer.from(bytes.toString().replace(/\n?(\/\/|\/\*)# sourceMappingURL=\S+( \*\/)?\s*$/, "\n"));
}

const head = `The pages at /docs (chassis/swagger-ui/dist, embedded in the programs orders, invoices and tandem) are Swagger UI:
swagger-ui-dist ${version} (${license}), ${FILES.join(", ")}.
Its licence and its notice follow, then those of the packages within it.`;
const notice = `${[head, ...LICENSES.map((name) => published(name).toString().trim())].join(`\n\n${"-".repeat(80)}\n\n`)}\n`;

function compress(bytes) {
  const params = { [BROTLI_PARAM_QUALITY]: 11, [BROTLI_PARAM_LGWIN]: 24, [BROTLI_PARAM_SIZE_HINT]: bytes.length };
  return { br: brotliCompressSync(bytes, { params }), gz: gzipSync(bytes, { level: 9 }) };
}

if (process.argv.includes("--check")) {
  const unpack = { br: brotliDecompressSync, gz: gunzipSync };
  const different = FILES.flatMap((name) =>
    Object.entries(unpack)
      .filter(([form, unpacked]) => !unpacked(readFileSync(here(`dist/${name}.${form}`))).equals(content(name)))
      .map(([form]) => `dist/${name}.${form}`),
  );
  if (readFileSync(here("NOTICE.txt"), "utf8") !== notice) different.push("NOTICE.txt");
  for (const name of different) console.error(`${name} is not of swagger-ui-dist ${version}: npm run vendor, and commit`);
  if (different.length) process.exitCode = 1;
  else console.log(`${FILES.length} files and their licences are those of swagger-ui-dist ${version}`);
} else {
  for (const name of FILES)
    for (const [form, bytes] of Object.entries(compress(content(name)))) writeFileSync(here(`dist/${name}.${form}`), bytes);
  writeFileSync(here("NOTICE.txt"), notice);
}
