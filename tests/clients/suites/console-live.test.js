// The debug console's feed in headless Chromium: what clients and SDKs do shows up in it, whatever else happens.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import { startBrowser } from "../lib/browser.js";
import { Clients, address, backend, pusherJs, subscribe } from "../lib/clients.js";
import { entries, hearsEveryNode, listed, number, open, visitConsole } from "../lib/console.js";
import { shows } from "../lib/examples.js";
import { Server, app } from "../lib/server.js";
import { DEADLINE, eventually } from "../lib/wait.js";

const token = "operators-only";
const main = app({ name: "Shop", limits: { batch_events: 1_000, event_bytes: 20_000 } });
const other = app({ id: "1002", key: "other-key", name: "Other" });

/** Markup, ends of scripts, turned and invisible characters, terminals' escapes, keys of prototypes, words without an end. */
const HOSTILE = [
  `<img src=x onerror="window.owned = 1">`,
  `</script></pre><script>window.owned = 2</script>`,
  `{"__proto__":{"owned":3},"constructor":{"prototype":{"owned":4}},"html":"<b onmouseover=window.owned=5>x</b>"}`,
  "\u202egnp.exe\u202c and \u200bhidden",
  "\u001b[31mred\u001b[0m\u0007",
  "javascript:window.owned=6",
  "w".repeat(9_000),
  `${"[".repeat(2_000)}${"]".repeat(2_000)}`,
  "ﷺ".repeat(300),
];

