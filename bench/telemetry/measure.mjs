// What telemetry costs: the same load on the same program with telemetry off and on, side by side.
//
//     cargo build --release && node bench/telemetry/measure.mjs
//
// Measures target/release/tandem, or the program that is given as an argument; ROUNDS and SLICE_SECONDS change how long.
// All variants run at the same time, each with data of its own, and take turns under the load in short slices, so that
// whatever else the machine does meets all of them alike. A slice counts the answers, and the processor time that the
// program took for them, what it exports after the slice included. The collector is a process of its own that throws
// everything away. Linux only: processor time is read from /proc.

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { Agent, request } from 'node:http';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const PROGRAM = process.argv[2] ?? fileURLToPath(new URL('../../target/release/tandem', import.meta.url));
const ROUNDS = Number(process.env.ROUNDS ?? 15);
const SLICE_SECONDS = Number(process.env.SLICE_SECONDS ?? 2);
const CLIENTS = 16;
/** How long a program may go on with what a slice has left it, at most. */
const SETTLE_SECONDS = 20;
/** The most that telemetry may cost at the default sampling, of the throughput. */
const ALLOWED_PERCENT = 5;

const OFF = 'off';
const ON = 'traces';
const VARIANTS = {
  [OFF]: { OTEL_SDK_DISABLED: 'true', RUST_LOG: 'off' },
  [ON]: { OTEL_TRACES_EXPORTER: 'otlp', RUST_LOG: 'off' },
  'traces, logs': { OTEL_TRACES_EXPORTER: 'otlp', RUST_LOG: 'info,opentelemetry=off', LOG_FORMAT: 'json' },
  'traces, 1 in 10': {
    OTEL_TRACES_EXPORTER: 'otlp',
    OTEL_TRACES_SAMPLER: 'parentbased_traceidratio',
    OTEL_TRACES_SAMPLER_ARG: '0.1',
    RUST_LOG: 'off',
  },
};

const READ = '{ orders(first: 10) { nodes { id status amount invoice { number status } } } }';
const LOADS = {
  'place an order': { path: '/orders', status: 201, body: '{"amount":1999}' },
  'read ten orders with their invoices': { path: '/graphql', status: 200, body: JSON.stringify({ query: READ }) },
};

const ports = ['--port', '--orders-port', '--invoices-port', '--bff-port', '--metrics-port'].flatMap((port) => [port, '0']);

/** What still runs goes with this script, also when it fails. */
const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

function keep(child) {
  running.add(child);
  child.once('exit', () => running.delete(child));
  return child;
}

async function firstLine(child, pattern) {
  const lines = createInterface({ input: child.stdout });
  return new Promise((resolve, reject) => {
    const before = [];
    // Later lines are read, too: a pipe that fills up is not what is measured.
    lines.on('line', (line) => {
      before.push(line);
      if (pattern.test(line)) resolve(before);
    });
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`${child.spawnfile} ended with ${code} before it was ready`)));
  });
}

const COLLECTOR = `
  let spans = 0, bytes = 0;
  const server = require('node:http').createServer((request, response) => {
    request.on('data', (chunk) => { bytes += chunk.length; });
    request.on('end', () => { response.end(request.url === '/bytes' ? String(bytes) : ''); });
  });
  server.listen(0, '127.0.0.1', () => console.log('port ' + server.address().port));
`;

async function startCollector() {
  const child = keep(spawn(process.execPath, ['-e', COLLECTOR], { stdio: ['ignore', 'pipe', 'inherit'] }));
  const [line] = await firstLine(child, /^port \d+$/);
  return { child, endpoint: `http://127.0.0.1:${line.split(' ')[1]}` };
}

async function start(environment, endpoint) {
  const folder = await mkdtemp(join(tmpdir(), 'telemetry-'));
  const nowhere = openSync('/dev/null', 'w');
  const child = keep(
    spawn(PROGRAM, [...ports, '--data', folder, '--no-seed', '--quiet'], {
      env: { PATH: process.env.PATH, OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, ...environment },
      stdio: ['ignore', 'pipe', nowhere],
    }),
  );
  closeSync(nowhere);
  const banner = await firstLine(child, /^Ready in /);
  const url = banner.map((line) => /Console\s+(\S+)\/console/.exec(line)?.[1]).find(Boolean);
  return { child, folder, url, agent: new Agent({ keepAlive: true, maxSockets: CLIENTS }) };
}

