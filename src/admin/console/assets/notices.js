// Short words about what was done, and the question before what cannot be undone.

import { byId, el } from "./dom.js";

const SHOWN_MS = 6_000;
const MOST = 3;

/** Says something for some seconds. `tone` is `good` or `bad`. */
export function notice(said, tone = "good") {
  const place = byId("notices");
  const node = el("p", { class: "notice", "data-tone": tone }, said);
  place.append(node);
  while (place.childElementCount > MOST) place.firstElementChild.remove();
  setTimeout(() => node.remove(), SHOWN_MS);
}

/** Asks; resolves with whether the answer was yes. */
export function confirmed({ title, text, yes }) {
  const dialog = byId("confirm");
  byId("confirm-title").textContent = title;
  byId("confirm-text").textContent = text;
  byId("confirm-yes").textContent = yes;
  // What the last question was answered with must not answer this one when it is closed by Escape.
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}
