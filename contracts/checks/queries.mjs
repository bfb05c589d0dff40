// Random queries of a schema, always valid: fields, aliases, arguments as literals and as variables, `@skip` and
// `@include`, inline and named fragments, `__typename`, the same field in several places. A seed makes one query.

import { GraphQLEnumType, GraphQLInputObjectType, getNamedType, getNullableType, isCompositeType, isListType, isNonNullType } from "graphql";

const DEEPEST = 7;

/** The query of a seed, and its variables. `values` gives candidates for arguments by `Type.field.argument` or type. */
export function generate(schema, values, seed) {
  return new Generator(schema, values, seed).operation();
}

class Generator {
  #schema;
  #values;
  #random;
  #variables = [];
  #fragments = [];

  constructor(schema, values, seed) {
    this.#schema = schema;
    this.#values = values;
    this.#random = randomNumbers(seed);
  }

  operation() {
    const mutation = this.#chance(0.1);
    const root = mutation ? this.#schema.getMutationType() : this.#schema.getQueryType();
    const selections = this.#rootFields(root);
    const definitions = this.#variables.map(({ name, type, fallback }) => `$${name}: ${type}${fallback}`).join(", ");
    const head = `${mutation ? "mutation" : "query"} Generated${definitions && `(${definitions})`}`;
    const query = [`${head} {\n${selections}\n}`, ...this.#fragments.map(({ text }) => text)].join("\n");
    const given = this.#variables.filter(({ value }) => value !== undefined);
    return { query, variables: Object.fromEntries(given.map(({ name, value }) => [name, value])) };
  }

  // Root fields have arguments, so each gets a key of its own; some are selected a second time, with the same ones.
  #rootFields(root) {
    const lines = [];
    const count = 1 + this.#below(3);
    for (let number = 0; number < count; number++) {
      const field = this.#pick(Object.values(root.getFields()));
      const called = `r${number}: ${field.name}${this.#arguments(root, field)}`;
      const times = this.#chance(0.25) ? 2 : 1;
      for (let time = 0; time < times; time++) {
        const selected = `${called}${this.#directives()} ${this.#selectionSet(getNamedType(field.type), 1)}`;
        lines.push(this.#chance(0.2) ? this.#wrapped(root, selected) : selected);
      }
    }
    if (this.#chance(0.2)) lines.push(`${this.#chance(0.5) ? "kind: " : ""}__typename`);
    return lines.join("\n");
  }

  #selectionSet(type, depth) {
    const fields = Object.values(type.getFields ? type.getFields() : {});
    const lines = [];
    const count = 1 + this.#below(4);
    for (let number = 0; number < count; number++) {
      if (this.#chance(0.12)) {
        lines.push(`${this.#alias("__typename")}__typename${this.#directives()}`);
      } else if (this.#chance(0.15) && depth < DEEPEST) {
        lines.push(this.#fragment(type, depth));
      } else {
        lines.push(this.#field(this.#pick(fields), depth));
      }
    }
    return `{ ${lines.join(" ")} }`;
  }

  #field(field, depth) {
    const type = getNamedType(field.type);
    if (!isCompositeType(type)) return `${this.#alias(field.name)}${field.name}${this.#directives()}`;
    if (depth >= DEEPEST) return "__typename";
    return `${this.#alias(field.name)}${field.name}${this.#directives()} ${this.#selectionSet(type, depth + 1)}`;
  }

  // One key stands for one field, wherever fragments bring it together.
  #alias(name) {
    return this.#chance(0.12) ? `${this.#pick(["my", "the"])}_${name}: ` : "";
  }

  #fragment(type, depth) {
    const known = this.#fragments.filter((fragment) => fragment.type === type && fragment.depth >= depth);
    if (known.length > 0 && this.#chance(0.4)) return `...${this.#pick(known).name}${this.#directives()}`;
    const selections = this.#selectionSet(type, depth);
    if (this.#chance(0.5)) return `...${this.#chance(0.7) ? ` on ${type.name}` : ""}${this.#directives()} ${selections}`;
    const name = `F${this.#fragments.length}`;
    this.#fragments.push({ name, type, depth, text: `fragment ${name} on ${type.name} ${selections}` });
    return `...${name}${this.#directives()}`;
  }

  #wrapped(type, selection) {
    if (this.#chance(0.5)) return `... on ${type.name} { ${selection} }`;
    const name = `F${this.#fragments.length}`;
    this.#fragments.push({ name, type, depth: 0, text: `fragment ${name} on ${type.name} { ${selection} }` });
    return `...${name}`;
  }

  #directives() {
    if (!this.#chance(0.1)) return "";
    const one = () => `@${this.#pick(["skip", "include"])}(if: ${this.#condition()})`;
    return ` ${one()}`;
  }

  #condition() {
    const value = this.#chance(0.5);
    if (this.#chance(0.4)) return String(value);
    // A default, a value, or both.
    const way = this.#below(3);
    const fallback = way === 0 ? ` = ${value}` : way === 1 ? "" : ` = ${!value}`;
    return `$${this.#variable("Boolean!", fallback, way === 0 ? undefined : value)}`;
  }

  #arguments(parent, field) {
    const given = [];
    for (const argument of field.args) {
      if (!isNonNullType(argument.type) && this.#chance(0.5)) continue;
      const value = this.#value(`${parent.name}.${field.name}.${argument.name}`, argument.type);
      given.push(`${argument.name}: ${this.#literalOrVariable(argument.type, value)}`);
    }
    return given.length > 0 ? `(${given.join(", ")})` : "";
  }

  #literalOrVariable(type, value) {
    if (this.#chance(0.5)) return this.#literal(type, value);
    return `$${this.#argumentVariable(type, value)}`;
  }

  // A value as it is written in a document, with variables here and there in it.
  #literal(type, value) {
    const nullable = getNullableType(type);
    if (value === null || !(nullable instanceof GraphQLInputObjectType)) return literal(type, value);
    const fields = Object.entries(value).map(([name, item]) => {
      const { type } = nullable.getFields()[name];
      return `${name}: ${this.#chance(0.4) ? `$${this.#argumentVariable(type, item)}` : literal(type, item)}`;
    });
    return `{${fields.join(", ")}}`;
  }

  // Some are given, some have a default, some neither, which is as if the argument were not there.
  #argumentVariable(type, value) {
    const left = !isNonNullType(type) && this.#chance(0.2);
    const fallback = !isNonNullType(type) && this.#chance(0.3) ? ` = ${literal(type, value)}` : "";
    return this.#variable(String(type), fallback, left ? undefined : value);
  }

  #variable(type, fallback, value) {
    const name = `v${this.#variables.length}`;
    this.#variables.push({ name, type, fallback, value });
    return name;
  }

