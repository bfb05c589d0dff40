// The same queries at the BFF and at a generic Federation gateway, on the same two running services: their data is
// equal. First the cases of the federation audit that two services like ours can have, then generated queries.
//
//   SEED=7 QUERIES=5000 npm run test:differential     other queries, and more of them
//
// A query that failed is printed with its seed; SEED=that QUERIES=1 runs it alone.

import assert from "node:assert/strict";
import { cpSync, mkdtempSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { inspect } from "node:util";

import { buildSchema } from "graphql";

import { readSchema } from "./compose.mjs";
import { Gateway } from "./gateway.mjs";
import { generate } from "./queries.mjs";
import { eventually } from "./system.mjs";
import { Tandem } from "./tandem.mjs";

const SEED = Number(process.env.SEED ?? 1);
const QUERIES = Number(process.env.QUERIES ?? 300);
const AMOUNT_LIMIT = 5000;
const UNKNOWN = "00000000-0000-7000-8000-000000000000";

let folder;
let tandem;
let gateway;
let objects;

before(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "tandem-check-"));
  ({ tandem, objects } = await startWithHoles());
  gateway = await Gateway.start(tandem);
});

after(async () => {
  await gateway?.stop();
  await tandem?.stop();
  rmSync(folder, { recursive: true, force: true });
});

// --- The cases of the audit ---------------------------------------------------------------------------------------

const CASES = {
  "an entity of the other service": () => `{ order(id: "${objects.both.order}") { id invoice { number amount } } }`,
  "an entity that is not there keeps its parent": () => `{ order(id: "${objects.orderAlone}") { id status invoice { number } } }`,
  "the same from the other side": () => `{ invoice(id: "${objects.invoiceAlone}") { id orderId order { status } } }`,
  "a list with entities that are not there": () => `{
    orders(first: 100, sort: CREATED_AT_ASC) { nodes { id invoice { number status } } }
    invoices(first: 100, sort: CREATED_AT_ASC) { edges { cursor node { id order { amount timeline { type } } } } }
  }`,
  "an object that is not there": () => `{ order(id: "${UNKNOWN}") { id invoice { id } } invoice(id: "no uuid") { id } }`,
  "there and back again": () => `{ order(id: "${objects.both.order}") { invoice { order { invoice { order { status } } } } } }`,
  "the key of an entity alone": () => `{ invoice(id: "${objects.both.invoice}") { order { id } } }`,
  "aliases, and keys that are selected twice": () => `{
    a: order(id: "${objects.both.order}") { x: id y: id invoice { n: number } }
    a: order(id: "${objects.both.order}") { id invoice { n: number again: number } i: invoice { id } }
  }`,
  "__typename at every level": () => `{
    __typename
    orders(first: 2) { __typename nodes { __typename t: __typename invoice { __typename order { __typename } } timeline { __typename } } pageInfo { __typename } }
  }`,
  "__typename alone": () => "{ __typename }",
  "__typename of a mutation": () => "mutation { __typename }",
  "fragments around the joined field": () => `
    query { orders(first: 100) { ...Page } }
    fragment Page on OrderConnection { nodes { ... on Order { ...Joined id } } }
    fragment Joined on Order { invoice { ... { number } ...Back } invoice { status } }
    fragment Back on Invoice { order { ...Own } }
    fragment Own on Order { amount customerId }`,
  "a condition by default": () => [
    `query($with: Boolean! = false, $without: Boolean! = true) { order(id: "${objects.both.order}") {
      id a: invoice @include(if: $with) { id } b: invoice @skip(if: $without) { id } ... @include(if: $with) { amount } } }`,
    {},
  ],
  "a condition by variable": () => [
    `query($with: Boolean! = false) { order(id: "${objects.both.order}") { id invoice @include(if: $with) { id } ...F @skip(if: $with) } }
     fragment F on Order { amount }`,
    { with: true },
  ],
  "everything left out": () => `{ order(id: "${objects.both.order}") @skip(if: true) { id } }`,
  "an object of which everything is left out": () => `{ order(id: "${objects.both.order}") { invoice { id @skip(if: true) } } }`,
  "every value of an enum": () => [
    "query($s: [OrderStatus!], $i: [InvoiceStatus!]) { orders(filter: { status: $s }) { nodes { status } } invoices(filter: { status: $i }) { nodes { status } } }",
    { s: ["PENDING", "PAID", "CANCELED"], i: ["ISSUED", "PAID", "VOIDED", "REFUNDED", "REJECTED"] },
  ],
  "an input object out of a variable and a literal": () => [
    'query($c: ID, $n: Int) { orders(first: $n, filter: { customerId: $c, status: [PENDING] }, sort: AMOUNT_ASC) { nodes { amount } } }',
    { c: "ada" },
  ],
  "a single value where a list may be": () => "{ orders(filter: { status: PENDING }) { nodes { status } } }",
  "null for what has a default": () => "{ orders(first: null, sort: null, filter: null) { nodes { id } } }",
  "a page and the next one": () => `{ orders(first: 2, after: "${objects.cursor}") { nodes { id } pageInfo { hasPreviousPage hasNextPage startCursor endCursor } } }`,
  "a list with nothing in it": () => '{ orders(filter: { customerId: "nobody" }) { nodes { invoice { id } } pageInfo { endCursor } } }',
  "mutations that change nothing": () => `mutation {
    pay: payInvoice(id: "${objects.paid.invoice}") { invoice { status order { status } } userErrors { code } }
    cancel: cancelOrder(id: "${objects.canceled.order}") { order { status invoice { status } } userErrors { code } }
    create: createOrder(input: { amount: 100, idempotencyKey: "known" }) { order { id invoice { number } } userErrors { code } }
  }`,
  "user errors": () => `mutation {
    createOrder(input: { amount: 0 }) { order { id invoice { id } } userErrors { __typename code field message ... on UserError { message } } }
    cancelOrder(id: "${UNKNOWN}") { order { invoice { id } } userErrors { code field } }
    payInvoice(id: "${objects.canceled.invoice}") { invoice { order { id } } userErrors { code field } }
  }`,
};

