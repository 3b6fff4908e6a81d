// The section Charts: this node over the last 15 minutes, four charts that share one moment.

import * as api from "./api.js";
import { byId, el, text } from "./dom.js";
import { clock, count, figure } from "./format.js";
import { Plot } from "./plot.js";
import { Refresher } from "./refresher.js";

const REFRESH_MS = 5_000;
const SPAN_MS = 15 * 60_000;

/** Large values at an axis: `12k`, `3.4M`. */
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const amount = (value) => (value < 10_000 ? figure(value) : compact.format(value));

const CHARTS = [
  { title: "Connections", write: amount, lines: [{ key: "connections", label: "open", tone: "blue" }] },
  { title: "Messages per second", write: amount, lines: [{ key: "messages_in", label: "in", tone: "violet" }, { key: "messages_out", label: "out", tone: "teal" }] },
  { title: "Deliveries per second", write: amount, lines: [{ key: "deliveries", label: "deliveries", tone: "green" }] },
  { title: "Latency, p99", write: (value) => `${amount(value)} ms`, lines: [{ key: "p99_ms", label: "p99", tone: "amber" }] },
];

export class Charts {
  #shell;
  #points = [];
  #plots;
  /** The index of the point that is read out; -1 is the newest, whichever that is. */
  #index = -1;
  #refresher = new Refresher(REFRESH_MS, (signal) => this.#load(signal));

  constructor(shell) {
    this.#shell = shell;
    this.#plots = CHARTS.map((chart) => new Plot({ ...chart, pick: (index) => this.#pick(index) }));
    byId("plots").append(...this.#plots.map(({ node }) => node));
    byId("moment").addEventListener("input", ({ target }) => {
      const index = Number(target.value);
      this.#pick(index === this.#points.length - 1 ? -1 : index);
    });
    byId("charts-table").addEventListener("toggle", () => this.#table());
  }

  show() {
    this.#refresher.start();
  }

  hide() {
    this.#refresher.stop();
  }

  firstField() {
    return byId("moment");
  }

  async #load(signal) {
    const where = this.#shell.isClustered() ? "this node" : "this server";
    try {
      const { points } = await api.series(signal);
      const before = this.#points[this.#index]?.t;
      this.#points = points;
      // The moment that is read out moves to the left with its point.
      this.#index = before === undefined ? -1 : points.findIndex(({ t }) => t === before);
      byId("charts-note").textContent = points.length > 0 ? `All apps of ${where}, 15 minutes` : "The first figures come within seconds.";
    } catch (error) {
      if (signal.aborted) throw error;
      byId("charts-note").textContent = error.message;
      return;
    }
    const to = this.#points.at(-1)?.t ?? Date.now();
    for (const plot of this.#plots) plot.fill(this.#points, [to - SPAN_MS, to]);
    this.#pick(this.#index);
    this.#table();
  }

  #pick(index) {
    this.#index = index;
    const last = Math.max(0, this.#points.length - 1);
    const at = index < 0 ? last : index;
    const slider = byId("moment");
    slider.max = String(last);
    slider.value = String(at);
    const point = this.#points[at];
    const said = point ? `${clock(point.t)}${index < 0 ? ", newest" : ""}` : "";
    byId("moment-text").textContent = said;
    slider.setAttribute("aria-valuetext", point ? `${said}: ${spoken(point)}` : "no figures yet");
    for (const plot of this.#plots) plot.mark(index);
  }

  #table() {
    if (!byId("charts-table").open) return;
    const minutes = new Map();
    for (const point of this.#points) {
      const minute = Math.floor(point.t / 60_000) * 60_000;
      minutes.set(minute, [...(minutes.get(minute) ?? []), point]);
    }
    const rows = [...minutes].reverse().map(([minute, points]) => {
      const mean = (key) => amount(points.reduce((sum, point) => sum + point[key], 0) / points.length);
      const slowest = Math.max(...points.map((point) => point.p99_ms ?? -1));
      return el("tr", {}, [clock(minute).slice(0, 5), count(points.at(-1).connections), mean("messages_in"), mean("messages_out"), mean("deliveries"), slowest < 0 ? "–" : figure(slowest)]
        .map((value, n) => el(n === 0 ? "th" : "td", n === 0 ? { scope: "row" } : { class: "number" }, value)));
    });
    const head = ["Minute", "Connections", "Messages in/s", "Messages out/s", "Deliveries/s", "p99, highest, ms"];
    byId("charts-rows").replaceChildren(el("table", {},
      text("caption", "away", "Connections at the end of each minute, rates as its mean"),
      el("thead", {}, el("tr", {}, head.map((label, n) => el("th", { scope: "col", class: n === 0 ? null : "number" }, label)))),
      el("tbody", {}, rows)));
  }
}

function spoken(point) {
  return CHARTS.flatMap(({ title, lines, write }) => lines.map(({ key, label }) => {
    const value = point[key];
    return `${lines.length > 1 ? `${title}, ${label}` : title} ${value === null || value === undefined ? "unknown" : write(value)}`;
  })).join("; ");
}
