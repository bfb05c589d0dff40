// The pages of a system that lets in only who has a token.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { result, run, shows as showsResult, tab, textOf, writeInto } from './graphiql.mjs';
import { World, row, shows, until, violations } from './world.mjs';

let world;
before(async () => (world = await World.startProtected()));
after(() => world?.stop());

/** What the browser says of an answer 401 by itself. */
const allow = [
  /^console: Failed to load resource: the server responded with a status of 401/,
  // GraphiQL shows it, and throws it once more.
  /^error: Socket closed with event 4403 Forbidden: a token is needed/,
];

const access = (page) => page.getByRole('form', { name: 'Access' });

async function give(page, token) {
  await access(page).getByLabel('Token').fill(token);
  await access(page).getByRole('button', { name: 'Use token' }).click();
}

test('the console asks for a token, says why it does not take one, and shows the orders of its customer alone', async () => {
  const grace = await world.create({ token: world.token('grace') });
  const { page, close } = await world.open('/console', { allow });
  await shows(page.locator('#access-reason'), 'The API answers only those who have a token.');
  await shows(page.locator('#empty'), 'Orders come with a token.');
  assert.deepEqual(await violations(page), []);
  await give(page, 'wrong');
  await shows(page.locator('#access-reason'), 'does not take the token: the token is not signed by a key that is trusted here.');

  // As it stands in the documentation of a header, too.
  await give(page, `Bearer ${world.token('ada')}`);
  await access(page).waitFor({ state: 'hidden' });
  await shows(page.locator('#connection'), 'Live');
  await shows(page.locator('#empty'), 'No orders yet.');
  await page.getByRole('button', { name: 'New order' }).click();
  const order = page.locator('tr.order');
  await shows(order, /ada.*INV-\d+issued/s);
  await order.getByRole('button', { name: 'Pay' }).click();
  await shows(order.locator('.status'), 'Paid');
  assert.equal(await row(page, grace).count(), 0);

  await page.getByRole('button', { name: 'Details' }).click();
  await page.locator('.timeline').waitFor();
  await page.reload();
  await shows(page.locator('#access-reason'), 'The API answers only those who have a token.');
  assert.equal(await page.evaluate(() => localStorage.length + sessionStorage.length), 0, 'a token is kept');
  await close();
});

test('a token that expires is asked for again, the list stays, and nothing is missed', async () => {
  const [first, long] = [world.token('mary', '5s'), world.token('mary')];
  const known = await world.create({ token: long });
  const { page, close } = await world.open('/console', { allow });
  await give(page, first);
  await row(page, known).waitFor();
  await shows(page.locator('#access-reason'), 'expired');
  await shows(page.locator('#connection'), 'Waiting for a token');
  assert.ok(await row(page, known).isVisible());
  const missed = await world.create({ token: long });
  await give(page, long);
  await row(page, missed).waitFor();
  await shows(page.locator('#connection'), 'Live');
  await close();
});

test('the playground sends a token of its headers, also over its socket', async () => {
  const { page, close } = await world.open('/playground', { allow });
  await page.locator('.graphiql-query-editor .view-lines').first().waitFor();
  await tab(page, 'WatchOrders');
  await run(page);
  await showsResult(page, 'a token is needed');

  await writeInto(page, 'Headers', { authorization: `Bearer ${world.token('joan')}` });
  await run(page);
  await page.getByRole('button', { name: /Stop query/ }).waitFor();
  await until(async () => {
    await world.create({ token: world.token('joan') });
    return (await textOf(result(page))).includes('"orderUpdated"');
  });
  await close();
});