for (const [name, make] of Object.entries(CASES)) {
  test(name, async () => {
    const [query, variables] = [make()].flat();
    const data = await assertSame(query, variables);
    assert.ok(data, "nothing was executed");
  });
}

// Once at each, with keys of their own: the second of the two sees what the first has done, and never the other way.
test("mutations run one after the other", async () => {
  const query = `mutation($key: String!) {
    first: createOrder(input: { amount: 1, idempotencyKey: $key }) { order { amount } userErrors { code } }
    second: createOrder(input: { amount: 2, idempotencyKey: $key }) { order { amount } userErrors { code } }
  }`;
  const expected = {
    first: { order: { amount: 1 }, userErrors: [] },
    second: { order: null, userErrors: [{ code: "IDEMPOTENCY_KEY_REUSED" }] },
  };
  for (const [name, execute] of [["bff", askBff], ["gateway", (...request) => gateway.ask(...request)]]) {
    const { data } = await execute(query, { key: `serial-${name}` });
    assert.deepEqual(plain(data), expected, name);
  }
});

// --- Generated queries --------------------------------------------------------------------------------------------

test(`${QUERIES} generated queries from seed ${SEED} on`, async () => {
  const schema = buildSchema(readSchema("bff.graphql"));
  const values = candidates();
  let compared = 0;
  let refused = 0;
  for (let seed = SEED; compared < QUERIES; seed++) {
    const { query, variables } = generate(schema, values, seed);
    const answer = await askBff(query, variables);
    // Some ask for more than one request may.
    if (answer.errors?.[0].extensions.code.startsWith("QUERY_TOO_")) {
      refused++;
      assert.ok(refused <= 20 + compared / 5, `the limits refuse ${refused} of ${compared + refused} queries`);
      continue;
    }
    assertAllowed(`seed ${seed}`, query, variables, answer, await gateway.ask(query, variables));
    compared++;
  }
});

/** What a generated query may give for each argument. */
function candidates() {
  const ids = [objects.both, objects.paid, objects.canceled, objects.rejected];
  const orders = [...ids.map(({ order }) => order), objects.orderAlone, UNKNOWN, "no uuid"];
  const invoices = [...ids.map(({ invoice }) => invoice), objects.invoiceAlone, UNKNOWN, "no uuid"];
  const instants = ["2020-01-01T00:00:00.000Z", "2100-01-01T00:00:00+01:00", objects.instant];
  return {
    "Query.order.id": orders,
    "Query.invoice.id": invoices,
    "InvoiceFilter.orderId": orders,
    "OrderFilter.customerId": ["ada", "bob", "nobody"],
    Int: [1, 2, 3, 20, 100],
    "Query.orders.after": [objects.cursor, objects.cursor, "no cursor"],
    "Query.invoices.after": [objects.invoiceCursor, objects.invoiceCursor, "no cursor"],
    DateTime: instants,
    // Only what changes nothing, so that the order of the two does not matter.
    "Mutation.cancelOrder.id": [objects.canceled.order, UNKNOWN, "no uuid"],
    "Mutation.payInvoice.id": [objects.paid.invoice, objects.canceled.invoice, objects.rejected.invoice, UNKNOWN],
    "Mutation.createOrder.input": [
      { amount: 100, idempotencyKey: "known" },
      { amount: 101, idempotencyKey: "known" },
      { amount: 0 },
      { amount: -5, customerId: "" },
    ],
  };
}

// --- Comparing ----------------------------------------------------------------------------------------------------

function askBff(query, variables) {
  return tandem.ask(query, variables);
}

/** The data that both give. */
async function assertSame(query, variables) {
  const answers = [await askBff(query, variables), await gateway.ask(query, variables)];
  assertAllowed("this case", query, variables, ...answers);
  return answers[0].data;
}

