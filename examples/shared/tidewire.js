// Where the server is and which app this is, from the environment, for the backend and for its pages.

import { setTimeout as sleep } from "node:timers/promises";

import Pusher from "pusher";

import { text } from "./input.js";
import { HttpError, Reply } from "./reply.js";

// Laravel's names for these, so that one .env file serves both. The defaults are the app of the shipped apps.toml.
const {
  PUSHER_HOST: host = "127.0.0.1",
  PUSHER_PORT: port = "6001",
  PUSHER_SCHEME: scheme = "http",
  PUSHER_APP_ID: appId = "1001",
  PUSHER_APP_KEY: key = "app-key",
  PUSHER_APP_SECRET: secret = "app-secret",
} = process.env;

const useTLS = scheme === "https";

/** The stock SDK of backends. The timeout is for each request, in milliseconds. */
export const pusher = new Pusher({ appId, key, secret, host, port, useTLS, timeout: 5000 });

/** Where pages may open WebSockets, for their Content-Security-Policy. */
export const webSocketOrigin = `${useTLS ? "wss" : "ws"}://${host}:${port}`;

/** A module for pages with what pusher-js needs to know. The secret stays here. */
export function settingsModule(more = {}) {
  const settings = { key, wsHost: host, wsPort: Number(port), forceTLS: useTLS, ...more };
  return new Reply(200, `export default ${JSON.stringify(settings)};\n`, { "content-type": "text/javascript; charset=utf-8" });
}

const ATTEMPTS = 5;

/**
 * Publishes, and tries again while the server cannot be reached, for some four seconds.
 * What is told has already happened, so a failure is only logged: pages ask the backend when they come back.
 * An event may arrive twice, if it is the answer that was lost.
 */
export async function publish(send) {
  for (let attempt = 1; ; attempt++) {
    try {
      await send();
      return;
    } catch (error) {
      const refused = error.status >= 400 && error.status < 500 && error.status !== 429;
      if (refused || attempt === ATTEMPTS) return console.error(`Not published: ${error.body ?? error.error?.code ?? error.message}`);
      await sleep(125 * 2 ** attempt);
    }
  }
}

const SOCKET_ID = /^\d+\.\d+$/;

/** The route that pusher-js asks, by default at /pusher/user-auth, to sign in: who it is says the session. */
export function userAuthentication({ user, body }) {
  const socketId = text(body, "socket_id");
  if (!SOCKET_ID.test(socketId)) throw new HttpError(400, "Expected the socket_id of a connection");
  if (!user) throw new HttpError(401, "Log in first");
  return pusher.authenticateUser(socketId, { id: user });
}

/**
 * The route that pusher-js asks, by default at /pusher/auth, before it joins a private channel.
 * Who is asking comes from the session that this backend has signed, never from the request's fields.
 * @param {(user: string, channel: string) => boolean} mayJoin the application's rule
 */
export function channelAuthorization(mayJoin) {
  return ({ user, body }) => {
    const socketId = text(body, "socket_id");
    const channel = text(body, "channel_name", 200);
    if (!SOCKET_ID.test(socketId) || !/^private-[\w.-]+$/.test(channel)) {
      throw new HttpError(400, "Expected the socket_id of a connection and the channel_name of a private channel");
    }
    if (!user) throw new HttpError(401, "Log in first");
    if (!mayJoin(user, channel)) throw new HttpError(403, `${user} may not join ${channel}`);
    return pusher.authorizeChannel(socketId, channel);
  };
}
