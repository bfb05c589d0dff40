// What a first run costs: measures a program and prints the table of the README.
//
//     cargo build --release && npm --prefix bff/web/tests ci && node bench/first-run/measure.mjs
//
// Measures target/release/tandem, or the program that is given as an argument. Linux only: memory is read from /proc.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { Visitor, until } from '../../bff/web/tests/world.mjs';

const PROGRAM = process.argv[2] ?? fileURLToPath(new URL('../../target/release/tandem', import.meta.url));
const STARTS = 9;
const ORDERS = 10_000;
const CLIENTS = 16;
const CLICKS = 20;

const ports = ['--port', '--orders-port', '--invoices-port', '--bff-port', '--metrics-port'].flatMap((port) => [port, '0']);

/** What still runs goes with this script, also when it fails. */
const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

/** A running program in a new folder; `milliseconds` from its start to its being ready. */
async function start(...options) {
  const folder = await mkdtemp(join(tmpdir(), 'first-run-'));
  const began = performance.now();
  const child = spawn(PROGRAM, [...ports, '--data', folder, ...options], {
    env: { PATH: process.env.PATH },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  running.add(child);
  child.once('exit', () => running.delete(child));
  // Its later lines are read, too: a pipe that fills up is not what is measured.
  const lines = createInterface({ input: child.stdout });
  const url = await new Promise((resolve, reject) => {
    let found;
    lines.on('line', (line) => {
      found ??= /Console\s+(\S+)\/console/.exec(line)?.[1];
      if (line.startsWith('Ready in ')) resolve(found);
    });
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`${PROGRAM} ended with ${code} before it was ready`)));
  });
  const milliseconds = performance.now() - began;
  const answer = await fetch(`${url}/readyz`);
  if (!answer.ok) throw new Error(`${url}/readyz answered ${answer.status}`);
  return { child, folder, url, milliseconds };
}

async function stop({ child, folder }) {
  const ended = once(child, 'exit');
  child.kill('SIGINT');
  await ended;
  await rm(folder, { recursive: true });
}

async function megabytesOf({ child }, name) {
  const status = await readFile(`/proc/${child.pid}/status`, 'utf8');
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)[1]) / 1024;
}

const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];
const spread = (numbers) => `${Math.round(Math.min(...numbers))} to ${Math.round(Math.max(...numbers))} ms`;

/** Start to ready: a first start, which makes databases and six orders, and one with nothing to make. */
async function starts(...options) {
  const times = [];
  for (let count = 0; count < STARTS; count += 1) {
    const system = await start(...options);
    times.push(system.milliseconds);
    await stop(system);
  }
  return times;
}

/** Resident memory after a start, after many orders by REST, and the most it ever was. */
async function memory() {
  const system = await start('--no-seed', '--quiet');
  await pause(2000);
  const idle = await megabytesOf(system, 'VmRSS');
  let placed = 0;
  const began = performance.now();
  const client = async () => {
    while (placed < ORDERS) {
      placed += 1;
      const answer = await fetch(`${system.url}/orders`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: '{"amount":1999}',
      });
      if (answer.status !== 201) throw new Error(`POST /orders answered ${answer.status}`);
      await answer.arrayBuffer();
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
  const seconds = (performance.now() - began) / 1000;
  // Orders of the newest page have their invoices only when all have: events leave in their order.
  await until(async () => {
    const query = '{ orders(first: 100) { nodes { invoice { id } } } }';
    const answer = await fetch(`${system.url}/graphql?${new URLSearchParams({ query })}`);
    const { data } = await answer.json();
    return data?.orders?.nodes.every(({ invoice }) => invoice);
  });
  const after = await megabytesOf(system, 'VmRSS');
  const most = await megabytesOf(system, 'VmHWM');
  await stop(system);
  return { idle, after, most, rate: ORDERS / seconds };
}

/** In the browser: from the click on "New order" to its row, and to its invoice, each as it stands in the page. */
async function clicks() {
  const system = await start('--no-seed', '--quiet');
  const visitor = await Visitor.start(system.url);
  const { page, close } = await visitor.open('/console');
  await page.locator('#connection[data-state="live"]').waitFor();
  const rows = [];
  const invoices = [];
  for (let count = 0; count < CLICKS; count += 1) {
    // Watched within the page, so that the way to this script is not measured.
    const times = await page.evaluate(() => new Promise((resolve) => {
      const known = new Set([...document.querySelectorAll('tr.order')].map((one) => one.dataset.id));
      const began = performance.now();
      const times = {};
      const observer = new MutationObserver(() => {
        const row = [...document.querySelectorAll('tr.order')].find((one) => !known.has(one.dataset.id));
        if (!row) return;
        times.row ??= performance.now() - began;
        if (row.querySelector('.invoice-state').textContent !== 'issued') return;
        observer.disconnect();
        resolve({ ...times, invoice: performance.now() - began });
      });
      observer.observe(document.querySelector('#rows'), { childList: true, subtree: true, characterData: true });
      document.querySelector('#new-order button').click();
    }));
    rows.push(times.row);
    invoices.push(times.invoice);
    await page.locator('#new-order:not([aria-busy])').waitFor();
  }
  await close();
  await visitor.stop();
  await stop(system);
  return { rows, invoices };
}

const size = (await stat(PROGRAM)).size / 1024 / 1024;
const first = await starts();
const bare = await starts('--no-seed');
const { idle, after, most, rate } = await memory();
const { rows, invoices } = await clicks();

const [{ model }] = cpus();
console.log(`Measured on ${cpus().length} × ${model.trim()}, ${process.platform}.

| what | figure | how |
|---|---|---|
| size of the program | ${size.toFixed(0)} MiB | the file, with the pages in it |
| start to ready | ${Math.round(median(first))} ms | first start, six sample orders included; median of ${STARTS}, ${spread(first)} |
| start to ready, \`--no-seed\` | ${Math.round(median(bare))} ms | first start; median of ${STARTS}, ${spread(bare)} |
| memory, idle | ${idle.toFixed(0)} MiB | resident, 2 s after the start |
| memory after ${ORDERS} orders | ${after.toFixed(0)} MiB | resident; ${CLIENTS} clients, ${Math.round(rate)} orders/s; at most ${most.toFixed(0)} MiB |
| row of a new order | ${Math.round(median(rows))} ms | in the console after the click; median of ${CLICKS}, ${spread(rows)} |
| its invoice | ${Math.round(median(invoices))} ms | likewise; ${spread(invoices)} |`);
