// The API as frontends use it: the clients that they use, with their defaults, over each transport that these choose.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, describe, test } from "node:test";

import { ApolloClient, ApolloLink, gql, HttpLink, InMemoryCache } from "@apollo/client/core";
import { PersistedQueryLink } from "@apollo/client/link/persisted-queries";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { OperationTypeNode } from "graphql";
import { createClient as createSseClient } from "graphql-sse";
import { createClient as createWsClient } from "graphql-ws";
import { persistedExchange } from "@urql/exchange-persisted";
import { cacheExchange, Client, fetchExchange, subscriptionExchange } from "urql";
import WebSocket from "ws";

import { eventually } from "./system.mjs";
import { Tandem } from "./tandem.mjs";

const CREATE = "mutation($amount: Int!) { createOrder(input: { amount: $amount }) { order { id } userErrors { message } } }";
const READ = "query($id: ID!) { order(id: $id) { id amount invoice { id amount } } }";
const WATCH_ALL = "subscription { orderUpdated { id amount status invoice { id amount status } } }";
const WATCH = "subscription($id: ID!) { orderUpdated(id: $id) { id status invoice { amount status } } }";

let tandem;

before(async () => {
  tandem = await Tandem.start();
});

after(async () => {
  if (tandem) assert.equal(await tandem.stop(), 0, tandem.output);
});

/** Each client as `run(document, variables)`, `subscribe(document, variables, next, fail)` and `close()`. */
const clients = {
  "graphql-ws": () => {
    const client = createWsClient({ url: tandem.socketUrl, webSocketImpl: WebSocket });
    return { ...ofIterators(client), close: () => client.dispose() };
  },
  "graphql-ws at the address of plain HTTP": () => {
    const client = createWsClient({ url: tandem.url.replace("http", "ws"), webSocketImpl: WebSocket });
    return { ...ofIterators(client), close: () => client.dispose() };
  },
  "graphql-sse": () => {
    const client = createSseClient({ url: tandem.url });
    return { ...ofIterators(client), close: () => client.dispose() };
  },
  "@apollo/client": () => {
    const socket = createWsClient({ url: tandem.socketUrl, webSocketImpl: WebSocket });
    const link = ApolloLink.split(
      ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
      new GraphQLWsLink(socket),
      new HttpLink({ uri: tandem.url }),
    );
    const client = new ApolloClient({ link, cache: new InMemoryCache() });
    return {
      ...ofApollo(client),
      subscribe: (document, variables, next, fail) => {
        const updates = client.subscribe({ query: gql(document), variables });
        const subscription = updates.subscribe({
          next: ({ data, error }) => (error ? fail(error) : next(data)),
          error: fail,
        });
        return () => subscription.unsubscribe();
      },
      close: () => {
        client.stop();
        return socket.dispose();
      },
    };
  },
  "urql over WebSocket": () => {
    const socket = createWsClient({ url: tandem.socketUrl, webSocketImpl: WebSocket });
    const forwardSubscription = ({ query, variables }) => ({
      subscribe: (sink) => ({ unsubscribe: socket.subscribe({ query, variables }, sink) }),
    });
    const exchanges = [cacheExchange, fetchExchange, subscriptionExchange({ forwardSubscription })];
    return { ...ofUrql(new Client({ url: tandem.url, preferGetMethod: false, exchanges })), close: () => socket.dispose() };
  },
  "urql over event streams": () => {
    const exchanges = [cacheExchange, fetchExchange];
    const client = new Client({ url: tandem.url, preferGetMethod: false, fetchSubscriptions: true, exchanges });
    return { ...ofUrql(client), close: () => {} };
  },
};

for (const [name, create] of Object.entries(clients)) {
  describe(name, () => {
    let client;

    before(() => {
      client = create();
    });

    after(() => client.close());

    test("an order is created, received, and received with its invoice", async () => {
      const updates = watch(client, WATCH_ALL, {});
      // A subscription of changes begins when the server says nothing: until then other orders are created.
      const first = await eventually("an update of an order", async () => {
        await createOrder(client, 1);
        return updates.received[0];
      });
      assert.ok(first.orderUpdated.id);

      const { id } = await createOrder(client, 1999);
      const ofOrder = () => updates.received.map(({ orderUpdated }) => orderUpdated).filter((order) => order.id === id);
      await eventually("the order", () => ofOrder().length > 0);
      const order = await eventually("the order with its invoice", () => ofOrder().find(({ invoice }) => invoice));
      assert.equal(order.amount, 1999);
      assert.equal(order.invoice.amount, 1999);
      assert.equal(order.invoice.status, "ISSUED");
      const withInvoice = ofOrder().findIndex(({ invoice }) => invoice);
      assert.ok(ofOrder().slice(withInvoice).every(({ invoice }) => invoice), "never without its invoice again");
      updates.stop();
    });

    test("who subscribes after the invoice was issued has it in the first message", async () => {
      const { id } = await createOrder(client, 4200);
      await eventually("the invoice", async () => (await client.run(READ, { id })).order.invoice);
      const updates = watch(client, WATCH, { id });
      const first = await eventually("the first message", () => updates.received[0]);
      assert.equal(first.orderUpdated.id, id);
      assert.equal(first.orderUpdated.invoice.amount, 4200);
      updates.stop();
    });

    test("a query that is not valid is an error of this query", async () => {
      await assert.rejects(async () => client.run("query { nothing }", {}));
      const { id } = await createOrder(client, 5);
      assert.equal((await client.run(READ, { id })).order.amount, 5);
    });
  });
}

