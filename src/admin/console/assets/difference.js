// Shows where two texts differ, so that an eye finds the one wrong character.

import { el } from "./dom.js";
import { visible } from "./format.js";

/** A text with the part marked that is not the same in the other one. */
export function marked(own, other) {
  if (other === null || other === undefined || own === other) return el("bdi", {}, visible(own));
  const [a, b] = [[...own], [...other]];
  const shortest = Math.min(a.length, b.length);
  let head = 0;
  while (head < shortest && a[head] === b[head]) head += 1;
  let tail = 0;
  while (tail < shortest - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail += 1;
  // Two digests have hardly anything in common: then all of it would be marked, and the mark would say nothing.
  if (shortest > 0 && (head + tail) * 3 < shortest) return el("bdi", {}, visible(own));
  const [before, middle, after] = [a.slice(0, head), a.slice(head, a.length - tail), a.slice(a.length - tail)].map((part) => visible(part.join("")));
  // What only lacks something has nothing to mark, so the place is.
  return el("bdi", {}, before, el("mark", {}, middle || "∅"), after);
}

/** Two texts line by line, each with its differing part marked: `{ same, node }`. */
export function byLine(own, expected) {
  const [a, b] = [own, expected].map((text) => text.replaceAll("\r\n", "\n").split("\n"));
  const lines = Array.from({ length: Math.max(a.length, b.length) }, (_, n) => {
    if (a[n] === b[n]) return el("div", { class: "line same" }, visible(a[n] || "(empty line)"));
    return el(
      "div",
      { class: "line" },
      el("div", { class: "yours" }, el("span", { class: "who" }, "yours "), a[n] === undefined ? "(no such line)" : marked(a[n], b[n] ?? "")),
      el("div", { class: "ours" }, el("span", { class: "who" }, "server "), b[n] === undefined ? "(no such line)" : marked(b[n], a[n] ?? "")),
    );
  });
  return { same: a.join("\n") === b.join("\n"), node: el("div", { class: "lines" }, lines) };
}
