// The connection of a page, the badge that says how it is, and what the page says if it may not listen.

import settings from "/settings.js";

const { Pusher } = window;

const SAID = {
  connected: "Live",
  connecting: "Connecting…",
  unavailable: "Connection lost, trying again…",
  disconnected: "Not connected",
  failed: "This browser has no WebSockets",
};

/** Stock pusher-js. Everything else is at its default, such as the endpoints /pusher/auth and /pusher/user-auth. */
export function connect() {
  const { key, wsHost, wsPort, forceTLS, signsIn } = settings;
  const pusher = new Pusher(key, { wsHost, wsPort, forceTLS, cluster: "", enabledTransports: ["ws", "wss"] });
  if (signsIn) pusher.signin();
  showState(pusher.connection, document.querySelector("#connection"));
  return pusher;
}

/** Channels that were refused, with the reason for people. */
const refusals = new Map();
let showBadge = () => {};

/** A channel that the page says nothing of as long as it works; if it is refused, the page says so instead of "Live". */
export function subscribe(pusher, channelName) {
  const channel = pusher.subscribe(channelName);
  for (const [event, handler] of Object.entries(watched(channelName))) channel.bind(event, handler);
  return channel;
}

/** The handlers that `subscribe` binds, for those who bind theirs themselves. */
export const watched = (channelName) => ({
  "pusher:subscription_succeeded": () => forget(channelName),
  "pusher:subscription_error": (error) => {
    refusals.set(channelName, reasonOf(error));
    showBadge();
  },
});

/** The page does not listen to a channel any more, so it does not matter whether it was refused. */
export function forget(channelName) {
  if (refusals.delete(channelName)) showBadge();
}

/** The backend's auth endpoint may refuse, of which pusher-js knows the status, or the server, which says what is wrong. */
function reasonOf({ status, error }) {
  if (!String(error).startsWith("Unable to retrieve auth string")) return String(error ?? status);
  return { 401: "Your login has ended: log in again.", 403: "You may not listen to this." }[status] ?? `The backend answers ${status}.`;
}

/** pusher-js comes back by itself, with a growing pause between its attempts; the page only has to say so. */
function showState(connection, badge) {
  let wasConnected = false;
  const note = document.createElement("p");
  Object.assign(note, { id: "refused", className: "refused", hidden: true });
  note.setAttribute("role", "alert");
  document.querySelector("main").before(note);
  showBadge = () => {
    const { state } = connection;
    wasConnected ||= state === "connected";
    const lost = wasConnected && state === "connecting";
    const isRefused = state === "connected" && refusals.size > 0;
    badge.textContent = isRefused ? "No live updates" : (SAID[lost ? "unavailable" : state] ?? SAID.connecting);
    badge.dataset.live = state === "connected" && !isRefused;
    note.hidden = !isRefused;
    note.textContent = isRefused ? `This page does not update by itself. ${[...refusals.values()][0]}` : "";
  };
  showBadge();
  connection.bind("state_change", showBadge);
}
