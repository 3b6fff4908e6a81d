// The feed's list: the newest entries that match, newest first, one line each. Draws at most ten times a second and
// keeps at most 500 rows, however much arrives. Knows nothing of where entries come from.

import { cells, label, tone } from "./entry.js";
import { arrange, el } from "./dom.js";
import { clockWithMillis, count, visible } from "./format.js";

export const MOST_ROWS = 500;

/** Row after row in the order given, with the entry that each stands for. */
const entryOf = new WeakMap();

export class Rows {
  #body;
  #selected = null;
  #select;
  /** The number of the entry whose row was there last, until newer ones come while nobody is in the list. */
  #visited = null;

  /** @param {Function} select gets the entry that was chosen */
  constructor(body, select) {
    this.#body = body;
    this.#select = select;
    body.addEventListener("click", ({ target }) => this.#choose(target.closest("[role=row]")));
    body.addEventListener("keydown", (event) => this.#key(event));
    // One row is a stop for Tab: the one that was there last, and the newest as long as nobody is in the list.
    body.addEventListener("focusin", ({ target }) => {
      const row = target.closest("[role=row]");
      if (row) this.#visited = entryOf.get(row).seq;
      this.#reachable(row);
    });
  }

  get length() {
    return this.#body.childElementCount;
  }

  /** Puts entries, oldest first, above those which are there. */
  add(entries) {
    if (entries.length === 0) return;
    if (entries.length >= MOST_ROWS) return this.replace(entries);
    // What was skipped goes on being skipped: that is one row.
    if (entries[0].kind === "skipped") {
      const top = this.#body.firstElementChild;
      if (top && entryOf.get(top)?.kind === "skipped") top.remove();
    }
    this.#body.prepend(...rowsOf(entries));
    const extra = this.#body.childElementCount - MOST_ROWS;
    if (extra > 0) this.#trim(extra);
    if (this.#focused) return;
    this.#visited = null;
    this.#reachable(this.#body.firstElementChild);
  }

  /** Shows these and nothing else. */
  replace(entries) {
    const wasInside = this.#focused !== null;
    const there = new Map([...this.#body.children].map((row) => [entryOf.get(row).seq, row]));
    arrange(this.#body, entries.slice(-MOST_ROWS).map((entry) => there.get(entry.seq) ?? rowOf(entry)).reverse());
    this.#mark();
    const row = this.#rowOf(this.#visited) ?? this.#body.firstElementChild;
    if (wasInside) row?.focus({ preventScroll: true });
    else this.#reachable(row);
  }

  /** Marks an entry's row, or none. */
  select(entry) {
    this.#selected = entry;
    this.#mark();
  }

  /** Puts the focus on the selected row, if it is still there. */
  focus() {
    (this.#body.querySelector("[aria-selected=true]") ?? this.#body.firstElementChild)?.focus();
  }

  #mark() {
    this.#body.querySelector("[aria-selected=true]")?.setAttribute("aria-selected", "false");
    if (this.#selected) this.#rowOf(this.#selected.seq)?.setAttribute("aria-selected", "true");
  }

  get #focused() {
    return this.#body.contains(document.activeElement) ? document.activeElement.closest("[role=row]") : null;
  }

  #rowOf(seq) {
    return [...this.#body.children].find((row) => entryOf.get(row).seq === seq);
  }

  #trim(extra) {
    const rows = [...this.#body.children].slice(-extra);
    const lost = rows.includes(this.#focused);
    for (const row of rows) row.remove();
    if (lost) this.#body.lastElementChild?.focus({ preventScroll: true });
  }

  #reachable(row) {
    if (!row) return;
    this.#current?.setAttribute("tabindex", "-1");
    row.setAttribute("tabindex", "0");
  }

  /** Puts the focus so many rows down, or up, and on the row that Tab would reach if it is in none; whether there is one. */
  step(by) {
    const rows = this.#body.children;
    const from = [...rows].indexOf(this.#focused);
    const to = from < 0 ? this.#current : rows[Math.min(rows.length - 1, Math.max(0, from + by))];
    to?.focus();
    return Boolean(to);
  }

  /** Opens the row that has the focus, or that Tab would reach; whether there is one. */
  open() {
    const row = this.#focused ?? this.#current;
    row?.focus();
    this.#choose(row);
    return Boolean(row);
  }

  /** The row that Tab reaches. */
  get #current() {
    return this.#body.querySelector("[tabindex='0']");
  }

  #choose(row) {
    const entry = row && entryOf.get(row);
    if (!entry || entry.kind === "skipped" || entry.kind === "note") return;
    this.select(entry);
    this.#select(entry);
  }

  #key(event) {
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -MOST_ROWS, End: MOST_ROWS };
    if (event.key in moves) this.step(moves[event.key]);
    else if (event.key === "Enter" || event.key === " ") this.open();
    else return;
    event.preventDefault();
  }
}

function rowsOf(entries) {
  return entries.map(rowOf).reverse();
}

function rowOf(entry) {
  const row = el("div", { role: "row", tabindex: "-1", class: "entry", "data-kind": entry.kind, "aria-selected": "false" });
  if (entry.kind === "skipped" || entry.kind === "note") {
    const said = entry.kind === "note" ? entry.said : `${count(entry.count)} more happened here and are not listed`;
    row.append(el("span", { role: "gridcell", class: "time" }, entry.t ? clockWithMillis(entry.t) : ""));
    row.append(el("span", { role: "gridcell", class: "said" }, said));
  } else {
    const { what, detail, to, size } = cells(entry);
    row.dataset.tone = tone(entry);
    // An event that nobody got is what one is looking for, often.
    row.toggleAttribute("data-lost", to === "0");
    row.append(
      cell("time", clockWithMillis(entry.t)),
      cell("kind", label(entry.kind)),
      cell("channel", visible(entry.channel ?? "")),
      cell("what", what),
      cell("detail", detail),
      cell("to", to),
      cell("size", size),
    );
  }
  entryOf.set(row, entry);
  return row;
}

// `bdi` keeps a text that is read from right to left from turning its neighbours around.
const cell = (name, content) => el("span", { role: "gridcell", class: name }, el("bdi", {}, content));
