// What was sent before, for each app: bounded in number and size, kept in this browser.

import { read, write } from "./storage.js";

const MOST = 50;
const MOST_CHARACTERS = 200_000;

const key = (app) => `sent.${app}`;

/** Newest first: `{ t, channel, event, data, status, subscriptions }`. */
export function sentBefore(app) {
  const kept = read(key(app), []);
  return Array.isArray(kept) ? kept.filter((one) => typeof one?.channel === "string" && typeof one.event === "string" && typeof one.data === "string") : [];
}

/** Puts one on top, and takes the same one further down away. */
export function remember(app, sent) {
  const others = sentBefore(app).filter((one) => one.channel !== sent.channel || one.event !== sent.event || one.data !== sent.data);
  const kept = [];
  let characters = 0;
  for (const one of [sent, ...others].slice(0, MOST)) {
    characters += one.data.length + one.channel.length + one.event.length;
    if (characters > MOST_CHARACTERS) break;
    kept.push(one);
  }
  write(key(app), kept);
}

export function forget(app) {
  write(key(app), []);
}
