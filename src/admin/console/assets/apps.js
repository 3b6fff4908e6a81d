// The section Apps: every app with what happens to it on this node; creates, changes and deletes those of the database.

import * as api from "./api.js";
import { AppForm, Invalid } from "./app-form.js";
import { APP_SNIPPETS } from "./app-snippets.js";
import { byId, copyButton, el, facts, onTyped, refill, setUpCopying, text } from "./dom.js";
import { count, counted, dateAndClock, visible, visibleLines } from "./format.js";
import { panelHead } from "./inspector.js";
import { confirmed, notice } from "./notices.js";
import { Refresher } from "./refresher.js";
import { link, note } from "./route.js";
import { read, write } from "./storage.js";
import { Table } from "./table.js";

const REFRESH_MS = 3_000;
const PAGE = 200;

export class Apps {
  #shell;
  #table;
  #id = null;
  #isCreating = false;
  /** The secret that was made last, until another app is looked at: `{ id, secret, number }`. */
  #made = null;
  #form = null;
  #drawn = "";
  #limit = PAGE;
  #snippet = APP_SNIPPETS[0];
  #refresher = new Refresher(REFRESH_MS, (signal) => this.#load(signal));
  #panel = byId("apps-inspector");

  constructor(shell) {
    this.#shell = shell;
    this.#table = new Table({ label: "Apps", key: ({ id }) => id, empty: "", columns: this.#columns() });
    byId("apps-list").append(this.#table.node);
    onTyped(byId("apps-find"), () => {
      this.#limit = PAGE;
      this.#note();
      this.#refresher.now();
    });
    byId("apps-filters").addEventListener("submit", (event) => event.preventDefault());
    byId("apps-new").addEventListener("click", () => this.#begin());
    byId("apps-more").addEventListener("click", () => {
      this.#limit += PAGE;
      this.#refresher.now();
    });
  }

  show(params) {
    byId("apps-find").value = params.get("find") ?? "";
    this.#choose(params.get("id"));
    this.#refresher.start();
  }

  hide() {
    // A secret is not left on a page that nobody looks at.
    this.#choose(null);
    this.#refresher.stop();
  }

  get list() {
    return this.#table;
  }

  firstField() {
    return byId("apps-find");
  }

  escape() {
    if (this.#panel.hidden) return false;
    const id = this.#id;
    this.#choose(null);
    this.#note();
    const row = id && byId("apps-list").querySelector(`tr[data-key="${CSS.escape(id)}"] a`);
    (row || byId("apps-new")).focus();
    return true;
  }

  #columns() {
    const here = () => ({ app: this.#shell.app()?.id, find: byId("apps-find").value });
    const now = (name) => ({ status }) => status[name];
    const number = (name, label, key, away) => ({ name, label, number: true, away, sort: now(key), cell: ({ status }) => count(status[key]) });
    return [
      { name: "socket", label: "App", sort: ({ id }) => id, cell: ({ id }) => el("a", { class: "stretch", "data-focus": "app", href: link("apps", { ...here(), id }) }, el("bdi", {}, visible(id))) },
      { name: "title", label: "Name", sort: ({ name }) => name ?? "", cell: ({ name }) => el("bdi", {}, visible(name ?? "–")) },
      { name: "key", label: "Key", away: true, sort: ({ key }) => key ?? "", cell: ({ key }) => el("bdi", {}, visible(key ?? "–")) },
      number("connections", "Connections", "connections"),
      number("received", "Received", "messages_received", true),
      number("sent", "Sent", "messages_sent", true),
      { name: "state", label: "State", sort: stateOf, cell: (app) => state(app) },
      { name: "place", label: "In", sort: placeOf, cell: placeOf },
    ];
  }

  #note() {
    note("apps", { app: this.#shell.app()?.id, find: byId("apps-find").value, id: this.#id });
  }

  /** Another app in the panel, or none. */
  #choose(id) {
    if (this.#made?.id !== id) this.#made = null;
    this.#id = id;
    this.#isCreating = false;
    this.#form = null;
    this.#drawn = "";
    this.#panel.hidden = true;
    this.#panel.replaceChildren();
    this.#table.select(id);
  }

  #begin() {
    this.#choose(null);
    this.#note();
    this.#isCreating = true;
    const field = (name, label, placeholder) => el("label", { class: "field" }, el("span", {}, label), el("input", { name, placeholder, maxlength: 200, spellcheck: "false", autocapitalize: "none" }));
    const problem = el("p", { class: "problem", role: "alert", hidden: true });
    const form = el("form", { class: "stack", id: "apps-create", autocomplete: "off" },
      field("name", "Name, for people", "Shop"), field("id", "Id", "made of digits"), field("key", "Key", "made at random"),
      text("p", "quiet", "The secret is made at random and shown once."),
      problem, el("div", { class: "row" }, el("button", { type: "submit" }, "Create")));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#create(form, problem);
    });
    this.#panel.replaceChildren(panelHead("New app", null, () => this.escape()), form);
    this.#panel.hidden = false;
    form.querySelector("input").focus();
  }

  async #create(form, problem) {
    const given = Object.fromEntries([...new FormData(form)].map(([key, value]) => [key, value.trim()]).filter(([, value]) => value));
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      const app = await api.createApp(given);
      this.#choose(app.id);
      this.#made = { id: app.id, secret: app.secret, number: 0 };
      this.#note();
      await this.#shell.renew();
      this.#refresher.now();
    } catch (error) {
      say(problem, error);
    } finally {
      button.disabled = false;
    }
  }