describe("the console's feed", { timeout: 300_000 }, () => {
  let browser, server, sdk, clients, page;

  before(async () => {
    [browser, server] = await Promise.all([startBrowser(), Server.start({ apps: [main, other], admin: { token } })]);
    sdk = backend(server, main);
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
    await server?.stop();
  });

  async function visit(section, how = {}) {
    page = await visitConsole(browser, server, { section, token, ...how });
    if (section === "live") await hearsEveryNode(page, server, main, token);
    return page;
  }

  test("shows what the official SDK publishes, with its data as JSON", async () => {
    await visit("live");
    await subscribe(await clients.connect(), "invoice.7");
    await sdk.trigger("invoice.7", "payment.received", `{"amount":12345678901234567890,"lines":[],"ok":true}`);
    await listed(page, 1, "published", "payment.received");
    await entries(page, "published").click();
    const panel = page.locator("#live-inspector");
    assert.match(await panel.innerText(), /invoice\.7[^]*payment\.received[^]*1 subscription/);
    // As it was sent: a number keeps all its digits.
    assert.equal(await panel.locator(".payload").textContent(), `{\n  "amount": 12345678901234567890,\n  "lines": [],\n  "ok": true\n}`);
    await page.keyboard.press("Escape");
    assert.equal(await panel.isVisible(), false);
  });

  test("shows connections, subscriptions, refusals, client events and ends, each with its reason", async () => {
    await visit("live");
    const ada = await clients.connect();
    const bob = await clients.connect({ sign: (auth) => ({ ...auth, auth: `${main.key}:${"0".repeat(64)}` }) });
    const socketId = bob.connection.socket_id;
    await listed(page, 1, "connected", socketId);
    const room = await subscribe(ada, "private-room");
    await listed(page, 1, "subscribed", "private-room");
    bob.subscribe("private-forbidden");
    await listed(page, 1, "refused", "private-forbidden");
    assert.match(await entries(page, "refused").locator(".detail").innerText(), /\w{4,}/);
    room.channel.trigger("client-typing", { at: 1 });
    await listed(page, 1, "client_event", "client-typing");
    ada.unsubscribe("private-room");
    await listed(page, 1, "unsubscribed", "private-room");
    bob.disconnect();
    await listed(page, 1, "disconnected", socketId);
  });

  test("another app's events are not listed until it is chosen", async () => {
    await visit("live");
    await backend(server, other).trigger("theirs", "before", {});
    await sdk.trigger("ours", "first", {});
    await listed(page, 1, "published", "first");
    assert.equal(await entries(page, "published").count(), 1);
    await page.locator("#app").selectOption(other.id);
    await page.locator("#feed[data-state=live]").waitFor();
    await eventually("the other app's event", DEADLINE, async () => {
      await backend(server, other).trigger("theirs", "after", {});
      return (await entries(page, "published", "after").count()) > 0;
    });
    assert.equal(await entries(page, "published", "first").count(), 0);
  });

  test("filters by channel, event, type and text, and keeps that over a reload", async () => {
    await visit("live");
    await subscribe(await clients.connect(), "invoice.1");
    await sdk.trigger("invoice.1", "created", { who: "Ada" });
    await sdk.trigger("invoice.2", "created", { who: "Bob" });
    await sdk.trigger("invoice.2", "paid", { who: "Bob" });
    await listed(page, 3, "published");
    const rows = page.locator("#rows-body .entry");
    const only = (n) => eventually(`${n} rows`, DEADLINE, async () => (await rows.count()) === n);
    await page.locator("#filter-channel").fill("INVOICE.2");
    await only(2);
    await page.locator("#filter-event").fill("pai");
    await only(1);
    assert.match(await rows.innerText(), /paid/);
    await page.locator("#filter-event").fill("");
    await page.locator("#filter-channel").fill("");
    await page.locator("#filter-text").fill("bob");
    await only(2);
    await page.locator("#filter-text").fill("");
    await page.locator("[data-group=subscriptions]").click();
    await only(1);
    assert.equal(await rows.getAttribute("data-kind"), "subscribed");
    await page.locator("[data-group=messages]").click();
    await only(4);
    await page.locator("#filter-channel").fill("invoice.1");
    await only(2);

    await page.reload();
    await page.locator("#feed[data-state=live]").waitFor();
    assert.equal(await page.inputValue("#filter-channel"), "invoice.1");
    assert.equal(await page.getAttribute("[data-group=messages]", "aria-pressed"), "true");
    await sdk.trigger(["invoice.2", "invoice.1"], "later", {});
    await listed(page, 1, "published", "later");
    assert.equal(await rows.count(), 1);
  });

  test("can be held, and goes on with what came meanwhile; forgets when told to", async () => {
    await visit("live");
    await sdk.trigger("a", "first", {});
    await listed(page, 1, "published", "first");
    await page.keyboard.press("p");
    await sdk.trigger("a", "second", {});
    await shows(page, "#fresh", /Paused · [1-9]\d* new/);
    assert.equal(await entries(page, "published").count(), 1);
    await page.keyboard.press("p");
    await listed(page, 2, "published");
    await page.locator("#clear").click();
    await listed(page, 0, "published");
    await sdk.trigger("a", "third", {});
    await listed(page, 1, "published");
  });

  test("a list that somebody reads further down does not move", async () => {
    await visit("live");
    for (let n = 0; n < 60; n++) await sdk.trigger("a", `event-${n}`, {});
    await listed(page, 60, "published");
    await page.locator("#rows").evaluate((rows) => (rows.scrollTop = 400));
    await page.locator("#fresh").waitFor();
    await sdk.trigger("a", "later", {});
    await shows(page, "#fresh", /Held while you read · [1-9]\d* new/);
    assert.equal(await page.locator("#rows").evaluate((rows) => rows.scrollTop), 400);
    await page.locator("#fresh").click();
    await listed(page, 1, "published", "later");
  });

  test("hostile payloads, names and members are text", async () => {
    await visit("live");
    const member = { user_id: HOSTILE[0], user_info: { name: HOSTILE[1], bio: HOSTILE[3] } };
    await subscribe(await clients.connect({ member }), "presence-room");
    const cached = await subscribe(await clients.connect(), "cache-hostile");
    for (const data of HOSTILE) await sdk.trigger("cache-hostile", "hostile", data);
    await sdk.trigger("cache-hostile", HOSTILE[0], "name");
    await cached.first(HOSTILE[0]);
    await listed(page, HOSTILE.length + 1, "published");
    const shown = [];
    for (let n = 0; n <= HOSTILE.length; n++) {
      await entries(page, "published").nth(n).click();
      shown.push(await page.locator("#live-inspector .payload").textContent());
    }
    for (const data of HOSTILE.filter((data) => /^[<j]/.test(data))) assert.ok(shown.includes(data), data);
    assert.match(await page.locator("#rows-body").innerText(), /⟨U\+202E⟩gnp\.exe⟨U\+202C⟩ and ⟨U\+200B⟩hidden/);
    assert.match(await page.locator("#rows-body").innerText(), /⟨ESC⟩\[31mred/);
    await open(page, "channels");
    await page.locator(`#channels-list [data-key=presence-room] a`).click();
    await shows(page, "#channels-inspector", /<\/script>/);
    await page.locator(`#channels-list [data-key=cache-hostile] a`).click();
    await shows(page, "#channels-inspector", /<img src=x onerror=/);
    const found = await page.evaluate(() => ({
      owned: [window.owned, {}.owned],
      made: document.querySelectorAll("main img, main script, main b[onmouseover], main iframe").length,
      width: document.documentElement.scrollWidth - innerWidth,
    }));
    assert.deepEqual(found, { owned: [null, null].map(() => undefined), made: 0, width: 0 });
  });

  test("5,000 events a second freeze nothing: few rows, and how many were skipped", async (t) => {
    await visit("live");
    const batches = 250;
    const batch = Array.from({ length: 100 }, (_, n) => ({ channel: `flood-${n % 7}`, name: "tick", data: JSON.stringify({ n, text: "x".repeat(80) }) }));
    await page.evaluate(() => {
      window.frames = 0;
      requestAnimationFrame(function tick() {
        window.frames += 1;
        window.most = Math.max(window.most ?? 0, document.querySelectorAll("#rows-body > *").length);
        requestAnimationFrame(tick);
      });
    });
    // How busy the page's thread is, in seconds of its own: how long its frames take is up to what else the machine does.
    const session = await page.context().newCDPSession(page);
    await session.send("Performance.enable", { timeDomain: "threadTicks" });
    const busy = async () => (await session.send("Performance.getMetrics")).metrics.find(({ name }) => name === "TaskDuration").value;
    const before = await busy();
    const began = performance.now();
    const due = (n) => new Promise((resume) => setTimeout(resume, began + n * 16 - performance.now()));
    const sent = [];
    for (let n = 0; n < batches; n++) {
      await due(n);
      sent.push(sdk.triggerBatch(batch));
      if (sent.length >= 8) await sent.shift();
    }
    // It still does what it is told while they come.
    await page.locator("#pause").click();
    await page.locator("#pause").click();
    await Promise.all(sent);
    const seconds = (performance.now() - began) / 1_000;
    // Each event is either told or counted as skipped.
    const told = page.locator("[data-group=messages] .count");
    await eventually("every event told or skipped", DEADLINE, async () => {
      return (await number(told)) + (await number(page.locator("#live-skipped"))) === batches * batch.length;
    });
    assert.ok((await number(page.locator("#live-skipped"))) > 0);
    const { frames, most } = await page.evaluate(() => ({ frames: window.frames, most: window.most }));
    const cost = (await busy()) - before;
    t.diagnostic(`${Math.round((batches * batch.length) / seconds)} events/s, ${frames} frames, ${cost.toFixed(2)} s busy, ${most} rows`);
    assert.ok(most <= 500, `${most} rows`);
    assert.ok(cost < 5, `busy for ${cost} s`);
  });

  test("keys alone are enough", async () => {
    await visit("live");
    await sdk.trigger("a", "first", { n: 1 });
    await listed(page, 1, "published");
    await sdk.trigger("a", "second", { n: 2 });
    await listed(page, 2, "published");
    await page.keyboard.press("/");
    await page.keyboard.type("p1?");
    assert.equal(await page.inputValue("#filter-text"), "p1?");
    await page.locator("#filter-text").fill("");
    await listed(page, 2, "published");
    await page.locator("[data-group=messages]").press("Space");
    // From the last filter on to the list, whose rows are one stop.
    await page.locator("[data-group=webhooks]").focus();
    await page.keyboard.press("Tab");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    await shows(page, "#live-inspector", /first[^]*"n": 1/);
    await page.keyboard.press("Escape");
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute("role")), "row");
    await page.keyboard.press("3");
    await page.locator("#channels").waitFor();
    await page.keyboard.press("?");
    await page.locator("#keys[open]").waitFor();
    await page.keyboard.press("Escape");
    await page.locator("#keys[open]").waitFor({ state: "detached" });
  });

  test("one channel can be watched while 600 events a second happen on others", async () => {
    await visit("live");
    await page.locator("#filter-channel").fill("invoice.7");
    let floods = true;
    const flood = (async () => {
      const batch = Array.from({ length: 60 }, (_, n) => ({ channel: `flood-${n}`, name: "tick", data: "{}" }));
      for (let n = 0; floods; n++) {
        const due = new Promise((resume) => setTimeout(resume, 100));
        await Promise.all([sdk.triggerBatch(batch), due]);
      }
    })();
    try {
      await shows(page, "#live-skipped", /[1-9]\d* skipped.*matches the filter comes first/);
      // Other nodes learn of the filter with their next sign of life.
      await eventually("the channel's events, of whichever node", 20_000, async () => {
        await page.locator("#clear").click();
        for (let n = 0; n < 10; n++) await sdk.trigger("invoice.7", `try-${n}`, {});
        return eventually("all ten", 2_000, async () => (await entries(page, "published", "try-").count()) === 10);
      });
      for (let n = 0; n < 20; n++) await sdk.trigger("invoice.7", `paid-${n}`, { n });
      await listed(page, 20, "published", "paid-");
      assert.equal(await entries(page, "published", "flood-").count(), 0);
      // The flood does not push them out, also if the list is drawn anew.
      await eventually("much more", 30_000, async () => (await number(page.locator("[data-group=messages] .count"))) > 2_700);
      await page.keyboard.press("Escape");
      await page.locator("#pause").click();
      await page.locator("#pause").click();
      await listed(page, 20, "published", "paid-");
    } finally {
      floods = false;
      await flood;
    }
  });

  test("a filter that nothing matches says so, of how many", async () => {
    await visit("live");
    await sdk.trigger("a", "first", {});
    await listed(page, 1, "published", "first");
    await page.locator("#filter-text").fill("nowhere at all");
    await shows(page, "#live-blank", /^None of [1-9]\d* entr(y|ies) matches the filter\.$/);
    await subscribe(await clients.connect(), "invoice.7");
    await open(page, "channels");
    await page.locator("#channels-prefix").fill("nowhere");
    await shows(page, "#channels-total", /^None of 1 occupied channel matches the filter$/);
    await open(page, "connections");
    await page.locator("#connections-find").fill("nowhere");
    await shows(page, "#connections-total", /^None of \d connections?( on this node)? matches the filter$/);
  });

  test("refused connections name path and key, and no secret", async () => {
    await visit("live");
    const Pusher = pusherJs["pusher-js 8"];
    const first = new Pusher("a-wrong-key", address(server));
    await listed(page, 1, "refused", "GET /app/a-wrong-key");
    assert.match(await entries(page, "refused").locator(".detail").innerText(), /key a-wrong-key/);
    await entries(page, "refused").click();
    assert.match(await page.locator("#live-inspector").innerText(), /Asked for\s+GET \/app\/a-wrong-key[^]*Key\s+a-wrong-key/);
    const second = new Pusher(main.secret, address(server));
    await listed(page, 1, "refused", "the secret of app 1001");
    assert.ok(!(await page.content()).includes(main.secret));
    for (const client of [first, second]) client.disconnect();
  });

  test("arrows and Enter work as soon as a list is shown", async () => {
    await visit("live");
    // One after the other: entries of two nodes come in the order in which they arrive.
    await sdk.trigger("a", "first", { n: 1 });
    await listed(page, 1, "published");
    await sdk.trigger("a", "second", { n: 2 });
    await listed(page, 2, "published");
    await page.locator("[data-group=messages]").click();
    await page.locator("#filter-event").fill("s");
    await listed(page, 2, "published");
    // From a filter down into what it has found, and to the next one.
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    await shows(page, "#live-inspector", /first[^]*"n": 1/);
    await page.keyboard.press("Escape");
    // Without any focus: the row that was there last, also in a list that has been drawn again.
    for (const [text, number] of [["nothing", 0], ["s", 2]]) {
      await page.locator("#filter-event").fill(text);
      await listed(page, number, "published");
    }
    await page.evaluate(() => document.activeElement.blur());
    await page.keyboard.press("Enter");
    await shows(page, "#live-inspector", /first/);
    await page.keyboard.press("Escape");
    await page.evaluate(() => document.activeElement.blur());
    await page.keyboard.press("ArrowUp");
    await page.keyboard.press("ArrowUp");
    await page.keyboard.press("Enter");
    await shows(page, "#live-inspector", /second/);

    const ada = await clients.connect();
    await subscribe(ada, "invoice.1");
    await subscribe(ada, "invoice.2");
    await open(page, "channels");
    await page.locator("#channels-list tr").nth(2).waitFor();
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("ArrowDown");
    const second = await page.locator("#channels-list tbody tr").nth(1).getAttribute("data-key");
    await page.keyboard.press("Enter");
    await shows(page, "#channels-inspector", new RegExp(second.replace(".", "\\.")));
    await page.keyboard.press("Escape");
    // Where a key has another meaning it keeps it.
    await open(page, "create");
    await page.locator("#create-channel").fill("x");
    await page.keyboard.press("ArrowUp");
    assert.equal(await page.evaluate(() => document.activeElement.id), "create-channel");
  });

  test("a phone's rows say to how many an event went", async () => {
    await visit("live", { options: { viewport: { width: 390, height: 700 } } });
    await subscribe(await clients.connect(), "a");
    await sdk.trigger("a", "heard", {});
    await sdk.trigger("b", "lost", {});
    await listed(page, 2, "published");
    for (const [event, reach] of [["heard", "1"], ["lost", "0"]]) {
      const to = entries(page, "published", event).locator(".to");
      assert.equal(await to.isVisible(), true);
      assert.equal(await to.innerText(), reach);
      const says = await to.evaluate((node) => getComputedStyle(node, "::before").content);
      assert.equal(says, `"to "`);
    }
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 390);
  });
});

