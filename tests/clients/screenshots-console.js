// Takes the pictures of the console, docs/images/console-*.png, while a small shop is at work: node screenshots-console.js

import { createServer } from "node:http";
import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { startBrowser } from "./lib/browser.js";
import { Clients, backend, pusherJs, subscribe } from "./lib/clients.js";
import { entries, listed, open, visitConsole } from "./lib/console.js";
import { shows } from "./lib/examples.js";
import { Server, app, projectDir } from "./lib/server.js";
import { eventually } from "./lib/wait.js";

const folder = join(projectDir, "docs/images");
mkdirSync(folder, { recursive: true });

// Every third webhook meets a receiver that has just been deployed wrongly.
let calls = 0;
const receiver = createServer((_, response) => response.writeHead((calls += 1) % 3 === 0 ? 502 : 200).end());
await new Promise((resolve) => receiver.listen(0, "127.0.0.1", resolve));
const webhooks = [{ url: `http://127.0.0.1:${receiver.address().port}/webhooks`, events: ["channel_occupied", "member_added"] }];
const shop = app({ name: "Shop", webhooks });
const [browser, server] = await Promise.all([startBrowser(), Server.start({ apps: [shop, app({ id: "1002", key: "staging", name: "Staging" })], webhooks: { retry_seconds: 0 } })]);
const sdk = backend(server, shop);
const clients = new Clients(pusherJs["pusher-js 8"], server, shop);

/** A wide page in one of the two colours, at a section. */
const visit = (section, colorScheme, viewport = { width: 1280, height: 760 }) => visitConsole(browser, server, { section, options: { viewport, colorScheme } });
const picture = (page, name) => page.screenshot({ path: join(folder, `console-${name}.png`) });

const people = [["ada", "Ada Lovelace", "admin"], ["grace", "Grace Hopper", "customer"], ["emmy", "Emmy Noether", "customer"]];

async function work() {
  for (const [n, [id, name, role]] of people.entries()) {
    const client = await clients.connect({ member: { user_id: id, user_info: { name, role } }, user: { id } });
    client.signin();
    await subscribe(client, `private-user.${id}.invoices`);
    await subscribe(client, "presence-support");
    await subscribe(client, `invoice.${1042 + n}`);
  }
  const stranger = await clients.connect({ sign: (auth) => ({ ...auth, auth: `${shop.key}:${"0".repeat(64)}` }) });
  stranger.subscribe("private-user.ada.invoices");
  const payer = await clients.connect();
  await subscribe(payer, "cache-payment.88-31");
  const say = (channel, event, type, more) => sdk.trigger(channel, event, { type, ...more, sentAt: new Date().toISOString() });
  await say(["invoice.1042", "private-user.ada.invoices"], "invoice.updated", "INVOICE_UPDATED", { invoiceId: 1042, title: "Due date moved" });
  await say("invoice.1043", "payment.received", "PAYMENT_RECORDED", { invoiceId: 1043, title: "€499.00 received", body: "Bank transfer", status: "partly paid" });
  await say("cache-payment.88-31", "payment", "LIGHTNING", { externalId: "88-31", amountSat: 21_000, paymentHash: "5f2c…e81d" });
  await say("invoice.1051", "payment.received", "PAYMENT_RECORDED", { invoiceId: 1051, title: "€80.00 received" });
  stranger.disconnect();
  await say("invoice.1042", "invoice.status.changed", "INVOICE_PAID", {
    invoiceId: 1042, title: "Invoice 1042 is paid", body: "Thank you, Ada.", status: "paid",
    lines: [{ text: "Analytical engine", quantity: 1, amount: 125_000 }, { text: "Punch cards", quantity: 500, amount: 4_990 }],
  });
}

try {
  const dark = await visit("live", "dark");
  const light = await visit("live", "light");
  const phone = await visit("live", "dark", { width: 390, height: 760 });
  await work();
  for (const page of [dark, light, phone]) {
    await listed(page, 1, "published", "invoice.status.changed");
    await eventually("the other events", 10_000, async () => (await entries(page, "disconnected").count()) > 0);
  }
  await entries(dark, "published", "invoice.status.changed").click();
  await picture(dark, "live-dark");
  await picture(light, "live-light");
  await picture(phone, "phone-dark");

  await open(light, "create");
  await light.locator("#create-channel").fill("invoice.1042");
  await light.locator("#create-event").fill("payment.received");
  await light.locator("#create-data").fill(`{\n  "invoiceId": 1042,\n  "title": "€1,299.00 received",\n  "status": "paid"\n}`);
  await light.locator("#create-send").click();
  await shows(light, "#create-answer", /200/);
  await picture(light, "create-light");

  await open(dark, "channels");
  await dark.locator("#channels-list tr[data-key=presence-support] a").click();
  await shows(dark, "#channels-inspector", /Grace/);
  await picture(dark, "channels-dark");

  await open(light, "connections");
  await light.locator("#connections-list tr", { hasText: "ada" }).locator("a").click();
  await shows(light, "#connections-inspector", /invoice\.1042/);
  await picture(light, "connections-light");

  await open(dark, "server");
  await shows(dark, "#letters-total", /given up/);
  await picture(dark, "server-dark");

  await open(light, "signature");
  const body = JSON.stringify({ name: "payment.received", channels: ["invoice.1042"], data: `{"status":"paid"}` });
  const query = sdk.createSignedQueryString({ method: "POST", path: `/apps/${shop.id}/events`, body });
  await light.locator("#signature-url").fill(`${server.url}/apps/${shop.id}/events?${query}`);
  await light.locator("#signature-body").fill(JSON.stringify(JSON.parse(body), null, 2));
  await light.locator("#signature-check").click();
  await shows(light, ".verdict", /MD5/);
  await picture(light, "signature-light");
} finally {
  clients.closeAll();
  await browser.close();
  await server.stop();
  receiver.close();
}
