// The section Connections: this node's, what they are subscribed to and how far they lag behind; closes one.

import * as api from "./api.js";
import { byId, el, facts, onTyped, refill, text } from "./dom.js";
import { age, bytes, count, counted, visible } from "./format.js";
import { panelHead } from "./inspector.js";
import { confirmed, notice } from "./notices.js";
import { link, note } from "./route.js";
import { Refresher } from "./refresher.js";
import { Table } from "./table.js";

const REFRESH_MS = 3_000;

export class Connections {
  #shell;
  #table;
  #socketId = null;
  #refresher = new Refresher(REFRESH_MS, (signal) => this.#load(signal));
  #panel = byId("connections-inspector");

  constructor(shell) {
    this.#shell = shell;
    this.#table = new Table({ label: "Connections of this node", key: ({ socket_id: id }) => id, empty: "", columns: this.#columns() });
    byId("connections-list").append(this.#table.node);
    onTyped(byId("connections-find"), () => {
      this.#note();
      this.#refresher.now();
    });
    byId("connections-filters").addEventListener("submit", (event) => event.preventDefault());
  }

  show(params) {
    byId("connections-find").value = params.get("find") ?? "";
    this.#socketId = params.get("socket");
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
    return byId("connections-find");
  }

  escape() {
    if (this.#panel.hidden) return false;
    const id = this.#socketId;
    this.#socketId = null;
    this.#panel.hidden = true;
    this.#note();
    this.#table.select(null);
    byId("connections-list").querySelector(`tr[data-key="${CSS.escape(id)}"] a`)?.focus();
    return true;
  }

  #columns() {
    const here = () => ({ app: this.#shell.app().id, find: byId("connections-find").value });
    return [
      { name: "socket", label: "Socket", sort: ({ socket_id: id }) => id, cell: ({ socket_id: id }) => el("a", { class: "stretch", "data-focus": "socket", href: link("connections", { ...here(), socket: id }) }, visible(id)) },
      { name: "user", label: "User", sort: ({ user_id: id }) => id, cell: ({ user_id: id }) => (id ? el("bdi", {}, visible(id)) : text("span", "quiet", "–")) },
      { name: "address", label: "Address", sort: ({ address }) => address, cell: ({ address }) => visible(address ?? "–") },
      { name: "client", label: "Client", away: true, sort: ({ client }) => client, cell: ({ client }) => el("bdi", {}, visible(client ?? "–")) },
      { name: "origin", label: "Origin", away: true, sort: ({ origin }) => origin, cell: ({ origin }) => el("bdi", {}, visible(origin ?? "–")) },
      { name: "subscriptions", label: "Subs", number: true, sort: (row) => row.subscription_count, cell: (row) => count(row.subscription_count) },
      { name: "outbox", label: "Outbox", number: true, sort: (row) => row.outbox_bytes, cell: (row) => bytes(row.outbox_bytes) },
      { name: "age", label: "Age", number: true, sort: (row) => row.age_seconds, cell: (row) => age(row.age_seconds) },
      { name: "close", label: "", cell: (row) => this.#closer(row) },
    ];
  }

  #closer({ socket_id: id, user_id: user }) {
    const close = () => this.#close(id, user);
    return el("button", { type: "button", class: "plain small above", "data-focus": "close", "aria-label": `Close connection ${visible(id)}${whose(user)}`, onclick: close }, "Close…");
  }

  #note() {
    note("connections", { app: this.#shell.app().id, find: byId("connections-find").value, socket: this.#socketId });
  }

  async #load(signal) {
    const app = this.#shell.app().id;
    const find = byId("connections-find").value.trim();
    const socketId = this.#socketId;
    try {
      const { connections, total } = await api.connections(app, find, signal);
      const known = connections.find((one) => one.socket_id === socketId)
        ?? (socketId && (await api.connections(app, socketId, signal)).connections.find((one) => one.socket_id === socketId));
      const here = this.#shell.isClustered() ? " on this node" : "";
      // Of how many none is found is another question.
      const all = total === 0 && find ? (await api.connections(app, "", signal, 0)).total : null;
      byId("connections-total").textContent = said(connections.length, { find, total, all, here });
      this.#table.fill(connections, find ? `No connection${here} fits.` : `Nobody is connected${here}.`);
      this.#table.select(socketId);
      if (socketId) this.#inspect(app, known, socketId);
    } catch (error) {
      if (signal.aborted) throw error;
      byId("connections-total").textContent = error.message;
    }
  }

  #inspect(app, row, socketId) {
    const hadFocus = this.#panel.contains(document.activeElement) && document.activeElement.dataset.focus;
    refill(this.#panel, [panelHead(socketId, null, () => this.escape()), ...(row ? this.#details(app, row) : [text("p", "quiet", "This connection has ended.")])]);
    this.#panel.hidden = false;
    if (hadFocus) this.#panel.querySelector(`[data-focus="${CSS.escape(hadFocus)}"]`)?.focus({ preventScroll: true });
  }

  #details(app, row) {
    const more = row.subscription_count - row.subscriptions.length;
    const names = row.subscriptions.map((name) => el("li", {}, el("a", { "data-focus": `to ${name}`, href: link("channels", { app, name }) }, el("bdi", {}, visible(name)))));
    return [
      facts(
        ["User", row.user_id && el("bdi", {}, visible(row.user_id))],
        ["Address", row.address && visible(row.address)],
        ["Origin", row.origin && el("bdi", {}, visible(row.origin))],
        ["Client", row.client && el("bdi", {}, visible(row.client))],
        ["Transport", row.transport],
        ["Protocol", row.protocol && String(row.protocol)],
        ["Connected for", age(row.age_seconds)],
        ["Outbox", row.outbox_bytes ? `${bytes(row.outbox_bytes)} wait to be read` : "nothing waits"],
      ),
      el("div", { class: "row" },
        el("a", { class: "button plain small", "data-focus": "feed", href: link("live", { app, text: row.socket_id }) }, "Its feed"),
        this.#closer(row)),
      text("h3", "", `Subscriptions: ${count(row.subscription_count)}`),
      el("ul", { class: "names" }, names),
      ...(more > 0 ? [text("p", "quiet", `and ${count(more)} more`)] : []),
    ];
  }

  async #close(socketId, user) {
    const sure = await confirmed({
      title: "Close this connection?",
      text: `${visible(socketId)}${whose(user)} is closed by the server. Clients of Pusher's libraries connect again by themselves.`,
      yes: "Close connection",
    });
    if (!sure) return;
    try {
      await api.close(this.#shell.app().id, socketId);
      notice(`Closed ${visible(socketId)}`);
    } catch (error) {
      notice(error.status === 404 ? `${visible(socketId)} had ended already` : error.message, "bad");
    }
    this.#refresher.now();
  }
}

const whose = (user) => (user ? ` of user ${visible(user)}` : "");

function said(shown, { find, total, all, here }) {
  if (all !== null) return `None of ${counted(all, "connection")}${here} matches the filter`;
  if (shown < total) return `${count(shown)} of ${count(total)}${here}, find others by id, user or address`;
  return find ? `${count(total)}${here} found` : `${count(total)} connected${here}`;
}
