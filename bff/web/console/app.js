// The console: puts the parts together.

import * as api from './api.js';
import { byId, setText, show } from './dom.js';
import { List } from './list.js';
import { listen } from './live.js';
import { UNAVAILABLE, invoiceText, matches, readAmount, shortId } from './order.js';

/** How long after a failure it is tried again, in milliseconds. */
const RETRY = 3000;

const table = document.querySelector('table');
const { traceUrlTemplate } = await api.settings();

/** Orders that were created here: what becomes of their invoices is read out. */
const own = new Set();

const list = new List(byId('rows'), {
  traceUrl: traceUrlTemplate,
  actions: { pay: act(pay), cancel: act(cancel) },
  changed: tell,
});

// --- The list ---------------------------------------------------------------------------------------------------

let retry = null;

/** Runs what reads the list; when it fails, says so, keeps what is shown and tries again. */
async function read(work) {
  clearTimeout(retry);
  try {
    await work();
    table.setAttribute('aria-busy', 'false');
  } catch (error) {
    if (error instanceof api.TokenError) askForToken(error);
    else again(`Orders cannot be read: ${error.message} Trying again…`);
  }
}

function again(problem) {
  show(byId('problem'), problem);
  clearTimeout(retry);
  retry = setTimeout(() => read(() => list.refresh()), RETRY);
}

function tell({ count, hasMore, isFiltered, lacksInvoices }) {
  const nothing = isFiltered ? 'No order matches the filter.' : 'No orders yet. Create the first one above.';
  show(byId('empty'), count ? null : nothing);
  byId('more').hidden = !hasMore;
  if (lacksInvoices) again('The invoices service does not answer. Orders are shown without their invoices; trying again…');
  else show(byId('problem'), null);
}

byId('more').addEventListener('click', async ({ target }) => {
  if (target.getAttribute('aria-disabled')) return;
  target.setAttribute('aria-disabled', 'true');
  await read(() => list.more());
  target.removeAttribute('aria-disabled');
});

// Focus has arrived where it goes only after this event.
byId('rows').addEventListener('focusout', () => setTimeout(() => list.tidy()));

// --- Who asks ---------------------------------------------------------------------------------------------------

const access = byId('access');

function askForToken({ message }) {
  clearTimeout(retry);
  setText(byId('access-reason'), message);
  if (!list.count) show(byId('empty'), 'Orders come with a token.');
  if (!access.hidden) return;
  access.hidden = false;
  // Nobody is interrupted in what they type.
  if (document.activeElement === document.body) access.elements.token.focus();
}

access.addEventListener('submit', (event) => {
  event.preventDefault();
  api.useToken(access.elements.token.value.trim());
  access.elements.token.value = '';
  access.hidden = true;
  // Unless the token says otherwise.
  form.elements.customer.placeholder = 'Your own';
  setText(byId('empty'), 'Loading…');
  reopen();
});

// --- The filter, which the address keeps ------------------------------------------------------------------------

const filter = byId('filter');
const address = new URLSearchParams(location.search);
if (['PENDING', 'PAID', 'CANCELED'].includes(address.get('status'))) filter.elements.status.value = address.get('status');
filter.elements.customer.value = address.get('customer') ?? '';

const wanted = () => ({ status: filter.elements.status.value, customer: filter.elements.customer.value.trim() });

function applyFilter() {
  const said = Object.entries(wanted()).filter(([, value]) => value);
  const query = new URLSearchParams(said).toString();
  history.replaceState(null, '', query ? `?${query}` : location.pathname);
  return read(() => list.show(wanted()));
}

let typing = null;
filter.addEventListener('input', ({ target }) => {
  clearTimeout(typing);
  typing = setTimeout(applyFilter, target.type === 'search' ? 250 : 0);
});
filter.addEventListener('submit', (event) => {
  event.preventDefault();
  clearTimeout(typing);
  applyFilter();
});

// --- New orders -------------------------------------------------------------------------------------------------

const form = byId('new-order');
let attempt = null;

form.addEventListener('submit', async (event) => {
  event.preventDefault();
  if (form.getAttribute('aria-busy')) return;
  const { amount, customer } = form.elements;
  const minor = readAmount(amount.value);
  amount.setAttribute('aria-invalid', String(minor === null));
  if (minor === null) {
    show(byId('form-error'), `Amount must be a number from 0.01 to 21474836.47, not “${amount.value}”.`);
    amount.focus();
    return;
  }
  const customerId = customer.value.trim() || undefined;
  // The same order again, after an answer that got lost, has the same key: there will be one.
  const what = JSON.stringify([minor, customerId]);
  if (attempt?.what !== what) attempt = { what, key: newKey() };
  form.setAttribute('aria-busy', 'true');
  try {
    const order = await api.createOrder({ amount: minor, customerId, idempotencyKey: attempt.key });
    attempt = null;
    show(byId('form-error'), null);
    own.add(order.id);
    const hidden = matches(wanted(), order) ? '' : ' It is not shown: the filter leaves it out.';
    announce(`Order ${shortId(order.id)} created.${hidden}`);
    receive(order);
  } catch (error) {
    if (error instanceof api.TokenError) askForToken(error);
    else show(byId('form-error'), error.message);
  } finally {
    form.removeAttribute('aria-busy');
  }
});

/** `crypto.randomUUID` is for pages over TLS only; this works on every one. */
function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

// --- Actions and live updates -----------------------------------------------------------------------------------

function act(work) {
  return async (order) => {
    try {
      await work(order);
    } catch (error) {
      if (error instanceof api.TokenError) askForToken(error);
      else show(byId('problem'), `Order ${shortId(order.id)}: ${error.message}`);
    }
  };
}

async function pay(order) {
  const invoice = await api.payInvoice(order.invoice.id);
  receive({ ...(list.find(order.id) ?? order), invoice });
  announce(`Invoice ${invoice.number} paid.`);
}

async function cancel(order) {
  receive(await api.cancelOrder(order.id));
  announce(`Order ${shortId(order.id)} canceled.`);
}

function receive(read) {
  list.update(read);
  // A live update may have come before the answer to the mutation, and then knows more.
  const order = list.find(read.id) ?? read;
  if (own.has(order.id) && order.invoice && order.invoice !== UNAVAILABLE) {
    own.delete(order.id);
    announce(`Order ${shortId(order.id)}: invoice ${invoiceText(order).join(' ')}.`);
  }
}

const announce = (text) => setText(byId('announcement'), text);

const STATES = { live: 'Live', connecting: 'Connecting', down: 'Disconnected, trying again', refused: 'Waiting for a token', paused: 'Paused' };

const reopen = listen({
  changed: receive,
  opened: () => read(() => list.refresh()),
  refused: askForToken,
  state: (state) => {
    byId('connection').dataset.state = state;
    setText(byId('connection'), STATES[state]);
  },
});
await applyFilter();