async function stop({ child, folder, agent }) {
  const ended = once(child, 'exit');
  child.kill('SIGINT');
  await ended;
  agent.destroy();
  await rm(folder, { recursive: true });
}

const ticks = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

/** Processor time that a program has taken, in milliseconds. */
async function processorTime({ child }) {
  const stat = await readFile(`/proc/${child.pid}/stat`, 'utf8');
  // After the name, which may have blanks and brackets in it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / ticks;
}

function ask(system, { path, status, body }) {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
    const asking = request(`${system.url}${path}`, { method: 'POST', agent: system.agent, headers }, (answer) => {
      answer.resume();
      answer.once('end', () => {
        if (answer.statusCode === status) resolve();
        else reject(new Error(`POST ${path} answered ${answer.statusCode}`));
      });
    });
    asking.once('error', reject);
    asking.end(body);
  });
}

/** A slice of load: answers a second, and processor time for each. */
async function slice(system, load, seconds) {
  const before = await processorTime(system);
  const began = performance.now();
  const until = began + seconds * 1000;
  let answers = 0;
  const client = async () => {
    while (performance.now() < until) {
      await ask(system, load);
      answers += 1;
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
  const took = performance.now() - began;
  // The events of the last orders, and the last batch of spans.
  const patience = performance.now() + SETTLE_SECONDS * 1000;
  for (let settled = await processorTime(system); performance.now() < patience; ) {
    await pause(500);
    const now = await processorTime(system);
    if (now - settled <= 20) break;
    settled = now;
  }
  return { rate: answers / (took / 1000), cost: ((await processorTime(system)) - before) / answers };
}

const median = (numbers) => {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};
const percent = (number) => `${number >= 0 ? '+' : ''}${number.toFixed(1)} %`;

const collector = await startCollector();
const systems = {};
for (const [name, environment] of Object.entries(VARIANTS)) {
  // Sooner than by default, so that what a slice exports is counted to that slice.
  systems[name] = await start({ OTEL_BSP_SCHEDULE_DELAY: '200', ...environment }, collector.endpoint);
}

const [{ model }] = cpus();
console.log(
  `Measured on ${cpus().length} × ${model.trim()}, ${process.platform}; ${CLIENTS} clients, ` +
    `median of ${ROUNDS} rounds of ${SLICE_SECONDS} s.\n\n` +
    '| load | telemetry | answers/s | than off | processor time each | than off |\n|---|---|---|---|---|---|',
);
let failed = false;
for (const [what, load] of Object.entries(LOADS)) {
  const rounds = Object.fromEntries(Object.keys(systems).map((name) => [name, []]));
  for (const system of Object.values(systems)) await slice(system, load, SLICE_SECONDS);
  for (let round = 0; round < ROUNDS; round += 1) {
    // Each in turn is the first.
    const names = Object.keys(systems);
    for (let at = 0; at < names.length; at += 1) {
      const name = names[(at + round) % names.length];
      rounds[name].push(await slice(systems[name], load, SLICE_SECONDS));
    }
  }
  // Of each round by itself: what changes from round to round is the machine.
  const than = (name, key) =>
    (median(rounds[name].map((slice, round) => slice[key] / rounds[OFF][round][key])) - 1) * 100;
  for (const [name, slices] of Object.entries(rounds)) {
    const rate = median(slices.map((slice) => slice.rate));
    const cost = median(slices.map((slice) => slice.cost));
    const [rateThan, costThan] = name === OFF ? ['', ''] : [percent(than(name, 'rate')), percent(than(name, 'cost'))];
    console.log(`| ${what} | ${name} | ${rate.toFixed(0)} | ${rateThan} | ${cost.toFixed(3)} ms | ${costThan} |`);
  }
  if (-than(ON, 'rate') > ALLOWED_PERCENT) failed = true;
}
const exported = await (await fetch(`${collector.endpoint}/bytes`)).text();
console.log(`\nThe collector took ${(Number(exported) / 1e6).toFixed(0)} MB.`);
if (Number(exported) === 0) throw new Error('nothing was exported: there is nothing to compare');
for (const system of Object.values(systems)) await stop(system);
collector.child.kill();
if (failed) {
  console.log(`Telemetry at its default sampling costs more than ${ALLOWED_PERCENT} % of the throughput.`);
  process.exitCode = 1;
}
