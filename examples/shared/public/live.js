// The connection of a page, and the badge that says how it is.

import settings from "/settings.js";

const { Pusher } = window;

const SAID = {
  connected: "Live",
  connecting: "Connecting…",
  unavailable: "Connection lost, trying again…",
  disconnected: "Not connected",
  failed: "This browser has no WebSockets",
};

/** Stock pusher-js. Everything else is at its default, such as the auth endpoint /pusher/auth. */
export function connect() {
  const { key, wsHost, wsPort, forceTLS } = settings;
  const pusher = new Pusher(key, { wsHost, wsPort, forceTLS, cluster: "", enabledTransports: ["ws", "wss"] });
  showState(pusher.connection, document.querySelector("#connection"));
  return pusher;
}

/** pusher-js comes back by itself, with a growing pause between its attempts; the page only has to say so. */
function showState(connection, badge) {
  let wasConnected = false;
  const show = (state) => {
    wasConnected ||= state === "connected";
    const lost = wasConnected && state === "connecting";
    badge.textContent = SAID[lost ? "unavailable" : state] ?? SAID.connecting;
    badge.dataset.live = state === "connected";
  };
  show(connection.state);
  connection.bind("state_change", ({ current }) => show(current));
}
