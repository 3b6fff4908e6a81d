// The README claims only what a test shows.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { readme } from "../lib/readme.js";
import { clientsDir } from "../lib/server.js";

test("every row of the compatibility table names a test that exists", () => {
  const rows = readme.split("## Compatibility")[1].split("\n## ")[0].split("\n").filter((line) => line.startsWith("|")).slice(2);
  assert.ok(rows.length > 20);
  for (const row of rows) {
    const [, file, title] = /\| `([\w-]+\.test\.js)`: (.+) \|$/.exec(row) ?? assert.fail(`no test in: ${row}`);
    assert.ok(readFileSync(join(clientsDir, "suites", file), "utf8").includes(title), `${file} has no test "${title}"`);
  }
});

test("it is short", () => {
  assert.ok(readme.split("\n").length < 300);
});
