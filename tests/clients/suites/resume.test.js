// Stock pusher-js and Laravel Echo with a token in wsPath: their connection is cut again and again while events are
// published, and every event arrives. TIDEWIRE_TEST_CUTS says how often.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import EchoModule from "laravel-echo";

import { startBrowser } from "../lib/browser.js";
import { Clients, address, backend, pusherJs } from "../lib/clients.js";
import { snippet } from "../lib/docs.js";
import { Line } from "../lib/line.js";
import { Server, app, clientsDir } from "../lib/server.js";
import { OVER_REDIS } from "../lib/topologies.js";
import { DEADLINE, eventually } from "../lib/wait.js";

const Echo = EchoModule.default ?? EchoModule;
const main = app({ resume_ping_seconds: 1 });

const CUTS = Number(process.env.TIDEWIRE_TEST_CUTS ?? 5);

/** Two hundred events a second: a batch of ten, for ten of the twenty channels, every 50 ms. */
const BATCH = 10;
const INTERVAL_MS = 50;
const CHANNELS = Array.from({ length: 20 }, (_, n) => `${["", "private-", "presence-", "cache-", "private-encrypted-"][n % 5]}c${n}`);

/** A page that is cut notices by itself, reconnects after up to a second and subscribes again. */
const BACK_DEADLINE = 40_000;

/** The least events that a second of doubles is: what was written since the last answered ping comes twice. */
const DOUBLES_PER_CUT = 200 * 6;

/** How a connection may end. What a single server holds in memory does not outlive it. */
const KINDS = ["reset", "swallow", ...(OVER_REDIS > 0 ? ["drain", "kill", "redis"] : [])];

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A page: what it has got of each channel, in order. */
class Page {
  got = new Map(CHANNELS.map((name) => [name, []]));
  outcomes = [];

  constructor(name, pusher) {
    Object.assign(this, { name, pusher });
    for (const channel of CHANNELS.map((name) => pusher.subscribe(name))) {
      channel.bind("e", ({ n }) => this.got.get(channel.name).push(n));
    }
    // Handlers of presence channels are given the members instead of the data.
    pusher.connection.bind("message", ({ event, data }) => {
      if (event === "pusher_internal:subscription_succeeded") this.outcomes.push(data.resumed);
    });
  }

  get isThere() {
    return this.pusher.connection.state === "connected" && CHANNELS.every((name) => this.pusher.channel(name).subscribed);
  }

  get total() {
    return [...this.got.values()].flat().length;
  }

  /** Waits until it is back on all channels with another connection. */
  async back(socketId) {
    await eventually(`${this.name} is back (${this.pusher.connection.state})`, BACK_DEADLINE, () => this.isThere && this.pusher.connection.socket_id !== socketId);
  }

  /** What of the accepted events has not come, how many came twice, and whether any came in the wrong order. */
  judge(accepted) {
    const lost = [], wrong = [];
    let doubles = 0;
    for (const [name, numbers] of this.got) {
      const first = [...new Set(numbers)];
      doubles += numbers.length - first.length;
      if (first.some((n, at) => at > 0 && first[at - 1] > n)) wrong.push(name);
      const known = new Set(first);
      lost.push(...accepted.get(name).filter((n) => !known.has(n)).map((n) => `${name} ${n}`));
    }
    return { lost, wrong, doubles };
  }
}

/** Waits until each of some pages has got events for half a second. */
async function flow(...pages) {
  const due = pages.map((page) => page.total + 100);
  await eventually("events come", DEADLINE, () => pages.every((page, at) => page.total >= due[at]));
}

/** Publishes numbered events until it is stopped; what was accepted, by channel. */
class Publisher {
  accepted = new Map(CHANNELS.map((name) => [name, []]));
  refused = 0;
  #ends = false;

  constructor(sdk) {
    this.sdk = sdk;
    this.done = this.#run();
  }

  async #run() {
    for (let n = 0, due = performance.now(); !this.#ends; n++) {
      const names = CHANNELS.slice((n % 2) * BATCH, (n % 2) * BATCH + BATCH);
      try {
        await this.sdk.triggerBatch(names.map((channel) => ({ channel, name: "e", data: { n } })));
        for (const name of names) this.accepted.get(name).push(n);
      } catch {
        this.refused += names.length;
      }
      due += INTERVAL_MS;
      await wait(Math.max(0, due - performance.now()));
    }
  }

  async stop() {
    this.#ends = true;
    await this.done;
    return this.accepted;
  }
}

