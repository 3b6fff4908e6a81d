// The section Signature: has the server look at a request that was refused, and shows which part of it differs.

import * as api from "./api.js";
import { byId, copyButton, el, text } from "./dom.js";
import { byLine, marked } from "./difference.js";
import { visible, visibleLines } from "./format.js";

const NAMES = {
  app: "App",
  path: "Path",
  auth_key: "Key",
  auth_version: "Version",
  auth_timestamp: "Timestamp",
  body_md5: "MD5 of the body",
  auth_signature: "Signature",
};

export class Signature {
  #shell;

  constructor(shell) {
    this.#shell = shell;
    byId("signature-url").addEventListener("input", splitMethod);
    byId("signature-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#check();
    });
  }

  show() {}

  hide() {}

  firstField() {
    return byId("signature-url");
  }

  async #check() {
    const request = {
      method: byId("signature-method").value,
      url: byId("signature-url").value.trim(),
      body: byId("signature-body").value,
      ...(byId("signature-app").checked && { app: this.#shell.app().id }),
    };
    const place = byId("signature-answer");
    const button = byId("signature-check");
    button.disabled = true;
    try {
      const answer = await api.signature(request);
      place.replaceChildren(verdict(answer), steps(answer.steps), ...signed(answer.string_to_sign));
    } catch (error) {
      place.replaceChildren(el("p", { class: "card verdict", "data-ok": "false" }, visible(error.message)));
    } finally {
      button.disabled = false;
    }
  }
}

/** `POST https://…` is often what a log has. */
function splitMethod({ target }) {
  const found = /^\s*(GET|POST)\s+(\S.*)$/i.exec(target.value);
  if (!found) return;
  byId("signature-method").value = found[1].toUpperCase();
  target.value = found[2];
}

function verdict({ ok, steps }) {
  const wrong = steps.filter((step) => !step.ok).map(({ name }) => NAMES[name] ?? visible(name));
  const said = ok ? "The server would accept this request." : `It differs here: ${wrong.join(", ")}`;
  return el("p", { class: "card verdict", "data-ok": String(ok) }, said);
}

function steps(all) {
  return el("ol", { class: "card steps" }, all.map((step) =>
    el("li", { "data-step": step.name, "data-ok": String(step.ok) },
      el("p", { class: "step-name" },
        el("span", { class: "tick-mark", "aria-hidden": "true" }, step.ok ? "✓" : "✗"),
        NAMES[step.name] ?? visible(step.name),
        el("span", { class: "away" }, step.ok ? ": as expected" : ": differs"),
        el("code", { class: "quiet" }, visible(step.name))),
      ...(step.ok ? [] : [values(step), text("p", "help", visible(step.help ?? ""))]))));
}

function values({ given, expected }) {
  const row = (term, value, other) => el("div", {}, el("dt", {}, term), el("dd", {}, value === null || value === undefined ? text("span", "quiet", "nothing") : marked(String(value), other)));
  const known = expected !== null && expected !== undefined;
  return el("dl", { class: "facts values" }, row("given", given, known ? String(expected) : null), known ? row("expected", expected, given === null ? null : String(given)) : null);
}

function signed(stringToSign) {
  if (!stringToSign) return [];
  const own = byId("signature-own").value;
  const head = el("div", { class: "between" }, text("h2", "", "What the server signs"), copyButton("Copy", () => stringToSign));
  const card = el("section", { class: "card stack" }, head, el("pre", { class: "payload exact", tabindex: "0" }, visibleLines(stringToSign)));
  if (own.trim() !== "") {
    const { same, node } = byLine(own.replace(/\n$/, ""), stringToSign);
    card.append(
      text("p", "verdict", same ? "Your code signs the same string. If the signature differs, its secret does." : "Your code signs another string:"),
      ...(same ? [] : [node]),
    );
    card.lastElementChild.dataset.ok ??= String(same);
  }
  return [card];
}
