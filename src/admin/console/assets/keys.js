// The keyboard: single keys outside of fields, and the dialog that names them.

import { byId, el } from "./dom.js";
import { read, write } from "./storage.js";

/**
 * @param {{keys: string[], words: string, run?: Function, always?: boolean}[]} bindings those without `run` are handled
 *   elsewhere and only named; those that are `always` there are no characters and see for themselves where the focus is.
 *   `run` returns false if the key does nothing there
 */
export function setUpKeys(bindings) {
  const box = byId("keys-on");
  box.checked = read("keys", true) === true;
  box.addEventListener("change", () => write("keys", box.checked));
  byId("keys-list").append(...bindings.map(({ keys, words }) => el("div", {}, el("dt", {}, keys.map((key) => el("kbd", {}, key))), el("dd", {}, words))));
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const binding = bindings.find(({ keys, run }) => run && keys.includes(NAMES[event.key] ?? event.key));
    if (!binding || (!binding.always && (!box.checked || isTyping(event.target)))) return;
    if (binding.run(event) !== false) event.preventDefault();
  });
}

export const showKeys = () => byId("keys").showModal();

const NAMES = { Escape: "Esc", ArrowUp: "↑", ArrowDown: "↓" };

/** Whether a key means the list that is shown: not where it means something else, as in a panel, a field or on a button. */
export function meansList({ key, target }) {
  if (target.closest(".inspector, textarea, select, [type=range]")) return false;
  if (key === "Enter") return !target.closest("a, button, input, summary");
  // Down from a filter is the way into what it has found.
  return key === "ArrowDown" || !target.closest("input");
}

/** Where a key means a character. */
const isTyping = (target) => target.matches("input:not([type=checkbox], [type=range]), textarea, select");
