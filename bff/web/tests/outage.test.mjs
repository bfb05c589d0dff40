// The console in front of the three services as processes of their own, with PostgreSQL and RabbitMQ: what it shows
// while invoices is really away.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { after, before, test } from 'node:test';

import { System } from '../../../contracts/checks/system.mjs';
import { PATIENCE, Visitor, idOf, row, shows, until, violations } from './world.mjs';

const PROGRAMS = new URL('../../../target/debug/', import.meta.url).pathname;

let system;
let visitor;
let invoices;

before(async () => {
  system = await System.start();
  visitor = await Visitor.start(system.bffUrl);
});

after(async () => {
  await visitor?.stop();
  if (invoices?.exitCode === null) {
    const ended = once(invoices, 'exit');
    invoices.kill('SIGTERM');
    await ended;
  }
  await system?.stop();
});

/** Starts the invoices service again, where it was. */
async function startInvoices() {
  const env = {
    PATH: process.env.PATH,
    RUST_LOG: 'error',
    DATABASE_URL: system.invoicesDatabaseUrl,
    BROKER_URL: system.brokerUrl,
    PORT: new URL(system.invoicesUrl).port,
  };
  invoices = spawn(`${PROGRAMS}invoices`, { env, stdio: 'inherit' });
  await until(async () => {
    assert.equal(invoices.exitCode, null, 'invoices ended');
    return fetch(`${system.invoicesUrl}/readyz`).then((answer) => answer.ok, () => false);
  });
}

test('while invoices is down the list stays and goes on, and all comes back without a reload', async () => {
  const known = await visitor.order({ customerId: 'ada' });
  const { page, close } = await visitor.open('/console');
  await shows(row(page, known).locator('.invoice'), 'issued');
  await shows(page.locator('#connection'), 'Live');
  // A mark that a reload would take away.
  await page.evaluate(() => (globalThis.mark = 'here'));

  await system.stopService('invoices');
  // It is placed and shown, although nobody can say anything of its invoice.
  await page.getByLabel('Amount').fill('42');
  await page.getByRole('textbox', { name: 'Customer', exact: true }).fill('grace');
  await page.getByRole('button', { name: 'New order' }).click();
  const placed = page.locator('tr.order').filter({ hasText: 'grace' });
  await shows(placed.locator('.invoice'), 'unavailable');
  await shows(page.locator('#problem'), 'The invoices service does not answer.');
  // The one from before is still there; reading the list again makes it unavailable too, and takes nothing away.
  await page.getByRole('searchbox', { name: 'Customer' }).press('Enter');
  await shows(row(page, known).locator('.invoice'), 'unavailable');
  assert.equal(await page.locator('tr.order').count(), 2);
  assert.deepEqual(await violations(page), []);

  await startInvoices();
  await shows(row(page, known).locator('.invoice'), 'issued');
  await shows(placed.locator('.invoice'), 'issued');
  await page.locator('#problem').waitFor({ state: 'hidden' });
  await shows(page.locator('#connection'), 'Live');
  // And it is as alive as before.
  await placed.getByRole('button', { name: 'Pay' }).click();
  await shows(placed.locator('.status'), 'Paid');
  assert.equal(await page.evaluate(() => globalThis.mark), 'here');
  assert.ok((await idOf(placed)).length > 0);
  await close();
}, { timeout: 10 * PATIENCE });
