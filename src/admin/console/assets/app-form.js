// An app's settings as a form: its name, origins, switches, numbers and rules. Which keys there are the server says, so
// a key of another version is here too. Says what of them was changed, as a patch.

import { el, text } from "./dom.js";
import { visible } from "./format.js";
import { payload } from "./json.js";

/** What the panel says of the app by other means. */
const ELSEWHERE = new Set(["id", "key", "secret", "secret_file", "secrets", "enabled", "status"]);

/** Limits that there are not unless they are set. */
const UNLIMITED = ["connections", "connections_per_user", "events_per_second", "reads_per_second", "messages_per_second", "subscribes_per_second"];

/** Keys that are written as a list of texts, one a line. */
const LINES = "allowed_origins";
const RULES = "channels";

/** A value that cannot be sent. */
export class Invalid extends Error {}

export class AppForm {
  /** Each gives what its field says now; the key is a path. */
  #fields = new Map();
  #isFixed;

  /** @param {boolean} isFixed whether the app can only be looked at */
  constructor(app, { isFixed, save }) {
    this.#isFixed = isFixed;
    const switches = entries(app).filter(([, value]) => typeof value === "boolean");
    const limits = { ...Object.fromEntries(UNLIMITED.map((key) => [key, null])), ...app.limits };
    const numbers = [...entries(app).filter(([, value]) => typeof value === "number"), ...Object.entries(limits).map(([key, value]) => [`limits.${key}`, value])];
    const shown = new Set(["name", "limits", LINES, RULES, ...[...switches, ...numbers].map(([key]) => key)]);
    const rest = entries(app).filter(([key]) => !shown.has(key));
    this.problem = el("p", { class: "problem", role: "alert", hidden: true });
    this.node = el("form", { class: "stack app-form", autocomplete: "off", "aria-label": "Settings of the app" },
      text("h3", "", "Settings"),
      this.#text("name", "Name", app.name ?? ""),
      el("div", { class: "switches" }, switches.map(([key, value]) => this.#switch(key, value))),
      text("h3", "", "Limits and times"),
      el("div", { class: "numbers" }, numbers.map(([key, value]) => this.#number(key, value))),
      this.#lines(LINES, "Allowed origins, one a line", app[LINES] ?? []),
      this.#rules(RULES, app[RULES] ?? []),
      this.problem,
      isFixed ? null : el("div", { class: "row" }, el("button", { type: "submit", "data-focus": "save" }, "Save")),
      rest.length === 0 ? null : el("details", {}, el("summary", {}, `Further keys: ${rest.map(([key]) => key).join(", ")}`),
        text("p", "quiet", "The Apps API changes these."), payload(JSON.stringify(Object.fromEntries(rest)))));
    this.node.addEventListener("submit", (event) => {
      event.preventDefault();
      save(this);
    });
  }

  /** Whether somebody has typed here what is not saved. */
  get isTouched() {
    return [...this.#fields.values()].some((field) => field.isChanged());
  }

  /** What was changed, as a merge patch; an `Invalid` says which field cannot be read. */
  patch() {
    const patch = {};
    for (const [path, field] of this.#fields) {
      if (!field.isChanged()) continue;
      const [table, key] = path.split(".");
      if (key) (patch[table] ??= {})[key] = field.value();
      else patch[table] = field.value();
    }
    return patch;
  }

  #add(path, input, value) {
    input.disabled = this.#isFixed;
    input.name = path;
    const state = () => (input.type === "checkbox" ? input.checked : input.value);
    const before = state();
    this.#fields.set(path, { isChanged: () => state() !== before, value: () => value(state()) });
    return input;
  }

  #text(path, label, value) {
    return field(label, this.#add(path, el("input", { value }), (given) => given.trim() || null));
  }

  #switch(path, value) {
    return el("label", { class: "tick" }, this.#add(path, el("input", { type: "checkbox", checked: value }), (given) => given), el("code", {}, visible(path)));
  }

  #number(path, value) {
    // Without a number the default holds again.
    const input = this.#add(path, el("input", { type: "number", min: 0, step: 1, value: value ?? "", placeholder: UNLIMITED.includes(path.replace("limits.", "")) ? "no limit" : "default" }), (given) => (given === "" ? null : Number(given)));
    return field(el("code", {}, visible(path.replace("limits.", ""))), input);
  }

  #lines(path, label, list) {
    const area = el("textarea", { rows: 2, spellcheck: "false", placeholder: "any" });
    area.value = list.join("\n");
    return field(label, this.#add(path, area, (given) => given.split("\n").map((line) => line.trim()).filter(Boolean)));
  }

  #rules(path, list) {
    const area = el("textarea", { rows: 5, spellcheck: "false", placeholder: '[{ "match": "invoice.*", "cache": true }]' });
    const written = list.map((rule) => JSON.stringify(rule, (key, value) => value ?? undefined));
    area.value = written.length > 0 ? `[\n  ${written.join(",\n  ")}\n]` : "";
    return field("Rules for channels, as JSON", this.#add(path, area, (given) => rules(given)));
  }
}

const entries = (app) => Object.entries(app).filter(([key]) => !ELSEWHERE.has(key));

const field = (label, input) => el("label", { class: "field" }, el("span", {}, label), input);

function rules(given) {
  if (given.trim() === "") return [];
  try {
    const list = JSON.parse(given);
    if (Array.isArray(list)) return list;
  } catch (error) {
    throw new Invalid(`The rules are not JSON: ${error.message}`);
  }
  throw new Invalid('The rules must be a list: [{ "match": "invoice.*", "cache": true }]');
}