describe(`resume, ${CUTS} cuts`, { timeout: 60_000 + CUTS * 30_000 }, () => {
  let server, nodes, line;
  const lines = [], clients = [];

  before(async () => {
    server = await Server.start({ apps: [main], server: { activity_timeout: 5 } });
    nodes = server.nodes;
    line = await aLine();
  });
  after(async () => {
    for (const it of clients) it.closeAll();
    for (const it of lines) it.stop();
    await server.stop();
  });

  async function aLine() {
    const it = await Line.start(nodes[0]);
    lines.push(it);
    return it;
  }

  /** Options of a page that finds out within a second that nothing comes any more. */
  const eager = { activityTimeout: 1000, pongTimeout: 1000 };

  function page(name, Pusher, line, wsPath) {
    const own = new Clients(Pusher, line, main);
    own.sdk = backend(server, main);
    clients.push(own);
    return new Page(name, own.open({ ...eager, wsPath, member: { user_id: name } }));
  }

  /** The same with Laravel Echo, which passes wsPath on. */
  function echoPage(line, wsPath) {
    const own = new Clients(pusherJs["pusher-js 8"], line, main);
    own.sdk = backend(server, main);
    const echo = new Echo({
      broadcaster: "pusher",
      Pusher: pusherJs["pusher-js 8"],
      key: main.key,
      ...address(line),
      ...eager,
      ...own.authorizers({ member: { user_id: "echo" } }),
      wsPath,
    });
    clients.push({ closeAll: () => echo.disconnect() });
    return new Page("Laravel Echo", echo.connector.pusher);
  }

  /** Ends the connections of the pages on the line, in this way. */
  async function cut(kind) {
    const node = line.target;
    if (kind === "reset" || kind === "swallow") return line[kind]();
    if (kind === "redis") {
      // What was published is kept; the pages lose their connections while it is away.
      line.reset();
      await server.endRedis();
      return server.beginRedis();
    }
    line.target = nodes[(nodes.indexOf(node) + 1) % nodes.length];
    await (kind === "drain" ? node.terminate() : node.kill());
    await server.revive(node);
  }

  test("every event arrives on pages with a token, and not without", async () => {
    const own = await aLine();
    const pages = [
      page("pusher-js 8", pusherJs["pusher-js 8"], line, `/resume/${randomUUID()}`),
      echoPage(line, `/resume/${randomUUID()}`),
    ];
    // After two unclean ends within four minutes it gives up, whatever the server does.
    const seven = page("pusher-js 7", pusherJs["pusher-js 7"], own, `/resume/${randomUUID()}`);
    const without = page("without a token", pusherJs["pusher-js 8"], line, "");
    for (const it of [...pages, seven, without]) await it.back(undefined);

    const publisher = new Publisher(backend(server, main, { timeout: 5000 }));
    let acceptedBySeven;
    for (let number = 0; number < CUTS; number++) {
      const kind = KINDS[number % KINDS.length];
      const ids = [...pages, without].map((it) => it.pusher.connection.socket_id);
      await flow(...pages, without);
      await cut(kind);
      if (number === 0) {
        const id = seven.pusher.connection.socket_id;
        own.reset();
        await seven.back(id);
        // Before anything else ends its connection.
        await flow(seven);
        acceptedBySeven = new Map([...publisher.accepted].map(([name, numbers]) => [name, [...numbers]]));
        await eventually("pusher-js 7 has everything", DEADLINE, () => seven.judge(acceptedBySeven).lost.length === 0).catch(() => {});
        seven.pusher.disconnect();
      }
      for (const [at, it] of [...pages, without].entries()) await it.back(ids[at]);
    }
    const accepted = await publisher.stop();
    const total = [...accepted.values()].flat().length;
    assert.ok(total > CUTS * 50, `${total} events`);
    for (const it of [...pages, seven]) {
      const due = it === seven ? acceptedBySeven : accepted;
      await eventually(`${it.name} has everything`, DEADLINE, () => it.judge(due).lost.length === 0).catch(() => {});
      const { lost, wrong, doubles } = it.judge(due);
      console.log(`${it.name}: ${total} events, ${publisher.refused} refused, ${lost.length} lost, ${doubles} twice`);
      assert.deepEqual({ lost, wrong }, { lost: [], wrong: [] });
      assert.ok(doubles <= CUTS * DOUBLES_PER_CUT, `${doubles} came twice`);
      const [first, again] = [it.outcomes.slice(0, CHANNELS.length), it.outcomes.slice(CHANNELS.length)];
      assert.ok(first.every((resumed) => resumed === false) && again.length > 0);
      assert.ok(again.every((resumed) => resumed === true), `${again}`);
    }
    const { lost } = without.judge(accepted);
    console.log(`${without.name}: ${lost.length} lost`);
    assert.ok(lost.length > 0, "without a token the cuts lose nothing, so this test shows nothing");
  });

  test("the page of the document handles every event once and loads its state once", async () => {
    const own = await aLine();
    const html = snippet("docs/resume.md", "html", "/resume/")
      .replace("app-key", main.key)
      .replace(/wsHost: .*? forceTLS: true/, `wsHost: "${own.host}", wsPort: ${own.port}, forceTLS: false`);
    assert.match(html, /forceTLS: false/);
    const site = createServer((_, response) => response.setHeader("Content-Type", "text/html").end(html)).listen(0, "127.0.0.1");
    const browser = await startBrowser();
    try {
      const page = await browser.newPage();
      await page.addInitScript(() => Object.assign(window, { loads: 0, shown: [], loadOrders: () => window.loads++, show: ({ event_id: id }) => window.shown.push(id) }));
      await page.route(/^https:/, (route) => route.fulfill({ path: join(clientsDir, "node_modules/pusher-js/dist/web/pusher.min.js") }));
      await page.goto(`http://127.0.0.1:${site.address().port}/`);
      const loads = () => page.evaluate("loads");
      await eventually("the page has loaded its state", DEADLINE, async () => (await loads()) === 1);
      const sdk = backend(server, main, { timeout: 5000 });
      const ids = [];
      const order = async () => {
        ids.push(`order-${ids.length}`);
        await sdk.trigger("orders", "order-changed", { event_id: ids.at(-1) });
      };
      const all = (what) => eventually(what, BACK_DEADLINE, async () => (await page.evaluate("shown")).length >= ids.length);
      await order();
      await all("the first order");
      for (let cuts = 0; cuts < 3; cuts++) {
        const id = await page.evaluate("pusher.connection.socket_id");
        await order();
        own.target = nodes[(nodes.indexOf(own.target) + 1) % nodes.length];
        own.reset();
        await order();
        await order();
        await eventually("another connection", BACK_DEADLINE, async () => ![id, null, undefined].includes(await page.evaluate("pusher.connection.socket_id")));
        await order();
        await all(`all orders, cut ${cuts}`);
      }
      assert.deepEqual(await page.evaluate("shown"), ids);
      assert.equal(await loads(), 1);
    } finally {
      await browser.close();
      site.close();
    }
  });
});
