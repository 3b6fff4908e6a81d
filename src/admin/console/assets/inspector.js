// One entry of the feed with everything that is known of it, and where one may go from it.

import { copyButton, el, facts, text } from "./dom.js";
import { label, reach, tone } from "./entry.js";
import { bytes, dateAndClock, figure, visible } from "./format.js";
import { looksLikeJson, payload } from "./json.js";
import { link } from "./route.js";

/**
 * Fills the panel.
 * @param {{close: Function, filter: Function, isClustered: boolean}} actions `filter` gets a field of the feed's filter and its value
 */
export function inspect(panel, entry, actions) {
  panel.replaceChildren(
    panelHead(label(entry.kind), tone(entry), actions.close),
    facts(
      ["Time", el("time", { datetime: new Date(entry.t).toISOString() }, dateAndClock(entry.t))],
      ["Channel", entry.channel && goes(entry.channel, "channels", { app: entry.app, name: entry.channel })],
      [entry.kind === "refused" ? "Asked for" : "Event", shown(entry.event)],
      ["Key", shown(entry.key)],
      // An event names the connection that it is kept from.
      [entry.kind === "published" ? "Passed over" : "Socket", entry.socket_id && goes(entry.socket_id, "connections", { app: entry.app, find: entry.socket_id })],
      ["User", shown(entry.user_id)],
      ["Address", shown(entry.address)],
      ["Reason", shown(entry.reason)],
      ["Code", shown(entry.code)],
      ["Went to", reach(entry.subscriptions)],
      ["URL", shown(entry.url)],
      ["Status", shown(entry.status)],
      ["Took", known(entry.duration_ms) ? `${figure(entry.duration_ms)} ms` : null],
      ["Size", known(entry.size_bytes) ? bytes(entry.size_bytes) : null],
      ["Node", actions.isClustered ? shown(entry.node) : null],
    ),
    el("div", { class: "row" }, ...ways(entry, actions)),
    ...data(entry),
  );
  panel.hidden = false;
}

/** The upper end of a panel: what it shows, and the way out. */
export function panelHead(title, colour, close) {
  const dot = colour ? el("span", { class: "dot", "data-tone": colour, "aria-hidden": "true" }) : null;
  const button = el("button", { type: "button", class: "plain small close", "aria-label": "Close the panel", title: "Close (Esc)", onclick: close }, "✕");
  return el("div", { class: "panel-head" }, dot, text("h2", "", el("bdi", {}, visible(title))), button);
}

const known = (value) => value !== undefined && value !== null;
const shown = (value) => (known(value) ? el("bdi", {}, visible(value)) : null);
const goes = (value, section, params) => el("a", { href: link(section, params) }, el("bdi", {}, visible(value)));

function ways(entry, { filter }) {
  const only = (field, value, words) => el("button", { type: "button", class: "plain small", onclick: () => filter(field, value) }, words);
  const buttons = [];
  if (entry.channel) buttons.push(only("channel", entry.channel, "Only this channel"));
  if (entry.event) buttons.push(only("event", entry.event, "Only this event"));
  if (entry.socket_id) buttons.push(only("text", entry.socket_id, "Only this socket"));
  // What was cut cannot be sent as it was.
  if (entry.kind === "published" && known(entry.data) && !entry.cut) {
    const { app, channel, event, data } = entry;
    buttons.push(el("a", { class: "button plain small", href: link("create", { app, channel, event, data }) }, "Send again…"));
  }
  return buttons;
}

function data(entry) {
  if (!known(entry.data)) return [];
  const source = String(entry.data);
  const holder = el("div", { class: "payload-holder" }, payload(source, { cut: entry.cut }));
  const head = el("div", { class: "between" }, text("h3", "", "Data"));
  const tools = el("div", { class: "row" });
  if (looksLikeJson(source, entry.cut)) {
    const asSent = el("button", { type: "button", class: "plain small", "aria-pressed": "false" }, "As sent");
    asSent.addEventListener("click", () => {
      const raw = asSent.getAttribute("aria-pressed") === "false";
      asSent.setAttribute("aria-pressed", String(raw));
      holder.replaceChildren(payload(source, { cut: entry.cut, raw }));
    });
    tools.append(asSent);
  }
  tools.append(copyButton("Copy", () => source));
  head.append(tools);
  return [head, holder];
}
