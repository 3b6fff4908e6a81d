// One chart: lines over time with axes, a legend that reads out a moment, in SVG. Times are those of the points; what
// the moment is, somebody else decides.

import { el, svg, text } from "./dom.js";
import { clock } from "./format.js";

const HEIGHT = 170;
const MARGIN = { top: 10, right: 12, bottom: 22, left: 48 };
const MINUTE = 60_000;
const TICKS = 4;

export class Plot {
  #lines;
  #write;
  #pick;
  #points = [];
  #span = null;
  #index = -1;
  /** The value at the upper end. */
  #top = 1;
  #drawing = svg("svg", { role: "img" });
  #cursor = svg("g", { class: "cursor" });
  #values;

  /**
   * @param {object} options
   * @param {{key: string, label: string, tone: string}[]} options.lines
   * @param {Function} options.write a value in words
   * @param {Function} options.pick gets the index of the point that the mouse is over, or -1
   */
  constructor({ title, lines, write, pick }) {
    this.title = title;
    this.#lines = lines;
    this.#write = write;
    this.#pick = pick;
    this.#values = new Map(lines.map(({ key }) => [key, el("b", {})]));
    const legend = lines.map(({ key, label, tone }) => el("span", { class: "legend", "data-tone": tone }, el("span", { class: "dot", "aria-hidden": "true" }), `${label} `, this.#values.get(key)));
    this.node = el("figure", { class: "card plot" }, el("figcaption", {}, text("h2", "", title), el("span", { class: "legends" }, legend)), this.#drawing);
    this.#drawing.addEventListener("pointermove", ({ clientX }) => this.#point(clientX));
    this.#drawing.addEventListener("pointerleave", () => pick(-1));
    new ResizeObserver(() => this.#draw()).observe(this.#drawing);
  }

  /** Shows points within a span of time `[from, to]`. */
  fill(points, span) {
    this.#points = points;
    this.#span = span;
    this.#draw();
  }

  /** Reads out the point of this index, or the last one for -1. */
  mark(index) {
    this.#index = index;
    const at = index < 0 ? this.#points.length - 1 : index;
    for (const { key } of this.#lines) {
      const value = this.#points[at]?.[key];
      this.#values.get(key).textContent = value === null || value === undefined ? "–" : this.#write(value);
    }
    this.#drawCursor();
  }

  get #width() {
    return this.#drawing.clientWidth;
  }

  #x(t) {
    const [from, to] = this.#span;
    return MARGIN.left + ((t - from) / (to - from)) * (this.#width - MARGIN.left - MARGIN.right);
  }

  #y(value) {
    return HEIGHT - MARGIN.bottom - (value / this.#top) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  }

  get #all() {
    return this.#points.flatMap((point) => this.#lines.map(({ key }) => point[key])).filter((value) => typeof value === "number");
  }

  #draw() {
    if (this.#span === null || this.#width === 0) return;
    const all = this.#all;
    const highest = all.length > 0 ? Math.max(...all) : 0;
    const step = niceStep(highest / TICKS);
    this.#top = Math.max(step, Math.ceil(highest / step) * step);
    this.#drawing.setAttribute("viewBox", `0 0 ${this.#width} ${HEIGHT}`);
    this.#drawing.setAttribute("aria-label", this.#summary(all));
    this.#drawing.replaceChildren(this.#axes(step), ...this.#lines.flatMap((line) => this.#path(line)), this.#cursor);
    this.mark(this.#index);
  }

  #summary(all) {
    if (all.length === 0) return `${this.title}: no figures yet`;
    return `${this.title} over 15 minutes: ${this.#lines.map(({ key, label }) => {
      const values = this.#points.map((point) => point[key]).filter((value) => typeof value === "number");
      return values.length > 0 ? `${label} between ${this.#write(Math.min(...values))} and ${this.#write(Math.max(...values))}` : `${label} unknown`;
    }).join("; ")}`;
  }

  #axes(step) {
    const right = this.#width - MARGIN.right;
    const parts = [];
    for (let value = 0; value <= this.#top + step / 2; value += step) {
      const y = this.#y(value);
      parts.push(svg("line", { class: value === 0 ? "axis" : "grid-line", x1: MARGIN.left, x2: right, y1: y, y2: y }));
      parts.push(svg("text", { class: "tick end", x: MARGIN.left - 8, y: y + 4 }, this.#write(value)));
    }
    const [from, to] = this.#span;
    const every = this.#width < 420 ? 5 * MINUTE : 3 * MINUTE;
    for (let t = Math.ceil(from / every) * every; t <= to; t += every) {
      const x = this.#x(t);
      parts.push(svg("line", { class: "axis", x1: x, x2: x, y1: HEIGHT - MARGIN.bottom, y2: HEIGHT - MARGIN.bottom + 4 }));
      if (x > MARGIN.left + 14 && x < right - 14) parts.push(svg("text", { class: "tick middle", x, y: HEIGHT - 4 }, clock(t).slice(0, 5)));
    }
    return svg("g", {}, parts);
  }

  /** A line, broken where nothing is known, and the area below it if it is the only one. */
  #path({ key, tone }) {
    const runs = [];
    let run = null;
    for (const point of this.#points) {
      if (typeof point[key] !== "number") run = null;
      else if (run) run.push(point);
      else runs.push((run = [point]));
    }
    const place = (point) => `${this.#x(point.t).toFixed(1)} ${this.#y(point[key]).toFixed(1)}`;
    const line = runs.map((points) => `M${points.map(place).join("L")}${points.length === 1 ? "h.1" : ""}`).join("");
    const ground = this.#y(0).toFixed(1);
    const area = runs.map((points) => `M${this.#x(points[0].t).toFixed(1)} ${ground}L${points.map(place).join("L")}V${ground}Z`).join("");
    const parts = [svg("path", { class: "plot-line", "data-tone": tone, d: line })];
    if (this.#lines.length === 1) parts.unshift(svg("path", { class: "plot-area", "data-tone": tone, d: area }));
    return parts;
  }

  #drawCursor() {
    const point = this.#points[this.#index];
    if (!point || this.#span === null) return this.#cursor.replaceChildren();
    const x = this.#x(point.t);
    const dots = this.#lines
      .filter(({ key }) => typeof point[key] === "number")
      .map(({ key, tone }) => svg("circle", { class: "plot-dot", "data-tone": tone, cx: x, cy: this.#y(point[key]), r: 3.5 }));
    this.#cursor.replaceChildren(svg("line", { class: "cursor-line", x1: x, x2: x, y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom }), ...dots);
  }

  #point(clientX) {
    if (this.#span === null || this.#points.length === 0) return;
    const x = clientX - this.#drawing.getBoundingClientRect().left;
    let nearest = 0;
    for (const [n, { t }] of this.#points.entries()) {
      if (Math.abs(this.#x(t) - x) < Math.abs(this.#x(this.#points[nearest].t) - x)) nearest = n;
    }
    this.#pick(nearest);
  }
}

/** 1, 2 or 5 times a power of ten, at least as large. */
function niceStep(least) {
  if (least <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((n) => n * power).find((step) => step >= least * 0.999);
}
