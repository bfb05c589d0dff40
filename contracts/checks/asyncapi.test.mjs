// asyncapi.yaml says what the code does: the same exchange, queues, bindings and events, and every committed sample
// is a message by it. topology.json is written by the code, and a test there keeps it so.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

import { CONTRACTS, readAsyncApi, violations } from "./asyncapi.mjs";

const topology = JSON.parse(readFileSync(new URL("topology.json", CONTRACTS), "utf8"));
const types = topology.events.map(({ type }) => type).sort();

const document = await readAsyncApi(); // throws on any error or warning of the parser
const { channels, operations } = document;
const { messages } = document.components;
const channelsThatAre = (is) => Object.values(channels).filter(({ bindings }) => bindings.amqp.is === is);

test("every event of the code is a message, named after its type", () => {
  for (const [key, message] of Object.entries(messages)) {
    assert.equal(key, camelCase(message.name));
    assert.equal(message.bindings.amqp.messageType, message.name);
    assert.equal(headersOf(message, "cloudEvents_type"), message.name);
  }
  assert.deepEqual(names(messages), types);
});

test("the exchange is that of the code and carries every event", () => {
  const [channel, ...others] = channelsThatAre("routingKey");
  assert.equal(others.length, 0);
  const { name, type, durable } = channel.bindings.amqp.exchange;
  assert.deepEqual({ name, type, durable }, { name: topology.exchange, type: "topic", durable: true });
  assert.deepEqual([...channel.parameters.eventType.enum].sort(), types);
  assert.deepEqual(names(channel.messages), types);
});

test("the queues, their bindings and their dead letters are those of the code", () => {
  const queues = Object.entries(channels).filter(([, { bindings }]) => bindings.amqp.is === "queue");
  const documented = queues.map(([key, channel]) => {
    const { queue } = channel.bindings.amqp;
    assert.equal(key, camelCase(queue.name));
    assert.equal(channel.address, queue.name);
    assert.deepEqual([queue.durable, queue.exclusive, queue.autoDelete], [true, false, false]);
    const bound = channel["x-bound-to"];
    assert.equal(bound.exchange, topology.exchange);
    assert.deepEqual(names(channel.messages), [...bound.routingKeys].sort());
    return { name: queue.name, deadLetterQueue: channel["x-dead-letter-queue"], events: bound.routingKeys };
  });
  assert.deepEqual(sortedByName(documented), sortedByName(topology.queues));
});

test("each event is sent by the service it is about, mandatory when a queue waits for it", () => {
  const sent = Object.values(operations)
    .filter(({ action }) => action === "send")
    .flatMap(({ tags: [service], bindings, messages }) =>
      messages.map(({ name: type, ...message }) => {
        assert.equal(bindings.amqp.deliveryMode, 2);
        assert.equal(headersOf(message, "cloudEvents_source"), `/${service.name}`);
        return { type, service: service.name, mandatory: bindings.amqp.mandatory };
      }),
    );
  const expected = topology.events.map(({ type, queues }) => {
    return { type, service: `${type.split(".")[0]}s`, mandatory: queues.length > 0 };
  });
  assert.deepEqual(sortedByName(sent), sortedByName(expected));
});

test("each queue is received from by one service, with all that it carries", () => {
  const received = Object.values(operations)
    .filter(({ action }) => action === "receive")
    .map(({ channel, messages }) => ({ name: channel.address, events: messages.map(({ name }) => name) }));
  const expected = topology.queues.map(({ name, events }) => ({ name, events }));
  assert.deepEqual(sortedByName(received), sortedByName(expected));
});

test("every committed sample is a message by its schema, and one with a new field still is", () => {
  const seen = new Set();
  for (const file of readdirSync(new URL("events/", CONTRACTS))) {
    const type = file.replace(/\.\d+\.json$/, "");
    const { payload } = messages[camelCase(type)];
    const sample = JSON.parse(readFileSync(new URL(`events/${file}`, CONTRACTS), "utf8"));
    assert.deepEqual(violations(payload, sample), [], file);
    assert.deepEqual(violations(payload, { ...sample, fieldOfTomorrow: 1 }), [], file);
    seen.add(type);
  }
  assert.deepEqual([...seen].sort(), types);
});

test("a body that the services refuse is no message by its schema either", () => {
  const id = "0199c3f0-0000-7000-8000-000000000002";
  const customer = { id: "customer-123" };
  const bodies = [
    { amount: 1, customer },
    { id: "seven", amount: 1, customer },
    { id, customer },
    { id, amount: 0, customer },
    { id, amount: 2147483648, customer },
    { id, amount: 0.5, customer },
    { id, amount: "1", customer },
    { id, amount: 1 },
    { id, amount: 1, customer: { id: "" } },
    { id, amount: 1, customer: { id: "  " } },
    { id, amount: 1, customer: { id: "a\nb" } },
    { id, amount: 1, customer: { id: "x".repeat(256) } },
  ];
  for (const body of bodies) {
    assert.notDeepEqual(violations(messages.orderCreated.payload, body), [], JSON.stringify(body));
  }
});

/** `orders.invoice-events` is the key `ordersInvoiceEvents`. */
function camelCase(name) {
  return name.replace(/[.-](\w)/g, (_, letter) => letter.toUpperCase());
}

/** The constant that a header of a message has to be. */
function headersOf({ headers }, header) {
  return headers.allOf.map(({ properties }) => properties[header]?.const).find((value) => value !== undefined);
}

function names(messages) {
  return Object.values(messages)
    .map(({ name }) => name)
    .sort();
}

function sortedByName(list) {
  const key = ({ name, type }) => name ?? type;
  return [...list].sort((one, other) => key(one).localeCompare(key(other)));
}
