// The debug console's section Server in headless Chromium: how the node, the cluster and the configuration are, what every
// section must show of it, and webhook requests that were given up.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { after, afterEach, before, describe, test } from "node:test";

import { startBrowser } from "../lib/browser.js";
import { Clients, pusherJs, subscribe } from "../lib/clients.js";
import { open, visitConsole } from "../lib/console.js";
import { shows } from "../lib/examples.js";
import { Server, app } from "../lib/server.js";
import { NODES, OVER_REDIS } from "../lib/topologies.js";
import { DEADLINE, eventually } from "../lib/wait.js";

const token = "operators-only";

describe("the console's section Server", { timeout: 300_000 }, () => {
  let browser, receiver, server, clients, page;
  let status = 500;
  const taken = [];

  before(async () => {
    receiver = createServer(async (request, response) => {
      let body = "";
      for await (const chunk of request) body += chunk;
      if (status === 200) taken.push(JSON.parse(body));
      response.writeHead(status).end();
    });
    await new Promise((resolve) => receiver.listen(0, "127.0.0.1", resolve));
    const webhooks = [{ url: `http://127.0.0.1:${receiver.address().port}/hooks?token=for-their-eyes`, events: ["channel_occupied"] }];
    const main = app({ webhooks });
    browser = await startBrowser();
    server = await Server.start({ apps: [main], admin: { token }, webhooks: { retry_seconds: 0, linger_seconds: 0 } });
    clients = new Clients(pusherJs["pusher-js 8"], server, main);
  });
  afterEach(async () => {
    clients.closeAll();
    assert.deepEqual(page?.problems ?? [], []);
    await page?.context().close();
    page = null;
    await server.empties();
  });
  after(async () => {
    await browser?.close();
    receiver?.close();
    await server?.stop();
  });

  const visit = async (section, how = {}) => (page = await visitConsole(browser, server, { section, token, ...how }));

  test("a configuration that could not be read is said in every section, until it can be", async () => {
    await visit("live");
    assert.equal(await page.innerText("#banners"), "");
    const good = readFileSync(server.configFile, "utf8");
    try {
      writeFileSync(server.configFile, good.replace("drain_seconds", "drain_secnds"));
      await shows(page, "#banners", /changed configuration has an error[^]*still in effect[^]*drain_secnds[^]*drain_seconds/);
      for (const section of ["create", "charts"]) {
        await open(page, section);
        assert.equal(await page.locator("#banners").isVisible(), true, section);
      }
      await open(page, "server");
      await shows(page, "#server-config", /could not be read[^]*drain_secnds/);
    } finally {
      writeFileSync(server.configFile, good);
    }
    await eventually("no banner", DEADLINE, async () => (await page.innerText("#banners")) === "");
    await shows(page, "#server-config", /in effect[^]*Read at\s+\d{4}-/);
  });

  test("shows the node, its workers, the other nodes and Redis", async () => {
    await visit("server");
    const { node, workers } = await (await fetch(`${server.adminUrls[0]}/health`, { headers: { authorization: `Bearer ${token}` } })).json();
    await shows(page, "#server-node", new RegExp(`Node\\s+${node.replaceAll(".", "\\.")}[^]*takes connections[^]*Version\\s+\\d`));
    assert.equal(await page.locator("#server-workers tbody tr").count(), workers.length);
    if (OVER_REDIS === 0) await shows(page, "#server-cluster", /alone/);
    else await shows(page, "#server-cluster", new RegExp(`Redis\\s+connected[^]*${NODES} live, this one included[^]*Round trip\\s+[\\d.]+ ms`));
    const rows = page.locator("#server-cluster .nodes li");
    await eventually("each node", DEADLINE, async () => (await rows.count()) === (OVER_REDIS === 0 ? 0 : NODES));
    const texts = await rows.allInnerTexts();
    const own = new RegExp(`^${node.replaceAll(".", "\\.")} this node, (127\\.0\\.0\\.1, )?heard \\d+ s ago$`);
    if (OVER_REDIS > 0) assert.match(texts[0], own);
    for (const other of texts.slice(1)) assert.match(other, /^\S+:\d+ (127\.0\.0\.1, )?heard \d+ s ago$/);
    assert.equal(new Set(texts.map((row) => row.split(" ")[0])).size, texts.length);
  });

  test("a node with other apps is marked, and what it says of itself is text", async () => {
    const live = (name, more = {}) => ({ name, address: null, is_this: false, heard_seconds_ago: 2, strange_apps: [], ...more });
    const nodes = [live("web-10:6001", { heard_seconds_ago: 75 }), live("<i>web-2:6001", { address: "10.0.0.8", strange_apps: ["1001", "<b>2"] }), live("zoo:6001", { is_this: true })];
    await visit("live");
    await page.route("**/health", async (route) => {
      const answer = await route.fetch();
      const cluster = { status: "up", problem: null, nodes: 3, round_trip_microseconds: 300, waiting_bytes: 0, live_nodes: nodes };
      await route.fulfill({ response: answer, json: { ...(await answer.json()), cluster } });
    });
    await open(page, "server");
    const rows = page.locator("#server-cluster .nodes li");
    await eventually("three nodes", DEADLINE, async () => (await rows.count()) === 3);
    const [own, strange, other] = await rows.allInnerTexts();
    assert.equal(own, "zoo:6001 this node, heard 2 s ago");
    assert.match(strange, /^<i>web-2:6001 10\.0\.0\.8, heard 2 s ago\s+other key or secret for app 1001, app <b>2\s+Its events[^]*prefix/);
    assert.equal(other, "web-10:6001 heard 1 min ago");
    await page.unrouteAll({ behavior: "wait" });
  });

  test("Redis that is away is said in every section", async () => {
    await visit("live");
    const problem = "Redis has been away for 7 s: <b>refused</b>";
    await page.route("**/health", async (route) => {
      const answer = await route.fetch();
      const cluster = { status: "down", problem, nodes: 3, round_trip_microseconds: 1500, waiting_bytes: 2048, live_nodes: [] };
      await route.fulfill({ response: answer, json: { ...(await answer.json()), cluster } });
    });
    await shows(page, "#banners", /^Redis has been away for 7 s: <b>refused<\/b>/);
    await open(page, "server");
    await shows(page, "#server-cluster", /Redis\s+away[^]*refused[^]*3 live[^]*as last known[^]*2 KiB/);
    await page.unrouteAll({ behavior: "wait" });
    await eventually("no banner", DEADLINE, async () => (await page.innerText("#banners")) === "");
  });

  test("webhook requests that were given up are listed, and sent again one by one or all", async () => {
    status = 500;
    for (const name of ["first", "second", "third"]) await subscribe(await clients.connect(), name);
    // Each node has its own, so its console is looked at: of one that has some.
    const lettersOf = async (at) => (await (await fetch(`${at}/dead-letters`, { headers: { authorization: `Bearer ${token}` } })).json()).dead_letters;
    const events = (letters) => letters.flatMap((letter) => letter.events.map(({ channel }) => channel));
    await eventually("all dead letters", DEADLINE, async () => events((await Promise.all(server.adminUrls.map(lettersOf))).flat()).length === 3);
    const heard = () => taken.flatMap((request) => request.events.map(({ channel }) => channel));
    for (const at of server.adminUrls) {
      const here = await lettersOf(at);
      await visit("server", { at });
      await shows(page, "#letters-total", here.length > 0 ? new RegExp(`^${here.length} requests? (was|were) given up`) : /^No webhook request/);
      const rows = page.locator("#letters > li");
      assert.equal(await rows.count(), here.length);
      if (here.length > 0) {
        await rows.first().locator("summary").click();
        assert.match(await rows.first().innerText(), /channel_occupied[^]*500[^]*App\s+1001[^]*URL\s+http:\/\/127\.0\.0\.1:\d+\/hooks\n[^]*"channel": "/);
        assert.ok(!(await page.content()).includes("for-their-eyes"), "the query may hold a token");
        // Once more in vain: it comes back.
        await rows.first().getByText("Send again").click();
        await shows(page, "#notices", /Queued again: 1 request/);
        await eventually("it is given up again", DEADLINE, async () => (await lettersOf(at)).length === here.length);
        status = 200;
        const left = events(here);
        await eventually("it is listed again", DEADLINE, async () => (await rows.count()) === here.length);
        await page.locator("#letters-all").click();
        await page.locator("#confirm-yes").click();
        await eventually("all have arrived", DEADLINE, () => left.every((channel) => heard().includes(channel)));
        await shows(page, "#letters-total", /^No webhook request was given up/);
        assert.equal(await page.locator("#letters-all").isVisible(), false);
        status = 500;
      }
      assert.deepEqual(page.problems, []);
      await page.context().close();
      page = null;
    }
    assert.deepEqual(heard().sort(), ["first", "second", "third"]);
  });
});
