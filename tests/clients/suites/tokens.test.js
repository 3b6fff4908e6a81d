// Stock pusher-js, 8 and 7, in Node and Chromium, with tokens instead of an auth endpoint: the page of docs/tokens.md.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import { startApplication } from "../lib/application.js";
import { startBrowser } from "../lib/browser.js";
import { address, backend, connected, marker, pusherJs, record, subscribe } from "../lib/clients.js";
import { at, snippet } from "../lib/docs.js";
import { PUBLIC_ALGORITHMS, Provider, sign } from "../lib/provider.js";
import { Server, app } from "../lib/server.js";
import { NODES } from "../lib/topologies.js";
import { DEADLINE, eventually } from "../lib/wait.js";

/** pusher-js tries again at once; under load its first attempt may fail, and the next one is 15 s later. */
const RETRY_DEADLINE = 40_000;
const SHORT = 6;
const SECRET = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

const CODE = snippet("docs/tokens.md", "js", "channelAuthorization");
const CHANNELS = ["private-orders.7.*", "presence-room", "invoice.7"];

function apps(provider) {
  const jwt = { "jwt.jwks_url": provider.url, "jwt.leeway_seconds": 0, "jwt.audience": "invoices", channels: [{ match: "invoice.{id}", subscribe: "token" }] };
  return [
    app({ key: "app-key", ...jwt }),
    app({ id: "1002", key: "close-key", ...jwt, "jwt.on_expiry": "close" }),
    app({ id: "1003", key: "secret-key", "jwt.secrets": ["another one", SECRET] }),
  ];
}

