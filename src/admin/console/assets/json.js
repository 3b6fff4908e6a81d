// JSON as it was sent: indented and coloured token by token, never parsed and written again. So numbers keep all their
// digits, doubled keys stay doubled, and a cut text is shown as far as it goes.

import { el } from "./dom.js";
import { bytes, counted, visible, visibleLines } from "./format.js";

const TOKEN = /\s+|"(?:[^"\\]|\\.)*"?|[{}[\],:]|-?[0-9][0-9.eE+-]*|[a-z]+|[^]/gu;
const OPENING = { "{": "}", "[": "]" };
/** Deeper than this nothing is indented further: 4,000 brackets must not become megabytes of spaces. */
const DEEPEST = 24;

/** Whether a text is JSON. */
export function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** The text's tokens as `[kind, text]`, with line breaks and spaces for reading between them. */
function* tokens(source) {
  const all = (source.match(TOKEN) ?? []).filter((token) => token.trim() !== "");
  let depth = 0;
  const line = () => `\n${"  ".repeat(Math.min(depth, DEEPEST))}`;
  for (const [at, token] of all.entries()) {
    const next = all[at + 1];
    if (token in OPENING) {
      yield ["mark", token];
      depth += 1;
      if (next !== OPENING[token]) yield ["space", line()];
    } else if (token === "}" || token === "]") {
      depth = Math.max(0, depth - 1);
      if (OPENING[all[at - 1]] !== token) yield ["space", line()];
      yield ["mark", token];
    } else if (token === ",") {
      yield ["mark", token];
      yield ["space", line()];
    } else if (token === ":") {
      yield ["mark", token];
      yield ["space", " "];
    } else {
      yield [kindOf(token, next), token];
    }
  }
}

function kindOf(token, next) {
  if (token.startsWith('"')) return next === ":" ? "key" : "string";
  return /^[-0-9]/.test(token) ? "number" : "word";
}

/** Indented. */
export const indented = (source) => Array.from(tokens(source), ([, token]) => token).join("");

/** Whether a text is shown as JSON: because it is, or because it was until it was cut. */
export const looksLikeJson = (source, cut) => isJson(source) || (cut && /^\s*[{[]/.test(source));

/** A `<pre>` with a payload: indented and coloured if it is JSON, as it is otherwise. */
export function payload(source, { cut = false, raw = false } = {}) {
  const block = el("pre", { class: "payload", tabindex: "0", dir: "ltr" });
  if (raw || !looksLikeJson(source, cut)) {
    block.append(visibleLines(source));
  } else {
    // Marks and spaces are the most tokens and have no colour of their own, so they share text nodes.
    let plain = "";
    for (const [kind, token] of tokens(source)) {
      if (kind === "mark" || kind === "space") {
        plain += token;
        continue;
      }
      block.append(plain, el("span", { class: `json-${kind}` }, visible(token)));
      plain = "";
    }
    block.append(plain);
  }
  if (cut) block.append(el("span", { class: "cut" }, " … cut"));
  return block;
}

/** What a text is that somebody types as data: `{ ok, message }`. */
export function judged(source) {
  const size = bytes(new TextEncoder().encode(source).length);
  if (source.trim() === "") return { ok: true, message: `Empty text, ${size}` };
  try {
    const value = JSON.parse(source);
    return { ok: true, message: `JSON, ${shape(value)}, ${size}` };
  } catch (error) {
    return { ok: false, message: `Not JSON, so it is sent as plain text, ${size}. ${visible(error.message)}` };
  }
}

function shape(value) {
  if (value === null) return "null";
  if (Array.isArray(value)) return `a list of ${counted(value.length, "item")}`;
  if (typeof value === "object") return `an object with ${counted(Object.keys(value).length, "key")}`;
  return { string: "a text", number: "a number", boolean: "true or false" }[typeof value];
}
