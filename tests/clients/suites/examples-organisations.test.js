// examples/organisations: its subscription helper in Node, and its page in headless Chromium: batches, changes that are
// shown before they are confirmed, and no doubles after a lost connection.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import { listen } from "../../../examples/organisations/public/listen.js";
import { Optimistic } from "../../../examples/organisations/public/optimistic.js";
import { startBrowser } from "../lib/browser.js";
import { Clients, get, pusherJs } from "../lib/clients.js";
import { Example, shows } from "../lib/examples.js";
import { Server, app } from "../lib/server.js";
import { DEADLINE, eventually } from "../lib/wait.js";

const main = app();

/** pusher-js tries again at once; when nobody listens at that moment, its next try is 15 s later. */
const RETRY_DEADLINE = 40_000;

describe("examples/organisations", { timeout: 300_000 }, () => {
  let browser, server, example, clients, ben;
  let mutations = 0;

  before(async () => {
    browser = await startBrowser();
    server = await Server.start({ apps: [main] });
    example = await Example.start("organisations", server, main);
    clients = new Clients(pusherJs["pusher-js 8"], server, main);
    ben = await example.login("ben");
  });
  afterEach(async () => {
    clients.closeAll();
    await Promise.all(browser.contexts().map((context) => context.close()));
    await server.empties();
  });
  after(async () => {
    await browser?.close();
    await example?.stop();
    await server?.stop();
  });

  const subscribers = async (channel) =>
    (await get(clients.sdk, `/channels/${channel}`, { info: "subscription_count" })).subscription_count ?? 0;

  async function act(method, path, body = {}) {
    const answer = await example.ask(method, path, { cookie: ben, body: { mutationId: `test-${(mutations += 1)}`, ...body } });
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    return answer.body;
  }

  const create = (org, title, dueOn = "2099-01-01") => act("POST", `/api/${org}/invoices`, { title, amount: 100, dueOn });

  /** A page on an organisation that is subscribed. */
  async function visit(user, org) {
    const page = await example.visit(browser, "/", user);
    if ((await page.inputValue("#organisation")) !== org) await page.selectOption("#organisation", org);
    await joined(page, org);
    return page;
  }

  const joined = (page, org, deadline = DEADLINE) =>
    eventually(`${org} joined, after ${page.joined}`, deadline, () => page.joined.at(-1) === `private-org.${org}`);

  const titles = (page) => page.locator("#invoices [name=title]").evaluateAll((inputs) => inputs.map((input) => input.value));

  test("the helper leaves nothing behind, and one part's end is not another's", async () => {
    const client = await clients.connect();
    const heard = [];
    const handler = (data) => heard.push(data);
    const others = listen(client, "news", { told: handler });
    for (let n = 0; n < 50; n++) {
      const stop = listen(client, "news", { told: handler });
      stop();
      stop();
    }
    await eventually("a subscription", DEADLINE, async () => (await subscribers("news")) === 1);
    await clients.sdk.trigger("news", "told", 1);
    await eventually("the event", DEADLINE, () => heard.length > 0);
    await clients.sdk.trigger("news", "told", 2);
    await eventually("the next event", DEADLINE, () => heard.includes(2));
    assert.deepEqual(heard, [1, 2]);

    const channel = client.channel("news");
    others();
    await eventually("no subscription", DEADLINE, async () => (await subscribers("news")) === 0);
    assert.equal(client.channel("news"), undefined);
    assert.deepEqual(Object.keys(channel.callbacks._callbacks), []);

    const again = listen(client, "news", { told: handler });
    await eventually("a subscription again", DEADLINE, async () => (await subscribers("news")) === 1);
    await clients.sdk.trigger("news", "told", 3);
    await eventually("its event", DEADLINE, () => heard.includes(3));
    assert.deepEqual(heard, [1, 2, 3]);
    again();
  });

  test("new records are shown until they have an id, or are refused", () => {
    const records = new Optimistic();
    records.create("m1", { title: "one" });
    records.create("m2", { title: "two" });
    assert.deepEqual(records.all().map(({ title, pending, isNew }) => [title, pending, isNew]), [["one", true, true], ["two", true, true]]);
    records.confirm({ id: "a", title: "one", version: 1 }, "m1");
    assert.equal(records.reject("m1"), false);
    assert.equal(records.reject("m2"), true);
    assert.deepEqual(records.all(), [{ id: "a", title: "one", version: 1, pending: false }]);
  });

  test("changes are shown until they are refused, and old states change nothing", () => {
    const records = new Optimistic();
    records.confirm({ id: "a", title: "one", version: 1 });
    records.change("m1", "a", { title: "two" });
    assert.deepEqual(records.all(), [{ id: "a", title: "two", version: 1, pending: true }]);
    assert.equal(records.reject("m1"), true);
    assert.deepEqual(records.all(), [{ id: "a", title: "one", version: 1, pending: false }]);
    records.change("m2", "a", { title: "three" });
    records.confirm({ id: "a", title: "three", version: 2 }, "m2");
    records.confirm({ id: "a", title: "one", version: 1 });
    assert.equal(records.reject("m2"), false);
    assert.deepEqual(records.all(), [{ id: "a", title: "three", version: 2, pending: false }]);
  });

  test("a batch reaches all of the organisation, once each, and nobody else", async () => {
    for (let n = 1; n <= 12; n++) await create("north", `Late ${n}`, "2020-01-01");
    const ada = await visit("ada", "north");
    const cleo = await visit("cleo", "south");
    assert.ok((await act("POST", "/api/north/overdue")).overdue >= 12);
    await shows(ada, "#notifications", /\d+ overdue/);
    const overdue = await ada.locator("#invoices .pill", { hasText: "overdue" }).count();
    assert.equal(await ada.innerText("#handled"), String(overdue + 1));
    assert.ok(overdue >= 12);
    await create("south", "Breakwater");
    await shows(cleo, "#notifications", /Breakwater/);
    assert.equal(await cleo.innerText("#handled"), "2");
    assert.deepEqual([...ada.problems, ...cleo.problems], []);
  });

  test("a change shows at once, and is confirmed by its event or taken back", async () => {
    const { id } = await create("north", "Anchor");
    const ada = await visit("ada", "north");
    const path = `**/api/north/invoices/${id}`;
    await eventually("the invoice", DEADLINE, async () => (await titles(ada)).includes("Anchor"));
    const row = ada.locator("#invoices > li").nth((await titles(ada)).indexOf("Anchor"));
    const rename = async (title) => {
      await row.locator("[name=title]").fill(title);
      await row.locator("form button").click();
    };

    // Held back: shown as it is to be, and as not yet confirmed.
    let release;
    const held = new Promise((resolve) => (release = resolve));
    await ada.route(path, async (route) => {
      await held;
      await route.continue();
    });
    await rename("Kedge");
    await eventually("the mark", DEADLINE, async () => /saving/.test(await row.innerText()));
    assert.equal(await row.locator("[name=title]").inputValue(), "Kedge");
    release();
    await shows(ada, "#notifications", /ada renamed “Anchor” to “Kedge”/);
    await eventually("no mark", DEADLINE, async () => !/saving/.test(await row.innerText()));
    await ada.unrouteAll({ behavior: "wait" });

    // The answer is lost: the event confirms.
    await ada.route(path, async (route) => {
      await route.fetch();
      await shows(ada, "#notifications", /to “Grapnel”/);
      await route.abort();
    });
    await rename("Grapnel");
    await shows(ada, "#notifications", /to “Grapnel”/);
    await eventually("no mark", DEADLINE, async () => !/saving/.test(await row.innerText()));
    assert.equal(await row.locator("[name=title]").inputValue(), "Grapnel");
    await ada.unrouteAll({ behavior: "wait" });
    assert.equal(await ada.innerText("#toasts"), "");

    // Refused: as it was.
    await ada.route(path, (route) => route.fulfill({ status: 409, json: { error: "Somebody else did" } }));
    await rename("Killick");
    await shows(ada, "#toasts", /Somebody else did/);
    assert.equal(await row.locator("[name=title]").inputValue(), "Grapnel");
    assert.doesNotMatch(await row.innerText(), /saving/);
  });

  test("a new invoice is shown before it is saved, goes if it is refused, and comes back into the form", async () => {
    const ada = await visit("ada", "north");
    const path = "**/api/north/invoices";
    const create = async (title) => {
      await ada.fill("#create [name=title]", title);
      await ada.fill("#create [name=amount]", "12.5");
      await ada.fill("#create [name=dueOn]", "2099-01-01");
      await ada.click("#create button");
    };
    const shown = async (title) => (await titles(ada)).filter((one) => one === title).length;
    let answer;
    const asked = new Promise((resolve) => (answer = resolve));
    let release;
    const held = new Promise((resolve) => (release = resolve));
    await ada.route(path, async (route) => {
      if (route.request().method() !== "POST") return route.continue();
      answer();
      await held;
      return route.continue();
    });
    await create("Tugboat");
    await asked;
    assert.equal(await shown("Tugboat"), 1);
    await shows(ada, "#invoices", /saving…/);
    assert.equal(await ada.inputValue("#create [name=title]"), "");
    release();
    await shows(ada, "#notifications", /created “Tugboat”/);
    await eventually("no mark", DEADLINE, async () => !/saving/.test(await ada.innerText("#invoices")));
    assert.equal(await shown("Tugboat"), 1);
    await ada.unrouteAll({ behavior: "wait" });

    // Its answer is lost, its event is not: it stays.
    await ada.route(path, async (route) => {
      if (route.request().method() !== "POST") return route.continue();
      await route.fetch();
      await shows(ada, "#notifications", /created “Lifeboat”/);
      await route.abort();
    });
    await create("Lifeboat");
    await shows(ada, "#notifications", /created “Lifeboat”/);
    await ada.unrouteAll({ behavior: "wait" });
    await eventually("no mark", DEADLINE, async () => !/saving/.test(await ada.innerText("#invoices")));
    assert.deepEqual([await shown("Lifeboat"), await ada.innerText("#toasts")], [1, ""]);

    // Refused: it goes, and nothing that was typed is lost.
    await ada.route(path, (route) => (route.request().method() === "POST" ? route.fulfill({ status: 409, json: { error: "Not this year" } }) : route.continue()));
    await create("Galleon");
    await shows(ada, "#toasts", /That did not work\. Not this year/);
    await eventually("it is gone", DEADLINE, async () => (await shown("Galleon")) === 0);
    assert.deepEqual([await ada.inputValue("#create [name=title]"), await ada.inputValue("#create [name=amount]")], ["Galleon", "12.5"]);
  });

  test("what is paid and what is overdue is called out to everybody", async () => {
    const [ada, other] = [await visit("ada", "north"), await visit("ben", "north")];
    const { id } = await create("north", "Anchor");
    await create("north", "Barge", "2020-01-01");
    await shows(ada, "#notifications", /created “Barge”/);
    assert.equal(await ada.innerText("#toasts"), "");
    await act("POST", `/api/north/invoices/${id}/paid`);
    for (const page of [ada, other]) await shows(page, "#toasts", /Paid Anchor, €1\.00/);
    await act("POST", "/api/north/overdue");
    for (const page of [ada, other]) await shows(page, "#toasts", /Overdue Barge, €1\.00/);
    assert.deepEqual([...ada.problems, ...other.problems], []);
  });

  test("after a lost connection every event is handled exactly once", async () => {
    const { id } = await create("south", "Buoy");
    const page = await visit("ben", "south");
    for (let n = 0; n < 5; n++) {
      await page.selectOption("#organisation", "north");
      await page.selectOption("#organisation", "south");
      await page.click("#toggle");
      await page.click("#toggle");
    }
    await eventually("one subscription", DEADLINE, async () => {
      const counts = await Promise.all(["north", "south"].map((org) => subscribers(`private-org.${org}`)));
      return counts[0] === 0 && counts[1] === 1;
    });
    for (const lose of [() => server.crash(), () => server.restart()]) {
      page.joined.length = 0;
      await lose();
      await joined(page, "south", RETRY_DEADLINE);
      await shows(page, "#connection", /^Live$/);
      const before = Number(await page.innerText("#handled"));
      const names = ["Fender", "Bollard"].map((name) => `${name} ${before}`);
      for (const title of names) await act("PATCH", `/api/south/invoices/${id}`, { title });
      await shows(page, "#notifications", new RegExp(`to “${names[1]}”`));
      assert.equal(await page.innerText("#handled"), String(before + 4));
      for (const name of names) assert.equal(await page.locator("#notifications li", { hasText: `to “${name}”` }).count(), 1);
      assert.equal((await titles(page)).filter((title) => title === names[1]).length, 1);
      assert.deepEqual(page.joined, ["private-org.south"]);
    }
  });

  test("nobody else may join or ask", async () => {
    const ada = await example.login("ada");
    const status = async (channel, cookie) => (await example.authorize(channel, cookie)).status;
    assert.equal(await status("private-org.north", ada), 200);
    assert.equal(await status("private-org.south", ada), 403);
    assert.equal(await status("private-org.north", undefined), 401);
    assert.equal((await example.ask("GET", "/api/south/invoices", { cookie: ada })).status, 403);
    assert.equal((await example.ask("POST", "/api/south/overdue", { cookie: ada, body: {} })).status, 403);
    assert.equal((await example.ask("GET", "/api/nowhere/invoices", { cookie: ada })).status, 403);
    assert.equal((await example.ask("GET", "/api/north/invoices")).status, 401);
  });
});
