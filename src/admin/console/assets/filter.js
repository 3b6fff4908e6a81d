// Which entries of the feed are wanted.

import { GROUPS } from "./entry.js";

/** What was searched in, for each entry that was looked at once. */
const haystacks = new WeakMap();

function haystack(entry) {
  let found = haystacks.get(entry);
  if (found === undefined) {
    const { seq, t, n, ...told } = entry;
    found = Object.values(told).join("\n").toLowerCase();
    haystacks.set(entry, found);
  }
  return found;
}

const has = (value, part) => part === "" || String(value ?? "").toLowerCase().includes(part);

/** The filter's fields as the server takes them, which bounds each text; what is cut off is looked for here alone. */
export function asked({ channel, event, text, groups }) {
  const [wantedChannel, wantedEvent, wantedText] = [channel, event, text].map((field) => [...field.trim()].slice(0, LONGEST).join(""));
  return { channel: wantedChannel, event: wantedEvent, text: wantedText, kinds: [...kindsOf(groups)] };
}

/** Characters of a text that the server takes. */
const LONGEST = 200;

const kindsOf = (groups) => new Set(GROUPS.filter(({ name }) => groups.has(name)).flatMap((group) => group.kinds));

/**
 * A predicate of the filter's fields. Texts match as parts, whatever their case; no group at all is all of them.
 * @param {{channel: string, event: string, text: string, groups: Set<string>}} fields
 */
export function matcher({ channel, event, text, groups }) {
  const [wantedChannel, wantedEvent, wantedText] = [channel, event, text].map((field) => field.trim().toLowerCase());
  const kinds = kindsOf(groups);
  const filters = kinds.size > 0 || wantedChannel || wantedEvent || wantedText;
  return (entry) => {
    // How many were skipped is told as long as everything is; nobody knows what of the skipped a filter would have let through.
    if (entry.kind === "skipped") return !filters;
    if (entry.kind === "note") return true;
    if (kinds.size > 0 && !kinds.has(entry.kind)) return false;
    if (!has(entry.channel, wantedChannel) || !has(entry.event, wantedEvent)) return false;
    return wantedText === "" || haystack(entry).includes(wantedText);
  };
}
