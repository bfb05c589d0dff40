// The list: the newest orders that match the filter, kept in order while readings and live updates come in.

import { orders } from './api.js';
import { UNAVAILABLE, byAge, matches } from './order.js';
import { Row } from './row.js';

const PAGE = 20;
const LARGEST_PAGE = 100;

/** More than anybody scrolls through; a busy system must not fill the browser's memory. */
const MOST_ROWS = 1000;

export class List {
  #body;
  #actions;
  #traceUrl;
  #changed;
  #rows = new Map();
  #filter = {};
  #cursor = null;
  #hasMore = false;
  #generation = 0;

  /** In `body`, a `tbody`. `changed` is called after each change with what there is to say about the list. */
  constructor(body, { actions, traceUrl, changed }) {
    this.#body = body;
    this.#actions = actions;
    this.#traceUrl = traceUrl;
    this.#changed = changed;
  }

  /** Shows the orders that match `{ status, customer }`, and nothing else. */
  async show(filter) {
    this.#filter = filter;
    await this.#read(PAGE);
  }

  /** Reads again what is shown, e.g. because changes may have been missed. */
  async refresh() {
    await this.#read(Math.min(Math.max(this.#rows.size, PAGE), LARGEST_PAGE));
  }

  async #read(first) {
    const generation = ++this.#generation;
    const known = new Set(this.#rows.keys());
    const page = await orders({ first, filter: this.#wanted() });
    // Somebody has asked for something else meanwhile.
    if (generation !== this.#generation) return;
    const read = new Set(page.orders.map(({ id }) => id));
    const last = page.orders.at(-1);
    for (const [id, row] of this.#rows) {
      // What came by a live update while this was read is younger than the answer, and stays.
      const cameMeanwhile = !known.has(id) && (!last || byAge(row.order, last) < 0);
      if (!read.has(id) && !(cameMeanwhile && matches(this.#filter, row.order))) this.#remove(id);
    }
    for (const order of page.orders) this.#put(order);
    this.#end(page);
  }

  /** Appends the next page. */
  async more() {
    const generation = this.#generation;
    const page = await orders({ first: PAGE, after: this.#cursor ?? undefined, filter: this.#wanted(this.#cursor ? null : this.#oldest()) });
    if (generation !== this.#generation) return;
    for (const order of page.orders) this.#put(order);
    this.#end(page);
  }

  /** An order as a live update tells of it. */
  update(order) {
    const shown = this.#rows.get(order.id);
    if (shown) {
      shown.update(order);
      if (!matches(this.#filter, shown.order) && !shown.inUse) this.#remove(order.id);
    } else if (matches(this.#filter, order) && this.#reaches(order)) {
      this.#put(order).greet();
      this.#trim();
    }
    this.#tell();
  }

  /** Takes away what no longer matches, once nobody is in it. */
  tidy() {
    for (const [id, row] of this.#rows) {
      if (!matches(this.#filter, row.order) && !row.inUse) this.#remove(id);
      else row.refreshTime();
    }
    this.#tell();
  }

  /** How many orders are shown. */
  get count() {
    return this.#rows.size;
  }

  /** What is known of an order that is shown. */
  find(id) {
    return this.#rows.get(id)?.order;
  }

  #wanted(before) {
    const { status, customer } = this.#filter;
    return {
      ...(status && { status: [status] }),
      ...(customer && { customerId: customer }),
      // A millisecond more, for those of the same one: what is shown already is not shown twice.
      ...(before && { createdBefore: new Date(Date.parse(before.createdAt) + 1).toISOString() }),
    };
  }

  /** Whether an order lies within what is shown; what is older comes with its page. */
  #reaches(order) {
    const oldest = this.#oldest();
    return !this.#hasMore || !oldest || byAge(order, oldest) < 0;
  }

  #oldest() {
    let oldest;
    for (const { order } of this.#rows.values()) {
      if (!oldest || byAge(order, oldest) > 0) oldest = order;
    }
    return oldest;
  }

  #put(order) {
    let row = this.#rows.get(order.id);
    if (row) {
      row.update(order);
      return row;
    }
    row = new Row(order, this.#actions, this.#traceUrl);
    const next = [...this.#body.querySelectorAll('tr.order')].find(
      (one) => byAge(order, this.#rows.get(one.dataset.id).order) < 0,
    );
    this.#rows.set(order.id, row);
    this.#body.insertBefore(row.main, next ?? null);
    return row;
  }

  #remove(id) {
    this.#rows.get(id)?.remove();
    this.#rows.delete(id);
  }

  /** Drops the oldest above the most; the next page then begins by its age. */
  #trim() {
    if (this.#rows.size <= MOST_ROWS) return;
    this.#remove(this.#oldest().id);
    this.#cursor = null;
    this.#hasMore = true;
  }

  #end({ hasNextPage, endCursor }) {
    this.#hasMore = hasNextPage;
    this.#cursor = endCursor;
    this.#tell();
  }

  #tell() {
    const shown = [...this.#rows.values()];
    this.#changed({
      count: shown.length,
      hasMore: this.#hasMore,
      isFiltered: Boolean(this.#filter.status || this.#filter.customer),
      lacksInvoices: shown.some(({ order }) => order.invoice === UNAVAILABLE),
    });
  }
}
