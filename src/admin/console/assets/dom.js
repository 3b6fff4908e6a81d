// Makes elements. Everything that comes from outside is a text node or an attribute's value here: there is no way to
// hand markup in.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/**
 * An element. Attributes that are `false`, `null` or `undefined` are left out, `true` is an empty one, and functions
 * named `on…` are listeners. Children are nodes or texts; `null` and `undefined` are left out.
 */
export function el(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same in SVG. */
export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (typeof value === "function") node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** An element with one text. */
export const text = (name, className, content) => el(name, { class: className }, content);

/** Rows of a description list: `[term, value]`, without those that have no value. */
export function facts(...rows) {
  const known = rows.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el("dl", { class: "facts" }, known.map(([term, value]) => el("div", {}, el("dt", {}, term), el("dd", {}, value))));
}

/**
 * Makes these a place's children, in this order. What stays is not taken out and put in again, so that it keeps the focus,
 * a selection, and a press of the mouse that has begun on it.
 */
export function arrange(place, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...place.children]) if (!wanted.has(child)) child.remove();
  let next = place.firstElementChild;
  for (const node of nodes) {
    if (node === next) next = next.nextElementSibling;
    else place.insertBefore(node, next);
  }
}

/** The same, where those stay which say what is to stand in their place already. */
export function refill(place, nodes) {
  const there = [...place.children];
  arrange(place, nodes.map((node, at) => (there[at]?.isEqualNode(node) ? there[at] : node)));
}

/** Does something a moment after the last key that was typed in a field, and before somebody goes on to something else. */
export function onTyped(field, work, ms = 200) {
  let timer = null;
  const run = () => {
    clearTimeout(timer);
    timer = null;
    work();
  };
  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(run, ms);
  });
  field.addEventListener("change", () => timer !== null && run());
}

/** Puts a text on the clipboard; whether that went well. */
export async function copy(content) {
  try {
    await navigator.clipboard.writeText(content);
    return true;
  } catch {
    // Over plain HTTP from another machine browsers have no clipboard for pages, but the old command.
    const field = el("textarea", { class: "away", readonly: true });
    field.value = content;
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}

/** A button that copies what the function returns when it is pressed, and says so. */
export function copyButton(label, content) {
  const button = el("button", { type: "button", class: "plain small" }, label);
  setUpCopying(button, content);
  return button;
}

export function setUpCopying(button, content) {
  const label = button.textContent;
  let timer;
  button.addEventListener("click", async () => {
    button.textContent = (await copy(content())) ? "Copied" : "Not allowed";
    clearTimeout(timer);
    timer = setTimeout(() => (button.textContent = label), 1_500);
  });
}
