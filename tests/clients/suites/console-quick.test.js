// The debug console in headless Chromium for somebody who is quicker than it: what is typed holds at once, and a list that
// is drawn again takes nothing out of anybody's hands.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import { startBrowser } from "../lib/browser.js";
import { Clients, backend, pusherJs, subscribe } from "../lib/clients.js";
import { entries, listed, number, open, visitConsole } from "../lib/console.js";
import { shows } from "../lib/examples.js";
import { Server, app } from "../lib/server.js";
import { DEADLINE, eventually } from "../lib/wait.js";

const main = app();

describe("the console, used quickly", { timeout: 300_000 }, () => {
  let browser, server, sdk, clients, page;

  before(async () => {
    [browser, server] = await Promise.all([startBrowser(), Server.start({ apps: [main] })]);
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

  const visit = async (section) => (page = await visitConsole(browser, server, { section }));

  /** The words of what has the focus. */
  const focused = () => page.evaluate(() => document.activeElement.closest("a, button")?.textContent);

  test("a filter holds for whoever goes on from it at once", async () => {
    await visit("live");
    await sdk.trigger("a", "first", { n: 1 });
    await sdk.trigger("a", "second", { n: 2 });
    await listed(page, 2, "published");
    await page.locator("#filter-event").fill("first");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    await shows(page, "#live-inspector", /first[^]*"n": 1/);
    await page.keyboard.press("Escape");

    // And it is still there for whoever comes back.
    for (const [section, field] of [["live", "#filter-text"], ["channels", "#channels-prefix"], ["connections", "#connections-find"], ["apps", "#apps-find"]]) {
      await open(page, section);
      await page.locator(field).fill("typed");
      await open(page, "create");
      await open(page, section);
      assert.equal(await page.inputValue(field), "typed", section);
    }
    assert.match(page.url(), /#apps\?app=1001&find=typed$/);
  });

  test("an entry that is pressed stays under the mouse while others come", async () => {
    await visit("live");
    await sdk.trigger("a", "first", { n: 1 });
    await listed(page, 1, "published");
    await entries(page, "published").hover();
    await page.mouse.down();
    await sdk.trigger("a", "second", { n: 2 });
    await eventually("both are counted", DEADLINE, async () => (await number(page.locator("[data-group=messages] .count"))) === 2);
    await page.mouse.up();
    await shows(page, "#live-inspector", /first[^]*"n": 1/);
    await listed(page, 2, "published");
  });

  test("what is selected, pressed or in focus stays so when a list is filled again", async () => {
    const [first, second] = [await clients.connect(), await clients.connect()];
    const [gone, left] = [first, second].map((client) => client.connection.socket_id);
    await visit("connections");
    const row = (id) => page.locator(`#connections-list tr[data-key="${id}"]`);
    // What has come is shown before the next is asked for.
    const refilled = async () => {
      for (let times = 0; times < 2; times++) await page.waitForResponse(/\/connections\?/);
    };
    await row(left).locator(".col-address").evaluate((cell) => getSelection().selectAllChildren(cell));
    await refilled();
    assert.equal(await page.evaluate(() => String(getSelection())), "127.0.0.1");
    await row(left).getByText("Close…").hover();
    await page.mouse.down();
    await refilled();
    await page.mouse.up();
    await shows(page, "#confirm", new RegExp(left.replace(".", "\\.")));
    await page.keyboard.press("Escape");

    // Where a row goes, the focus goes on to the next one.
    await row(gone).getByText("Close…").focus();
    first.disconnect();
    await row(gone).waitFor({ state: "detached" });
    assert.equal(await focused(), left);
  });

  test("a panel that is drawn again keeps the focus", async () => {
    const client = await clients.connect();
    await subscribe(client, "a");
    await visit("channels?name=a");
    const panel = page.locator("#channels-inspector");
    await panel.getByText("Its feed").focus();
    await subscribe(await clients.connect(), "a");
    await shows(page, "#channels-inspector", /Subscriptions\s+2/);
    assert.equal(await focused(), "Its feed");
  });
});
