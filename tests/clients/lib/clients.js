// The stock clients and the stock backend SDK, pointed at a server, and small recorders for what they tell.

import { createRequire } from "node:module";

import Backend from "pusher";

import { TRANSPORT } from "./topologies.js";
import { DEADLINE, eventually, within } from "./wait.js";

const require = createRequire(import.meta.url);

// When the server closes first, the WebSocket inside pusher-js's Node build leaves its 30 s closing timer behind.
// Nothing here waits for it, so it shall not keep the process.
const plainSetTimeout = globalThis.setTimeout;
globalThis.setTimeout = (callback, delay, ...rest) => {
  const timer = plainSetTimeout(callback, delay, ...rest);
  return delay === 30_000 ? timer.unref() : timer;
};

/** The suites of pusher-js run once for each of these. */
export const pusherJs = {
  "pusher-js 8": require("pusher-js"),
  "pusher-js 7": require("pusher-js-7"),
};

export const MASTER_KEY = Buffer.alloc(32, "tide").toString("base64");

/** The options that point pusher-js at a self-hosted server, by WebSocket or by HTTP. */
export function address({ host, port }, transport = TRANSPORT) {
  return { cluster: "", wsHost: host, wsPort: port, httpHost: host, httpPort: port, forceTLS: false, enabledTransports: [transport] };
}

/** The same path for WebSockets and for HTTP. */
export function under(path) {
  return { wsPath: path, httpPath: path };
}

/** The `pusher` package, as a backend of the given app. */
export function backend(server, app, overrides = {}) {
  return new Backend({
    appId: app.id,
    key: app.key,
    secret: app.secret,
    host: server.host,
    port: String(server.port),
    useTLS: false,
    encryptionMasterKeyBase64: MASTER_KEY,
    ...overrides,
  });
}

/** GET on the HTTP API through the SDK, as JSON. */
export async function get(sdk, path, params = {}) {
  return (await sdk.get({ path, params })).json();
}

/** All clients of one suite: makes them, and closes them at its end. */
export class Clients {
  #open = [];

  constructor(Pusher, server, app) {
    Object.assign(this, { Pusher, server, app, sdk: backend(server, app) });
  }

  /**
   * A client that does not wait for its connection.
   * @param {{member?: object, user?: object, sign?: Function}} identity what the application's auth endpoint says of it
   */
  open({ member, user, sign, key = this.app.key, ...options } = {}) {
    const client = new this.Pusher(key, {
      ...address(this.server),
      ...this.authorizers({ member, user, sign }),
      ...options,
    });
    client.errors = [];
    client.connection.bind("error", (error) => client.errors.push(problem(error)));
    this.#open.push(client);
    return client;
  }

  /** The options that stand for the application's auth endpoints. */
  authorizers({ member, user, sign }) {
    const { sdk } = this;
    return {
      channelAuthorization: {
        customHandler: ({ socketId, channelName }, answer) => {
          const data = channelName.startsWith("presence-") ? member : undefined;
          const auth = sdk.authorizeChannel(socketId, channelName, data);
          answer(null, sign ? sign(auth) : auth);
        },
      },
      userAuthentication: {
        customHandler: ({ socketId }, answer) => answer(null, sdk.authenticateUser(socketId, user)),
      },
    };
  }

  /** A connected client. */
  async connect(options) {
    const client = this.open(options);
    await connected(client);
    return client;
  }

  closeAll() {
    for (const client of this.#open.splice(0)) client.disconnect();
  }
}

/** `{code, message}` of a connection's `error`, however deep the client has wrapped it. */
function problem(error) {
  return error.data ?? error.error?.data ?? error;
}

export function connected(client, deadline = DEADLINE) {
  return eventually(`connected (it is ${client.connection.state})`, deadline, () => client.connection.state === "connected");
}

/** The next occurrence of an event on anything with `bind`. */
export function next(emitter, event, deadline = DEADLINE) {
  let handler;
  const told = new Promise((resolve) => emitter.bind(event, (handler = resolve)));
  return within(event, told, deadline).finally(() => emitter.unbind(event, handler));
}

/** An error on the connection that fits. */
export function refusal(client, message) {
  return eventually(`an error like ${message} among ${JSON.stringify(client.errors)}`, DEADLINE, () =>
    client.errors.find((error) => message.test(error.message)),
  );
}

/** Subscribes and records from the first frame on; resolves with the recorder once the server has accepted. */
export async function subscribe(client, name) {
  const recorder = record(client.subscribe(name));
  await recorder.first("pusher:subscription_succeeded");
  return recorder;
}

/** Keeps everything that an emitter (a channel, `pusher.user`) tells, in order. */
export function record(emitter) {
  const events = [];
  emitter.bind_global((name, data) => events.push({ name, data }));
  const of = (name) => events.filter((event) => event.name === name).map((event) => event.data);
  return {
    channel: emitter,
    events,
    names: () => events.map((event) => event.name),
    of,
    /** Waits for the nth occurrence of an event and returns its data. */
    async nth(n, name) {
      await eventually(`${name} no. ${n} among ${JSON.stringify(events)}`, DEADLINE, () => of(name).length >= n);
      return of(name)[n - 1];
    },
    first(name) {
      return this.nth(1, name);
    },
  };
}

let markers = 0;

/**
 * Publishes an event that nobody has seen before and waits until all recorders have it: what was sent before it
 * and has not arrived by then, will not.
 */
export async function marker(sdk, ...recorders) {
  const name = `marker-${(markers += 1)}`;
  for (const channel of new Set(recorders.map((r) => r.channel.name))) await sdk.trigger(channel, name, {});
  await Promise.all(recorders.map((r) => r.first(name)));
}
