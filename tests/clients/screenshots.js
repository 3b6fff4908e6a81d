// Takes the pictures of docs/images/ from the running examples: node screenshots.js

import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { startBrowser } from "./lib/browser.js";
import { Example, shows } from "./lib/examples.js";
import { Server, app, projectDir } from "./lib/server.js";

const folder = join(projectDir, "docs/images");
mkdirSync(folder, { recursive: true });

const main = app();
const [browser, server] = await Promise.all([startBrowser(), Server.start({ apps: [main] })]);
const example = await Example.start("invoices", server, main);
try {
  const list = await example.visit(browser, "/", "ada");
  const link = list.locator("#invoices a", { hasText: "Analytical engine" });
  const path = await link.getAttribute("href");
  const pay = await example.visit(browser, path);
  await pay.emulateMedia({ colorScheme: "dark" });
  await list.setViewportSize({ width: 760, height: 720 });
  await pay.setViewportSize({ width: 420, height: 720 });
  await example.ask("POST", `${path.replace("/pay", "/api/invoices")}/payments`, { body: { amount: 49_900 } });
  await shows(pay, "#invoice", /€499\.00 received/);
  await shows(list, "#invoices", /partly paid/);
  await list.screenshot({ path: join(folder, "invoices-list.png") });
  await pay.screenshot({ path: join(folder, "invoices-pay.png") });
} finally {
  await browser.close();
  await example.stop();
  await server.stop();
}
