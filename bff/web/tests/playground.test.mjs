import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { result, run, shows, tab, textOf, writeInto } from './graphiql.mjs';
import { World, until } from './world.mjs';

let world;
before(async () => (world = await World.start()));
after(() => world?.stop());

async function open(options) {
  const opened = await world.open('/playground', options);
  await opened.page.locator('.query-editor .view-lines, .graphiql-query-editor .view-lines').first().waitFor();
  return opened;
}

test('the examples run as they are, in their order, and the subscription receives', async () => {
  const { page, close } = await open();
  await run(page);
  await shows(page, '"status": "PENDING"');

  await tab(page, 'Orders');
  await run(page);
  await shows(page, '"hasNextPage"');

  await tab(page, 'WatchOrders');
  await run(page);
  await page.getByRole('button', { name: /Stop query/ }).waitFor();
  // Until it listens nothing is sent, so one order may be too early.
  await until(async () => {
    await world.order();
    return (await textOf(result(page))).includes('"orderUpdated"');
  });
  await close();
});

test('the examples of paying and canceling run with the id of an order, which follows', async () => {
  const id = await world.order();
  const { order } = await world.ask('query ($id: ID!) { order(id: $id) { invoice { id } } }', { id });
  const { page, close } = await open();

  await tab(page, 'PayInvoice');
  await writeInto(page, 'Variables', { id: order.invoice.id });
  await run(page);
  await shows(page, '"status": "PAID"');
  const state = async () => {
    const { order: now } = await world.ask('query ($id: ID!) { order(id: $id) { status invoice { status } } }', { id });
    return `${now.status} ${now.invoice.status}`;
  };
  await until(async () => (await state()) === 'PAID PAID');

  await tab(page, 'CancelOrder');
  await writeInto(page, 'Variables', { id });
  await run(page);
  await shows(page, '"status": "CANCELED"');
  await until(async () => (await state()) === 'CANCELED REFUNDED');

  // Without an id they say what is missing, as an answer and not as a failure of the page.
  await writeInto(page, 'Variables', { id: '' });
  await run(page);
  await shows(page, '"ORDER_NOT_FOUND"');
  await close();
});

test('the editor completes what the schema has', async () => {
  const { page, close } = await open();
  await tab(page, 'Orders');
  await page.locator('.query-editor .view-lines, .graphiql-query-editor .view-lines').first().click();
  await page.keyboard.press('Control+A');
  await page.keyboard.type('{ ord');
  await page.keyboard.press('Control+Space');
  await page.locator('.suggest-widget .monaco-list-row').filter({ hasText: 'orders' }).first().waitFor();
  await close();
});

test('the tools are there: documentation, history, explorer and headers', async () => {
  const { page, close } = await open({ colorScheme: 'dark' });
  for (const name of [/Documentation Explorer/, /History/, /GraphiQL Explorer|Explorer/]) {
    await page.getByRole('button', { name }).first().waitFor();
  }
  await page.getByRole('button', { name: 'Headers' }).waitFor();
  await close();
});

test('a policy holds that allows no other host', async () => {
  const response = await fetch(`${world.url}/playground`);
  assert.match(response.headers.get('content-security-policy'), /^default-src 'none';.*connect-src 'self';/);
});
