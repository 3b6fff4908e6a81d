// What the examples' readers install is what these suites run.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";

import { Example } from "../lib/examples.js";
import { clientsDir, projectDir } from "../lib/server.js";

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

test("an example whose port is taken or none says so in one line", { timeout: 60_000 }, async () => {
  const other = createServer();
  await new Promise((listening) => other.listen(0, "127.0.0.1", listening));
  const taken = String(other.address().port);
  const server = { host: "127.0.0.1", port: 6001 };
  const app = { id: "1", key: "k", secret: "s" };
  try {
    for (const name of names) {
      for (const [PORT, hint] of [[taken, "something else listens there; stop it, or set another PORT"], ["x", "expected a number from 0 to 65535 as PORT"]]) {
        const ended = Example.start(name, server, app, { PORT });
        await assert.rejects(ended, { message: `${name} ended: ${name} cannot listen on 127.0.0.1:${PORT}: ${hint}\n` });
      }
    }
  } finally {
    other.close();
  }
});
