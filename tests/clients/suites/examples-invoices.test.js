// examples/invoices in headless Chromium: what is paid shows on the pay page and on the list, on public channels, on
// private ones, and on names that a rule makes private.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import { startBrowser } from "../lib/browser.js";
import { Clients, address, pusherJs, record } from "../lib/clients.js";
import { Example, shows, spyOnAttention } from "../lib/examples.js";
import { Server, app, projectDir, tidewire } from "../lib/server.js";
import { DEADLINE, eventually } from "../lib/wait.js";

const main = app();
const withRule = app({ id: "1002", key: "rule-key", channels: [{ match: "user.{user_id}.invoices", subscribe: "user" }] });

describe("examples/invoices", { timeout: 300_000 }, () => {
  let browser, server, open, closed, ruled;

  before(async () => {
    browser = await startBrowser();
    server = await Server.start({ apps: [main, withRule] });
    open = await Example.start("invoices", server, main);
    closed = await Example.start("invoices", server, main, { CHANNELS: "private" });
    ruled = await Example.start("invoices", server, withRule, { CHANNELS: "rules" });
  });
  afterEach(async () => {
    await Promise.all(browser.contexts().map((context) => context.close()));
    await server.empties();
  });
  after(async () => {
    await browser?.close();
    await Promise.all([open?.stop(), closed?.stop(), ruled?.stop()]);
    await server?.stop();
  });

  async function newInvoice(example, title = "Tide tables", amount = 10_000) {
    const cookie = await example.login("ada");
    const created = await example.ask("POST", "/api/invoices", { cookie, body: { title, amount, customerId: "grace" } });
    assert.equal(created.status, 200, JSON.stringify(created.body));
    return { cookie, id: created.body.id };
  }

  for (const [kind, which, payer] of [
    ["public", () => open, undefined],
    ["private", () => closed, "grace"],
    ["ruled", () => ruled, undefined],
  ]) {
    test(`${kind} channels: a payment posted to the backend shows on both pages`, async () => {
      const example = which();
      const { id } = await newInvoice(example);
      const list = await example.visit(browser, "/", "ada");
      const pay = await example.visit(browser, `/pay/${id}`, payer);
      await shows(pay, "#status", /^open$/);
      const row = `#invoices > li:has(a[href="/pay/${id}"])`;
      await shows(list, row, /open/);

      const cookie = payer && (await example.login(payer));
      const paid = await example.ask("POST", `/api/invoices/${id}/payments`, { cookie, body: { amount: 4_000 } });
      assert.equal(paid.status, 200, JSON.stringify(paid.body));
      await shows(pay, "#history", /Payment received €40\.00 for Tide tables/);
      await shows(pay, "#history", /New status The invoice is partly paid/);
      await shows(pay, "#status", /^partly paid$/);
      await shows(pay, "#invoice", /€60\.00/);
      await shows(pay, "#toasts", /Payment received/);
      await shows(list, row, /partly paid/);
      await shows(list, "#toasts", /Payment received €40\.00 for Tide tables/);
      await shows(list, "#news", /^1 new$/);

      await pay.click("#invoice button");
      await shows(pay, "#status", /^paid$/);
      await shows(list, row, /\bpaid$/m);
      await shows(list, "#news", /^2 new$/);
      assert.deepEqual([...list.problems, ...pay.problems], []);
    });
  }

  test("what the list page creates and changes shows there and on the pay page", async () => {
    const list = await open.visit(browser, "/", "ada");
    await list.fill("#create [name=title]", "<b>Buoys</b>");
    await list.fill("#create [name=amount]", "12.50");
    await list.click("#create button");
    await shows(list, "#toasts", /New invoice <b>Buoys<\/b>/);
    const row = list.locator("#invoices > li", { hasText: "<b>Buoys</b>" });
    const pay = await open.visit(browser, await row.locator("a").getAttribute("href"));
    await row.locator("summary").click();
    await row.locator("[name=title]").fill("Lighthouse");
    await row.locator("details button").click();
    await shows(pay, "#invoice h2", /^Lighthouse$/);
    await shows(list, "#invoices", /Lighthouse/);
    assert.deepEqual([...list.problems, ...pay.problems], []);
  });

  test("the payload and the events are what is documented", async () => {
    const clients = new Clients(pusherJs["pusher-js 8"], server, main);
    const client = await clients.connect();
    const onList = record(client.subscribe("user.ada.invoices"));
    await onList.first("pusher:subscription_succeeded");
    const { id, cookie } = await newInvoice(open);
    const onInvoice = record(client.subscribe(`invoice.${id}`));
    await onInvoice.first("pusher:subscription_succeeded");
    await open.ask("POST", `/api/invoices/${id}/payments`, { body: { amount: 10_000 } });
    await open.ask("PATCH", `/api/invoices/${id}`, { cookie, body: { title: "Moved", amount: 20_000 } });
    await onInvoice.first("invoice.updated");
    await onList.first("invoice.updated");
    const published = (recorder) => recorder.names().filter((name) => !name.startsWith("pusher:"));
    assert.deepEqual(published(onInvoice), ["payment.received", "invoice.status.changed", "invoice.updated"]);
    assert.deepEqual(published(onList), ["invoice.created", "payment.received", "invoice.updated"]);
    const { sentAt, ...payment } = onInvoice.of("payment.received")[0];
    assert.deepEqual(payment, {
      title: "Payment received",
      body: "€100.00 for Tide tables",
      type: "invoice_completed",
      invoiceId: id,
      status: "paid",
    });
    assert.ok(Math.abs(Date.parse(sentAt) - Date.now()) < 60_000);
    // A kind of news, which is not the event's name.
    await open.ask("POST", `/api/invoices/${id}/payments`, { body: { amount: 1_000 } });
    const types = async (recorder, event, n) => (await eventually(`${n} ${event}`, DEADLINE, () => recorder.of(event).length === n && recorder.of(event))).map(({ type }) => type);
    assert.deepEqual(await types(onList, "payment.received", 2), ["invoice_completed", "payment_received"]);
    assert.deepEqual(await types(onList, "invoice.created", 1), ["invoice_created"]);
    assert.deepEqual(await types(onList, "invoice.updated", 1), ["invoice_updated"]);
    assert.deepEqual(await types(onInvoice, "invoice.status.changed", 1), ["invoice_completed"]);
    clients.closeAll();
  });

  test("a payment is called out by a sound and by the browser, each if it is switched on", async () => {
    const { id, cookie } = await newInvoice(open);
    const list = await open.visit(browser, "/", "ada", { prepare: spyOnAttention });
    const called = () => list.evaluate(() => [window.tones, window.notes.length]);
    const pays = async (amount) => {
      await open.ask("POST", `/api/invoices/${id}/payments`, { body: { amount } });
      await shows(list, "#toasts", new RegExp(`€${(amount / 100).toFixed(2).replace(".", "\\.")} for Tide tables`));
    };
    for (const name of ["sound", "notification"]) {
      const box = list.locator(`[name=${name}]`);
      assert.equal(await box.isChecked(), false);
      const help = await list.innerText(`#${await box.getAttribute("aria-describedby")}`);
      assert.match(help, /\. Browser.*\.$|Your browser.*\.$/);
    }
    await pays(1_000);
    assert.deepEqual(await called(), [0, 0]);
    // Turned on, it can be heard at once.
    await list.locator("[name=sound]").click();
    await eventually("two tones", DEADLINE, async () => (await called())[0] === 2);
    await pays(1_100);
    await eventually("two more", DEADLINE, async () => (await called())[0] === 4);
    await list.locator("[name=notification]").click();
    await pays(1_200);
    await eventually("a notification", DEADLINE, async () => (await called())[1] === 1);
    const [note] = await list.evaluate(() => window.notes);
    assert.equal(note.title, "Payment received");
    assert.match(note.body, /€12\.00 for Tide tables/);
    // Other news than payments call nobody.
    await open.ask("PATCH", `/api/invoices/${id}`, { cookie, body: { title: "Tables", amount: 9_000 } });
    await shows(list, "#toasts", /Invoice changed/);
    await eventually("the tones of the last payment", DEADLINE, async () => (await called())[0] === 6);
    assert.deepEqual(await called(), [6, 1]);
    await list.locator("[name=sound]").click();
    await list.reload();
    await shows(list, "#connection", /^Live$/);
    assert.deepEqual([await list.isChecked("[name=sound]"), await list.isChecked("[name=notification]")], [false, true]);
    assert.deepEqual(list.problems, []);
  });

  test("notifications that the browser refuses are switched off again, with what to do", async () => {
    const list = await open.visit(browser, "/", "ada", { prepare: () => (window.Notification = class { static permission = "denied"; static requestPermission = async () => "denied"; }) });
    await list.locator("[name=notification]").click();
    await shows(list, "#notification-help", /refuses notifications.*Allow them in its settings/);
    assert.equal(await list.isChecked("[name=notification]"), false);
  });

  test("somebody else's invoice shows nothing to pay, and no page that looks alive", async () => {
    const { id } = await newInvoice(closed);
    const page = await closed.visit(browser, `/pay/${id}`, "hugo", { isRefused: true });
    await shows(page, "#nothing", /You may not see this[^]*somebody else's/);
    assert.equal(await page.locator("main button, main form").count(), 0);
    await eventually("no live badge", DEADLINE, async () => (await page.getAttribute("#connection", "data-live")) === "false");
    assert.doesNotMatch(await page.innerText("body"), /\bLive\b|\bPay\b(?! an)/);
    const missing = await closed.visit(browser, "/pay/none", "grace", { isRefused: true });
    await shows(missing, "#nothing", /nothing here[^]*no such invoice/);
  });

  test("private channels are for whom the invoice is, and pages ask who that is", async () => {
    const { id, cookie: ada } = await newInvoice(closed);
    const [grace, hugo, ben] = await Promise.all(["grace", "hugo", "ben"].map((user) => closed.login(user)));
    const channel = `private-invoice.${id}`;
    const statuses = async (name, cookies) => Promise.all(cookies.map(async (cookie) => (await closed.authorize(name, cookie)).status));
    assert.deepEqual(await statuses(channel, [ada, grace, hugo, ben, undefined]), [200, 200, 403, 403, 401]);
    assert.deepEqual(await statuses("private-user.ada.invoices", [ada, grace, ben, undefined]), [200, 403, 403, 401]);
    assert.deepEqual(await statuses("private-anything", [ada]), [403]);
    const forged = grace.replace("=", "=x");
    assert.equal((await closed.authorize(channel, forged)).status, 401);
    assert.equal((await closed.ask("GET", `/api/invoices/${id}`, { cookie: hugo })).status, 403);
    assert.equal((await closed.ask("POST", `/api/invoices/${id}/payments`, { cookie: hugo, body: { amount: 1 } })).status, 403);
    assert.equal((await closed.ask("PATCH", `/api/invoices/${id}`, { cookie: ben, body: { title: "x", amount: 1 } })).status, 403);
    assert.equal((await closed.ask("GET", `/pay/${id}`)).status, 303);
  });

  test("by the rule nobody listens to the list of somebody else, whatever runs in the page", async () => {
    const ben = await ruled.visit(browser, "/", "ben");
    const refused = await ben.evaluate(
      ({ key, where }) =>
        new Promise((resolve) => {
          const client = new window.Pusher(key, where);
          window.heard = [];
          client.subscribe("user.ada.invoices").bind_global((event, data) => {
            window.heard.push(event);
            if (event === "pusher:subscription_error") resolve(data.status);
          });
          client.signin();
        }),
      { key: withRule.key, where: address(server) },
    );
    assert.equal(refused, 401);
    const ada = await ruled.visit(browser, "/", "ada");
    await newInvoice(ruled, "Soundings");
    await shows(ada, "#toasts", /New invoice Soundings/);
    assert.deepEqual(await ben.evaluate(() => window.heard), ["pusher:subscription_error"]);
    assert.doesNotMatch(await ben.innerText("body"), /Soundings/);
    assert.equal((await ruled.ask("POST", "/pusher/user-auth", { body: { socket_id: "1.1" } })).status, 401);
    assert.deepEqual([...ada.problems, ...ben.problems], []);
    const checked = await tidewire("check-config", "--config", `${projectDir}/examples/invoices/rules.toml`, "--channel", "user.ada.invoices");
    assert.match(checked.stdout, /^subscribe +user$/m, checked.stderr);
  });

  test("what makes no sense is refused with its reason", async () => {
    const { id, cookie } = await newInvoice(open);
    const refused = async (status, reason, ...request) => {
      const answer = await open.ask(...request);
      assert.equal(answer.status, status, JSON.stringify(answer.body));
      assert.match(answer.body.error, reason);
    };
    const payments = `/api/invoices/${id}/payments`;
    await refused(400, /Expected amount/, "POST", payments, { body: { amount: -1 } });
    await refused(400, /Expected amount/, "POST", payments, { body: { amount: 1.5 } });
    await refused(409, /more than is open/, "POST", payments, { body: { amount: 10_001 } });
    await refused(400, /JSON object/, "POST", payments, { body: "[]", headers: { "content-type": "application/json" } });
    await refused(413, /at most/, "POST", payments, { body: { amount: "1".repeat(20_000) } });
    await refused(404, /no such invoice/, "POST", "/api/invoices/none/payments", { body: { amount: 1 } });
    await refused(401, /Log in/, "POST", "/api/invoices", { body: { title: "x", amount: 1, customerId: "grace" } });
    await refused(400, /customerId/, "POST", "/api/invoices", { cookie, body: { title: "x", amount: 1, customerId: "eve" } });
    await refused(400, /socket_id/, "POST", "/pusher/auth", { cookie, body: { socket_id: ["1.1"], channel_name: "private-x" } });
  });
});
