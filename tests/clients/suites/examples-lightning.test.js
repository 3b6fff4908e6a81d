// examples/lightning in headless Chromium: phoenixd's webhook pays, the page shows it, whenever it was opened and
// whatever happened to the connection meanwhile.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";

import { startBrowser } from "../lib/browser.js";
import { Example, shows } from "../lib/examples.js";
import { Server, app, projectDir, run } from "../lib/server.js";

const main = app();
const secret = "a webhook secret of this suite";
const HASH = "8a5e".repeat(16);

/** pusher-js tries again at once; when nobody listens at that moment, its next try is 15 s later, then 30 s. */
const RETRY_DEADLINE = 60_000;

describe("examples/lightning", { timeout: 240_000 }, () => {
  let browser, server, shop;

  before(async () => {
    browser = await startBrowser();
    server = await Server.start({ apps: [main] });
    shop = await Example.start("lightning", server, main, {
      PHOENIXD_WEBHOOK_SECRET: secret,
      ADMIN_URL: server.adminUrls.join(","),
    });
  });
  afterEach(async () => {
    await Promise.all(browser.contexts().map((context) => context.close()));
    await server.empties();
  });
  after(async () => {
    await browser?.close();
    await shop?.stop();
    await server?.stop();
  });

  const order = async (amountSat = 1000) => (await shop.ask("POST", "/api/orders", { body: { title: "Tea", amountSat } })).body.externalId;

  /** A webhook as phoenixd sends it: pretty-printed JSON, and the signature of these very bytes. */
  function webhook(payment, { body = JSON.stringify(payment, null, 4), key = secret, headers = {} } = {}) {
    const signature = createHmac("sha256", key).update(body).digest("hex");
    return shop.ask("POST", "/webhooks/phoenixd", {
      body,
      headers: { "content-type": "application/json", "x-phoenix-signature": signature, ...headers },
    });
  }

  const received = (externalId, amountSat = 1000, paymentHash = HASH) => ({ type: "payment_received", amountSat, paymentHash, externalId });

  /** The pay page, and the requests that it makes. */
  async function waiting(externalId) {
    const page = await shop.visit(browser, `/pay/${externalId}`);
    await shows(page, "#order h2", /^Tea$/);
    return page;
  }

  test("a page that waits shows the payment of phoenixd's webhook", async () => {
    const externalId = await order();
    const page = await waiting(externalId);
    await shows(page, "#status", /^waiting$/);
    assert.equal((await webhook(received(externalId, 400, "ab".repeat(32)))).status, 200);
    await shows(page, "#status", /^partly paid$/);
    // The rest comes twice, as a webhook may, and counts once; and as a form.
    const rest = received(externalId, 600);
    for (let n = 0; n < 2; n++) assert.equal((await webhook(rest)).status, 200);
    const form = { body: new URLSearchParams(rest).toString(), headers: { "content-type": "application/x-www-form-urlencoded" } };
    assert.equal((await webhook(rest, form)).status, 200);
    await shows(page, "#status", /^paid$/);
    await shows(page, "#order", /\n1000 sat received/);
    assert.deepEqual(page.problems, []);
  });

  test("a page that is opened after the payment gets it from the channel's cache", async () => {
    const externalId = await order();
    const paid = await run(process.execPath, [join(projectDir, "examples/lightning/send-payment.js"), externalId, "1000"], {
      env: { SHOP_URL: shop.url, PHOENIXD_WEBHOOK_SECRET: secret },
    });
    assert.equal(paid.status, 0, paid.stdout + paid.stderr);
    const context = await browser.newContext();
    const page = await context.newPage();
    const asked = [];
    page.on("request", (request) => asked.push(new URL(request.url()).pathname));
    await page.goto(`${shop.url}/pay/${externalId}`);
    await shows(page, "#status", /^paid$/);
    assert.ok(asked.includes(`/api/orders/${externalId}`));
    assert.ok(!asked.includes(`/api/orders/${externalId}/payment`), "it asked the backend for the payment");
  });

  test("the page says that the server is away, comes back by itself, and shows what was paid", async () => {
    const [meanwhile, later] = [await order(), await order()];
    const [one, two] = [await waiting(meanwhile), await waiting(later)];
    await server.terminate();
    for (const page of [one, two]) await shows(page, "#connection", /^Connection lost, trying again…$/);
    // Nobody can be told now. phoenixd has its answer once the backend has given up telling.
    assert.equal((await webhook(received(meanwhile))).status, 200);
    await shows(one, "#status", /^waiting$/);
    await server.respawn();
    for (const page of [one, two]) await shows(page, "#connection", /^Live$/, RETRY_DEADLINE);
    await shows(one, "#status", /^paid$/);
    await shows(two, "#status", /^waiting$/);
    assert.equal((await webhook(received(later))).status, 200);
    await shows(two, "#status", /^paid$/);
  });

  test("the shop shows how many pages are connected", async () => {
    const page = await browser.newPage();
    await page.goto(shop.url);
    await shows(page, "#clients", /^0$/);
    const externalId = await order();
    await waiting(externalId);
    const second = await waiting(externalId);
    await shows(page, "#clients", /^2$/);
    await second.close();
    await shows(page, "#clients", /^1$/);
  });

  test("only what phoenixd has signed counts, and only if it makes sense", async () => {
    const externalId = await order();
    const payment = received(externalId);
    const status = async (...request) => (await webhook(...request)).status;
    assert.equal(await status(payment, { key: "guessed" }), 401);
    assert.equal(await status(payment, { headers: { "x-phoenix-signature": "" } }), 401);
    const signature = createHmac("sha256", secret).update(JSON.stringify(payment, null, 4)).digest("hex");
    const more = JSON.stringify({ ...payment, amountSat: 1_000_000 });
    assert.equal(await status(null, { body: more, headers: { "x-phoenix-signature": signature } }), 401);
    assert.equal(await status({ ...payment, amountSat: 0 }), 400);
    assert.equal(await status({ ...payment, paymentHash: "xyz" }), 400);
    assert.equal(await status({ ...payment, externalId: "unknown" }), 404);
    assert.equal(await status(null, { body: "nonsense" }), 400);
    // For no order, or of another type: right, but nothing to do.
    assert.equal(await status({ ...payment, externalId: null }), 200);
    assert.equal(await status({ ...payment, type: "payment_sent" }), 200);
    assert.deepEqual((await shop.ask("GET", `/api/orders/${externalId}/payment`)).body, { payment: null });
  });
});
