// The texts that the documents show, so that the suites run those and no others.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { projectDir } from "./server.js";

/** A document of the project, by its path. */
export function page(path) {
  return readFileSync(join(projectDir, path), "utf8");
}

/** The one code block of a document in that language which contains the text. */
export function snippet(path, language, containing) {
  const blocks = [...page(path).matchAll(/^```(\w+)\n(.*?)^```$/gms)]
    .filter(([, lang, text]) => lang === language && text.includes(containing))
    .map(([, , text]) => text);
  assert.equal(blocks.length, 1, `${blocks.length} blocks of ${language} with "${containing}" in ${path}`);
  return blocks[0];
}

/** The text with the server's port in the place of the default one. */
export function at(server, text) {
  assert.match(text, /\b6001\b/);
  return text.replaceAll(/\b6001\b/g, String(server.port));
}
