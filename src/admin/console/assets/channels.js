// The section Channels: who is on what, cluster-wide, which rule holds there, and what is kept of it.

import * as api from "./api.js";
import { byId, el, facts, onTyped, refill, text } from "./dom.js";
import { count, counted, dateAndClock, visible } from "./format.js";
import { panelHead } from "./inspector.js";
import { payload } from "./json.js";
import { link, note } from "./route.js";
import { Refresher } from "./refresher.js";
import { Table } from "./table.js";

const REFRESH_MS = 3_000;
/** A prefix for each chip; a name says its kind. */
const KINDS = [["presence", "presence-"], ["private", "private-"], ["encrypted", "private-encrypted-"], ["cache", "cache-"]];
/** A panel with thousands of members would help nobody. */
const MOST_MEMBERS = 200;

export class Channels {
  #shell;
  #table;
  #name = null;
  /** Why the name that was typed is none, until something else is typed. */
  #refused = null;
  #refresher = new Refresher(REFRESH_MS, (signal) => this.#load(signal));
  #panel = byId("channels-inspector");
  /** What the panel shows, so that it is drawn again only if that has changed. */
  #drawn = "";

  constructor(shell) {
    this.#shell = shell;
    this.#table = new Table({ label: "Channels", key: ({ name }) => name, empty: "", columns: this.#columns() });
    byId("channels-list").append(this.#table.node);
    const prefix = byId("channels-prefix");
    const changed = () => {
      this.#note();
      this.#refresher.now();
    };
    prefix.addEventListener("input", () => (this.#refused = null));
    onTyped(prefix, changed);
    // Enter opens the name that was typed, also of a channel that nobody is on.
    byId("channels-filters").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#refused = null;
      this.#name = prefix.value.trim() || null;
      changed();
    });
    for (const [kind, begin] of KINDS) {
      byId("channels-kinds").append(el("button", { type: "button", class: "chip", onclick: () => {
        prefix.value = prefix.value === begin ? "" : begin;
        this.#refused = null;
        changed();
      } }, kind));
    }
  }

  show(params) {
    byId("channels-prefix").value = params.get("prefix") ?? "";
    this.#name = params.get("name");
    this.#refused = null;
    this.#drawn = "";
    this.#panel.hidden = true;
    this.#refresher.start();
  }

  hide() {
    this.#refresher.stop();
  }

  get list() {
    return this.#table;
  }

  firstField() {
    return byId("channels-prefix");
  }

  escape() {
    if (this.#panel.hidden) return false;
    const name = this.#name;
    this.#name = null;
    this.#panel.hidden = true;
    this.#note();
    this.#table.select(null);
    for (const row of byId("channels-list").querySelectorAll("tr[data-key]")) if (row.dataset.key === name) row.querySelector("a").focus();
    return true;
  }

  #columns() {
    const here = () => ({ app: this.#shell.app().id, prefix: byId("channels-prefix").value });
    return [
      { name: "name", label: "Channel", sort: ({ name }) => name, cell: ({ name }) => el("a", { class: "stretch", "data-focus": "name", href: link("channels", { ...here(), name }) }, el("bdi", {}, visible(name))) },
      { name: "kind", label: "Kind", sort: ({ kind }) => kind, cell: (row) => badges(row) },
      { name: "subscriptions", label: "Subscriptions", number: true, sort: ({ subscriptions }) => subscriptions, cell: ({ subscriptions }) => count(subscriptions) },
      { name: "members", label: "Members", number: true, sort: ({ members }) => members, cell: ({ members }) => (members === null ? "" : count(members)) },
    ];
  }

  #note() {
    note("channels", { app: this.#shell.app().id, prefix: byId("channels-prefix").value, name: this.#name });
  }

  async #load(signal) {
    const app = this.#shell.app().id;
    const prefix = byId("channels-prefix").value;
    for (const [n, [, begin]] of KINDS.entries()) byId("channels-kinds").children[n].setAttribute("aria-pressed", String(prefix === begin));
    const name = this.#name;
    try {
      const [list, detail] = await Promise.all([api.channels(app, prefix, signal), name ? api.channel(app, name, signal) : null]);
      const { channels, total } = list;
      // Of how many none begins like that is another question.
      const all = total === 0 && prefix ? (await api.channels(app, "", signal, 0)).total : null;
      byId("channels-total").textContent = this.#refused ?? said(channels.length, total, all);
      this.#table.fill(channels, prefix ? "No occupied channel begins like that." : "No channel has a subscriber.");
      this.#table.select(name);
      if (detail) this.#inspect(app, detail);
    } catch (error) {
      if (signal.aborted) throw error;
      // What is no name is not asked for again.
      if (error.status === 400) {
        this.#name = null;
        this.#refused = error.message;
      }
      byId("channels-total").textContent = error.message;
    }
  }

  #inspect(app, detail) {
    const told = JSON.stringify(detail);
    if (told === this.#drawn && !this.#panel.hidden) return;
    this.#drawn = told;
    const { name, subscriptions, members, policy, last_event: last, history } = detail;
    refill(this.#panel, [
      panelHead(name, null, () => this.escape()),
      facts(["Kind", badges(detail)], ["Subscriptions", count(subscriptions)], ["Members", members && count(members.length)], ...held(policy)),
      el("div", { class: "row" },
        el("a", { class: "button plain small", href: link("live", { app, channel: name }) }, "Its feed"),
        el("a", { class: "button plain small", href: link("create", { app, channel: name }) }, "Send to it…")),
      ...lastEvent(detail.cache, last),
      ...pastEvents(history),
      ...memberList(members),
    ]);
    this.#panel.hidden = false;
  }
}

function said(shown, total, all) {
  if (all !== null) return `None of ${counted(all, "occupied channel")} matches the filter`;
  return shown < total ? `${count(shown)} of ${count(total)}, more with a longer beginning` : `${count(total)} occupied`;
}

function badges({ kind, cache }) {
  const tones = { public: "slate", private: "blue", presence: "green", encrypted: "violet" };
  return el("span", { class: "badges" },
    el("span", { class: "badge", "data-tone": tones[kind] ?? "slate" }, visible(kind)),
    cache ? el("span", { class: "badge", "data-tone": "amber" }, "cache") : null);
}

/** What holds for a channel, and by which rule. */
function held({ rule, match, subscribe, history, rewind, client_events: clientEvents, subscription_count: told }) {
  const kept = (what) => what && `${counted(what.events, "event")}, ${count(what.seconds)} s`;
  return [
    ["Rule", rule === null ? "none" : `${rule}: ${match}`], ["May subscribe", subscribe], ["History", kept(history)], ["Rewind", kept(rewind)],
    ["Client events", clientEvents ? "yes" : "no"], ["Subscription count", told ? "yes" : "no"],
  ];
}

function lastEvent(isCache, last) {
  if (!isCache) return [];
  if (!last) return [text("h3", "", "Last event"), text("p", "quiet", "None is kept.")];
  return [el("h3", {}, "Last event ", el("bdi", { class: "code" }, visible(last.event))), payload(String(last.data))];
}

/** What the server keeps for whoever reads it back, of a channel where it keeps anything. */
function pastEvents(history) {
  if (!history) return [];
  if (history.length === 0) return [text("h3", "", "History"), text("p", "quiet", "No event is kept.")];
  const shown = history.map(({ name, data, time_ms: time, user_id: user }) => el("li", {},
    el("time", { class: "quiet", datetime: new Date(time).toISOString() }, dateAndClock(time)), " ",
    el("bdi", { class: "code" }, visible(name)), user === undefined ? null : ` from ${visible(user)}`,
    payload(data)));
  return [text("h3", "", "History, the newest first"), el("ul", { class: "members" }, shown)];
}

function memberList(members) {
  if (!members) return [];
  const shown = members.slice(0, MOST_MEMBERS).map(({ user_id: id, user_info: info }) => el("li", {},
    el("bdi", { class: "code" }, visible(id)),
    info === null || info === undefined ? null : payload(JSON.stringify(info))));
  const more = members.length - shown.length;
  return [text("h3", "", "Members"), el("ul", { class: "members" }, shown), ...(more > 0 ? [text("p", "quiet", `and ${count(more)} more`)] : [])];
}
