// What is known of an order, and how it is said. Nothing here touches the page.

/** In place of an invoice when the service that has it did not answer. */
export const UNAVAILABLE = Symbol('unavailable');

/** An order from an answer: an error at its invoice's path means that nobody knows whether there is one. */
export function readOrder(node, errors, path) {
  const place = [...path, 'invoice'].join();
  const failed = !node.invoice && (errors ?? []).some((error) => error.path?.join() === place);
  return { ...node, invoice: failed ? UNAVAILABLE : node.invoice };
}

/**
 * Of two readings of the same order the one that is newer. Status only ever rises, so an answer that was overtaken by
 * a live update is recognized, whatever the clocks say.
 */
export function newer(known, read) {
  if (!known) return read;
  const [before, after] = [known, read].map((order) => [orderRank(order), invoiceRank(order.invoice)]);
  if (after[0] < before[0]) return known;
  if (read.invoice !== UNAVAILABLE && known.invoice !== UNAVAILABLE && after[1] < before[1]) {
    return { ...read, invoice: known.invoice };
  }
  return read;
}

const orderRank = ({ status }) => ['PENDING', 'PAID', 'CANCELED'].indexOf(status);
const invoiceRank = (invoice) => ['ISSUED', 'PAID', 'VOIDED', 'REFUNDED', 'REJECTED'].indexOf(invoice?.status);

/** Newest first, the order of the API. */
export function byAge(a, b) {
  return compare(b.createdAt, a.createdAt) || compare(b.id, a.id);
}

const compare = (a, b) => (a < b ? -1 : Number(a > b));

export const canPay = ({ invoice }) => invoice?.status === 'ISSUED';
export const canCancel = ({ status }) => status !== 'CANCELED';

/** Whether an order belongs to what is shown. */
export const matches = ({ status, customer }, order) =>
  (!status || order.status === status) && (!customer || order.customerId === customer);

// --- In words ---------------------------------------------------------------------------------------------------

/** The end of the id: the beginning is a time, and alike in orders of the same moment. */
export const shortId = (id) => `…${id.slice(-8)}`;

export const statusText = ({ status }) => capitalized(status);

/** The invoice's number, if there is one, and its state. */
export function invoiceText({ invoice, status }) {
  if (invoice === UNAVAILABLE) return ['', 'unavailable'];
  if (!invoice) return ['', status === 'CANCELED' ? 'none' : 'waiting…'];
  return [invoice.number, invoice.status.toLowerCase()];
}

/** The way of an order in three steps: a label, and whether it is done, awaited, stopped or not known. */
export function flow({ status, invoice }) {
  const canceled = status === 'CANCELED';
  const last = canceled ? { label: 'Canceled', state: 'stopped' } : { label: 'Paid', state: 'done' };
  if (status === 'PENDING') last.state = invoice && invoice !== UNAVAILABLE ? 'awaited' : 'open';
  return [{ label: 'Created', state: 'done' }, invoiced(invoice, canceled), last];
}

function invoiced(invoice, canceled) {
  if (invoice === UNAVAILABLE) return { label: 'Invoiced', state: 'unknown' };
  if (invoice?.status === 'REJECTED') return { label: 'Rejected', state: 'stopped' };
  if (invoice) return { label: 'Invoiced', state: 'done' };
  return { label: 'Invoiced', state: canceled ? 'open' : 'awaited' };
}

const SAID = { done: 'done', awaited: 'awaited', stopped: 'the end', open: 'not yet', unknown: 'not known' };

/** The flow for who cannot see it. */
export const flowText = (steps) => steps.map(({ label, state }) => `${label}: ${SAID[state]}`).join(', ');

const STEPS = {
  ORDER_CREATED: 'Order created',
  INVOICE_ISSUED: 'Invoice issued',
  INVOICE_PAID: 'Invoice paid',
  INVOICE_VOIDED: 'Invoice voided',
  INVOICE_REFUNDED: 'Invoice refunded',
  INVOICE_REJECTED: 'Invoice rejected',
  ORDER_PAID: 'Order paid',
  ORDER_CANCELED: 'Order canceled',
};

/** Whether a timeline has got as far as what is known of its order. */
export function tells(events, { status, invoice }) {
  const known = [`ORDER_${status === 'PENDING' ? 'CREATED' : status}`];
  if (invoice && invoice !== UNAVAILABLE) known.push(`INVOICE_${invoice.status}`);
  return known.every((type) => events.some((event) => event.type === type));
}

/** A step of the timeline; one that this page does not know yet by its own name. */
export const stepText = (type) => STEPS[type] ?? capitalized(type.replaceAll('_', ' '));

const capitalized = (text) => text[0].toUpperCase() + text.slice(1).toLowerCase();

const amounts = new Intl.NumberFormat('en', { minimumFractionDigits: 2, maximumFractionDigits: 2 });

/** Minor units as people write them. */
export const amountText = (minor) => amounts.format(minor / 100);

/** What people write, in minor units; null when it is no amount. */
export function readAmount(text) {
  const found = /^(\d{1,8})(?:[.,](\d{1,2}))?$/.exec(text.trim());
  const minor = found && Number(found[1]) * 100 + Number((found[2] ?? '').padEnd(2, '0'));
  return minor >= 1 && minor <= 2_147_483_647 ? minor : null;
}

const times = new Intl.DateTimeFormat('en-GB', { timeStyle: 'medium' });
const days = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' });
const moments = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium' });

/** A time of today, or a day with its time. */
export function timeText(instant, now = new Date()) {
  const at = new Date(instant);
  const today = at.toDateString() === now.toDateString();
  return today ? times.format(at) : `${days.format(at)}, ${times.format(at)}`;
}

export const momentText = (instant) => moments.format(new Date(instant));

/** How much later, from milliseconds to hours. */
export function laterText(from, to) {
  const milliseconds = Math.max(0, new Date(to) - new Date(from));
  if (milliseconds < 1000) return `+${milliseconds} ms`;
  if (milliseconds < 60_000) return `+${(milliseconds / 1000).toFixed(1)} s`;
  if (milliseconds < 3_600_000) return `+${Math.round(milliseconds / 60_000)} min`;
  return `+${Math.round(milliseconds / 3_600_000)} h`;
}
