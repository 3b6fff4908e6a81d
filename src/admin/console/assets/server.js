// The section Server: how this node, its workers, the cluster and the configuration are, and the webhook requests that
// were given up.

import * as api from "./api.js";
import { byId, el, facts, text } from "./dom.js";
import { age, bytes, clock, count, counted, dateAndClock, figure, visible, visibleLines } from "./format.js";
import { payload } from "./json.js";
import { confirmed, notice } from "./notices.js";
import { Refresher } from "./refresher.js";

const REFRESH_MS = 3_000;
/** A page with thousands of requests would help nobody. */
const MOST_LETTERS = 100;

export class Server {
  #shell;
  #refresher = new Refresher(REFRESH_MS, (signal) => this.#load(signal));
  #drawn = "";

  constructor(shell) {
    this.#shell = shell;
    byId("letters-all").addEventListener("click", () => this.#sendAll());
  }

  show() {
    this.#refresher.start();
  }

  hide() {
    this.#refresher.stop();
  }

  firstField() {
    return byId("main");
  }

  /** Shows an answer of `/health`. */
  tell(health) {
    const { status, version, node, uptime_seconds: uptime, config, cluster, workers } = health;
    byId("server-node").replaceChildren(facts(
      ["Node", visible(node)],
      ["State", state(status === "ok", status === "ok" ? "takes connections" : "shutting down")],
      ["Version", visible(version)],
      ["Runs for", age(uptime)],
      ["Connections", count(health.connections)],
      ["Channels", `${count(health.channels)}, ${counted(health.subscriptions, "subscription")}`],
      ["Members", `${count(health.members)}, ${counted(health.users, "signed-in user")}`],
      ["Last events", `${count(health.last_events)}, ${bytes(health.last_event_bytes)}`],
      ["Waits", `${bytes(health.inbox_bytes)} for workers`],
    ));
    byId("server-config").replaceChildren(
      facts(
        ["State", state(!config.error, config.error ? "the changed one could not be read" : "in effect")],
        ["Read at", dateAndClock(Date.parse(config.loaded_at))],
      ),
      ...(config.error ? [text("pre", "payload", visibleLines(config.error))] : []));
    byId("server-cluster").replaceChildren(...(cluster ? [clusterFacts(cluster), nodeList(cluster)] : [text("p", "quiet", "This server is alone: its configuration has no [redis].")]));
    byId("server-workers").replaceChildren(workerTable(workers));
  }

  async #load(signal) {
    try {
      this.#showLetters((await api.deadLetters(signal)).dead_letters);
    } catch (error) {
      if (signal.aborted) throw error;
      byId("letters-total").textContent = error.message;
    }
  }

  #showLetters(letters) {
    // What is open, and where the focus is, stays as long as nothing changes.
    const drawn = JSON.stringify(letters.map(({ id }) => id));
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    const shown = letters.toReversed().slice(0, MOST_LETTERS);
    const here = this.#shell.isClustered() ? " on this node" : "";
    const more = letters.length > shown.length ? `, the newest ${count(shown.length)} are listed` : "";
    byId("letters-total").textContent = letters.length > 0 ? `${counted(letters.length, "request was", "requests were")} given up${here}${more}` : `No webhook request was given up${here}.`;
    byId("letters-all").hidden = letters.length === 0;
    byId("letters").replaceChildren(...shown.map((letter) => this.#letter(letter)));
  }

  #letter({ id, app, url, events, last_attempt_ms: last, error }) {
    const names = [...new Set(events.map((event) => event?.name))].join(", ");
    const again = el("button", { type: "button", class: "plain small", "aria-label": `Send ${visible(names)} of app ${visible(app)} again`, onclick: () => this.#send(id) }, "Send again");
    return el("li", {},
      el("details", {},
        el("summary", {}, `${clock(last)} `, el("bdi", { class: "what" }, visible(names)), ` ${visible(error)}`),
        facts(["App", visible(app)], ["URL", el("bdi", {}, visible(url))], ["Given up at", dateAndClock(last)], ["Error", visible(error)]),
        payload(JSON.stringify(events))),
      again);
  }

  async #sendAll() {
    const sure = await confirmed({ title: "Send all of them again?", text: `${byId("letters-total").textContent}. Their events are queued again, of all apps.`, yes: "Send again" });
    if (sure) await this.#send();
  }

  async #send(id) {
    try {
      const { redelivered } = await api.redeliver(id);
      notice(redelivered > 0 ? `Queued again: ${counted(redelivered, "request")}` : "It had been sent again already.");
    } catch (error) {
      notice(error.message, "bad");
    }
    this.#refresher.now();
  }
}

const state = (good, words) => el("span", { class: "state", "data-state": good ? "live" : "waiting" }, el("span", { class: "dot", "aria-hidden": "true" }), words);

function clusterFacts({ status, problem, nodes, round_trip_microseconds: trip, waiting_bytes: waiting }) {
  const isUp = status === "up";
  return facts(
    ["Redis", state(isUp, isUp ? "connected" : "away")],
    ["Problem", problem && visible(problem)],
    ["Nodes", `${count(nodes)} live, this one included${isUp ? "" : ", as last known"}`],
    ["Round trip", `${figure(trip / 1_000)} ms to Redis`],
    ["Waits", `${bytes(waiting)} for Redis' answer`],
  );
}

/** The live nodes by their names, this one first. A node counts as live until its lease ends, however long it was not heard. */
function nodeList({ live_nodes: nodes }) {
  const sorted = nodes.toSorted((a, b) => b.is_this - a.is_this || a.name.localeCompare(b.name, "en", { numeric: true }));
  return el("ul", { class: "nodes", "aria-label": "Live nodes" }, sorted.map(nodeRow));
}

function nodeRow({ name, address, is_this: isThis, heard_seconds_ago: heard, strange_apps: strange }) {
  const known = [isThis && "this node", address && visible(address), `heard ${age(heard)} ago`].filter(Boolean).join(", ");
  return el("li", {},
    el("bdi", { class: "what" }, visible(name)), ` ${known}`,
    strange.length === 0 ? null : el("div", {}, state(false, `other key or secret for app ${strange.map(visible).join(", app ")}`),
      text("p", "quiet", "Its events, counts and members mix with this node's. Nodes of one cluster need the same apps; another cluster needs another prefix in [redis].")));
}

function workerTable(workers) {
  const columns = [["Connections", "connections", count], ["Channels", "channels", count], ["Subscriptions", "subscriptions", count], ["Outboxes", "outbox_bytes", bytes]];
  return el("table", {},
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Worker"), columns.map(([label]) => el("th", { scope: "col", class: "number" }, label)))),
    el("tbody", {}, workers.map((worker, n) => el("tr", {}, el("th", { scope: "row" }, String(n + 1)), columns.map(([, key, write]) => el("td", { class: "number" }, write(worker[key])))))));
}
