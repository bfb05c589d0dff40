// A browser in front of a system, and for most tests that system: a running `tandem`.
//
// Every page is watched: a message in the console, an error, a violation of the policy or a request to another host
// fails the test that opened it.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { chromium } from 'playwright-core';

const PROGRAM = process.env.TANDEM ?? new URL('../../../target/debug/tandem', import.meta.url).pathname;
const BROWSER = process.env.CHROMIUM ?? '/usr/bin/chromium';

/** How long something may take that happens at once on an idle machine, in milliseconds. */
export const PATIENCE = 60_000;

/** A browser that visits the system at a URL, and a client of its API. */
export class Visitor {
  static async start(url) {
    const visitor = new this();
    visitor.url = url;
    await visitor.launch();
    return visitor;
  }

  async launch() {
    // Inside containers the kernel refuses what the sandbox is made of, and /dev/shm is small.
    this.browser = await chromium.launch({ executablePath: BROWSER, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
  }

  async stop() {
    await this.browser?.close();
  }

  /** A page at `path` in a context of its own, and what went wrong in it. */
  async open(path, { base = this.url, allow = [], ...options } = {}) {
    const context = await this.browser.newContext(options);
    context.setDefaultTimeout(PATIENCE);
    const page = await context.newPage();
    const wrong = [];
    page.on('console', (message) => wrong.push(`console: ${message.text()}`));
    page.on('pageerror', (error) => wrong.push(`error: ${error.message}`));
    const host = new URL(base).host;
    const watch = (url) => /^(https?|wss?):/.test(url) && new URL(url).host !== host && wrong.push(`foreign: ${url}`);
    context.on('request', (request) => watch(request.url()));
    page.on('websocket', (socket) => watch(socket.url()));
    await page.addInitScript(() =>
      document.addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) =>
        console.error(`policy: ${violatedDirective} ${blockedURI}`)));
    await page.goto(base + path);
    const close = async () => {
      await context.close();
      assert.deepEqual(wrong.filter((one) => !allow.some((pattern) => pattern.test(one))), []);
    };
    return { page, close };
  }

  /** The data of an answer of the API. Everything asked here may be repeated, so a machine that is too slow for a moment fails no test. */
  async ask(query, variables, token) {
    const headers = { 'Content-Type': 'application/json', ...(token && { Authorization: `Bearer ${token}` }) };
    const body = JSON.stringify({ query, variables });
    let answer;
    await until(async () => {
      answer = await (await fetch(`${this.url}/graphql`, { method: 'POST', headers, body })).json();
      return !answer.errors?.some(({ extensions }) => ['TIMEOUT', 'SERVICE_UNAVAILABLE'].includes(extensions?.code));
    });
    assert.equal(answer.errors, undefined);
    return answer.data;
  }

  /** Creates an order and answers its id. */
  async create({ amount = 1999, customerId, token } = {}) {
    const answer = await this.ask(
      'mutation ($input: CreateOrderInput!) { createOrder(input: $input) { order { id } } }',
      { input: { amount, customerId, idempotencyKey: randomUUID() } },
      token,
    );
    return answer.createOrder.order.id;
  }

  /** Creates an order, and waits until it has its invoice. */
  async order(input) {
    const id = await this.create(input);
    await until(async () => (await this.ask('query ($id: ID!) { order(id: $id) { invoice { id } } }', { id })).order.invoice);
    return id;
  }
}

/** A running `tandem` on free ports, in a folder of its own, and its visitor. */
export class World extends Visitor {
  static async start(...options) {
    return World.#start({}, options);
  }

  /** The same, letting in only who has a token. */
  static async startProtected() {
    // Without leeway: a token that is seen to expire has to expire soon.
    const secret = 'a secret of more than thirty-two bytes';
    return World.#start({ JWT_SECRET: secret, JWT_ISSUER: 'https://issuer.test', JWT_LEEWAY_SECONDS: '0' }, []);
  }

  static async #start(settings, options) {
    const world = new World();
    world.environment = { PATH: process.env.PATH, ...settings };
    world.data = await mkdtemp(join(tmpdir(), 'tandem-pages-'));
    try {
      world.url = await world.#startProgram(options);
      await world.launch();
    } catch (error) {
      await world.stop();
      throw error;
    }
    return world;
  }

  #startProgram(options) {
    const free = ['--port', '--orders-port', '--invoices-port', '--bff-port', '--metrics-port'].flatMap((port) => [port, '0']);
    const traces = ['--trace-url-template', 'http://traces.example/{traceId}'];
    this.program = spawn(PROGRAM, [...free, ...traces, '--no-seed', '--quiet', '--data', this.data, ...options], {
      env: this.environment,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    return new Promise((resolve, reject) => {
      let banner = '';
      this.program.stdout.on('data', (text) => {
        banner += text;
        const found = /Console\s+(http\S+)\/console/.exec(banner);
        if (found && banner.includes('Ready in')) resolve(found[1]);
      });
      this.program.on('error', reject);
      this.program.on('exit', (code) => reject(new Error(`tandem ended with ${code}`)));
    });
  }

  /** A token of a customer for a while, e.g. `30s`; nothing but it on a line. */
  token(customer, expires = '1h') {
    const text = execFileSync(PROGRAM, ['token', '--customer', customer, '--expires', expires], { env: this.environment, cwd: this.data });
    return text.toString().trim();
  }

  async stop() {
    await super.stop();
    if (this.program?.exitCode === null) {
      const ended = new Promise((resolve) => this.program.once('exit', resolve));
      this.program.kill('SIGTERM');
      await ended;
    }
    await rm(this.data, { recursive: true, force: true });
  }
}

// --- The console's rows ------------------------------------------------------------------------------------------

export const row = (page, id) => page.locator(`tr.order[data-id="${id}"]`);
export const shows = (locator, text) => locator.filter({ hasText: text }).waitFor();
export const idOf = (locator) => locator.getAttribute('data-id');

// --- Waiting and cutting -----------------------------------------------------------------------------------------

/** Asks until the answer is true. */
export async function until(condition) {
  const deadline = Date.now() + PATIENCE;
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, `not within ${PATIENCE} ms: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A way to `target` that can be cut: what goes through it breaks off, and nothing new comes through until it is mended. */
export async function cuttable(target) {
  const { port, hostname } = new URL(target);
  const sockets = new Set();
  let isCut = false;
  const server = net.createServer((client) => {
    if (isCut) return client.destroy();
    const upstream = net.connect(port, hostname);
    for (const [one, other] of [[client, upstream], [upstream, client]]) {
      sockets.add(one);
      one.pipe(other);
      one.on('error', () => other.destroy()).on('close', () => sockets.delete(one) && other.destroy());
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cut = () => {
    isCut = true;
    for (const socket of sockets) socket.destroy();
  };
  const mend = () => {
    isCut = false;
  };
  const close = () => {
    cut();
    server.close();
  };
  return { url: `http://127.0.0.1:${server.address().port}`, cut, mend, close };
}

const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

/** What axe finds wrong with a page, e.g. contrast, names and roles. */
export async function violations(page) {
  // As a script of the tester, past the page's policy.
  await page.evaluate(await readFile(axe, 'utf8'));
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join('; ')}`);
}
