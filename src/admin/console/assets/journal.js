// What the feed told lately: the newest entries, longest those that are looked for, and counts of all of them. Bounded,
// whatever arrives.

import { GROUPS } from "./entry.js";

/** So many are kept to be filtered. An entry's data is cut to 4 KiB by the server, so this is some 10 MB at most. */
export const KEPT = 2_000;

export class Journal {
  #entries = [];
  /** The number of the newest entry. */
  last = 0;
  #wants = () => true;

  constructor() {
    this.clear();
  }

  clear() {
    this.#entries = [];
    this.skipped = 0;
    this.counts = Object.fromEntries(GROUPS.map(({ name }) => [name, 0]));
  }

  /** Takes entries in the order in which they were told and numbers them. */
  add(entries) {
    for (const entry of entries) this.#addOne(entry);
    // Trimmed in strides, because moving the whole array for each frame would cost more than keeping some too many.
    if (this.#entries.length > KEPT * 1.25) this.#trim();
  }

  /** What somebody looks for is kept longer than what else happens. */
  keepLonger(wants) {
    this.#wants = wants;
  }

  #trim() {
    let extra = this.#entries.length - KEPT;
    const goes = (entry) => extra > 0 && !this.#wants(entry) && (extra -= 1) >= 0;
    this.#entries = this.#entries.filter((entry) => !goes(entry));
    this.#entries.splice(0, extra);
  }

  #addOne(entry) {
    if (entry.kind === "skipped") {
      const count = Number(entry.count) || 0;
      this.skipped += count;
      // One after another says no more than both together.
      const before = this.#entries.at(-1);
      if (before?.kind === "skipped") {
        this.#entries.pop();
        entry = { ...entry, count: before.count + count };
      }
    }
    const group = GROUPS.find(({ kinds }) => kinds.includes(entry.kind));
    if (group) this.counts[group.name] += 1;
    this.last += 1;
    this.#entries.push({ ...entry, seq: this.last });
  }

  /** All that are kept, oldest first. */
  all() {
    return this.#entries.slice();
  }

  /** Those that came after a number. */
  since(seq) {
    const entries = this.#entries;
    let from = entries.length;
    while (from > 0 && entries[from - 1].seq > seq) from -= 1;
    return entries.slice(from);
  }

  get size() {
    return this.#entries.length;
  }
}