  async #load(signal) {
    const find = byId("apps-find").value.trim();
    const id = this.#id;
    try {
      const { apps, next, store } = await pages(find, this.#limit, signal);
      const chosen = id && (await api.app(id, signal).catch((error) => {
        if (signal.aborted || error.status !== 404) throw error;
        return null;
      }));
      byId("apps-total").textContent = `${counted(apps.length, "app")}${next ? " are listed, there are more" : ""}${this.#shell.isClustered() ? "; numbers are this node's" : ""}`;
      byId("apps-more").hidden = !next;
      byId("apps-new").hidden = store === null;
      byId("apps-store").replaceChildren(...storeLines(store));
      this.#table.fill(apps, find ? "No app fits." : "There is no app yet.");
      this.#table.select(id);
      if (id === this.#id && id !== null) this.#inspect(id, chosen, store);
    } catch (error) {
      if (signal.aborted) throw error;
      byId("apps-total").textContent = error.message;
    }
  }

  /** @param {{body: object, tag: string}?} known the app, with the tag that it must still have to be changed */
  #inspect(id, known, store) {
    const { body: app, tag } = known ?? {};
    const { status, ...settings } = app ?? {};
    const drawn = JSON.stringify([settings, status?.problems, status?.origin, this.#made]);
    const isOpen = !this.#panel.hidden;
    // What was typed stays; a change by others is noticed when it is saved.
    if (isOpen && (drawn === this.#drawn || this.#form?.isTouched)) {
      const shown = this.#panel.querySelector("[data-numbers]");
      if (app && shown) refill(shown, [...numbers(app).children]);
      return;
    }
    const hadFocus = this.#panel.contains(document.activeElement) && document.activeElement.dataset.focus;
    this.#drawn = drawn;
    this.#form = null;
    this.#panel.replaceChildren(
      panelHead(app?.name ? `${app.name} (${id})` : id, null, () => this.escape()),
      ...(app ? this.#details(app, tag, store !== null && status.origin === "table") : [text("p", "quiet", "There is no such app.")]));
    this.#panel.hidden = false;
    if (hadFocus) this.#panel.querySelector(`[data-focus="${CSS.escape(hadFocus)}"]`)?.focus({ preventScroll: true });
  }

  #details(app, tag, isOurs) {
    const { id, status } = app;
    const isWrong = status.problems.length > 0;
    this.#form = isWrong ? null : new AppForm(app, { isFixed: !isOurs, save: (form) => this.#save(id, tag, form) });
    return [
      numbers(app),
      isOurs ? null : text("p", "quiet", "This app is in the configuration file, and is changed there."),
      ...(isWrong ? [text("p", "problem", "The row of this app is wrong, so the app is not served:"), el("ul", { class: "stack" }, status.problems.map(({ error }) => text("li", "problem", visibleLines(error))))] : []),
      this.#made ? this.#secretCard() : null,
      isWrong ? null : this.#codeCard(app),
      isOurs && !isWrong ? this.#secretsCard(app, tag) : null,
      this.#form?.node,
      isOurs ? el("div", { class: "row" }, isWrong ? null : this.#switcher(app, tag), el("button", { type: "button", class: "plain small", "data-focus": "delete", onclick: () => this.#delete(app) }, "Delete…")) : null,
    ].filter(Boolean);
  }

  /** What was just made, the one time that it can be seen. */
  #secretCard() {
    const { secret, number } = this.#made;
    return el("section", { class: "card stack made", "aria-label": "The new secret", role: "status" },
      text("strong", "", number > 0 ? `Secret ${number} was added. It is shown this once.` : "The secret is shown this once."),
      el("div", { class: "row" }, el("code", { id: "apps-secret" }, visible(secret)), copyButton("Copy", () => secret)));
  }

  #codeCard({ id, key }) {
    const secret = this.#made?.secret ?? "APP_SECRET";
    const base = el("input", { type: "url", spellcheck: "false", value: read("base", `${location.protocol}//${location.hostname}:6001`) });
    const code = el("pre", { class: "listing", id: "apps-code", tabindex: 0, "aria-label": "Code" });
    const written = () => {
      const address = base.value.replace(/\/+$/, "");
      if (!/^https?:\/\//.test(address) || !URL.canParse(address)) return "The address must begin with http:// or https://";
      return this.#snippet.write({ base: address, id, key, secret });
    };
    const draw = () => (code.textContent = visibleLines(written()));
    onTyped(base, () => {
      if (base.validity.valid) write("base", base.value);
      draw();
    });
    const kinds = el("div", { class: "segments", role: "group", "aria-label": "Kind" }, APP_SNIPPETS.map((snippet) => {
      const button = el("button", { type: "button", "aria-pressed": String(snippet === this.#snippet) }, snippet.name);
      button.addEventListener("click", () => {
        this.#snippet = snippet;
        for (const other of kinds.children) other.setAttribute("aria-pressed", String(other === button));
        draw();
      });
      return button;
    }));
    const copying = el("button", { type: "button", class: "plain small" }, "Copy");
    setUpCopying(copying, written);
    draw();
    return el("section", { class: "stack", "aria-label": "Code for this app" }, el("div", { class: "between" }, kinds, copying), code,
      el("label", { class: "field" }, el("span", {}, "Address of the server for clients and backends"), base));
  }

  #secretsCard(app, tag) {
    const number = [app.secret, app.secret_file, ...(app.secrets ?? [])].filter(Boolean).length;
    const row = (n) => el("li", { class: "between" }, el("span", {}, `Secret ${n}${n === 0 ? ", signs webhooks" : ""}`),
      number > 1 ? el("button", { type: "button", class: "plain small", "data-focus": `secret ${n}`, "aria-label": `Remove secret ${n}`, onclick: () => this.#removeSecret(app, tag, n) }, "Remove…") : null);
    return el("section", { class: "stack", "aria-label": "Secrets" }, text("h3", "", "Secrets"),
      el("ol", { class: "stack", id: "apps-secrets" }, Array.from({ length: number }, (_, n) => row(n))),
      el("div", { class: "row" }, el("button", { type: "button", class: "plain small", "data-focus": "rotate", onclick: () => this.#addSecret(app, tag) }, "Add a secret"),
        text("span", "quiet", "To rotate: add one, give it to the backends, remove the old one.")));
  }

  #switcher(app, tag) {
    const { id, enabled } = app;
    const change = async () => {
      if (enabled && !await confirmed({ title: "Disable this app?", text: `All connections of app ${visible(id)} are closed with 4003, and no others are taken.`, yes: "Disable" })) return;
      await this.#done(enabled ? "Disabled" : "Enabled", () => api.changeApp(id, { enabled: !enabled }, tag));
    };
    return el("button", { type: "button", class: "plain small", "data-focus": "enabled", onclick: change }, enabled ? "Disable…" : "Enable");
  }

  async #save(id, tag, form) {
    let patch;
    try {
      patch = form.patch();
    } catch (error) {
      if (!(error instanceof Invalid)) throw error;
      return say(form.problem, error);
    }
    if (Object.keys(patch).length === 0) return notice("Nothing has changed.");
    try {
      await api.changeApp(id, patch, tag);
    } catch (error) {
      return say(form.problem, error.status === 412 ? new Error("The app was changed by somebody else meanwhile. Close the panel and open it again.") : error);
    }
    await this.#redraw();
    notice("Saved");
  }

  async #addSecret({ id }, tag) {
    await this.#done(null, async () => {
      const { secret, number } = await api.addSecret(id, tag);
      this.#made = { id, secret, number };
    });
  }

  async #removeSecret({ id }, tag, number) {
    const sure = await confirmed({ title: `Remove secret ${number}?`, text: "Requests and subscriptions that are signed with it are refused from now on.", yes: "Remove" });
    if (!sure) return;
    this.#made = null;
    await this.#done("Removed", () => api.removeSecret(id, number, tag));
  }

  async #delete({ id, status }) {
    const sure = await confirmed({ title: `Delete app ${visible(id)}?`, text: `Its ${counted(status.connections, "connection")} to this node, and all others, are closed with 4001. It cannot be undone.`, yes: "Delete" });
    if (!sure) return;
    const isDone = await this.#done("Deleted", () => api.deleteApp(id));
    if (isDone) this.escape();
  }

  /** Does something and says what came of it; whether it went well. */
  async #done(words, work) {
    let isDone = true;
    try {
      await work();
    } catch (error) {
      isDone = false;
      notice(error.message, "bad");
    }
    await this.#redraw();
    if (isDone && words) notice(words);
    return isDone;
  }

  async #redraw() {
    this.#form = null;
    this.#drawn = "";
    await this.#shell.renew();
    await this.#refresher.now();
  }
}

/** As many apps as are wanted, in pages that the server gives. */
async function pages(find, limit, signal) {
  const all = [];
  for (let after; ;) {
    const { apps, next, store } = await api.apps({ find, after, limit: Math.min(1_000, limit - all.length) }, signal);
    all.push(...apps);
    if (!next || all.length >= limit) return { apps: all, next, store };
    after = next;
  }
}

const isWrong = ({ status }) => status.problems.length > 0;
const stateOf = (app) => (isWrong(app) ? "wrong" : app.enabled ? "enabled" : "disabled");
const placeOf = ({ status }) => (status.origin === "table" ? "database" : "file");

function state(app) {
  const tone = { wrong: "red", enabled: "green", disabled: "amber" }[stateOf(app)];
  return el("span", { class: "badge", "data-tone": tone }, stateOf(app));
}

function numbers(app) {
  const { id, key, status } = app;
  const node = facts(
    ["Id", el("bdi", {}, visible(id))],
    ["Key", key && el("bdi", {}, visible(key))],
    ["State", state(app)],
    ["In", placeOf(app)],
    ["Connections", el("a", { "data-focus": "connections", href: link("connections", { app: id }) }, count(status.connections))],
    ["Messages", `${count(status.messages_received)} received, ${count(status.messages_sent)} sent`],
  );
  node.dataset.numbers = "";
  return node;
}

function storeLines(store) {
  if (store === null) return [text("p", "quiet", "The apps are in the configuration file. To add and change apps here, keep them in a database: set url in [app_store].")];
  const lines = [];
  if (store.away) lines.push(text("p", "problem", `The database of apps has been away since ${dateAndClock(store.away.since_ms)}, the apps stay as they were: ${visible(store.away.error)}`));
  if (store.broken.length > 0) {
    lines.push(el("details", { class: "problem" }, el("summary", {}, `${counted(store.broken.length, "row")} of the database ${store.broken.length === 1 ? "has" : "have"} no effect`),
      el("ul", {}, store.broken.map(({ id, error }) => el("li", {}, el("a", { href: link("apps", { id }) }, el("bdi", {}, visible(id))), ` ${visible(error)}`)))));
  }
  return lines;
}

function say(place, error) {
  place.textContent = visibleLines(error.message);
  place.hidden = false;
}
