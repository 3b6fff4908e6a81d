// What all examples have in common: what their readers install is what these suites run, one that cannot start says why,
// and a page that may not listen does not look alive.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync, readdirSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";

import { startBrowser } from "../lib/browser.js";
import { Example, shows } from "../lib/examples.js";
import { Server, app, clientsDir, projectDir, run } from "../lib/server.js";

const folder = join(projectDir, "examples");
const json = (...path) => JSON.parse(readFileSync(join(...path), "utf8"));
const names = json(folder, "package.json").workspaces;

test("the examples' lock file holds the packages that are tested", () => {
  const theirs = json(folder, "package-lock.json").packages;
  const ours = json(clientsDir, "package-lock.json").packages;
  for (const [path, { version }] of Object.entries(theirs)) {
    const isPackage = path.startsWith("node_modules/") && !names.includes(path.slice("node_modules/".length));
    if (isPackage) assert.equal(version, ours[path]?.version, path);
  }
  assert.equal(theirs["node_modules/pusher"].version, ours["node_modules/pusher"].version);
});

test("every example has a README that says how to run it, and a suite", () => {
  const folders = readdirSync(folder, { withFileTypes: true }).filter((one) => one.isDirectory() && !["shared", "node_modules"].includes(one.name));
  assert.deepEqual(folders.map(({ name }) => name).sort(), [...names].sort());
  for (const name of names) {
    assert.match(readFileSync(join(folder, name, "README.md"), "utf8"), new RegExp(`^npm start -w ${name}$`, "m"));
    assert.match(readFileSync(join(clientsDir, "suites", `examples-${name}.test.js`), "utf8"), new RegExp(`"${name}"`));
  }
});

test("an example that cannot listen says why in one line, and ends with 1", async () => {
  const taken = createServer().listen(0, "127.0.0.1");
  await once(taken, "listening");
  const { port } = taken.address();
  try {
    for (const name of names) {
      const start = (env) => run(process.execPath, ["--import", join(clientsDir, "lib/packages.js"), "server.js"], { cwd: join(folder, name), env });
      for (const [env, why] of [
        [{ PORT: String(port) }, `${name} cannot listen on 127\\.0\\.0\\.1:${port}: another program has it\\. .*set PORT`],
        [{ PORT: "eighty" }, `${name} cannot listen on 127\\.0\\.0\\.1:eighty: expected PORT: a number`],
        [{ PORT: "70000" }, `${name} cannot listen on 127\\.0\\.0\\.1:70000: expected PORT: a number`],
        [{ PORT: "0", HOST: "192.0.2.1" }, `${name} cannot listen on 192\\.0\\.2\\.1:0: this machine does not have the address`],
      ]) {
        const { status, stdout, stderr } = await start(env);
        assert.equal(status, 1, stderr);
        assert.equal(stdout, "");
        assert.match(stderr, new RegExp(`^${why}.*\\n$`));
      }
    }
  } finally {
    taken.close();
  }
});

describe("a page that may not listen", { timeout: 300_000 }, () => {
  const main = app({ limits: { channel_name_length: 40 } });
  let browser, server;

  before(async () => {
    browser = await startBrowser();
    server = await Server.start({ apps: [main] });
  });
  afterEach(async () => {
    await Promise.all(browser.contexts().map((context) => context.close()));
    await server.empties();
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  // Public channels need no signature, but the server refuses names that are too long.
  const longId = "x".repeat(60);
  for (const [name, user, path, reason] of [
    ["invoices", "ada", "/", /signature/i],
    ["portals", "17", "/", /signature/i],
    ["organisations", "ada", "/", /signature/i],
    ["lightning", undefined, `/pay/${longId}`, /channel/i],
  ]) {
    test(`of ${name} says so, with the server's reason, instead of "Live"`, async () => {
      const example = await Example.start(name, server, main, { CHANNELS: "private", PUSHER_APP_SECRET: "not-the-secret" });
      try {
        const page = await example.visit(browser, path, user, { isRefused: true });
        await shows(page, "#connection", /^No live updates$/);
        assert.equal(await page.getAttribute("#connection", "data-live"), "false");
        await shows(page, "#refused", /^This page does not update by itself\. /);
        assert.match(await page.innerText("#refused"), reason);
        assert.deepEqual(page.joined, []);
        if (!user) return;
        // The same when it is the backend that refuses, as it does when a login has ended.
        const ended = await example.visit(browser, path, user, { isRefused: true });
        await ended.route("**/pusher/auth", (route) => route.fulfill({ status: 401, json: { error: "Log in first" } }));
        await ended.reload();
        await shows(ended, "#connection", /^No live updates$/);
        await shows(ended, "#refused", /Your login has ended: log in again\.$/);
      } finally {
        await example.stop();
      }
    });
  }
});
