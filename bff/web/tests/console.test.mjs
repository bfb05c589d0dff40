import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { World, cuttable, idOf, row, shows, violations } from './world.mjs';

let world;
before(async () => (world = await World.start()));
after(() => world?.stop());

test('without orders it says so, and is accessible', async () => {
  const { page, close } = await world.open('/console?customer=nobody');
  await shows(page.locator('#empty'), 'No order matches the filter.');
  assert.deepEqual(await violations(page), []);
  await close();
});

test('a new order is shown, then its invoice, without a reload', async () => {
  const { page, close } = await world.open('/console');
  await shows(page.locator('#connection'), 'Live');
  await page.getByLabel('Amount').fill('12,50');
  await page.getByRole('textbox', { name: 'Customer', exact: true }).fill('ada');
  await page.getByRole('button', { name: 'New order' }).click();
  const first = page.locator('tr.order').filter({ hasText: 'ada' });
  await shows(first, '12.50');
  await shows(first, /INV-\d+issued/);
  await shows(page.locator('#announcement'), 'invoice INV-');
  await close();
});

test('what is no amount is refused with what is allowed', async () => {
  const { page, close } = await world.open('/console');
  await page.getByLabel('Amount').fill('a lot');
  await page.getByRole('button', { name: 'New order' }).click();
  await shows(page.locator('#form-error'), 'Amount must be a number from 0.01 to 21474836.47, not “a lot”.');
  await close();
});

test('an invoice is paid, the order follows, and can be canceled', async () => {
  const id = await world.order();
  const { page, close } = await world.open('/console');
  const order = row(page, id);
  await order.getByRole('button', { name: 'Pay' }).click();
  await shows(order.locator('.status'), 'Paid');
  await shows(order.locator('.invoice'), 'paid');
  await order.getByRole('button', { name: 'Cancel' }).click();
  await shows(order.locator('.status'), 'Canceled');
  await shows(order.locator('.invoice'), 'refunded');
  assert.equal(await order.getByRole('button', { name: /Pay|Cancel/ }).count(), 0);
  await close();
});

test('the details have the timeline, with links to traces', async () => {
  const id = await world.order({ customerId: '<b>grace</b>' });
  const { page, close } = await world.open('/console');
  // By the keyboard alone.
  const toggle = row(page, id).getByRole('button', { name: `…${id.slice(-8)} details` });
  await toggle.focus();
  await page.keyboard.press('Enter');
  assert.equal(await toggle.getAttribute('aria-expanded'), 'true');
  const details = page.locator('tr.details');
  await shows(details.locator('.timeline'), /Order created.*Invoice issued/);
  await shows(details, '<b>grace</b>');
  const link = details.locator('a.trace').first();
  if (await link.count()) assert.match(await link.getAttribute('href'), /^http:\/\/traces\.example\/[0-9a-f]{32}$/);
  assert.deepEqual(await violations(page), []);
  // It goes on while it is open.
  const { order } = await world.ask('query ($id: ID!) { order(id: $id) { invoice { id } } }', { id });
  await world.ask('mutation ($id: ID!) { payInvoice(id: $id) { invoice { status } } }', { id: order.invoice.id });
  await shows(details.locator('.timeline'), 'Order paid');
  // Also where the flow stays as it is: the invoice was issued before and after.
  await world.ask('mutation ($id: ID!) { cancelOrder(id: $id) { order { id } } }', { id });
  await shows(details.locator('.timeline'), 'Invoice refunded');
  await close();
});

test('the list can be filtered by status and customer, which the address keeps', async () => {
  const pending = await world.order({ customerId: 'linus' });
  const canceled = await world.order({ customerId: 'linus' });
  await world.ask('mutation ($id: ID!) { cancelOrder(id: $id) { order { id } } }', { id: canceled });
  const { page, close } = await world.open('/console');
  await page.getByRole('searchbox', { name: 'Customer' }).fill('linus');
  await page.waitForFunction(() => document.querySelectorAll('tr.order').length === 2);
  await page.getByText('Canceled', { exact: true }).first().click();
  await page.waitForFunction(() => document.querySelectorAll('tr.order').length === 1);
  assert.equal(await idOf(page.locator('tr.order')), canceled);
  await page.reload();
  await page.waitForFunction(() => document.querySelectorAll('tr.order').length === 1);
  // What comes to match comes, without a reload.
  await world.ask('mutation ($id: ID!) { cancelOrder(id: $id) { order { id } } }', { id: pending });
  await row(page, pending).waitFor();
  await close();
});

