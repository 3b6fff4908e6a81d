// One entry of the feed in words: its type, and what of it stands where in a row. Which types are one chip is decided
// here too.

import { bytes, count, counted, visible } from "./format.js";

/** The chips. `tone` is a colour's name. */
export const GROUPS = [
  { name: "messages", label: "API messages", tone: "teal", kinds: ["published"] },
  { name: "sources", label: "Sources", tone: "teal", kinds: ["source"] },
  { name: "client", label: "Client events", tone: "violet", kinds: ["client_event"] },
  { name: "connections", label: "Connections", tone: "slate", kinds: ["connected", "disconnected"] },
  { name: "subscriptions", label: "Subscriptions", tone: "blue", kinds: ["subscribed", "unsubscribed"] },
  { name: "refused", label: "Refusals", tone: "red", kinds: ["refused"] },
  { name: "members", label: "Members", tone: "green", kinds: ["member_added", "member_removed"] },
  { name: "channels", label: "Channels", tone: "green", kinds: ["occupied", "vacated"] },
  { name: "webhooks", label: "Webhooks", tone: "amber", kinds: ["webhook"] },
];

const LABELS = {
  published: "API message",
  client_event: "client event",
  member_added: "member added",
  member_removed: "member removed",
};

/** Longer texts would be cut by the row's width anyway. */
const PREVIEW = 240;

/** A type for people. */
export const label = (kind) => LABELS[kind] ?? visible(kind).replaceAll("_", " ");

export function tone(entry) {
  if (["webhook", "source"].includes(entry.kind) && !delivered(entry)) return "red";
  return GROUPS.find(({ kinds }) => kinds.includes(entry.kind))?.tone ?? "slate";
}

const delivered = ({ status }) => status >= 200 && status < 300;

/** The cells of a row: `{ what, detail, to, size }`; its channel is the entry's. `to` is how many an event went to. */
export function cells(entry) {
  const { what, detail } = words(entry);
  const to = entry.subscriptions ?? null;
  return { what: visible(what ?? ""), detail: visible(String(detail ?? "").slice(0, PREVIEW)), to: to === null ? "" : count(to), size: size(entry) };
}

function words(entry) {
  const who = entry.user_id ? `user ${entry.user_id}` : null;
  const key = entry.key ? `key ${entry.key}` : null;
  const reason = [entry.reason, entry.code || entry.status ? `(${entry.code || entry.status})` : null].filter(Boolean).join(" ");
  switch (entry.kind) {
    case "connected":
      return { what: entry.socket_id, detail: [who, entry.address].filter(Boolean).join(", ") };
    case "disconnected":
      return { what: entry.socket_id, detail: [who, reason].filter(Boolean).join(", ") };
    case "subscribed":
    case "unsubscribed":
      return { what: entry.socket_id, detail: who };
    case "refused":
      return { what: entry.event ?? entry.socket_id, detail: [reason, key].filter(Boolean).join(", ") };
    case "member_added":
    case "member_removed":
      return { what: who, detail: entry.data };
    case "source":
      return { what: entry.event, detail: [reason, entry.data].filter(Boolean).join(" ") };
    case "webhook":
      return { what: entry.event, detail: [outcome(entry), entry.url].filter(Boolean).join(" ") };
    default:
      return { what: entry.event, detail: entry.data ?? entry.reason };
  }
}

/** A reason may have the status in it. */
function outcome({ status, reason }) {
  return reason?.includes(String(status)) ? reason : [status, reason].filter(Boolean).join(" ");
}

function size(entry) {
  if (entry.duration_ms !== undefined && entry.duration_ms !== null) return `${Math.round(entry.duration_ms)} ms`;
  if (entry.size_bytes === undefined || entry.size_bytes === null) return "";
  return bytes(entry.size_bytes);
}

/** How many an event went to, in words, if that is known. */
export function reach(subscriptions) {
  if (subscriptions === undefined || subscriptions === null) return null;
  return subscriptions === 0 ? "nobody was subscribed" : counted(subscriptions, "subscription");
}