/** The clients that send hashes, given a `fetch`; as above. */
const persisting = {
  "@apollo/client": (fetch) => {
    const sha256 = (text) => createHash("sha256").update(text).digest("hex");
    const persisted = new PersistedQueryLink({ sha256, useGETForHashedQueries: true });
    const link = ApolloLink.from([persisted, new HttpLink({ uri: tandem.url, fetch })]);
    const client = new ApolloClient({ link, cache: new InMemoryCache() });
    return { ...ofApollo(client), close: () => client.stop() };
  },
  urql: (fetch) => {
    const persisted = persistedExchange({ enableForMutation: true, preferGetForPersistedQueries: "force" });
    const exchanges = [cacheExchange, persisted, fetchExchange];
    return { ...ofUrql(new Client({ url: tandem.url, preferGetMethod: false, fetch, exchanges })), close: () => {} };
  },
};

for (const [name, create] of Object.entries(persisting)) {
  test(`persisted queries of ${name}: the text is sent once, and then the hash by GET`, async () => {
    const sent = [];
    const client = create((url, options) => {
      const body = options.method === "GET" ? Object.fromEntries(new URL(url).searchParams) : JSON.parse(options.body);
      sent.push(`${options.method} ${body.query ? "text" : "hash"}`);
      return fetch(url, options);
    });
    // A document of its own for each client: the other must not have sent it before.
    const read = `query ${name.replace(/\W/g, "")}($id: ID!) { order(id: $id) { id amount } }`;
    const { id } = await createOrder(client, 300);
    // Never by GET, not even where a client prefers it for all hashes: the first mutation of a client is not known yet.
    assert.deepEqual(sent.splice(0).filter((request) => !request.startsWith("POST ")), []);

    // A text that has to be sent goes by POST with Apollo Client, and by GET with an urql that is set to prefer it.
    const text = name === "urql" ? "GET text" : "POST text";
    for (const expected of [["GET hash", text], ["GET hash"], ["GET hash"]]) {
      assert.equal((await client.run(read, { id })).order.amount, 300);
      assert.deepEqual(sent.splice(0), expected);
    }
    // By its hash alone, which the server knows by now.
    assert.notEqual((await createOrder(client, 301)).id, id);
    assert.deepEqual(sent.splice(0), ["POST hash"]);
    client.close();
  });
}

test("a browser's EventSource is served by GET", async () => {
  const query = new URLSearchParams({ query: WATCH_ALL });
  const response = await fetch(`${tandem.url}?${query}`, { headers: { accept: "text/event-stream" } });
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("content-type"), "text/event-stream");
  assert.equal(response.headers.get("x-accel-buffering"), "no");
  assert.equal(response.headers.get("cache-control"), "no-cache");
  await response.body.cancel();
});

async function createOrder(client, amount) {
  const data = await client.run(CREATE, { amount });
  assert.deepEqual(data.createOrder.userErrors, []);
  return data.createOrder.order;
}

/** Subscribes and remembers what comes; an error fails whoever looks. */
function watch(client, document, variables) {
  const received = [];
  const fail = (error) => {
    throw error;
  };
  return { received, stop: client.subscribe(document, variables, (data) => received.push(data), fail) };
}

/** graphql-ws and graphql-sse have the same interface. */
function ofIterators(client) {
  return {
    run: async (query, variables) => {
      for await (const { data, errors } of client.iterate({ query, variables })) {
        if (errors) throw errors;
        return data;
      }
      throw new Error("completed without an answer");
    },
    subscribe: (query, variables, next, fail) =>
      client.subscribe({ query, variables }, { next: ({ data, errors }) => (errors ? fail(errors) : next(data)), error: fail, complete: () => {} }),
  };
}

function ofApollo(client) {
  return {
    run: async (document, variables) => {
      const parsed = gql(document);
      const { data } = document.startsWith("query")
        ? await client.query({ query: parsed, variables, fetchPolicy: "network-only" })
        : await client.mutate({ mutation: parsed, variables });
      return data;
    },
  };
}

function ofUrql(client) {
  return {
    run: async (document, variables) => {
      const kind = document.startsWith("query") ? "query" : "mutation";
      const { data, error } = await client[kind](document, variables, { requestPolicy: "network-only" }).toPromise();
      if (error) throw error;
      return data;
    },
    subscribe: (document, variables, next, fail) => {
      const updates = client.subscription(document, variables);
      return updates.subscribe(({ data, error }) => (error ? fail(error) : next(data))).unsubscribe;
    },
  };
}