test('older orders come by the page', async () => {
  for (let count = 0; count < 25; count += 1) {
    await world.create({ amount: 1, customerId: 'many' });
  }
  const { page, close } = await world.open('/console?customer=many');
  await page.waitForFunction(() => document.querySelectorAll('tr.order').length === 20);
  await page.getByRole('button', { name: 'Load more' }).click();
  await page.waitForFunction(() => document.querySelectorAll('tr.order').length === 25);
  await page.locator('#more').waitFor({ state: 'hidden' });
  await close();
});

test('without invoices the list stays, and they come back', async () => {
  const id = await world.order();
  const { page, close } = await world.open('/console');
  await shows(row(page, id), 'issued');
  // What the API answers while the invoices service is down; `bff/tests/it/failures.rs` says so.
  await page.route('**/graphql', async (route) => {
    const response = await route.fetch();
    const answer = await response.json();
    answer.errors = answer.data.orders.nodes.map((node, index) => {
      node.invoice = null;
      const extensions = { code: 'SERVICE_UNAVAILABLE', service: 'invoices' };
      return { message: 'invoices is unavailable', path: ['orders', 'nodes', index, 'invoice'], extensions };
    });
    await route.fulfill({ response, json: answer });
  });
  await page.getByRole('searchbox', { name: 'Customer' }).press('Enter');
  await shows(row(page, id).locator('.invoice'), 'unavailable');
  await shows(page.locator('#problem'), 'The invoices service does not answer.');
  assert.deepEqual(await violations(page), []);
  await page.unroute('**/graphql');
  await shows(row(page, id).locator('.invoice'), 'issued');
  await page.locator('#problem').waitFor({ state: 'hidden' });
  await close();
});

test('a stream that was cut is resumed, and nothing is missed', async () => {
  const way = await cuttable(world.url);
  const known = await world.order();
  const { page, close } = await world.open('/console', { base: way.url, allow: [/^console: Failed to load resource/] });
  await row(page, known).waitFor();
  await shows(page.locator('#connection'), 'Live');
  way.cut();
  await shows(page.locator('#connection'), 'Disconnected');
  // More than a page of new orders, a change of one that is shown, and both for one that is new.
  await world.ask('mutation ($id: ID!) { cancelOrder(id: $id) { order { id } } }', { id: known });
  const missed = [];
  for (let count = 0; count < 25; count += 1) missed.push(await world.create({ customerId: 'missed' }));
  const paid = await world.order({ customerId: 'missed' });
  const { order } = await world.ask('query ($id: ID!) { order(id: $id) { invoice { id } } }', { id: paid });
  await world.ask('mutation ($id: ID!) { payInvoice(id: $id) { invoice { id } } }', { id: order.invoice.id });
  way.mend();
  await shows(page.locator('#connection'), 'Live');
  await shows(row(page, paid).locator('.status'), 'Paid');
  await page.getByRole('button', { name: 'Load more' }).click();
  for (const id of missed) await shows(row(page, id).locator('.invoice'), 'issued');
  await shows(row(page, known).locator('.status'), 'Canceled');
  await close();
  way.close();
});

for (const [name, viewport] of [['a wide', { width: 1440, height: 900 }], ['a usual', { width: 1250, height: 800 }], ['a middling', { width: 1153, height: 800 }], ['a small', { width: 900, height: 800 }], ['a narrow', { width: 360, height: 700 }]]) {
  for (const colorScheme of ['light', 'dark']) {
    test(`it is accessible on ${name} screen, ${colorScheme}, and nothing is cut off`, async () => {
      // The widest that can be in a row, and both buttons.
      const id = await world.order({ amount: 2_147_483_647, customerId: 'c'.repeat(255) });
      const { page, close } = await world.open('/console', { viewport, colorScheme, reducedMotion: 'reduce' });
      await row(page, id).getByRole('button', { name: 'Details' }).click();
      await page.locator('.timeline').waitFor();
      assert.deepEqual(await violations(page), []);
      const excess = await page.evaluate(() => {
        const edge = document.querySelector('main').getBoundingClientRect().right;
        const table = document.querySelector('table').getBoundingClientRect().right - edge;
        return Math.max(document.documentElement.scrollWidth - innerWidth, table);
      });
      assert.ok(excess <= 0.5, `${excess} pixels too wide`);
      await close();
    });
  }
}
