// Reads asyncapi.yaml, and judges messages by it.

import { readFileSync } from "node:fs";

import { Parser } from "@asyncapi/parser";
import Ajv from "ajv";
import addFormats from "ajv-formats";

export const CONTRACTS = new URL("../", import.meta.url);

// 3.0 is the version that the tools of others read today, and 3.1 has nothing that we need.
const IGNORED = "asyncapi-latest-version";

/** The document, its references resolved; throws whatever the parser has to say about it, warnings included. */
export async function readAsyncApi(text = readFileSync(new URL("asyncapi.yaml", CONTRACTS), "utf8")) {
  const { document, diagnostics } = await new Parser().parse(text);
  const complaints = diagnostics.filter(({ code }) => code !== IGNORED);
  if (complaints.length > 0) {
    const lines = complaints.map(({ path, message }) => `  ${path.join(".")}: ${message}`);
    throw new Error(["asyncapi.yaml:", ...lines].join("\n"));
  }
  return document.json();
}

/** What is wrong with a value by one of the document's schemas; an empty list when nothing is. */
export function violations(schema, value) {
  const ajv = addFormats(new Ajv({ allErrors: true, strict: true }));
  // The parser leaves extensions of its own in the schemas.
  ajv.addVocabulary(["x-parser-schema-id"]);
  const validate = ajv.compile(schema);
  return validate(value) ? [] : validate.errors.map(({ instancePath, message }) => `${instancePath || "/"} ${message}`);
}
