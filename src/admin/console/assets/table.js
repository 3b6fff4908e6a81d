// A table that is filled again and again: columns that sort, rows that stay where the keyboard is.

import { arrange, el, refill } from "./dom.js";

export class Table {
  #columns;
  #body = el("tbody");
  #head = el("tr");
  #sort = null;
  #rows = [];
  #selected = null;
  #key;
  #empty;

  /**
   * @param {object} options
   * @param {{name: string, label: string, cell: Function, sort?: Function, number?: boolean, away?: boolean}[]} options.columns
   *   `cell` makes a row's node or text, `sort` the value to sort by, `away` leaves the column out where there is little room
   * @param {Function} options.key what tells rows apart
   */
  constructor({ label, columns, key, empty }) {
    this.#columns = columns;
    this.#key = key;
    this.#empty = el("p", { class: "blank" }, empty);
    for (const column of columns) this.#head.append(this.#headCell(column));
    this.node = el("div", { class: "table-holder" },
      el("table", { "aria-label": label }, el("thead", {}, this.#head), this.#body), this.#empty);
  }

  /** Shows rows; the focus stays on its row. */
  fill(rows, empty) {
    this.#rows = rows;
    if (empty) this.#empty.textContent = empty;
    this.#draw();
  }

  /** Marks the row with this key, or none. */
  select(key) {
    this.#selected = key;
    for (const row of this.#body.children) row.toggleAttribute("data-selected", row.dataset.key === key);
  }

  /** Puts the focus so many rows down, or up; on the first one if it is in none; whether there is one. */
  step(by) {
    const rows = [...this.#body.children];
    const from = rows.indexOf(document.activeElement.closest("tr"));
    const row = rows[from < 0 ? Math.max(0, rows.findIndex((one) => one.dataset.key === this.#selected)) : Math.min(rows.length - 1, Math.max(0, from + by))];
    row?.querySelector("[data-focus]").focus();
    return Boolean(row);
  }

  /** Opens the first row, as the focus is in none; whether there is one. */
  open() {
    const found = this.step(0);
    if (found) document.activeElement.click();
    return found;
  }

  #headCell(column) {
    const attributes = { scope: "col", class: classes(column) };
    if (!column.sort) return el("th", attributes, column.label);
    const cell = el("th", { ...attributes, "aria-sort": "none" });
    cell.append(el("button", { type: "button", class: "sort", onclick: () => this.#sortBy(column, cell) }, column.label));
    return cell;
  }

  #sortBy(column, cell) {
    const first = column.number ? "descending" : "ascending";
    const second = column.number ? "ascending" : "descending";
    const now = this.#sort?.column === column && this.#sort.direction === first ? second : first;
    for (const other of this.#head.children) if (other.ariaSort) other.ariaSort = "none";
    cell.ariaSort = now;
    this.#sort = { column, direction: now };
    this.#draw();
  }

  #draw() {
    const focused = this.#body.contains(document.activeElement) && document.activeElement;
    const there = [...this.#body.children];
    const from = focused && focused.closest("tr");
    const known = new Map(there.map((row) => [row.dataset.key, row]));
    const rows = this.#sorted().map((row) => this.#row(row, known.get(this.#key(row))));
    arrange(this.#body, rows);
    this.#empty.hidden = rows.length > 0;
    if (!focused || document.activeElement === focused) return;
    // Where a row has gone, the next one has its place.
    const row = from.isConnected ? from : rows[Math.min(there.indexOf(from), rows.length - 1)];
    row?.querySelector(from.isConnected ? `[data-focus="${focused.dataset.focus}"]` : "[data-focus]")?.focus({ preventScroll: true });
  }

  #sorted() {
    if (!this.#sort) return this.#rows;
    const { column, direction } = this.#sort;
    const sign = direction === "ascending" ? 1 : -1;
    const value = (row) => column.sort(row) ?? (column.number ? -1 : "");
    return this.#rows.toSorted((a, b) => sign * (column.number ? value(a) - value(b) : value(a).localeCompare(value(b), "en", { numeric: true })));
  }

  /** A row, which is the one that there was if there was one. */
  #row(row, known) {
    const key = this.#key(row);
    const node = known ?? el("tr", { "data-key": key });
    node.toggleAttribute("data-selected", key === this.#selected);
    refill(node, this.#columns.map((column) => el("td", { class: classes(column), "data-label": column.label }, column.cell(row))));
    return node;
  }
}

const classes = ({ name, number, away }) => [`col-${name}`, number && "number", away && "roomy"].filter(Boolean).join(" ");
