// What the examples' readers install is what these suites run.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

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
