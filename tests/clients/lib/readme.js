// The texts that the README shows, so that the suites run those and no others.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { projectDir } from "./server.js";

export const readme = readFileSync(join(projectDir, "README.md"), "utf8");

/** The one code block in that language which contains the text. */
export function snippet(language, containing) {
  const blocks = [...readme.matchAll(/^```(\w+)\n(.*?)^```$/gms)]
    .filter(([, lang, text]) => lang === language && text.includes(containing))
    .map(([, , text]) => text);
  assert.equal(blocks.length, 1, `${blocks.length} blocks of ${language} with "${containing}" in the README`);
  return blocks[0];
}

/** The text with the server's port in the place of the default one. */
export function at(server, text) {
  assert.match(text, /\b6001\b/);
  return text.replaceAll(/\b6001\b/g, String(server.port));
}
