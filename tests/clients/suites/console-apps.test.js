// The debug console's section Apps in headless Chromium: an app that is made here works with stock clients until it is
// deleted here; its settings; what is only in the file; and what is wrong in the database.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";

import { startBrowser } from "../lib/browser.js";
import { Clients, backend, pusherJs, subscribe } from "../lib/clients.js";
import { open, visitConsole } from "../lib/console.js";
import { shows } from "../lib/examples.js";
import { Server, app } from "../lib/server.js";
import { DEADLINE, eventually } from "../lib/wait.js";

const token = "operators-only";
const main = app({ name: "Main" });

/** The words of a part of the page, as far as they are text there. */
const words = (page, selector) => page.locator(selector).innerText();

describe("the console's section Apps", { timeout: 300_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), "tidewire-apps-"));
  let browser, server, page;

  before(async () => {
    browser = await startBrowser();
    const store = `[app_store]\nurl = "sqlite://${join(folder, "apps.db")}"\nrefresh_seconds = 1\n`;
    server = await Server.start({ apps: [main], toml: store, admin: { token } });
  });
  afterEach(async () => {
    // The browser says so of what is refused, which the tests here provoke.
    const isMeant = (line) => /status of (404|409|412|422) /.test(line);
    assert.deepEqual(page?.problems.filter((line) => !isMeant(line)) ?? [], []);
    await page?.context().close();
    page = null;
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
    rmSync(folder, { recursive: true });
  });

  const visit = async (section = "apps", how = {}) => (page = await visitConsole(browser, server, { section, token, ...how }));

  /** The Apps API, as a script has it. */
  async function ask(method, path, body) {
    const answer = await fetch(`${server.adminUrls[0]}/apps${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: body && JSON.stringify(body),
    });
    return { status: answer.status, body: answer.status === 204 ? null : await answer.json() };
  }

  /** Presses a button of the panel, and says yes to what it asks. */
  async function press(name, { yes = false } = {}) {
    await page.locator("#apps-inspector").getByRole("button", { name, exact: true }).click();
    if (yes) await page.locator("#confirm-yes").click();
  }

  async function create(fields) {
    await page.locator("#apps-new").click();
    for (const [name, value] of Object.entries(fields)) await page.locator(`#apps-create [name=${name}]`).fill(value);
    await page.locator("#apps-create button").click();
  }

  const facts = (name) => eventually(name, DEADLINE, async () => new RegExp(`^${name}\\n(.*)$`, "m").exec(await words(page, "#apps-inspector"))?.[1]);

  test("an app is made, works with stock clients, is rotated, disabled and deleted", async () => {
    await visit();
    await create({ name: "Shop <b>" });
    await page.locator("#apps-secret").waitFor();
    const [id, key, secret] = [await facts("Id"), await facts("Key"), await words(page, "#apps-secret")];
    assert.match(id, /^\d+$/);
    const choices = (number) => eventually(`${number} to be chosen above`, DEADLINE, async () => (await page.locator("#app option").filter({ hasText: id }).count()) === number);
    await choices(1);
    const shop = { id, key, secret };
    const clients = new Clients(pusherJs["pusher-js 8"], server, shop);
    try {
      const pusher = await clients.connect();
      await subscribe(pusher, "invoice.7");
      const heard = [];
      pusher.channel("invoice.7").bind("paid", (data) => heard.push(data));
      const sdk = backend(server, shop);
      await sdk.trigger("invoice.7", "paid", { amount: 1 });
      await eventually("the event", DEADLINE, () => heard.length === 1);
      await shows(page, "#apps-inspector", /Connections\s+1/);

      // Code for it, with the secret as long as it is shown.
      for (const [kind, code] of [
        ["pusher-js", `new Pusher("${key}", {`],
        ["Echo", `broadcaster: "reverb", key: "${key}"`],
        ["Laravel .env", `PUSHER_APP_SECRET=${secret}`],
        ["Node", `secret: "${secret}"`],
      ]) {
        await page.locator("#apps-inspector .segments").getByRole("button", { name: kind, exact: true }).click();
        assert.ok((await words(page, "#apps-code")).includes(code), kind);
      }

      await press("Add a secret");
      await shows(page, "#apps-inspector", /Secret 1 was added/);
      const next = backend(server, { ...shop, secret: await words(page, "#apps-secret") });
      await sdk.trigger("invoice.7", "paid", { amount: 2 });
      await next.trigger("invoice.7", "paid", { amount: 3 });
      await press("Remove secret 0", { yes: true });
      await eventually("one secret", DEADLINE, async () => (await page.locator("#apps-secrets li").count()) === 1);
      await next.trigger("invoice.7", "paid", { amount: 4 });
      await assert.rejects(sdk.trigger("invoice.7", "paid", { amount: 5 }), ({ status }) => status === 401);
      await eventually("all events", DEADLINE, () => heard.length === 4);

      await press("Disable…", { yes: true });
      await eventually("the close code", DEADLINE, () => pusher.errors.some(({ code }) => code === 4003));
      await shows(page, "#apps-list", new RegExp(`${id}[^]*disabled`));
      await press("Enable");
      await shows(page, "#apps-inspector", /State\s+enabled/);
      await next.trigger("invoice.7", "paid", { amount: 6 });
    } finally {
      clients.closeAll();
    }
    await press("Delete…", { yes: true });
    await eventually("its row is gone", DEADLINE, async () => !(await words(page, "#apps-list")).includes(id));
    await page.locator("#apps-inspector").waitFor({ state: "hidden" });
    await choices(0);
    assert.equal((await ask("GET", `/${id}`)).status, 404);
    await server.empties();
  });

  test("a secret is shown once, and neither kept nor in the address", async () => {
    await visit();
    await create({ id: "2001", key: "chosen-key" });
    const secret = await words(page, "#apps-secret");
    assert.ok(secret.length >= 20);
    assert.equal(await facts("Key"), "chosen-key");
    assert.ok(!page.url().includes(secret));
    assert.ok(!(await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }))).includes(secret));
    await open(page, "charts");
    await open(page, "apps");
    await facts("Id");
    assert.ok(!(await page.content()).includes(secret), "it is not shown again");
    assert.match(await words(page, "#apps-code"), /chosen-key/);
    await page.reload();
    await facts("Id");
    assert.ok(!(await page.content()).includes(secret));
    await create({ id: "2001" });
    await shows(page, "#apps-create", /the id is taken/);
    await create({ id: "2001/x", key: " y" });
    await shows(page, "#apps-create", /id[^]*part of URLs/);
    await page.keyboard.press("Escape");
    await ask("DELETE", "/2001");
  });

  test("switches, limits and rules are changed, and what is wrong is said", async () => {
    await ask("POST", "", { id: "3001", limits: { event_bytes: 5_000 } });
    await visit("apps?id=3001");
    const form = page.locator("#apps-inspector form");
    const field = (name) => form.locator(`[name="${name}"]`);
    await field("client_events").check();
    await field("name").fill("Three");
    await field("limits.event_bytes").fill("");
    await field("limits.connections").fill("7");
    await field("resume_seconds").fill("60");
    await field("channels").fill('[{ "match": "invoice.*", "cache": true }]');
    await field("allowed_origins").fill("https://shop.example.com\n\nhttps://*.example.org");
    await press("Save");
    await shows(page, "#notices", /Saved/);
    const { body: saved } = await ask("GET", "/3001");
    assert.deepEqual([saved.client_events, saved.name, saved.limits.event_bytes, saved.limits.connections, saved.resume_seconds], [true, "Three", 10_240, 7, 60]);
    assert.deepEqual(saved.channels.map(({ match, cache }) => ({ match, cache })), [{ match: "invoice.*", cache: true }]);
    assert.deepEqual(saved.allowed_origins, ["https://shop.example.com", "https://*.example.org"]);
    await shows(page, "#apps-inspector h2", /^Three \(3001\)$/);
    assert.match(await field("channels").inputValue(), /"match":"invoice\.\*"/);

    // What was typed stays while it is wrong, and while the list goes on.
    for (const [rules, problem] of [["[{", /not JSON/], ["{}", /must be a list/], ['[{ "match": "a", "cach": true }]', /cach[^]*did you mean "cache"/]]) {
      await field("channels").fill(rules);
      await press("Save");
      await shows(page, "#apps-inspector .problem", problem);
      assert.equal(await field("channels").inputValue(), rules);
    }
    await eventually("no notice", DEADLINE, async () => (await words(page, "#notices")) === "");
    await field("channels").fill("");
    await press("Save");
    await shows(page, "#notices", /Saved/);
    assert.deepEqual((await ask("GET", "/3001")).body.channels, []);

    // Somebody else was faster.
    await field("name").fill("Mine");
    await ask("PATCH", "/3001", { name: "Theirs" });
    await press("Save");
    await shows(page, "#apps-inspector .problem", /changed by somebody else/);
    assert.equal((await ask("GET", "/3001")).body.name, "Theirs");
    await page.keyboard.press("Escape");
    await eventually("the panel is closed", DEADLINE, async () => !(await page.locator("#apps-inspector").isVisible()));
    await ask("DELETE", "/3001");
  });

  test("many apps are listed in pages, and found", async () => {
    const ids = Array.from({ length: 205 }, (_, n) => `5${String(n).padStart(4, "0")}`);
    // One connection each, of which the admin port has so many.
    const each = async (work) => {
      const left = [...ids.entries()];
      await Promise.all(Array.from({ length: 8 }, async () => {
        for (let next; (next = left.shift()); ) await work(...next);
      }));
    };
    await each((n, id) => ask("POST", "", { id, name: `Shop ${n}` }));
    try {
      await visit();
      await shows(page, "#apps-total", /^200 apps are listed, there are more/);
      await page.locator("#apps-more").click();
      await shows(page, "#apps-total", /^206 apps/);
      await page.locator("#apps-find").fill("shop 20");
      await shows(page, "#apps-total", /^6 apps/);
      await page.keyboard.press("ArrowDown");
      await page.keyboard.press("Enter");
      await shows(page, "#apps-inspector h2", /^Shop 20 \(50020\)$/);
    } finally {
      await each((n, id) => ask("DELETE", `/${id}`));
    }
  });

  test("an app of the file is shown and cannot be changed", async () => {
    await visit(`apps?id=${main.id}`);
    await shows(page, "#apps-inspector", /In\s+file[^]*in the configuration file, and is changed there/);
    const panel = page.locator("#apps-inspector");
    assert.equal(await panel.locator("[name=client_events]").isDisabled(), true);
    assert.equal(await panel.locator("[name=client_events]").isChecked(), true);
    for (const name of ["Save", "Delete…", "Disable…", "Add a secret"]) assert.equal(await panel.getByRole("button", { name, exact: true }).count(), 0, name);
    assert.ok(!(await page.content()).includes(main.secret));
  });

  test("rows that are wrong and a database that is away are said", async () => {
    await visit();
    const hostile = "<img src=x onerror=alert(1)>";
    await page.route("**/apps?*", async (route) => {
      const answer = await route.fetch();
      const store = { rows: 2, broken: [{ id: hostile, error: `enabled: ${hostile}` }], read_ms: 1, away: { since_ms: 1_700_000_000_000, error: hostile } };
      await route.fulfill({ response: answer, json: { ...(await answer.json()), store } });
    });
    await shows(page, "#apps-store", /has been away since 2023-11-1\d[^]*<img src=x onerror=alert\(1\)>[^]*1 row of the database has no effect/);
    await page.route("**/health", async (route) => {
      const answer = await route.fetch();
      const store = { status: "down", problem: hostile, down_since: "2023-11-14T22:13:20Z", rows: 2, broken: 21, broken_rows: [{ id: hostile, problem: hostile }] };
      await route.fulfill({ response: answer, json: { ...(await answer.json()), app_store: store } });
    });
    await open(page, "charts");
    await shows(page, "#banners", /database of apps has been away since \d\d:\d\d:\d\d[^]*<img[^]*21 rows of the database of apps have no effect[^]*<img src=x onerror=alert\(1\)>: <img/);
    await page.unrouteAll({ behavior: "wait" });
    await eventually("no banner", DEADLINE, async () => (await words(page, "#banners")) === "");
    await open(page, "apps");
    await eventually("nothing wrong", DEADLINE, async () => (await words(page, "#apps-store")) === "");
  });
});

describe("the console's section Apps without a database", { timeout: 300_000 }, () => {
  let browser, server;

  before(async () => {
    browser = await startBrowser();
    server = await Server.start({ apps: [main] });
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  test("lists the apps of the file, and says what makes others possible", async () => {
    const page = await visitConsole(browser, server, { section: "apps" });
    await shows(page, "#apps-list", /1001[^]*Main[^]*enabled[^]*file/);
    await shows(page, "#apps-store", /set url in \[app_store\]/);
    assert.equal(await page.locator("#apps-new").isVisible(), false);
    assert.deepEqual(page.problems, []);
    await page.context().close();
  });
});