for (const [version, Pusher] of Object.entries(pusherJs)) {
  describe(`tokens: ${version}`, { timeout: 300_000 }, () => {
    let provider, server, main, sdk;
    const opened = [];

    before(async () => {
      provider = await Provider.start(PUBLIC_ALGORITHMS);
      const all = apps(provider);
      [main] = all;
      server = await Server.start({ apps: all });
      sdk = backend(server, main);
    });
    afterEach(async () => {
      for (const client of opened.splice(0)) client.disconnect();
      await server.empties();
    });
    after(async () => {
      await server?.stop();
      await provider?.stop();
    });

    const keep = (client) => {
      client.errors = [];
      client.connection.bind("error", (error) => client.errors.push(error.data ?? error.error?.data ?? error));
      opened.push(client);
      return client;
    };

    const user = (claims = {}, options = {}) => provider.token({ sub: "7", aud: "invoices", channels: CHANNELS, info: { name: "Ada" }, ...claims }, options);

    /** The page of the documents, for one of the apps. */
    function page(token, key = "app-key") {
      const code = at(server, CODE).replace("app-key", key).replace("127.0.0.1", server.host);
      return keep(new Function("Pusher", "token", `${code}; return pusher;`)(Pusher, token));
    }

    test("the documented page signs in and has its channels, and no others", async () => {
      const pusher = page(() => user());
      const orders = await subscribe(pusher, "private-orders.7.new");
      const own = record(pusher.user);
      await eventually("the sign-in", DEADLINE, () => pusher.user.user_data?.id === "7");
      assert.deepEqual(pusher.user.user_data, { id: "7", user_info: { name: "Ada" } });
      await sdk.trigger("private-orders.7.new", "paid", { amount: "1 €" });
      assert.deepEqual(await orders.first("paid"), { amount: "1 €" });
      await sdk.sendToUser("7", "hello", { you: 7 });
      assert.deepEqual(await own.first("hello"), { you: 7 });

      // Who has signed in needs no channel_data.
      const room = await subscribe(pusher, "presence-room");
      assert.equal(room.channel.members.myID, "7");
      assert.deepEqual(room.channel.members.me.info, { name: "Ada" });

      const other = record(pusher.subscribe("private-orders.8.new"));
      const { type, status, error } = await other.first("pusher:subscription_error");
      assert.deepEqual([type, status], ["AuthError", 401]);
      assert.equal(error, "The token does not name private-orders.8.new");
    });

    test("a presence channel takes its member from the claims", async () => {
      const client = keep(
        new Pusher(main.key, {
          ...address(server),
          channelAuthorization: {
            customHandler: (_, answer) => user().then((auth) => answer(null, { auth, channel_data: JSON.stringify({ user_id: "7" }) }), answer),
          },
        }),
      );
      const room = await subscribe(client, "presence-room");
      assert.deepEqual([room.channel.members.myID, room.channel.members.me.info], ["7", { name: "Ada" }]);
    });

    test("a name without prefix is private by a rule, and waits for a sign-in that comes late", async () => {
      const pusher = page(() => new Promise((resolve) => setTimeout(resolve, 1000)).then(() => user()));
      const [own, other] = ["invoice.7", "invoice.8"].map((name) => record(pusher.subscribe(name)));
      const stranger = record(keep(new Pusher(main.key, address(server))).subscribe("invoice.7"));
      const { type, status, error } = await other.first("pusher:subscription_error");
      assert.deepEqual([type, status, error], ["AuthError", 401, "The token does not name invoice.8"]);
      await own.first("pusher:subscription_succeeded");
      await sdk.trigger(["invoice.7", "invoice.8"], "paid", { amount: "1 €" });
      assert.deepEqual(await own.first("paid"), { amount: "1 €" });
      await marker(sdk, own);
      assert.deepEqual([other.of("paid"), stranger.of("paid")], [[], []]);
      assert.equal(pusher.connection.state, "connected");
    });

    test("every algorithm of the library is verified", async () => {
      for (const alg of PUBLIC_ALGORITHMS) {
        const pusher = page(() => user({}, { alg }));
        await subscribe(pusher, `private-orders.7.${alg}`);
      }
      const secret = new TextEncoder().encode(SECRET);
      for (const alg of ["HS256", "HS384", "HS512"]) {
        const pusher = page(() => sign({ sub: "7", channels: ["private-*"] }, { alg }, secret), "secret-key");
        await subscribe(pusher, `private-${alg}`);
      }
      const forged = page(() => sign({ sub: "7", channels: ["private-*"] }, { alg: "HS256" }, new TextEncoder().encode("guessed")), "secret-key");
      const refused = await record(forged.subscribe("private-x")).first("pusher:subscription_error");
      assert.match(refused.error, /signature is not of a key of the app/);
    });

    test("a rotated key is known at once", async () => {
      await subscribe(page(() => user()), "private-orders.7.before");
      const { asked } = provider;
      await provider.rotate();
      const pusher = page(() => user());
      await subscribe(pusher, "private-orders.7.after");
      await eventually("the sign-in", DEADLINE, () => pusher.user.user_data?.id === "7");
      // Each node reads for itself.
      assert.ok(provider.asked > asked && provider.asked <= asked + NODES);
    });

    test("a connection whose token ends comes back by itself with a new one", async () => {
      // One token for everything, as a page has it.
      let token = user({}, { seconds: SHORT });
      let asked = 0;
      const pusher = page(() => ((asked += 1), token));
      const orders = await subscribe(pusher, "private-orders.7.new");
      const invoice = await subscribe(pusher, "invoice.7");
      await eventually("the sign-in", DEADLINE, () => pusher.user.user_data?.id === "7");
      const { socket_id } = pusher.connection;
      const before = asked;
      token = user({}, { seconds: 3600 });
      await eventually("a new connection", RETRY_DEADLINE, () => pusher.connection.state === "connected" && pusher.connection.socket_id !== socket_id);
      await orders.nth(2, "pusher:subscription_succeeded");
      await invoice.nth(2, "pusher:subscription_succeeded");
      assert.deepEqual([...new Set(pusher.errors.map((error) => error.code))], [4200]);
      await eventually("the sign-in again", RETRY_DEADLINE, async () => (await server.health()).users === 1);
      assert.ok(asked >= before + 2);
      await marker(sdk, orders, invoice);
    });

    test("with on_expiry = close it stays away", async () => {
      const token = user({}, { seconds: SHORT });
      const pusher = page(() => token, "close-key");
      await connected(pusher);
      await eventually("the sign-in", DEADLINE, () => pusher.user.user_data?.id === "7");
      await eventually("the end", RETRY_DEADLINE, () => pusher.connection.state === "disconnected");
      assert.deepEqual([...new Set(pusher.errors.map((error) => error.code))], [4009]);
      await server.empties();
    });

    test("a subscription whose token ends is told so, and can be made again", async () => {
      let seconds = SHORT;
      const channelAuthorization = { customHandler: (_, answer) => user({}, { seconds }).then((auth) => answer(null, { auth }), answer) };
      const client = keep(new Pusher(main.key, { ...address(server), channelAuthorization }));
      const open = await subscribe(client, "open");
      const orders = await subscribe(client, "private-orders.7.new");
      const ended = await eventually("its end", RETRY_DEADLINE, () => orders.of("pusher:subscription_error")[0]);
      assert.equal(ended.error, "The token of the subscription to private-orders.7.new has ended: subscribe again with a new one");
      await sdk.trigger(["private-orders.7.new", "open"], "late", {});
      await open.first("late");
      assert.deepEqual(orders.of("late"), []);
      seconds = 3600;
      client.unsubscribe("private-orders.7.new");
      await marker(sdk, open, await subscribe(client, "private-orders.7.new"));
    });
  });
}

