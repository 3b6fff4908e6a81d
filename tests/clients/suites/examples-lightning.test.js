// examples/lightning in headless Chromium: phoenixd's webhook pays, the page shows it, whenever it was opened and
// whatever happened to the connection meanwhile.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { createServer } from "node:http";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";

import { decoded } from "../lib/bolt11.js";
import { startBrowser } from "../lib/browser.js";
import { Clients, pusherJs, record } from "../lib/clients.js";
import { Example, shows } from "../lib/examples.js";
import { modulesOf, read } from "../lib/qr.js";
import { Server, app, projectDir, run } from "../lib/server.js";
import { DEADLINE, eventually } from "../lib/wait.js";

const main = app();
const secret = "a webhook secret of this suite";
const HASH = "8a5e".repeat(16);

/** pusher-js tries again at once; when nobody listens at that moment, its next try is 15 s later, then 30 s. */
const RETRY_DEADLINE = 60_000;

describe("examples/lightning", { timeout: 300_000 }, () => {
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

  /** What the cache channel of an external id has last said. */
  async function published(channelName) {
    const clients = new Clients(pusherJs["pusher-js 8"], server, main);
    const heard = record((await clients.connect()).subscribe(channelName));
    const payment = await heard.first("payment");
    clients.closeAll();
    return payment;
  }

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

  test("the page shows a BOLT 11 invoice as text and as a QR code, and hides it when it is paid", async () => {
    const externalId = await order(2100);
    const page = await waiting(externalId);
    await shows(page, "#invoice", /Copy[^]*Open in a wallet/);
    const text = await page.inputValue("#text");
    const { prefix, paymentHash, description, isIntact } = decoded(text);
    assert.deepEqual([prefix, description, isIntact], ["lnbcrt21u", "Tea", true]);
    const { body } = await shop.ask("GET", `/api/orders/${externalId}`);
    assert.deepEqual([body.paymentHash, body.invoice, body.amountSat], [paymentHash, text, 2100]);
    assert.equal(await page.innerText("#hash"), paymentHash);
    assert.equal(await page.getAttribute("#wallet", "href"), `lightning:${text}`);

    // The picture that the page shows, module by module.
    await eventually("the picture", DEADLINE, () => page.locator("#qr").evaluate((image) => image.complete && image.naturalWidth > 0));
    const { body: image } = await shop.ask("GET", new URL(await page.getAttribute("#qr", "src"), shop.url).pathname);
    const modules = modulesOf(image);
    assert.equal(read(modules), `LIGHTNING:${text.toUpperCase()}`);
    modules.at(-1)[modules.length - 1] = !modules.at(-1).at(-1);
    assert.throws(() => read(modules), /damaged/);

    assert.equal((await webhook({ ...received(externalId, 2100, paymentHash), timestamp: 1712785550079 })).status, 200);
    await shows(page, "#status", /^paid$/);
    assert.equal(await page.locator("#invoice").isVisible(), false);
    assert.deepEqual(await published(`cache-payment.${externalId}`), {
      externalId, paymentHash, amountSat: 2100, timestamp: 1712785550079, receivedSat: 2100, status: "paid",
    });
    assert.deepEqual(page.problems, []);
  });

  test("any text is an external id, with an order or without", async () => {
    for (const externalId of ["order-7", "#123", "Kaffee ☕ a=b/c%20?", "x".repeat(256)]) {
      const { status } = await shop.ask("POST", "/api/orders", { body: { title: "Tea", amountSat: 1000, externalId } });
      assert.equal(status, 200, externalId);
      assert.equal((await shop.ask("POST", "/api/orders", { body: { title: "Tea", amountSat: 1, externalId } })).status, 409);
      const page = await waiting(encodeURIComponent(externalId));
      assert.equal((await webhook(received(externalId))).status, 200);
      await shows(page, "#status", /^paid$/);
      assert.deepEqual(page.problems, []);
      await page.context().close();
    }
    // Ordered elsewhere: its payment is told to whoever waits for it.
    const page = await shop.visit(browser, "/pay/invoice%2F9");
    await shows(page, "#order h2", /^Payment$/);
    assert.equal(await page.locator("#invoice").isVisible(), false);
    assert.equal((await webhook({ ...received("invoice/9", 5), timestamp: undefined })).status, 200);
    await shows(page, "#order", /5 sat received/);
    const { timestamp, ...payment } = await published("cache-payment.invoice=2f9");
    assert.deepEqual(payment, { externalId: "invoice/9", paymentHash: HASH, amountSat: 5, receivedSat: 5, status: "paid" });
    assert.ok(Math.abs(timestamp - Date.now()) < 60_000);
    const refused = async (externalId) => (await shop.ask("POST", "/api/orders", { body: { title: "Tea", amountSat: 1, externalId } })).status;
    for (const externalId of ["", 7, "x".repeat(257), ["a"]]) assert.equal(await refused(externalId), 400, JSON.stringify(externalId));
  });

  test("a phoenixd makes the invoices where there is one", async () => {
    const asked = [];
    let answer = { amountSat: 1000, paymentHash: HASH, serialized: "lnbc10u1fromphoenixd" };
    const phoenixd = createServer(async (request, response) => {
      let body = "";
      for await (const chunk of request) body += chunk;
      asked.push([request.method, request.url, request.headers.authorization, Object.fromEntries(new URLSearchParams(body))]);
      response.writeHead(answer ? 200 : 500).end(answer ? JSON.stringify(answer) : "no liquidity");
    });
    await new Promise((resolve) => phoenixd.listen(0, "127.0.0.1", resolve));
    const url = `http://127.0.0.1:${phoenixd.address().port}`;
    const real = await Example.start("lightning", server, main, { PHOENIXD_URL: url, PHOENIXD_PASSWORD: "its password" });
    try {
      const create = () => real.ask("POST", "/api/orders", { body: { title: "Tea", amountSat: 1000 } });
      const { externalId } = (await create()).body;
      const { body } = await real.ask("GET", `/api/orders/${externalId}`);
      assert.deepEqual([body.invoice, body.paymentHash], ["lnbc10u1fromphoenixd", HASH]);
      const basic = `Basic ${Buffer.from(":its password").toString("base64")}`;
      assert.deepEqual(asked, [["POST", "/createinvoice", basic, { description: "Tea", amountSat: "1000", externalId }]]);
      answer = null;
      const failed = await create();
      assert.deepEqual([failed.status, failed.body.error], [502, "The Lightning node makes no invoice now. Try again later"]);
      assert.match(real.output, /No invoice from phoenixd at http:\/\/127\.0\.0\.1:\d+: it answers 500: no liquidity/);
    } finally {
      await real.stop();
      phoenixd.close();
    }
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
    assert.equal(await status(null, { body: "nonsense" }), 400);
    // For no order, or of another type: right, but nothing to do.
    assert.equal(await status({ ...payment, externalId: null }), 200);
    assert.equal(await status({ ...payment, type: "payment_sent" }), 200);
    assert.deepEqual((await shop.ask("GET", `/api/orders/${externalId}/payment`)).body, { payment: null });
  });
});