function assertAllowed(name, query, variables, ours, theirs) {
  const found = difference(plain(ours.data), plain(theirs.data));
  if (!found) return;
  const show = (value) => inspect(value, { depth: null, breakLength: 120 });
  const errors = (answer) => show((answer.errors ?? []).map(({ path, message }) => ({ path, message })));
  assert.fail(
    [
      `${name}: at ${found.path.join(".") || "the top"} the bff has ${show(found.ours)}, the gateway ${show(found.theirs)}`,
      query,
      `variables: ${show(variables)}`,
      `errors of the bff: ${errors(ours)}`,
      `errors of the gateway: ${errors(theirs)}`,
    ].join("\n"),
  );
}

// Where the two may differ, and why ours is right.
const KNOWN_DIFFERENCES = [
  {
    reason: `An invoice whose order does not exist, with its order under two keys, one of which asks the orders service
      and one of which does not have to. The gateway says of one and the same order that it is not there and that it
      is. The BFF asks for both at once, and has one answer.`,
    applies: ({ path, ours, theirs }) =>
      ours === null && /^((my|the)_)?order$/.test(path.at(-1)) && Object.keys(theirs).every(isOfInvoices),
  },
];

function isOfInvoices(key) {
  return /^((my|the)_)?(id|invoice|__typename)$/.test(key);
}

/** The first place where two values differ and may not. */
function difference(ours, theirs, path = []) {
  if (ours === null || theirs === null || typeof ours !== "object" || typeof theirs !== "object") {
    const found = { path, ours, theirs };
    return ours === theirs || KNOWN_DIFFERENCES.some((known) => known.applies(found)) ? null : found;
  }
  for (const key of new Set([...Object.keys(ours), ...Object.keys(theirs)])) {
    const found = difference(ours[key], theirs[key], [...path, key]);
    if (found) return found;
  }
  return Array.isArray(ours) === Array.isArray(theirs) ? null : { path, ours, theirs };
}

/** As it would travel; no data at all is null. */
function plain(data) {
  return JSON.parse(JSON.stringify(data ?? null));
}

// --- The services -------------------------------------------------------------------------------------------------

// Orders without an invoice and invoices without an order come about by losing a database: each service is started
// with one that has not seen what the other has.
async function startWithHoles() {
  const lost = await withSystem("lost", async (system) => created(system, await place(system, 300, "bob")));
  const kept = await withSystem("kept", async (system) => created(system, await place(system, 400, "ada")));
  const data = path.join(folder, "both");
  mkdirSync(data);
  for (const [from, database] of [["lost", "invoices"], ["kept", "orders"]]) {
    for (const file of readdirSync(path.join(folder, from)).filter((file) => file.startsWith(database))) {
      cpSync(path.join(folder, from, file), path.join(data, file));
    }
  }

  const tandem = await start(data);
  const places = [];
  for (const [amount, customer] of [[100, "ada"], [200, "bob"], [200, "ada"], [AMOUNT_LIMIT + 1, "bob"], [100, undefined]]) {
    places.push(await place(tandem, amount, customer, amount === 100 && !customer ? "known" : undefined));
  }
  const [both, paid, canceled, rejected] = await Promise.all(places.map((order) => created(tandem, order)));
  await tandem.ask(`mutation { payInvoice(id: "${paid.invoice}") { userErrors { code } } }`);
  await tandem.ask(`mutation { cancelOrder(id: "${canceled.order}") { userErrors { code } } }`);
  await reached(tandem, paid, "PAID", "PAID");
  await reached(tandem, canceled, "CANCELED", "VOIDED");
  await reached(tandem, rejected, "CANCELED", "REJECTED");

  const pages = "{ orders(first: 2) { nodes { createdAt } pageInfo { endCursor } } invoices(first: 2) { pageInfo { endCursor } } }";
  const { orders, invoices } = (await tandem.ask(pages)).data;
  const objects = {
    both,
    paid,
    canceled,
    rejected,
    orderAlone: kept.order,
    invoiceAlone: lost.invoice,
    cursor: orders.pageInfo.endCursor,
    invoiceCursor: invoices.pageInfo.endCursor,
    instant: orders.nodes[1].createdAt,
  };
  return { tandem, objects };
}

function start(data) {
  return Tandem.start({ data, options: ["--amount-limit", String(AMOUNT_LIMIT)] });
}

async function withSystem(name, use) {
  const system = await start(path.join(folder, name));
  try {
    return await use(system);
  } finally {
    await system.stop();
  }
}

async function place(system, amount, customerId, idempotencyKey) {
  const query = "mutation($input: CreateOrderInput!) { createOrder(input: $input) { order { id } } }";
  const { data } = await system.ask(query, { input: { amount, customerId, idempotencyKey } });
  return data.createOrder.order.id;
}

/** An order, once it has its invoice. */
function created(system, order) {
  return eventually("the order has its invoice", async () => {
    const { data } = await system.ask(`{ order(id: "${order}") { invoice { id } } }`);
    return data.order.invoice && { order, invoice: data.order.invoice.id };
  });
}

function reached(system, { order }, status, invoiceStatus) {
  return eventually(`the order is ${status}`, async () => {
    const { data } = await system.ask(`{ order(id: "${order}") { status invoice { status } } }`);
    return data.order.status === status && data.order.invoice.status === invoiceStatus;
  });
}
