// The section Live: the feed of one app, filtered, held when somebody reads, and honest about what it does not show.

import { byId, el, onTyped } from "./dom.js";
import { GROUPS } from "./entry.js";
import { Feed } from "./feed.js";
import { asked, matcher } from "./filter.js";
import { count, counted } from "./format.js";
import { inspect } from "./inspector.js";
import { Journal } from "./journal.js";
import { note } from "./route.js";
import { Rows } from "./rows.js";

const DRAW_MS = 100;
const FIELDS = ["channel", "event", "text"];

export class Live {
  #shell;
  #app = null;
  #journal = new Journal();
  #feed;
  #rows;
  #wants = () => true;
  #isFiltered = false;
  #groups = new Set();
  /** The number up to which entries are drawn. */
  #drawn = 0;
  #isDue = false;
  #paused = false;
  /** What there was when the list began to be held, by `p` or because somebody reads further down; else nothing. */
  #held = null;
  #chips = new Map();
  /** When the feed tries to connect again. */
  #until = null;
  #wasLost = false;

  constructor(shell) {
    this.#shell = shell;
    this.#rows = new Rows(byId("rows-body"), (entry) => this.#inspect(entry));
    this.#feed = new Feed({ entries: (entries) => this.#take(entries), state: (state) => this.#tell(state) });
    this.#setUpFilters();
    byId("pause").addEventListener("click", () => this.pause());
    byId("clear").addEventListener("click", () => this.#clear());
    byId("feed-retry").addEventListener("click", () => this.#feed.retry());
    byId("rows").addEventListener("scroll", () => this.#hold(), { passive: true });
    byId("fresh").addEventListener("click", () => this.#toTheTop());
    setInterval(() => this.#countDown(), 1_000);
  }

  /** Watches an app from now on, also while another section is shown. */
  watch(app) {
    if (app === this.#app) return;
    this.#app = app;
    this.#clear();
    this.#feed.watch(app);
  }

  stop() {
    this.#app = null;
    this.#clear();
    this.#feed.stop();
  }

  show(params) {
    for (const field of FIELDS) byId(`filter-${field}`).value = params.get(field) ?? "";
    this.#groups = new Set((params.get("types") ?? "").split(",").filter((name) => this.#chips.has(name)));
    this.#refilter();
  }

  hide() {}

  get list() {
    return this.#rows;
  }

  firstField() {
    return byId("filter-text");
  }

  /** Closes the panel, if it is open; whether it was. */
  escape() {
    const panel = byId("live-inspector");
    if (panel.hidden) return false;
    panel.hidden = true;
    this.#rows.focus();
    this.#rows.select(null);
    return true;
  }

  pause() {
    this.#paused = !this.#paused;
    const button = byId("pause");
    button.setAttribute("aria-pressed", String(this.#paused));
    button.textContent = this.#paused ? "Resume" : "Pause";
    this.#hold();
  }

  #setUpFilters() {
    for (const { name, label, tone } of GROUPS) {
      const chip = el("button", { type: "button", class: "chip", "data-tone": tone, "aria-pressed": "false", "data-group": name }, label, el("span", { class: "count" }));
      chip.addEventListener("click", () => {
        if (!this.#groups.delete(name)) this.#groups.add(name);
        this.#filterChanged();
      });
      this.#chips.set(name, chip);
    }
    byId("filter-groups").append(...this.#chips.values());
    for (const field of FIELDS) onTyped(byId(`filter-${field}`), () => this.#filterChanged(), 120);
    byId("live-filters").addEventListener("submit", (event) => event.preventDefault());
  }

  #filterChanged() {
    const fields = Object.fromEntries(FIELDS.map((field) => [field, byId(`filter-${field}`).value.trim()]));
    note("live", { app: this.#app, ...fields, types: [...this.#groups].join(",") });
    this.#refilter();
  }

  #refilter() {
    const [channel, event, text] = FIELDS.map((field) => byId(`filter-${field}`).value);
    for (const [name, chip] of this.#chips) chip.setAttribute("aria-pressed", String(this.#groups.has(name)));
    const filter = { channel, event, text, groups: this.#groups };
    this.#wants = matcher(filter);
    this.#isFiltered = this.#groups.size > 0 || [channel, event, text].some((field) => field.trim() !== "");
    // Without a filter all are alike, and the rows of what was skipped with them.
    this.#journal.keepLonger(this.#isFiltered ? this.#wants : () => true);
    this.#feed.seek(asked(filter));
    this.#redraw();
  }

  #take(entries) {
    this.#journal.add(entries);
    this.#drawSoon();
  }

  #drawSoon() {
    if (this.#isDue) return;
    this.#isDue = true;
    // A hidden page draws nothing; what came meanwhile is in the journal and is drawn when it is seen again.
    setTimeout(() => requestAnimationFrame(() => this.#draw()), DRAW_MS);
  }

  #draw() {
    this.#isDue = false;
    // A row that moves away while it is pressed is not clicked.
    const isPressed = byId("rows-body").matches(":active");
    if (isPressed) this.#drawSoon();
    else if (!this.#held) {
      this.#rows.add(this.#journal.since(this.#drawn).filter(this.#wants));
      this.#drawn = this.#journal.last;
    }
    this.#foot();
  }

  #redraw() {
    const entries = this.#held ?? this.#journal.all();
    this.#rows.replace(entries.filter(this.#wants));
    if (!this.#held) this.#drawn = this.#journal.last;
    this.#foot();
  }

  /** A list that moves under the eyes cannot be read: away from its top it waits. */
  #hold() {
    const hold = this.#paused || byId("rows").scrollTop > 8;
    if (hold === (this.#held !== null)) return;
    if (hold) {
      this.#draw();
      this.#held = this.#journal.all();
    } else {
      this.#held = null;
      this.#redraw();
    }
    this.#foot();
  }

  #toTheTop() {
    if (this.#paused) this.pause();
    byId("rows").scrollTop = 0;
    this.#hold();
  }

  #clear() {
    this.#journal.clear();
    this.#held = this.#held && [];
    byId("live-inspector").hidden = true;
    this.#rows.select(null);
    this.#redraw();
    this.#hold();
  }

  #inspect(entry) {
    inspect(byId("live-inspector"), entry, {
      isClustered: this.#shell.isClustered(),
      close: () => this.escape(),
      filter: (field, value) => {
        byId(`filter-${field}`).value = value;
        this.#filterChanged();
      },
    });
  }

  #foot() {
    const journal = this.#journal;
    for (const [name, chip] of this.#chips) {
      const number = journal.counts[name];
      chip.lastElementChild.textContent = number > 0 ? count(number) : "";
    }
    const rows = this.#rows.length;
    byId("live-shown").textContent = journal.size > 0 ? `${count(rows)} of ${count(journal.size)} kept shown` : "";
    const first = this.#isFiltered ? "; what matches the filter comes first" : "";
    byId("live-skipped").textContent = journal.skipped > 0 ? `${count(journal.skipped)} skipped: more happens than is told one by one${first}` : "";
    byId("live-blank").textContent = rows > 0 ? "" : blank(journal.size);
    const waiting = this.#held ? journal.last - this.#drawn : 0;
    const fresh = byId("fresh");
    fresh.hidden = this.#held === null;
    fresh.textContent = `${this.#paused ? "Paused" : "Held while you read"} · ${count(waiting)} new`;
  }

  #tell(state) {
    const { name, until, reason, wasOpen } = state;
    const place = byId("feed");
    place.dataset.state = name;
    this.#until = name === "waiting" ? until : null;
    byId("feed-retry").hidden = name !== "waiting";
    const said = { connecting: "Connecting", live: "Connected", waiting: `Not connected${reason ? `: ${reason}` : ""}` }[name];
    byId("feed-text").textContent = said;
    this.#countDown();
    if (name === "live" && this.#wasLost) this.#mark("The feed is back. What happened in between is not listed.");
    if (name === "live") this.#wasLost = false;
    if (name !== "waiting") return;
    if (wasOpen) this.#mark(`The feed was lost${reason ? `: ${reason}` : ""}`);
    this.#wasLost ||= wasOpen;
    // A refused WebSocket does not say why, a request does: perhaps one has to log in again.
    if (!wasOpen) this.#shell.ask();
  }

  #mark(said) {
    this.#take([{ kind: "note", t: Date.now(), said }]);
  }

  #countDown() {
    const seconds = Math.ceil((this.#until - Date.now()) / 1_000);
    byId("feed-countdown").textContent = this.#until === null ? "" : `next try in ${Math.max(0, seconds)} s`;
  }
}

function blank(size) {
  return size > 0 ? `None of ${counted(size, "entry", "entries")} matches the filter.` : "Nothing yet. Connect a client, or create an event.";
}
