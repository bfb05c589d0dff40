// The queue `orders` as plain Node clients use it, which know nothing of exchanges, policies or queue types: they
// assert the queue, send to it and consume from it. Both directions, against the real processes.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";

import amqplib from "amqplib";

import { readAsyncApi, violations } from "./asyncapi.mjs";
import { eventually, System } from "./system.mjs";

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const PERSISTENT = 2;

let system;
let connection;
let channel;

before(async () => {
  system = await System.start();
  connection = await amqplib.connect(system.brokerUrl);
  channel = await connection.createChannel();
});

after(async () => {
  if (!system) return; // it did not start, and `before` has said why
  await connection?.close();
  assert.equal(await system.stop(), 0, system.output);
});

test("an order that a plain client sends gets its invoice", async () => {
  await channel.assertQueue("orders");
  const order = { id: randomUUID(), amount: 4200, customer: { id: "customer-of-a-plain-client" } };

  channel.sendToQueue("orders", Buffer.from(JSON.stringify(order)));

  const invoice = await eventually("the order has its invoice", async () => {
    const { items } = await getJson(`${system.invoicesUrl}/invoices?limit=100`);
    return items.find(({ orderId }) => orderId === order.id);
  });
  assert.equal(invoice.amount, order.amount);
  assert.equal(invoice.customerId, order.customer.id);
});

// Last, because it stops invoices: the client takes its place.
test("a plain client that consumes the queue gets the order in the body of the contract", async () => {
  await system.stopService("invoices");
  await channel.assertQueue("orders");
  const messages = [];
  await channel.consume("orders", (message) => messages.push(message));

  const order = await postJson(`${system.ordersUrl}/orders`, { amount: 100 });
  const message = await eventually("the order arrives", () => messages[0]);
  channel.ack(message);

  const { id, amount, customerId } = order;
  assert.equal(message.content.toString(), JSON.stringify({ id, amount, customer: { id: customerId } }));

  const { properties } = message;
  assert.equal(properties.type, "order.created");
  assert.equal(properties.contentType, "application/json");
  assert.equal(properties.deliveryMode, PERSISTENT);
  assert.equal(properties.correlationId, id);
  assert.match(properties.messageId, UUID);

  const { headers } = properties;
  assert.equal(headers.cloudEvents_id, properties.messageId);
  const { orderCreated } = (await readAsyncApi()).components.messages;
  assert.deepEqual(violations(orderCreated.headers, headers), []);
  assert.deepEqual(violations(orderCreated.payload, JSON.parse(message.content)), []);
});

async function getJson(url) {
  return readJson(await fetch(url));
}

async function postJson(url, body) {
  const headers = { "content-type": "application/json" };
  return readJson(await fetch(url, { method: "POST", headers, body: JSON.stringify(body) }));
}

async function readJson(response) {
  assert.ok(response.ok, `${response.url}: ${response.status}`);
  return response.json();
}
