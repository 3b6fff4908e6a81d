// examples/portals: one publish reaches the admin's portal and the customer's in headless Chromium, and nobody gets to
// hear another customer's events, neither by asking for it nor by forging.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import { startBrowser } from "../lib/browser.js";
import { Clients, backend, marker, pusherJs, record, refusal } from "../lib/clients.js";
import { Example, shows, spyOnAttention } from "../lib/examples.js";
import { Server, app } from "../lib/server.js";

const main = app();

describe("examples/portals", { timeout: 300_000 }, () => {
  let browser, server, example, clients, admin;

  before(async () => {
    browser = await startBrowser();
    server = await Server.start({ apps: [main] });
    example = await Example.start("portals", server, main);
    clients = new Clients(pusherJs["pusher-js 8"], server, main);
    admin = await example.login("admin");
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

  /** pusher-js outside of a browser has no cookies, so it asks as this user. */
  const authorization = (cookie) => ({
    customHandler: async ({ socketId, channelName }, done) => done(null, (await example.authorize(channelName, cookie, socketId)).body),
  });

  const draft = async (customerId, title) => (await example.ask("POST", "/api/invoices", { cookie: admin, body: { customerId, title, amount: 100 } })).body.id;

  test("a draft is shown to no customer, neither by an event nor by the list", async () => {
    const customer = await example.login("17");
    const client = await clients.connect({ channelAuthorization: authorization(customer) });
    const heard = record(client.subscribe("private-customer.17"));
    await heard.first("pusher:subscription_succeeded");
    const id = await draft("17", "Secret plans");
    await example.ask("PATCH", `/api/invoices/${id}`, { cookie: admin, body: { title: "Plans", amount: 200 } });
    const list = async () => (await example.ask("GET", "/api/invoices", { cookie: customer })).body.map((invoice) => invoice.id);
    assert.ok(!(await list()).includes(id));
    const { body: sent } = await example.ask("POST", `/api/invoices/${id}/send`, { cookie: admin, body: {} });
    await heard.first("INVOICE_SENT");
    assert.deepEqual(heard.names().filter((name) => !name.startsWith("pusher:")), ["INVOICE_SENT"]);
    assert.ok((await list()).includes(id));
    // The payload is the kind and the whole invoice, and nothing else.
    assert.deepEqual(heard.of("INVOICE_SENT"), [{ type: "INVOICE_UPDATE", invoice: sent }]);
    assert.equal(sent.title, "Plans");
  });

  test("notifications can be switched on and off", async () => {
    const page = await example.visit(browser, "/", "17", { prepare: spyOnAttention });
    const send = async (title) => {
      await example.ask("POST", `/api/invoices/${await draft("17", title)}/send`, { cookie: admin, body: {} });
      await shows(page, "#events", new RegExp(title));
    };
    const notes = () => page.evaluate(() => window.notes.map(({ title, body }) => `${title}: ${body}`));
    await send("Quiet one");
    assert.deepEqual([await notes(), await page.innerText("#toasts")], [[], ""]);
    await page.locator("[name=notifications]").click();
    await send("Loud one");
    await shows(page, "#toasts", /New invoice Loud one/);
    assert.deepEqual(await notes(), ["New invoice: Loud one"]);
    await page.locator("[name=notifications]").click();
    await send("Quiet again");
    assert.deepEqual(await notes(), ["New invoice: Loud one"]);
    assert.deepEqual(page.problems, []);
  });

  test("what an admin does shows on both portals, and not on another customer's", async () => {
    const pages = await Promise.all(["admin", "17", "42"].map((user) => example.visit(browser, "/", user)));
    const [office, customer, other] = pages;
    await office.selectOption("[name=customerId]", "17");
    await office.fill("#create [name=title]", "Mooring fee");
    await office.fill("#create [name=amount]", "80");
    await office.click("#create button");
    await shows(office, "#invoices", /Mooring fee[^]*draft/);
    const row = office.locator("#invoices > li", { hasText: "Mooring fee" });
    await row.locator("summary").click();
    await row.locator("[name=amount]").fill("90");
    await row.locator("details button").click();
    await shows(office, "#invoices", /€90\.00/);
    await row.locator("> button").click();
    for (const page of [office, customer]) await shows(page, "#invoices", /Mooring fee[^]*€90\.00[^]*sent/);
    await row.locator("> button", { hasText: "Record payment" }).click();
    for (const page of [office, customer]) await shows(page, "#invoices", /paid/);

    const events = ["INVOICE_CREATED", "INVOICE_UPDATED", "INVOICE_SENT", "PAYMENT_RECORDED", "INVOICE_PAID"];
    // A draft is nobody's but the admins': the customer hears of it when it is sent.
    for (const [page, heard] of [[office, events], [customer, events.slice(2)]]) {
      await shows(page, "#events", /INVOICE_PAID/);
      assert.deepEqual((await page.locator("#events strong").allInnerTexts()).reverse(), heard);
    }
    // The other customer's own invoice is the first thing that the other customer hears of.
    await example.ask("POST", `/api/invoices/${await draft("42", "Pilotage")}/send`, { cookie: admin, body: {} });
    await shows(other, "#events", /Pilotage/);
    assert.doesNotMatch(await other.innerText("body"), /Mooring/);
    await shows(office, "#events", /Pilotage/);
    assert.doesNotMatch(await customer.innerText("body"), /Pilotage/);
    assert.deepEqual(pages.flatMap((page) => page.problems), []);
  });

  test("the auth endpoint lets a customer join the customer's own channel only", async () => {
    const customer = await example.login("17");
    const status = async (channel, cookie) => (await example.authorize(channel, cookie)).status;
    assert.equal(await status("private-customer.17", customer), 200);
    assert.equal(await status("private-customer.42", customer), 403);
    assert.equal(await status("private-admin.invoices", customer), 403);
    assert.equal(await status("private-admin.invoices", admin), 200);
    assert.equal(await status("private-customer.17", undefined), 401);

    // The cookie is signed: another name in it, or another signature, is nobody.
    const [name, value] = customer.split("=");
    const [text, signature] = value.split(".");
    const other = Buffer.from(JSON.stringify({ user: "42", until: Date.now() + 1e6 })).toString("base64url");
    assert.equal(await status("private-customer.42", `${name}=${other}.${signature}`), 401);
    assert.equal(await status("private-customer.17", `${name}=${text}.${signature.slice(1)}`), 401);
    assert.equal(await status("private-customer.17", `${name}=${text}.`), 401);
  });

  test("the server refuses an authorisation that is forged, or made for another channel or connection", async () => {
    const customer = await example.login("17");
    const { key } = main;
    const forgeries = {
      "of no secret": async () => `${key}:${"0".repeat(64)}`,
      "for the own channel": async (socketId) => (await example.authorize("private-customer.17", customer, socketId)).body.auth,
      "for another connection": async () => (await example.authorize("private-admin.invoices", admin, "7.7")).body.auth,
      "of another secret": async (socketId) =>
        backend(server, { ...main, secret: "guessed" }).authorizeChannel(socketId, "private-customer.42").auth,
    };
    for (const [what, forge] of Object.entries(forgeries)) {
      const channelName = what === "for another connection" ? "private-admin.invoices" : "private-customer.42";
      const thief = await clients.connect({
        channelAuthorization: { customHandler: ({ socketId }, done) => forge(socketId).then((auth) => done(null, { auth })) },
      });
      const heard = record(thief.subscribe(channelName));
      const refused = await heard.first("pusher:subscription_error");
      assert.equal(refused.status, 401, what);
      await refusal(thief, /Invalid signature/);
      const free = record(thief.subscribe("open"));
      await free.first("pusher:subscription_succeeded");
      await example.ask("POST", "/api/invoices", { cookie: admin, body: { customerId: "42", title: what, amount: 100 } });
      await marker(clients.sdk, free);
      assert.deepEqual(heard.names(), ["pusher:subscription_error"], what);
    }
  });

  test("customers see their own invoices and change nothing", async () => {
    const customer = await example.login("17");
    const { body: invoice } = await example.ask("POST", "/api/invoices", {
      cookie: admin,
      body: { customerId: "42", title: "Towage", amount: 100 },
    });
    const { body: own } = await example.ask("GET", "/api/invoices", { cookie: customer });
    assert.ok(own.every(({ customerId }) => customerId === "17"));
    const steps = [
      ["POST", "/api/invoices", { customerId: "17", title: "x", amount: 1 }],
      ["PATCH", `/api/invoices/${invoice.id}`, { title: "x", amount: 1 }],
      ["POST", `/api/invoices/${invoice.id}/send`, {}],
      ["POST", `/api/invoices/${invoice.id}/payments`, { amount: 1 }],
    ];
    for (const [method, path, body] of steps) {
      assert.equal((await example.ask(method, path, { cookie: customer, body })).status, 403, path);
      assert.equal((await example.ask(method, path, { body })).status, 401, path);
    }
    assert.equal((await example.ask("GET", "/api/invoices")).status, 401);
    assert.equal((await example.ask("POST", `/api/invoices/${invoice.id}/payments`, { cookie: admin, body: { amount: 1 } })).status, 409);
  });
});
