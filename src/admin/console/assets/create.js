// The section Create: writes an event, sends it as the HTTP API would take it, and says what became of it.

import * as api from "./api.js";
import { byId, el, onTyped, setUpCopying, text } from "./dom.js";
import { reach } from "./entry.js";
import { clock, visible, visibleLines } from "./format.js";
import { forget, remember, sentBefore } from "./history.js";
import { indented, isJson, judged } from "./json.js";
import { note } from "./route.js";
import { SNIPPETS } from "./snippets.js";
import { read, write } from "./storage.js";

const FIELDS = ["channel", "event", "data"];

/** How long a second click counts as the same one, in ms. */
const DOUBLE_CLICK = 1000;

/** A key by which the server knows an event that it is sent twice. */
const freshKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

export class Create {
  #key = freshKey();
  /** The one of the last event whose fate is known. */
  #sentKey = null;
  #shell;
  #app = null;
  #snippet = SNIPPETS[0];

  constructor(shell) {
    this.#shell = shell;
    this.#setUpForm();
    this.#setUpCode();
    byId("history-clear").addEventListener("click", () => {
      forget(this.#app.id);
      this.#showHistory();
    });
  }

  show(params) {
    const app = this.#shell.app();
    if (this.#app?.id !== app.id) {
      this.#app = app;
      byId("create-answer").hidden = true;
    }
    for (const field of FIELDS) if (params.has(field)) byId(`create-${field}`).value = params.get(field);
    // Taken once: whoever comes back finds what was typed since.
    note("create", { app: app.id });
    this.#showHistory();
    this.#judge();
    this.#suggest();
  }

  hide() {}

  firstField() {
    return byId("create-channel");
  }

  get #event() {
    return Object.fromEntries(FIELDS.map((field) => [field, byId(`create-${field}`).value]));
  }

  #setUpForm() {
    const form = byId("create-form");
    form.addEventListener("input", () => {
      this.#key = freshKey();
      this.#judge();
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send(this.#event);
    });
    form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    });
    byId("create-format").addEventListener("click", () => {
      const data = byId("create-data");
      if (isJson(data.value)) data.value = indented(data.value);
      this.#judge();
    });
  }

  #setUpCode() {
    const base = byId("copy-base");
    base.value = read("base", `${location.protocol}//${location.hostname}:6001`);
    onTyped(base, () => {
      if (base.validity.valid) write("base", base.value);
      this.#showCode();
    });
    for (const snippet of SNIPPETS) {
      const button = el("button", { type: "button", "aria-pressed": String(snippet === this.#snippet) }, snippet.name);
      button.addEventListener("click", () => {
        this.#snippet = snippet;
        for (const other of byId("copy-kinds").children) other.setAttribute("aria-pressed", String(other === button));
        this.#showCode();
      });
      byId("copy-kinds").append(button);
    }
    setUpCopying(byId("copy-button"), () => this.#code());
  }

  #code() {
    const base = byId("copy-base").value.replace(/\/+$/, "");
    if (!/^https?:\/\//.test(base) || !URL.canParse(base)) return "The address must begin with http:// or https://";
    const { channel, event, data } = this.#event;
    return this.#snippet.write({ base, app: this.#app, channel: channel || "CHANNEL", event: event || "EVENT", data });
  }

  #showCode() {
    byId("copy-code").textContent = visibleLines(this.#code());
  }

  #judge() {
    const { channel, data } = this.#event;
    const { ok, message } = judged(data);
    const check = byId("create-check");
    check.textContent = message;
    check.dataset.ok = String(ok);
    byId("create-format").disabled = !isJson(data);
    const hint = hintFor(channel);
    byId("create-hint").hidden = hint === null;
    byId("create-hint").textContent = hint ?? "";
    this.#showCode();
  }

  async #suggest() {
    try {
      const { channels } = await api.channels(this.#app.id, "");
      byId("create-channels").replaceChildren(...channels.map(({ name }) => el("option", { value: name })));
    } catch {
      // Suggestions only; whatever is wrong shows when the event is sent.
    }
  }

  async #send(event) {
    const app = this.#app;
    const key = this.#key;
    const button = byId("create-send");
    button.disabled = true;
    try {
      const answer = await api.send(app.id, { ...event, idempotency_key: key });
      this.#answer(answer.status, answer.body, answer.subscriptions);
      if (this.#sentKey !== key) remember(app.id, { t: Date.now(), ...event, status: answer.status, subscriptions: answer.subscriptions });
      // After a 503 or no answer the key stays: it may have been published, and is not published again.
      if (answer.status >= 500) return;
      this.#sentKey = key;
      setTimeout(() => {
        if (this.#key === key) this.#key = freshKey();
      }, DOUBLE_CLICK);
    } catch (error) {
      this.#answer(error.status, error.message, null);
    } finally {
      button.disabled = false;
    }
    this.#showHistory();
  }

  #answer(status, body, subscriptions) {
    const good = status >= 200 && status < 300;
    const place = byId("create-answer");
    place.dataset.ok = String(good);
    place.replaceChildren(
      text("strong", "status", status ? String(status) : "no answer"),
      el("span", {}, good ? `Sent at ${clock(Date.now())}: ${reach(subscriptions) ?? "accepted"}` : "Not sent"),
      text("pre", "payload", visibleLines(body ?? "")),
    );
    place.hidden = false;
  }

  #showHistory() {
    const sent = sentBefore(this.#app.id);
    byId("history-clear").hidden = sent.length === 0;
    const rows = sent.map((one) => this.#historyRow(one));
    byId("history").replaceChildren(...(rows.length > 0 ? rows : [text("li", "quiet", "Nothing yet.")]));
  }

  #historyRow(one) {
    const { channel, event, data } = one;
    const fill = () => {
      for (const field of FIELDS) byId(`create-${field}`).value = one[field];
      this.#key = freshKey();
      this.#judge();
      byId("create-data").focus();
    };
    const again = () => {
      fill();
      this.#send({ channel, event, data });
    };
    return el(
      "li",
      {},
      el(
        "button",
        { type: "button", class: "sent", title: "Put it into the form", onclick: fill },
        el("span", { class: "sent-head" }, el("bdi", {}, visible(event)), text("span", "quiet", `${one.status} · ${clock(one.t)}`)),
        el("bdi", { class: "sent-channel" }, visible(channel)),
        el("bdi", { class: "sent-data" }, visible(data.slice(0, 160))),
      ),
      el("button", { type: "button", class: "plain small", "aria-label": `Send ${visible(event)} on ${visible(channel)} again`, onclick: again }, "Again"),
    );
  }
}

function hintFor(channel) {
  if (/^private-encrypted-/.test(channel)) {
    return "Data on encrypted channels is encrypted by the publisher. What stands here is sent as it is, and clients will fail to decrypt it.";
  }
  return /^private-|^presence-/.test(channel) ? "Only subscribers whom your auth endpoint let in get it." : null;
}
