// An order on the page: its row, and beneath it the row with its details.
//
// A row is made once and then changed where something differs, so that focus, selection and what a screen reader is
// reading stay where they are.

import { timeline } from './api.js';
import { element, setText } from './dom.js';
import * as say from './order.js';

const COLUMNS = 8;

/** How long until a timeline that is not complete is read again, in milliseconds; each time twice as long. */
const SOON = 300;
const LATER = 5000;

/** A row of the table. `actions` are what its buttons do: `pay(order)` and `cancel(order)`. */
export class Row {
  #order;
  #actions;
  #traceUrl;
  #cells;
  #details = null;
  #reading = 0;

  constructor(order, actions, traceUrl) {
    this.#actions = actions;
    this.#traceUrl = traceUrl;
    this.#build(order);
    this.update(order);
  }

  get order() {
    return this.#order;
  }

  /** The rows of the table that it consists of. */
  get elements() {
    return this.#details ? [this.main, this.#details] : [this.main];
  }

  /** Whether somebody is in it: then it stays where it is. */
  get inUse() {
    return Boolean(this.#details) || this.main.contains(document.activeElement);
  }

  #build(order) {
    const toggle = element(
      'button',
      { type: 'button', class: 'toggle', 'aria-expanded': 'false' },
      say.shortId(order.id),
      element('span', { class: 'visually-hidden' }, ' details'),
    );
    const cell = (name, ...children) => element('td', { role: 'cell', class: name }, ...children);
    const button = (text, act) => element('button', { type: 'button', onclick: () => this.#act(act) }, text);
    const cells = {
      toggle,
      amount: cell('amount number', say.amountText(order.amount)),
      status: element('span', { class: 'status' }),
      number: element('span', { class: 'invoice-number' }),
      invoice: element('span', { class: 'invoice-state' }),
      steps: element('span', { class: 'steps', 'aria-hidden': 'true' }),
      said: element('span', { class: 'visually-hidden' }),
      created: element('time', { datetime: order.createdAt, title: say.momentText(order.createdAt) }),
      pay: button('Pay', 'pay'),
      cancel: button('Cancel', 'cancel'),
    };
    this.#cells = cells;
    this.main = element(
      'tr',
      { role: 'row', class: 'order', 'data-id': order.id, onclick: (event) => this.#clicked(event) },
      element('th', { role: 'rowheader', scope: 'row', class: 'id' }, toggle),
      cell('customer', element('span', { title: order.customerId }, order.customerId)),
      cells.amount,
      cell('state', cells.status),
      cell('invoice', cells.number, cells.invoice),
      cell('flow', cells.steps, cells.said),
      cell('created', cells.created),
      cell('actions', cells.pay, cells.cancel),
    );
    for (const [key, text] of [['pay', 'Pay'], ['cancel', 'Cancel']]) {
      cells[key].setAttribute('aria-label', `${text} ${say.shortId(order.id)}`);
    }
  }

  /** Shows a reading of the order, unless a newer one is shown already. */
  update(read) {
    const order = say.newer(this.#order, read);
    this.#order = order;
    const { main } = this;
    const cells = this.#cells;
    const [number, state] = say.invoiceText(order);
    const steps = say.flow(order);
    const before = `${main.dataset.status} ${main.dataset.invoice}`;
    main.dataset.status = order.status;
    main.dataset.invoice = state;
    setText(cells.status, say.statusText(order));
    setText(cells.number, number);
    setText(cells.invoice, state);
    setText(cells.created, say.timeText(order.createdAt));
    if (setText(cells.said, say.flowText(steps))) {
      cells.steps.replaceChildren(
        ...steps.map((step) => element('span', { class: 'step', 'data-state': step.state }, step.label)),
      );
    }
    if (this.#details && before !== `${order.status} ${state}`) this.#fill();
    this.#offer(cells.pay, say.canPay(order));
    this.#offer(cells.cancel, say.canCancel(order));
  }

  /** Shows a button or hides it; who was on it goes on from the beginning of the row. */
  #offer(button, offered) {
    if (!offered && document.activeElement === button) this.#cells.toggle.focus();
    button.hidden = !offered;
  }

  /** The times of other days get their day at midnight. */
  refreshTime() {
    setText(this.#cells.created, say.timeText(this.#order.createdAt));
  }

  /** Marks a row that has just come. */
  greet() {
    this.main.classList.add('fresh');
  }

  remove() {
    for (const part of this.elements) part.remove();
  }

  async #act(name) {
    const button = this.#cells[name];
    if (button.getAttribute('aria-disabled')) return;
    // Not `disabled`, which would take the focus away.
    button.setAttribute('aria-disabled', 'true');
    try {
      await this.#actions[name](this.#order);
    } finally {
      button.removeAttribute('aria-disabled');
    }
  }

  /** The whole row opens its details; not where a click means something else, or a text is being selected. */
  #clicked(event) {
    const elsewhere = event.target.closest('button, a') && !event.target.closest('.toggle');
    if (!elsewhere && !getSelection().toString()) this.#toggle();
  }

  #toggle() {
    const { toggle } = this.#cells;
    if (this.#details) {
      this.#details.remove();
      this.#details = null;
      toggle.removeAttribute('aria-controls');
    } else {
      const id = `details-${this.#order.id}`;
      this.#details = element('tr', { role: 'row', class: 'details', id });
      this.main.after(this.#details);
      toggle.setAttribute('aria-controls', id);
      this.#fill();
    }
    toggle.setAttribute('aria-expanded', String(Boolean(this.#details)));
    this.main.classList.toggle('open', Boolean(this.#details));
  }

  /**
   * Reads the timeline and shows it; what was there stays until it has come. It is read again when it cannot be had, and
   * when it does not tell yet what the row does: the news of an invoice is here before the order has written it down.
   */
  async #fill(wait = SOON) {
    const details = this.#details;
    const reading = ++this.#reading;
    if (!details.hasChildNodes()) this.#put(details, element('p', { class: 'muted' }, 'Loading the timeline…'));
    let complete = false;
    let steps;
    try {
      const events = await timeline(this.#order.id);
      complete = say.tells(events, this.#order);
      steps = this.#timeline(events);
    } catch (error) {
      steps = element('p', { class: 'error' }, `The timeline cannot be read: ${error.message} Trying again…`);
    }
    // Closed meanwhile, or read again since: a late answer must not replace a newer one.
    if (details !== this.#details || reading !== this.#reading) return;
    this.#put(details, steps);
    if (complete) return;
    setTimeout(() => {
      if (details === this.#details && details.isConnected && reading === this.#reading) this.#fill(Math.min(wait * 2, LATER));
    }, wait);
  }

  #put(details, steps) {
    const content = element('div', { class: 'columns' }, this.#facts(), steps);
    const cell = element('td', { role: 'cell', colspan: COLUMNS }, content);
    // Who is on a link of it stays there.
    if (!details.firstElementChild?.isEqualNode(cell)) details.replaceChildren(cell);
  }

  #facts() {
    const { id, customerId, createdAt, invoice } = this.#order;
    const known = invoice && invoice !== say.UNAVAILABLE;
    const facts = [['Order', id], ['Customer', customerId], ['Created', say.momentText(createdAt)]];
    if (known) facts.push(['Invoice', invoice.id], ['Number', invoice.number]);
    if (known && invoice.paidAt) facts.push(['Paid', say.momentText(invoice.paidAt)]);
    const pairs = facts.map(([name, value]) =>
      element('div', {}, element('dt', {}, name), element('dd', {}, value)));
    return element('dl', { class: 'facts' }, ...pairs);
  }

  #timeline(events) {
    const items = events.map(({ type, at, traceId }, index) => {
      const later = index ? say.laterText(events[index - 1].at, at) : '';
      const time = element('time', { datetime: at, title: at }, say.timeText(at));
      return element(
        'li',
        { 'data-type': type },
        element('span', { class: 'what' }, say.stepText(type)),
        element('span', { class: 'when' }, time, element('span', { class: 'later' }, later)),
        traceId ? this.#trace(traceId) : '',
      );
    });
    return element('ol', { class: 'timeline', 'aria-label': 'Timeline' }, ...items);
  }

  #trace(id) {
    const text = `trace ${id.slice(0, 8)}…`;
    if (!this.#traceUrl) return element('span', { class: 'trace', title: id }, text);
    const href = this.#traceUrl.replace('{traceId}', encodeURIComponent(id));
    return element('a', { class: 'trace', href, title: id, target: '_blank', rel: 'noopener' }, text);
  }
}
