// The examples whose backend only passed webhooks on, without it: their configurations and their static pages in headless
// Chromium, and deliveries as phoenixd and Amazon SNS send them.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";

import { SignJWT } from "jose";

import { startBrowser } from "../lib/browser.js";
import { at, page as file } from "../lib/docs.js";
import { shows } from "../lib/examples.js";
import { Server, clientsDir, projectDir } from "../lib/server.js";
import { Sns } from "../lib/sns.js";

const PHOENIXD_SECRET = "ef72d3b96324106dfbf83f2a4efeff7dddb4ce923e9664cb56baf34cc52936b6";
const TOKEN_SECRET = "the token secret of this suite, 32+";

describe("examples without a backend", { timeout: 300_000 }, () => {
  let browser, server, sns;

  before(async () => {
    browser = await startBrowser();
    sns = await Sns.start();
  });
  afterEach(async () => {
    await Promise.all(browser.contexts().map((context) => context.close()));
    await server?.stop();
    server = null;
  });
  after(async () => {
    await browser?.close();
    sns?.stop();
  });

  /** An example's own configuration; Amazon SNS is the stand-in. */
  const start = async (name) => {
    const standIn = `kind = "sns"\nsns_test = { host = "${sns.host}", ca_file = "${sns.caFile}" }`;
    const toml = file(`examples/${name}/static/apps.toml`)
      .replace("${PHOENIXD_WEBHOOK_SECRET}", PHOENIXD_SECRET)
      .replace("${PORTALS_TOKEN_SECRET}", TOKEN_SECRET)
      .replace('kind = "sns"', standIn);
    server = await Server.start({ toml });
  };

  /** A static page of an example, from the file system, but with this server's port and the tests' copy of pusher-js. */
  async function visit(path, query) {
    const page = await (await browser.newContext()).newPage();
    page.problems = [];
    page.on("pageerror", (error) => page.problems.push(error.message));
    const html = at(server, file(path));
    await page.route(/\/static\/\w+\.html/, (route) => route.fulfill({ contentType: "text/html", body: html }));
    await page.route(/node_modules\/pusher-js/, (route) => route.fulfill({ path: join(clientsDir, "node_modules/pusher-js/dist/web/pusher.min.js") }));
    await page.goto(`file://${join(projectDir, path)}${query}`);
    return page;
  }

  const sourceUrl = (name) => `${server.url}/apps/1001/sources/${name}`;

  test("the pay page of lightning shows a payment that phoenixd tells, also if it is opened later", async () => {
    await start("lightning");
    const pay = async (externalId, secret = PHOENIXD_SECRET) => {
      const payment = { type: "payment_received", timestamp: Date.now(), amountSat: 600, paymentHash: "8a5e".repeat(16), externalId };
      const body = JSON.stringify(payment, null, 4);
      const signature = createHmac("sha256", secret).update(body).digest("hex");
      return (await fetch(sourceUrl("lightning"), { method: "POST", headers: { "x-phoenix-signature": signature }, body })).status;
    };
    const early = await visit("examples/lightning/static/pay.html", "?order=order-7");
    await shows(early, "#status", /^waiting$/);
    assert.equal(await pay("order-7", "guessed"), 401);
    assert.equal(await pay("order-7"), 200);
    const late = await visit("examples/lightning/static/pay.html", "?order=order-7");
    for (const page of [early, late]) {
      await shows(page, "#status", /^paid$/);
      await shows(page, "p", /^600 sat received$/);
    }
    assert.equal(await pay(null), 200, "a payment without an external id is nobody's here");
    assert.deepEqual([...early.problems, ...late.problems], []);
  });

  test("the portals show what an SNS topic tells, to each only what is theirs", async () => {
    await start("portals");
    const token = (...channels) =>
      new SignJWT({ channels }).setProtectedHeader({ alg: "HS256" }).setExpirationTime("1h").sign(new TextEncoder().encode(TOKEN_SECRET));
    const portal = async (channel, named = channel) => visit("examples/portals/static/portal.html", `#${new URLSearchParams({ channel, token: await token(named) })}`);
    const office = await portal("private-admin.invoices");
    const customer = await portal("private-customer.17");
    const other = await portal("private-customer.42");
    const thief = await portal("private-customer.17", "private-customer.42");
    for (const page of [office, customer, other]) await shows(page, "#connection", /^Live$/);
    await shows(thief, "#connection", /may not listen/);

    const confirmation = sns.confirmation();
    assert.equal((await sns.post(sourceUrl("invoices"), confirmation)).status, 200);
    assert.ok(sns.requests.some((request) => request.endsWith(`Token=${confirmation.Token}`)));
    const tell = async (eventType, invoice, customerId = "17") => {
      const message = sns.message({ Message: JSON.stringify({ eventType, customerId, invoice }) });
      assert.equal((await sns.post(sourceUrl("invoices"), message)).status, 200);
    };
    await tell("INVOICE_CREATED", { id: "1", title: "Mooring fee", status: "draft" });
    await shows(office, "#invoices", /^Mooring fee: draft$/);
    await tell("INVOICE_SENT", { id: "1", title: "Mooring fee", status: "sent" });
    for (const page of [office, customer]) await shows(page, "#invoices", /^Mooring fee: sent$/);
    // The first that the other customer hears of is the other's own.
    await tell("INVOICE_SENT", { id: "2", title: "Pilotage", status: "sent" }, "42");
    await shows(other, "#invoices", /^Pilotage: sent$/);
    await shows(office, "#invoices", /^Mooring fee: sent\s+Pilotage: sent$/);
    for (const page of [customer, thief]) assert.doesNotMatch(await page.innerText("#invoices"), /Pilotage/);
    assert.equal(await thief.innerText("#invoices"), "");
    for (const page of [office, customer, other, thief]) assert.deepEqual(page.problems, []);
  });
});
