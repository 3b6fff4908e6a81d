// How the server is doing, asked again and again whichever section is shown, and what of it every section must show: a
// configuration that could not be read, Redis or the database of apps that is away, a node that is shutting down.

import * as api from "./api.js";
import { byId, el, text } from "./dom.js";
import { clock, counted, visible, visibleLines } from "./format.js";
import { Refresher } from "./refresher.js";

const REFRESH_MS = 3_000;

export class Health {
  #told;
  #drawn = "";
  #refresher = new Refresher(REFRESH_MS, (signal) => this.#load(signal));

  /** @param {Function} told gets every answer of `/health` */
  constructor(told) {
    this.#told = told;
  }

  start() {
    this.#refresher.start();
  }

  stop() {
    this.#refresher.stop();
    this.#show([]);
  }

  async #load(signal) {
    try {
      const health = await api.health(signal);
      this.#show(banners(health));
      this.#told(health);
    } catch (error) {
      // Without an answer the feed has been lost too, and says so.
      if (signal.aborted) throw error;
    }
  }

  #show(said) {
    // What is said already is not said again: a screen reader would interrupt for it.
    const drawn = JSON.stringify(said);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    byId("banners").replaceChildren(...said.map(({ tone, head, body }) => el("div", { class: "banner", "data-tone": tone },
      text("strong", "", head),
      body ? text("pre", "", visibleLines(body)) : null)));
  }
}

function banners({ status, config, cluster, app_store: store }) {
  const said = [];
  if (config.error) {
    said.push({ tone: "red", head: `The changed configuration has an error. The one that was read at ${clock(Date.parse(config.loaded_at))} is still in effect.`, body: config.error });
  }
  if (cluster?.status === "down") {
    said.push({ tone: "amber", head: `${visible(cluster.problem ?? "Redis is away")}. Other nodes are not heard, and publishing waits or is refused.` });
  }
  if (store?.status === "down") {
    said.push({ tone: "amber", head: `The database of apps has been away since ${clock(Date.parse(store.down_since))}. The apps stay as they were.`, body: store.problem });
  }
  if (store?.broken > 0) {
    const rows = store.broken_rows.map(({ id, problem }) => `${visible(id)}: ${problem}`);
    said.push({ tone: "amber", head: `${counted(store.broken, "row")} of the database of apps ${store.broken === 1 ? "has" : "have"} no effect. The section Apps has all of them.`, body: rows.join("\n") });
  }
  if (status === "draining") said.push({ tone: "amber", head: "This node is shutting down." });
  return said;
}
