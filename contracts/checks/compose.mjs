// Composes the schemas that the services export into the supergraph, with two composers that know nothing of each
// other. `npm run compose` rewrites contracts/schemas/supergraph.graphql; composition.test.mjs holds it to that.

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { composeServices as composeWithApollo } from "@apollo/composition";
import { composeServices as composeWithGuild } from "@theguild/federation-composition";
import { buildSchema, lexicographicSortSchema, parse, printSchema } from "graphql";

// Where the services listen on a developer's machine, so that any Federation router can serve the file as it is.
const SUBGRAPHS = [
  { name: "invoices", url: "http://localhost:3334/graphql" },
  { name: "orders", url: "http://localhost:3333/graphql" },
];

export function readSchema(file) {
  return readFileSync(schemaFile(file), "utf8");
}

/** The supergraph and the API schema (what clients see of it) by each composer; throws what one complains of. */
export function compose() {
  const services = SUBGRAPHS.map(({ name, url }) => ({ name, url, typeDefs: parse(readSchema(`${name}.graphql`)) }));

  const guild = composeWithGuild(services);
  refuseComplaints("@theguild/federation-composition", guild.errors ?? []);

  const apollo = composeWithApollo(services);
  refuseComplaints("@apollo/composition", apollo.errors ?? apollo.hints);

  return {
    guild: { supergraph: `${guild.supergraphSdl.trimEnd()}\n`, api: buildSchema(guild.publicSdl) },
    apollo: { supergraph: apollo.supergraphSdl, api: apollo.schema.toAPISchema().toGraphQLJSSchema() },
  };
}

/** A schema as text that does not depend on the order of its definitions. Descriptions count. */
export function canonical(schema) {
  return printSchema(lexicographicSortSchema(schema));
}

function refuseComplaints(composer, complaints) {
  if (complaints.length > 0) {
    throw new Error([`${composer}:`, ...complaints.map((complaint) => `  ${complaint.message}`)].join("\n"));
  }
}

function schemaFile(file) {
  return new URL(`../schemas/${file}`, import.meta.url);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(schemaFile("supergraph.graphql"), compose().guild.supergraph);
}
