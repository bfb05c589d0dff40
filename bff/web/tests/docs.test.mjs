import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { World } from './world.mjs';

let world;
before(async () => (world = await World.start()));
after(() => world?.stop());

for (const [service, title, operations] of [['orders', 'Orders', 5], ['invoices', 'Invoices', 3]]) {
  test(`the description of ${service} is shown behind a gateway, with nobody else's help`, async () => {
    const { page, close } = await world.open(`/${service}/docs`);
    await page.locator('.opblock').first().waitFor();
    assert.equal(new URL(page.url()).pathname, `/${service}/docs/`);
    assert.equal(await page.locator('.opblock').count(), operations);
    await page.waitForFunction((expected) => document.title === expected, title);
    await page.getByRole('button', { name: 'Authorize' }).waitFor();
    await close();
  });
}

test('a request can be tried out from the page', async () => {
  const { page, close } = await world.open('/orders/docs/');
  const place = page.locator('#operations-orders-placeOrder');
  await place.locator('.opblock-summary-control').click();
  await place.getByRole('button', { name: 'Try it out' }).click();
  await place.getByRole('button', { name: 'Execute' }).click();
  await place.locator('.live-responses-table .response-col_status', { hasText: '201' }).waitFor();
  await close();
});