describe("the console without a token", { timeout: 300_000 }, () => {
  let browser, server, page;

  before(async () => {
    [browser, server] = await Promise.all([startBrowser(), Server.start({ apps: [main] })]);
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  test("comes back by itself after a restart of the server, and says so", async () => {
    page = await visitConsole(browser, server);
    assert.equal(await page.locator("#logout").isVisible(), false);
    await server.restart();
    await listed(page, 1, "note", "The feed was lost");
    await page.locator("#feed[data-state=live]").waitFor({ timeout: 20_000 });
    await listed(page, 1, "note", "The feed is back");
    await eventually("an event", DEADLINE, async () => {
      await backend(server, main).trigger("a", "after", {});
      return (await entries(page, "published", "after").count()) > 0;
    });
    await page.context().close();
  });
});

describe("many consoles", { timeout: 300_000 }, () => {
  test("one too many is told why, and gets in when another goes", async () => {
    const [browser, server] = await Promise.all([startBrowser(), Server.start({ apps: [main] })]);
    try {
      const first = await visitConsole(browser, server);
      const others = await first.evaluate(async (app) => {
        const url = new URL(`api/feed?app=${app}`, document.baseURI.replace(/^http/, "ws"));
        window.others = Array.from({ length: 15 }, () => new WebSocket(url));
        await Promise.all(window.others.map((socket) => new Promise((open) => socket.addEventListener("open", open))));
        return window.others.length;
      }, main.id);
      assert.equal(others, 15);
      const last = await (await browser.newContext()).newPage();
      // A network on which the refusal takes its time.
      await last.routeWebSocket(/api\/feed/, (page) => {
        const server = page.connectToServer();
        server.onClose((code, reason) => setTimeout(() => page.close({ code, reason }), 500));
      });
      await last.goto(`${server.adminUrls[0]}/console/`);
      await shows(last, "#feed-text", /Not connected: 16 consoles watch already/);
      await first.evaluate(() => window.others[0].close());
      await last.locator("#feed[data-state=live]").waitFor({ timeout: 30_000 });
      await backend(server, main).trigger("a", "first", {});
      await listed(last, 1, "published");
      assert.equal(await entries(last, "note").count(), 0, "no feed was lost");
    } finally {
      await browser.close();
      await server.stop();
    }
  });
});
