// The feed's connection: comes back by itself, waiting longer after each failure, and tells how it stands.

import { feedUrl } from "./api.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 30_000;
/** A connection that held for so long counts as well: the next failure begins with the shortest wait again. */
const HELD_MS = 5_000;

export class Feed {
  #app = null;
  #socket = null;
  #failures = 0;
  #timer = null;
  #told;
  #filter = "{}";

  /** @param {{entries: Function, state: Function}} told gets every frame's entries, and `{ name, until?, reason? }` */
  constructor(told) {
    this.#told = told;
    addEventListener("online", () => this.retry());
  }

  /** Watches this app and no other. */
  watch(app) {
    this.stop();
    this.#app = app;
    this.#failures = 0;
    this.#connect();
  }

  /** What is looked for from now on, so that the server tells it before the rest of a flood. */
  seek(filter) {
    const said = JSON.stringify(filter);
    if (said === this.#filter) return;
    this.#filter = said;
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(said);
  }

  stop() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#app = null;
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  /** Does not wait any longer. */
  retry() {
    if (this.#timer === null) return;
    clearTimeout(this.#timer);
    this.#connect();
  }

  #connect() {
    this.#timer = null;
    this.#told.state({ name: "connecting" });
    const socket = new WebSocket(feedUrl(this.#app));
    this.#socket = socket;
    let opened = null;
    socket.addEventListener("open", () => socket.send(this.#filter));
    socket.addEventListener("message", ({ data }) => {
      if (socket !== this.#socket) return;
      // Only now: the server accepts a feed also to refuse it with a reason, as browsers show no other.
      if (opened === null) this.#told.state({ name: "live" });
      opened ??= performance.now();
      this.#told.entries(entriesOf(data));
    });
    socket.addEventListener("close", ({ reason }) => {
      // One that was given up for another tells nothing any more.
      if (socket !== this.#socket) return;
      if (opened !== null && performance.now() - opened >= HELD_MS) this.#failures = 0;
      this.#wait(reason, opened !== null);
    });
  }

  #wait(reason, wasOpen) {
    const longest = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.#failures);
    // Many consoles that lose one server shall not come back at the same moment.
    const wait = longest * (0.5 + Math.random() / 2);
    this.#failures += 1;
    this.#timer = setTimeout(() => this.#connect(), wait);
    this.#told.state({ name: "waiting", until: Date.now() + wait, reason, wasOpen });
  }
}

/** The entries of a frame. What is none is left out: a newer server may tell what this page has no words for. */
function entriesOf(frame) {
  let value;
  try {
    value = JSON.parse(frame);
  } catch {
    return [];
  }
  return Array.isArray(value) ? value.filter((entry) => typeof entry?.kind === "string") : [];
}
