// Server-Sent Events without a library: EventSource in Chromium and `curl -N`, with their connections cut and their
// server restarted while events are published.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { after, afterEach, before, describe, test } from "node:test";

import { SignJWT } from "jose";

import { startBrowser } from "../lib/browser.js";
import { backend } from "../lib/clients.js";
import { snippet } from "../lib/docs.js";
import { Line } from "../lib/line.js";
import { Server, app, cleanEnv } from "../lib/server.js";
import { OVER_REDIS } from "../lib/topologies.js";
import { eventually } from "../lib/wait.js";

const SECRET = "a-secret-for-tokens-of-32-bytes-and-more";
const main = app({ subscription_count: true, jwt: { secret: SECRET, leeway_seconds: 0 }, api_tokens: ["an-api-token"] });

/** An EventSource waits for a second before it comes back, and the browser adds to it. */
const BACK_DEADLINE = 30_000;

const jwt = (claims, end = "5m") => new SignJWT(claims).setProtectedHeader({ alg: "HS256" }).setExpirationTime(end).sign(new TextEncoder().encode(SECRET));

describe("Server-Sent Events", { timeout: 300_000 }, () => {
  let server, sdk, browser, site, line;
  const ends = [];

  before(async () => {
    server = await Server.start({ apps: [main] });
    sdk = backend(server, main, { timeout: 5000 });
    line = await Line.start(server.nodes[0]);
    // Pages are of another origin than the server.
    site = createServer((_, response) => response.setHeader("Content-Type", "text/html").end("<!doctype html>")).listen(0, "127.0.0.1");
    browser = await startBrowser();
  });
  afterEach(async () => {
    for (const end of ends.splice(0)) await end();
  });
  after(async () => {
    await browser.close();
    site.close();
    line.stop();
    await server.stop();
  });

  /** A page with an EventSource that records what it hears. A query that is a function is made when the page is there. */
  async function page(query, { base = server.url, names = ["e", "tidewire:opened", "pusher:error"] } = {}) {
    const it = await browser.newPage();
    ends.push(() => it.close());
    await it.goto(`http://127.0.0.1:${site.address().port}/`);
    const asked = typeof query === "string" ? query : await query();
    await it.evaluate(
      ([url, names]) => {
        window.heard = [];
        window.source = new EventSource(url);
        const hear = ({ type, data, lastEventId }) => window.heard.push({ type, data, id: lastEventId });
        for (const name of [...names, "message"]) window.source.addEventListener(name, hear);
      },
      [`${base}/sse/${main.key}?${asked}`, names],
    );
    return {
      heard: (type) => it.evaluate((type) => window.heard.filter((event) => event.type === type).map((event) => event.data), type),
      id: () => it.evaluate(() => window.heard.at(-1).id),
      state: () => it.evaluate(() => window.source.readyState),
    };
  }

  const opened = (it, times) =>
    eventually(`opened ${times} times`, BACK_DEADLINE, async () => {
      const all = await it.heard("tidewire:opened");
      return all.length >= times && all.map((data) => JSON.parse(data));
    });

  /** A `curl -N`: its lines. */
  function curl(path, ...args) {
    const child = spawn("curl", ["-sS", "-N", ...args, `${server.url}${path}`], { env: cleanEnv() });
    const it = { text: "", status: undefined };
    child.stdout.setEncoding("utf8").on("data", (text) => (it.text += text));
    child.stderr.setEncoding("utf8").on("data", (text) => (it.text += text));
    child.once("close", (code) => (it.status = code));
    ends.push(async () => {
      child.kill();
      await eventually("curl's end", BACK_DEADLINE, () => it.status !== undefined || child.signalCode);
    });
    it.data = (name) => it.text.split("\n\n").slice(0, -1).filter((block) => block.includes(`event: ${name}\n`)).map((block) => /^data: (.*)$/m.exec(block)[1]);
    it.id = () => [...it.text.matchAll(/^id: (.*)$/gm)].at(-1)[1];
    return it;
  }

  const numbers = async (channel, from, count) => {
    for (let n = from; n < from + count; n++) await sdk.trigger(channel, "e", { n });
  };
  const upTo = (count) => Array.from({ length: count }, (_, n) => JSON.stringify({ n }));

  test("an EventSource hears everything, although its connection is cut again and again", async () => {
    const it = await page("channels=orders,news", { base: `http://${line.host}:${line.port}` });
    const [first] = await opened(it, 1);
    assert.deepEqual(first, { resumed: false, missed: 0, anew: ["orders", "news"] });
    let sent = 0;
    for (let cut = 1; cut <= 3; cut++) {
      await numbers("orders", sent, 5);
      sent += 5;
      await eventually("the events", BACK_DEADLINE, async () => (await it.heard("e")).length === sent);
      line.target = server.nodes[cut % server.nodes.length];
      line.reset();
      await numbers("orders", sent, 5);
      sent += 5;
      const all = await opened(it, cut + 1);
      assert.equal(all.at(-1).resumed, true, JSON.stringify(all));
      await eventually("what was missed", BACK_DEADLINE, async () => (await it.heard("e")).length === sent);
    }
    assert.deepEqual(await it.heard("e"), upTo(sent), "each once, in order");
  });

  test("an EventSource comes back after a restart, and with Redis it has missed nothing", async () => {
    const it = await page("channels=orders");
    await opened(it, 1);
    await numbers("orders", 0, 3);
    await eventually("the events", BACK_DEADLINE, async () => (await it.heard("e")).length === 3);
    await server.restart();
    await eventually("why it ends", BACK_DEADLINE, async () => /"code":4200/.test((await it.heard("pusher:error")).at(-1)));
    await numbers("orders", 3, 3);
    const all = await opened(it, 2);
    assert.equal(all.at(-1).resumed, OVER_REDIS > 0);
    await numbers("orders", 6, 1);
    await eventually("the last event", BACK_DEADLINE, async () => (await it.heard("e")).includes(JSON.stringify({ n: 6 })));
    if (OVER_REDIS > 0) assert.deepEqual(await it.heard("e"), upTo(7));
  });

  test("with wrap=1, onmessage hears all, and a token lets in until it ends", async () => {
    const token = await jwt({ sub: "7", channels: ["private-*"] });
    const it = await page(`channels=private-a,b&wrap=1&token=${token}`);
    await eventually("opened", BACK_DEADLINE, async () => (await it.heard("message")).length === 1);
    await sdk.trigger("private-a", "paid", { id: 7 });
    await sdk.trigger("b", "text", "not\r\nJSON");
    await eventually("both", BACK_DEADLINE, async () => (await it.heard("message")).length === 3);
    const [, paid, text] = (await it.heard("message")).map((data) => JSON.parse(data));
    assert.deepEqual(paid, { channel: "private-a", event: "paid", data: { id: 7 } });
    // The SDK sends a string as it is.
    assert.deepEqual(text, { channel: "b", event: "text", data: "not\r\nJSON" });

    const short = await page(async () => `channels=private-a&token=${await jwt({ sub: "7", channels: ["private-*"] }, "3s")}`);
    await opened(short, 1);
    await eventually("it gives up: the token has ended", BACK_DEADLINE, async () => (await short.state()) === 2);
    assert.match((await short.heard("pusher:error")).at(-1), /"code":4200/);
    const without = await page("channels=private-a");
    await eventually("it gives up at once", BACK_DEADLINE, async () => (await without.state()) === 2);
  });

  test("the page of the document", async () => {
    const it = await browser.newPage();
    ends.push(() => it.close());
    await it.goto(`http://127.0.0.1:${site.address().port}/`);
    const script = snippet("docs/transports.md", "js", "new EventSource").replace("https://realtime.example.com", server.url).replace("app-key", main.key);
    await it.evaluate(`Object.assign(window, { loads: 0, shown: [], loadOrders: () => window.loads++, show: (order) => window.shown.push(order) }); ${script}`);
    await eventually("it has loaded its state", BACK_DEADLINE, () => it.evaluate(() => window.loads === 1));
    await sdk.trigger("orders", "order-changed", { id: 7 });
    await eventually("it shows the order", BACK_DEADLINE, () => it.evaluate(() => window.shown.length === 1));
    assert.deepEqual(await it.evaluate(() => window.shown), [{ id: 7 }]);
  });

  test("curl -N hears everything and goes on where it ended", async () => {
    const path = `/sse/${main.key}?channels=private-log,news`;
    const bearer = ["-H", "Authorization: Bearer an-api-token"];
    const first = curl(path, ...bearer);
    await eventually("opened", BACK_DEADLINE, () => first.data("tidewire:opened").length === 1);
    await numbers("private-log", 0, 3);
    await eventually("the events", BACK_DEADLINE, () => first.data("e").length === 3);
    await ends.pop()();
    const id = first.id();
    await numbers("private-log", 3, 3);
    for (const args of [[path, "-H", `Last-Event-ID: ${id}`], [`${path}&last_event_id=${id}`]]) {
      const [target, ...more] = args;
      const again = curl(target, ...bearer, ...more);
      await eventually("what was missed", BACK_DEADLINE, () => again.data("e").length === 3);
      assert.deepEqual(again.data("e"), upTo(6).slice(3));
      assert.equal(JSON.parse(again.data("tidewire:opened")[0]).resumed, true);
      await ends.pop()();
    }
    const open = curl(path, ...bearer, "-H", `Last-Event-ID: ${id}`);
    await eventually("opened", BACK_DEADLINE, () => open.data("e").length === 3);
    await server.restart();
    await eventually("it ends with its server", BACK_DEADLINE, () => open.status === 0);
    await numbers("private-log", 6, 1);
    const after = curl(path, ...bearer, "-H", `Last-Event-ID: ${open.id()}`);
    await eventually("opened again", BACK_DEADLINE, () => after.data("tidewire:opened").length === 1);
    assert.equal(JSON.parse(after.data("tidewire:opened")[0]).resumed, OVER_REDIS > 0);
    if (OVER_REDIS > 0) await eventually("what was missed", BACK_DEADLINE, () => after.data("e").join() === '{"n":6}');
    const refused = curl(path, "-w", "%{http_code}");
    await eventually("refused", BACK_DEADLINE, () => refused.status === 0);
    assert.match(refused.text, /needs a token[^]*401$/);
  });
});
