// Stock pusher-js, 8 and 7, in headless Chromium; and the README's quickstart, word for word.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { pathToFileURL } from "node:url";

import { startApplication } from "../lib/application.js";
import { startBrowser, visit } from "../lib/browser.js";
import { address, backend, get } from "../lib/clients.js";
import { at, snippet } from "../lib/docs.js";
import { Server, app, clientsDir, run } from "../lib/server.js";
import { DEADLINE, eventually } from "../lib/wait.js";

const main = app({ id: "1003" });
const quickstart = { id: "1001", key: "app-key", secret: "app-secret" };

describe("Chromium", { timeout: 300_000 }, () => {
  let browser, application, server, sdk, strict;

  before(async () => {
    [browser, application] = await Promise.all([startBrowser(), startApplication()]);
    strict = app({ id: "1002", key: "strict-key", allowed_origins: [application.url] });
    server = await Server.start({ apps: [main, strict, quickstart] });
    application.sdk = sdk = backend(server, main);
  });
  after(async () => {
    await browser?.close();
    await application?.stop();
    await server?.stop();
  });

  test("the README's page, opened as a file, shows what the README's backend publishes", async () => {
    const dir = mkdtempSync(join(tmpdir(), "tidewire-page-"));
    const context = await browser.newContext();
    try {
      const file = join(dir, "invoice.html");
      writeFileSync(file, at(server, snippet("README.md", "html", "payment.received")));
      const page = await context.newPage();
      // The script's place on the network is the only thing that is not as a reader would have it.
      await page.route(/^https:/, (route) => {
        const [, name, version, path] = /\/npm\/([\w-]+)@([\d.]+)\/(.+)$/.exec(route.request().url());
        const { version: installed } = JSON.parse(readFileSync(join(clientsDir, "node_modules", name, "package.json"), "utf8"));
        assert.equal(version, installed);
        return route.fulfill({ path: join(clientsDir, "node_modules", name, path), contentType: "text/javascript" });
      });
      await page.goto(pathToFileURL(file).href);
      const backendOfReadme = backend(server, quickstart);
      await eventually("the page's subscription", DEADLINE, async () => (await get(backendOfReadme, "/channels/invoice.7")).occupied);
      assert.doesNotMatch(await page.innerText("body"), /paid/);

      const published = await run(process.execPath, ["-e", at(server, snippet("README.md", "js", "pusher.trigger("))], { cwd: clientsDir });
      assert.equal(published.status, 0, published.stderr);
      await eventually("the page to show it", DEADLINE, async () => /paid/.test(await page.innerText("body")));
    } finally {
      await context.close();
      rmSync(dir, { recursive: true });
    }
    await server.empties();
  });

  const visitor = (build, options = {}) => visit(browser, application, { build, key: main.key, where: address(server), ...options });

  for (const build of ["pusher-js", "pusher-js-7"]) {
    test(`${build}: public, private, encrypted and presence channels`, async () => {
      const channels = ["open", "private-own", "private-encrypted-own", "presence-room"];
      const ada = await visitor(build, { channels });
      const bob = await visitor(build, { user: 8, channels });
      const user = (id) => ({ id, name: `User ${id}` });
      assert.deepEqual(await bob.until("presence-room", "pusher:subscription_succeeded"), { 7: user(7), 8: user(8) });
      assert.deepEqual((await ada.until("presence-room", "pusher:member_added")).info, user(8));
      for (const name of channels) {
        await sdk.trigger(name, "paid", { amount: "1 €" });
        for (const one of [ada, bob]) assert.deepEqual(await one.until(name, "paid"), { amount: "1 €" });
      }
      await bob.page.evaluate(() => window.client.channel("presence-room").trigger("client-typing", { at: 1 }));
      assert.deepEqual(await ada.until("presence-room", "client-typing"), { at: 1 });
      await bob.page.close();
      assert.deepEqual((await ada.until("presence-room", "pusher:member_removed")).info, user(8));
      assert.deepEqual(await ada.errors(), []);
      await ada.context.close();
      await bob.context.close();
      await server.empties();
    });
  }

  test("an origin that is not allowed is told so with 4009", async () => {
    const allowed = await visitor("pusher-js", { key: strict.key, channels: ["open"] });
    assert.deepEqual(await allowed.errors(), []);
    const elsewhere = application.url.replace("127.0.0.1", "localhost");
    const refused = await visitor("pusher-js", { key: strict.key, url: elsewhere });
    await eventually("a refusal", DEADLINE, async () => (await refused.state()) === "disconnected");
    const [error] = await refused.errors();
    assert.equal(error.code, 4009);
    assert.ok(error.message.includes(elsewhere), error.message);
    await allowed.context.close();
    await refused.context.close();
    await server.empties();
  });

  test("pages come back by themselves after a restart of the server", async () => {
    const builds = ["pusher-js", "pusher-js-7"];
    const pages = await Promise.all(builds.map((build, n) => visitor(build, { user: n + 1, channels: ["private-own", "presence-room"] })));
    await server.restart();
    for (const one of pages) {
      await one.until("private-own", "pusher:subscription_succeeded", 2);
      await one.until("presence-room", "pusher:subscription_succeeded", 2);
    }
    await sdk.trigger(["private-own", "presence-room"], "back", {});
    for (const one of pages) {
      await one.until("private-own", "back");
      await one.until("presence-room", "back");
      assert.deepEqual([...new Set((await one.errors()).map((error) => error.code))], [4200]);
      await one.context.close();
    }
  });
});
