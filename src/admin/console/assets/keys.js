// The keyboard: single keys outside of fields, and the dialog that names them.

import { byId, el } from "./dom.js";
import { read, write } from "./storage.js";

/** @param {{keys: string[], words: string, run?: Function}[]} bindings those without `run` are handled elsewhere and only named */
export function setUpKeys(bindings) {
  const box = byId("keys-on");
  box.checked = read("keys", true) === true;
  box.addEventListener("change", () => write("keys", box.checked));
  byId("keys-list").append(...bindings.map(({ keys, words }) => el("div", {}, el("dt", {}, keys.map((key) => el("kbd", {}, key))), el("dd", {}, words))));
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const binding = bindings.find(({ keys, run }) => run && keys.includes(NAMES[event.key] ?? event.key));
    if (!binding || (event.key !== "Escape" && (!box.checked || isTyping(event.target)))) return;
    if (binding.run(event) !== false) event.preventDefault();
  });
}

export const showKeys = () => byId("keys").showModal();

const NAMES = { Escape: "Esc" };

/** Where a key means a character. */
const isTyping = (target) => target.matches("input:not([type=checkbox], [type=range]), textarea, select");
