// The section Sources: an app's sources, what was delivered to them last, and what one would publish for a delivery.

import * as api from "./api.js";
import { byId, el, facts, text } from "./dom.js";
import { clock, counted, dateAndClock, visible } from "./format.js";
import { payload } from "./json.js";
import { Refresher } from "./refresher.js";

const REFRESH_MS = 3_000;

export class Sources {
  #shell;
  #refresher = new Refresher(REFRESH_MS, (signal) => this.#load(signal));
  #drawn = "";

  constructor(shell) {
    this.#shell = shell;
    byId("sources-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#test();
    });
  }

  show() {
    byId("sources-answer").replaceChildren();
    this.#refresher.start();
  }

  hide() {
    this.#refresher.stop();
  }

  firstField() {
    return byId("sources-body");
  }

  async #load(signal) {
    try {
      this.#list((await api.sources(this.#shell.app().id, signal)).sources);
    } catch (error) {
      if (signal.aborted) throw error;
      byId("sources-total").textContent = error.message;
    }
  }

  #list(sources) {
    // What is open, and where the focus is, stays as long as nothing changes.
    const drawn = JSON.stringify([this.#shell.app().id, sources]);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    const here = this.#shell.isClustered() ? ", with the last deliveries to this node" : "";
    byId("sources-total").textContent = sources.length > 0 ? `${counted(sources.length, "source")}${here}` : "The configuration gives this app no source.";
    byId("sources-list").replaceChildren(...sources.map(card));
    byId("sources-form").hidden = sources.length === 0;
    const chosen = byId("sources-name").value;
    byId("sources-name").replaceChildren(...sources.map(({ name }) => el("option", { value: name, selected: name === chosen }, visible(name))));
  }

  async #test() {
    const delivery = { headers: byId("sources-headers").value, body: byId("sources-body").value };
    const place = byId("sources-answer");
    const button = byId("sources-test");
    button.disabled = true;
    try {
      place.replaceChildren(...routed(await api.testSource(this.#shell.app().id, byId("sources-name").value, delivery)));
    } catch (error) {
      place.replaceChildren(el("p", { class: "card verdict", "data-ok": "false" }, visible(error.message)));
    } finally {
      button.disabled = false;
    }
  }
}

function card({ name, kind, routes, stores, deliveries }) {
  const what = [kind, counted(routes, "route"), stores && "stores its deliveries"].filter(Boolean).join(", ");
  return el("section", { class: "card stack", "data-source": name },
    el("h2", {}, el("bdi", {}, visible(name))), text("p", "quiet", what),
    deliveries.length === 0 ? text("p", "quiet", "Nothing was delivered yet.") : el("ul", { class: "letters" }, deliveries.map(delivered)));
}

function delivered({ time_ms: time, status, outcome, id, events, excerpt }) {
  return el("li", {},
    el("details", {},
      el("summary", {}, `${clock(time)} `, el("span", { class: "what" }, String(status)), ` ${visible(outcome)}`),
      facts(["At", dateAndClock(time)], ["Id", id && visible(id)], ["Events", events.length > 0 ? visible(events.join(", ")) : null]),
      excerpt === null ? text("p", "quiet", "What is not verified is not kept.") : payload(excerpt)));
}

function routed({ id, events, problem }) {
  if (problem) return [el("p", { class: "card verdict", "data-ok": "false" }, visible(problem))];
  const verdict = events.length > 0 ? `It becomes ${counted(events.length, "event")}${id ? `; its id is ${id}` : ""}` : "No route is for it: it is answered with 200 and nothing is published.";
  return [
    el("p", { class: "card verdict", "data-ok": "true" }, visible(verdict)),
    ...events.map(({ route, channels, event, data }) => el("section", { class: "card stack" },
      facts(["Route", String(route + 1)], ["Event", el("bdi", {}, visible(event))], ["Channels", el("bdi", {}, visible(channels.join(", ")))]),
      payload(data))),
  ];
}
