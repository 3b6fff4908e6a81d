// The README's settings for Laravel, Vite and Next.js, word for word.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import EchoModule from "laravel-echo";
import Pusher from "pusher-js";

import { backend } from "../lib/clients.js";
import { at, page, snippet } from "../lib/docs.js";
import { Server } from "../lib/server.js";
import { DEADLINE, eventually } from "../lib/wait.js";

const Echo = EchoModule.default ?? EchoModule;
const quickstart = { id: "1001", key: "app-key", secret: "app-secret" };

test("it is short", () => {
  assert.ok(page("README.md").split("\n").length <= 150);
});

/** The variables of a `.env` file, those expanded that name others, as Laravel and Vite do. */
function variables(text) {
  const found = {};
  for (const [, name, value] of text.matchAll(/^(\w+)="?(.*?)"?$/gm)) {
    found[name] = value.replaceAll(/\$\{(\w+)\}/g, (_, other) => found[other]);
  }
  return found;
}

describe("the README's settings", { timeout: 300_000 }, () => {
  let server, env;
  const opened = [];

  before(async () => {
    server = await Server.start({ apps: [quickstart] });
    env = variables(at(server, snippet("README.md", "dotenv", "PUSHER_HOST")));
  });
  afterEach(async () => {
    for (const client of opened.splice(0)) client.disconnect();
    await server.empties();
  });
  after(() => server.stop());

  /** Publishes with what the backend's variables say, until the event was heard. */
  async function publishes(heard) {
    const { PUSHER_APP_ID: id, PUSHER_APP_KEY: key, PUSHER_APP_SECRET: secret, PUSHER_HOST: host, PUSHER_PORT: port } = env;
    await backend({ host, port }, { id, key, secret }).trigger("invoice.7", "payment.received", { status: "paid" });
    assert.deepEqual(await eventually("the event", DEADLINE, () => heard[0]), { status: "paid" });
  }

  test("Echo with Vite's variables gets what a backend publishes with Laravel's", async () => {
    const code = snippet("README.md", "js", "new Echo").replaceAll("import.meta.env", "env");
    const window = {};
    new Function("Echo", "Pusher", "window", "env", code)(class extends Echo {
      // In a browser Echo finds what `window.Pusher` is.
      constructor(options) {
        super({ Pusher: window.Pusher, ...options });
      }
    }, Pusher, window, env);
    opened.push(window.Echo);
    const heard = [];
    let subscribed = false;
    window.Echo.channel("invoice.7").listen(".payment.received", (data) => heard.push(data)).subscribed(() => (subscribed = true));
    await eventually("subscribed", DEADLINE, () => subscribed);
    await publishes(heard);
  });

  test("a client component of Next.js gets it too", async () => {
    const named = Object.entries(env).filter(([name]) => name.startsWith("VITE_")).map(([name, value]) => [name.replace(/^VITE_PUSHER_(APP_)?/, "NEXT_PUBLIC_PUSHER_"), value]);
    const code = snippet("README.md", "js", "NEXT_PUBLIC_");
    const pusher = new Function("Pusher", "process", `${code}; return pusher;`)(Pusher, { env: Object.fromEntries(named) });
    opened.push(pusher);
    const heard = [];
    const channel = pusher.subscribe("invoice.7").bind("payment.received", (data) => heard.push(data));
    await eventually("subscribed", DEADLINE, () => channel.subscribed);
    await publishes(heard);
  });
});