  #value(place, type) {
    if (!isNonNullType(type) && this.#chance(0.05)) return null;
    const nullable = getNullableType(type);
    const candidates = this.#values[place] ?? this.#values[String(nullable)];
    if (candidates) return this.#pick(candidates);
    if (isListType(nullable)) {
      return Array.from({ length: this.#below(3) }, () => this.#value(place, nullable.ofType));
    }
    if (nullable instanceof GraphQLEnumType) return this.#pick(nullable.getValues()).name;
    if (nullable instanceof GraphQLInputObjectType) {
      const fields = Object.values(nullable.getFields()).filter((field) => isNonNullType(field.type) || this.#chance(0.4));
      return Object.fromEntries(fields.map((field) => [field.name, this.#value(`${nullable.name}.${field.name}`, field.type)]));
    }
    throw new Error(`no candidates for ${place}: ${type}`);
  }

  #chance(probability) {
    return this.#random() < probability;
  }

  #below(count) {
    return Math.floor(this.#random() * count);
  }

  #pick(items) {
    return items[this.#below(items.length)];
  }
}

/** A value as it is written in a document: names of enums without quotes. */
function literal(type, value) {
  const nullable = getNullableType(type);
  if (value === null) return "null";
  if (isListType(nullable)) return `[${value.map((item) => literal(nullable.ofType, item)).join(", ")}]`;
  if (nullable instanceof GraphQLEnumType) return value;
  if (nullable instanceof GraphQLInputObjectType) {
    const fields = Object.entries(value).map(([name, item]) => `${name}: ${literal(nullable.getFields()[name].type, item)}`);
    return `{${fields.join(", ")}}`;
  }
  return JSON.stringify(value);
}

/** Numbers from 0 to 1 that a seed determines (mulberry32). */
function randomNumbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