describe("tokens: Chromium", { timeout: 300_000 }, () => {
  let browser, application, provider, server, main, sdk;

  before(async () => {
    [browser, application, provider] = await Promise.all([startBrowser(), startApplication(), Provider.start()]);
    const all = apps(provider);
    [main] = all;
    server = await Server.start({ apps: all });
    sdk = backend(server, main);
  });
  after(async () => {
    await browser?.close();
    await application?.stop();
    await server?.stop();
    await provider?.stop();
  });

  /** The documented page, whose `token()` the test answers; it asks nobody on the network but the realtime server. */
  async function visitor(build, seconds, key = "app-key") {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(`${application.url}/page?${build}`);
    const requested = [];
    page.on("request", (request) => requested.push(request.url()));
    const made = (seconds) => provider.token({ sub: "7", aud: "invoices", channels: CHANNELS }, { seconds });
    let token = made(seconds);
    await page.exposeFunction("token", () => token);
    const code = at(server, CODE).replace("app-key", key).replace("127.0.0.1", server.host);
    await page.evaluate(`(() => {
      ${code};
      window.told = [];
      window.errors = [];
      window.pusher = pusher;
      pusher.connection.bind("error", (error) => window.errors.push((error.data ?? error.error?.data)?.code));
      for (const channel of ["private-orders.7.new", "invoice.7"]) {
        pusher.subscribe(channel).bind_global((event, data) => window.told.push({ channel, event, data }));
      }
    })()`);
    const look = (expression) => page.evaluate(expression);
    /** The n-th such event of both channels. */
    const until = async (event, n = 1) => {
      const told = (channel) =>
        eventually(`${event} no. ${n}`, RETRY_DEADLINE, async () => (await look("window.told")).filter((one) => one.channel === channel && one.event === event)[n - 1]);
      return [await told("private-orders.7.new"), await told("invoice.7")];
    };
    await until("pusher:subscription_succeeded");
    await eventually("the sign-in", DEADLINE, () => look("window.pusher.user.user_data?.id === '7'"));
    const renew = () => (token = made(3600));
    return { context, requested, look, until, renew };
  }

  for (const build of ["pusher-js", "pusher-js-7"]) {
    test(`${build}: no endpoint is asked, and a token that ends is replaced by itself`, async () => {
      const one = await visitor(build, SHORT);
      const socketId = await one.look("window.pusher.connection.socket_id");
      // An unknown key is asked for at once only if none was within a minute.
      if (build === "pusher-js") await provider.rotate();
      one.renew();
      await one.until("pusher:subscription_succeeded", 2);
      assert.notEqual(await one.look("window.pusher.connection.socket_id"), socketId);
      assert.deepEqual([...new Set(await one.look("window.errors"))], [4200]);
      await sdk.trigger(["private-orders.7.new", "invoice.7"], "paid", { amount: "1 €" });
      for (const { data } of await one.until("paid")) assert.deepEqual(data, { amount: "1 €" });
      assert.deepEqual(one.requested.filter((url) => !url.startsWith("ws")), []);
      await one.context.close();
      await server.empties();
    });
  }

  test("with on_expiry = close a page stays away", async () => {
    const one = await visitor("pusher-js", SHORT, "close-key");
    await eventually("the end", RETRY_DEADLINE, async () => (await one.look("window.pusher.connection.state")) === "disconnected");
    assert.deepEqual([...new Set(await one.look("window.errors"))], [4009]);
    await one.context.close();
    await server.empties();
  });
});
