// The GraphQL API, as this page uses it.

import { readOrder } from './order.js';

const endpoint = '/graphql';

const ORDER = 'id customerId amount status createdAt invoice { id number status createdAt paidAt }';

/** A request that got no answer, or one that says why it has no data. */
export class RequestError extends Error {}

// Nowhere else: what is in the browser's storage outlives the visit.
let token = null;

/** The API wants to know who asks, and was not told or does not believe it. */
export class TokenError extends RequestError {
  constructor(reason) {
    super(token ? `The API does not take the token: ${reason}.` : 'The API answers only those who have a token.');
  }
}

/** Says who asks, from now on. */
export function useToken(text) {
  token = text.replace(/^bearer\s+/i, '');
}

async function send(query, variables, { accept = 'application/json', signal } = {}) {
  const headers = { 'Content-Type': 'application/json', Accept: accept };
  if (token) headers.Authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(endpoint, { method: 'POST', headers, body: JSON.stringify({ query, variables }), signal });
  } catch {
    throw new RequestError('The API cannot be reached.');
  }
  if (response.status !== 401) return response;
  const { detail } = await response.json().catch(() => ({}));
  throw new TokenError(detail);
}

async function request(query, variables) {
  const response = await send(query, variables);
  const answer = await response.json().catch(() => null);
  if (!answer?.data) {
    throw new RequestError(answer?.errors?.[0]?.message ?? answer?.detail ?? `The API answered ${response.status}.`);
  }
  return answer;
}

/** The value of a root field; throws what is said about it when there is none. */
function field({ data, errors }, name) {
  if (data[name]) return data[name];
  throw new RequestError(errors?.[0]?.message ?? 'There is no answer.');
}

/** A page of orders, newest first. */
export async function orders({ first, after, filter }) {
  const answer = await request(
    `query Orders($first: Int, $after: String, $filter: OrderFilter) {
      orders(first: $first, after: $after, filter: $filter) {
        nodes { ${ORDER} }
        pageInfo { hasNextPage endCursor }
      }
    }`,
    { first, after, filter },
  );
  const { nodes, pageInfo } = field(answer, 'orders');
  const read = (node, index) => readOrder(node, answer.errors, ['orders', 'nodes', index]);
  return { orders: nodes.map(read), ...pageInfo };
}

/** What happened to an order, oldest first. */
export async function timeline(id) {
  const answer = await request('query Timeline($id: ID!) { order(id: $id) { timeline { type at traceId } } }', { id });
  return field(answer, 'order').timeline;
}

/** Creates an order. Repeating it with the same key creates no second one. */
export async function createOrder(input) {
  const answer = await request(
    `mutation CreateOrder($input: CreateOrderInput!) {
      createOrder(input: $input) { order { ${ORDER} } userErrors { message } }
    }`,
    { input },
  );
  return orderOf(answer, 'createOrder');
}

export async function cancelOrder(id) {
  const answer = await request(
    `mutation CancelOrder($id: ID!) { cancelOrder(id: $id) { order { ${ORDER} } userErrors { message } } }`,
    { id },
  );
  return orderOf(answer, 'cancelOrder');
}

/** Pays an invoice. Its order follows a moment later, by a live update. */
export async function payInvoice(id) {
  const answer = await request(
    `mutation PayInvoice($id: ID!) {
      payInvoice(id: $id) { invoice { id number status createdAt paidAt } userErrors { message } }
    }`,
    { id },
  );
  const payload = field(answer, 'payInvoice');
  if (payload.userErrors.length) throw new RequestError(payload.userErrors[0].message);
  return payload.invoice;
}

function orderOf(answer, name) {
  const { order, userErrors } = field(answer, name);
  if (userErrors.length) throw new RequestError(userErrors[0].message);
  return readOrder(order, answer.errors, [name, 'order']);
}

/**
 * Every change, as the order that changed, until the server ends the stream. Calls `opened()` when it begins.
 *
 * By `fetch`: an `EventSource` sends no token, and cannot tell why it was refused.
 */
export async function* changes({ opened, signal }) {
  const query = `subscription { orderUpdated { ${ORDER} } }`;
  const response = await send(query, undefined, { accept: 'text/event-stream', signal });
  if (!response.ok) throw new RequestError(`The API answered ${response.status}.`);
  opened();
  for await (const event of events(response.body)) {
    if (event.startsWith('event: complete')) return;
    const data = /^data: (.*)$/m.exec(event);
    if (data) yield readChange(data[1]);
  }
}

/** The events of a stream (HTML Standard, "Server-sent events"), as our server writes them. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let unread = '';
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const events = (unread + part.value).split('\n\n');
    unread = events.pop();
    yield* events;
  }
}

function readChange(text) {
  const { data, errors } = JSON.parse(text);
  if (data?.orderUpdated) return readOrder(data.orderUpdated, errors, ['orderUpdated']);
  const { message, extensions } = errors?.[0] ?? { message: 'Live updates have stopped.' };
  throw extensions?.code === 'UNAUTHENTICATED' ? new TokenError(message) : new RequestError(message);
}

/** The settings of this page. */
export async function settings() {
  try {
    return await (await fetch('/console/config.json')).json();
  } catch {
    return { traceUrlTemplate: null };
  }
}
