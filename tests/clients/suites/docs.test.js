// The documents claim only what a test shows.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { page } from "../lib/docs.js";
import { clientsDir } from "../lib/server.js";
import { TOPOLOGIES, named, topologiesOf } from "../lib/topologies.js";

test("every row of the table of what works names a test that exists", () => {
  const rows = page("docs/clients.md").split("## What works")[1].split("\n## ")[0].split("\n").filter((line) => line.startsWith("|")).slice(2);
  assert.ok(rows.length > 20);
  for (const row of rows) {
    const [, file, title] = /\| `([\w-]+\.test\.js)`: (.+) \|$/.exec(row) ?? assert.fail(`no test in: ${row}`);
    assert.ok(readFileSync(join(clientsDir, "suites", file), "utf8").includes(title), `${file} has no test "${title}"`);
  }
});

test("the table of topologies names suites and topologies that exist", () => {
  for (const suite of named) {
    assert.ok(existsSync(join(clientsDir, "suites", `${suite}.test.js`)), suite);
    for (const topology of topologiesOf(suite)) assert.ok(topology in TOPOLOGIES, `${suite}: ${topology}`);
  }
});
