// Stock pusher-js, 8 and 7, in Node and Chromium where no WebSocket gets through: over HTTP by its own choice, and with the
// options of docs/transports.md behind proxies that block WebSockets. Several nodes get the requests in turn.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, afterEach, before, describe, test } from "node:test";

import { startApplication } from "../lib/application.js";
import { RETRY_DEADLINE, startBrowser, visit } from "../lib/browser.js";
import { Clients, address, backend, marker, pusherJs, record, subscribe, under } from "../lib/clients.js";
import { at, snippet } from "../lib/docs.js";
import { Certificate, Proxy, haproxy, nginx, roundRobin } from "../lib/proxies.js";
import { Server, app } from "../lib/server.js";
import { Tap } from "../lib/tap.js";
import { DEADLINE, eventually } from "../lib/wait.js";

const main = app({ resume_ping_seconds: 1 });

/** pusher-js turns to HTTP after 2 s, without TLS after 5 s, and first tries all of it. */
const FALLBACK_DEADLINE = 20_000;

/** The nodes as nginx names them, which then has no address of its own for them. */
const upstream = (nodes) => `upstream nodes { ${nodes.map(({ host, port }) => `server ${host}:${port} max_fails=0;`).join(" ")} }`;

/** The documented nginx, without the lines for WebSockets. */
const nginxWithoutUpgrades = (server, certificate) =>
  nginx(
    snippet("docs/tls-and-proxies.md", "nginx", "proxy_pass")
      .replace(/^map .*$/m, upstream(server.nodes))
      .replace("http://127.0.0.1:6001", "http://nodes")
      .replace(/^.*(?:Upgrade|Connection) \$.*\n/gm, "")
      .replace("/etc/ssl/tidewire.crt", certificate.cert)
      .replace("/etc/ssl/tidewire.key", certificate.key),
  );

/** HAProxy that resets the connection of whoever wants a WebSocket. */
const haproxyThatResets = (server) => roundRobin(server.nodes, "http-request reject if { hdr(upgrade) -i websocket }");

/** The options that the document gives those who want HTTP where no WebSocket gets through. */
function documented(proxy) {
  const code = at(proxy, snippet("docs/transports.md", "js", "httpHost"));
  const options = new Function("Pusher", `${code}; return pusher;`)(class {
    constructor(_, options) {
      Object.assign(this, options);
    }
  });
  return { ...options, enabledTransports: undefined, forceTLS: proxy.isTls };
}

/** How a client gets to HTTP: what is in front of the server, the client's options there, and what it then connects by. */
const WAYS = {
  "xhr_streaming alone": { transport: "xhr_streaming", options: (front) => address(front, "xhr_streaming") },
  "xhr_polling alone": { transport: "xhr_polling", options: (front) => address(front, "xhr_polling") },
  "an nginx that does not pass WebSockets on": {
    transport: "xhr_streaming",
    front: (server, certificate) => Proxy.start(nginxWithoutUpgrades(server, certificate)).then((it) => Object.assign(it, { isTls: true })),
    options: documented,
  },
  "an HAProxy that resets WebSockets": {
    transport: "xhr_streaming",
    front: (server) => Proxy.start(haproxyThatResets(server)).then((it) => Object.assign(it, { isTls: false })),
    options: documented,
  },
};

const certificate = new Certificate();
before(() => certificate.trust());
after(() => certificate.remove());

/** A server of the suite, and what is in front of it on this way. */
async function start(way) {
  const server = await Server.start({ apps: [main] });
  // The requests of one client go to all nodes, whoever its connections belong to.
  const front = await (way.front ?? ((it) => Proxy.start(roundRobin(it.nodes))))(server, certificate);
  return { server, front, stop: () => front.stop().finally(() => server.stop()) };
}

/** One client of each version, so that what one says the other one hears. */
const [eight, seven] = Object.values(pusherJs);
const NAMES = ["open", "private-own", "private-encrypted-own", "presence-room", "cache-rate"];
const PAID = { amount: "1 €", note: "😀" };

const publish = async (sdk) => {
  for (const name of NAMES) await sdk.trigger(name, "paid", PAID);
};

// They wait most of the time, each with servers of its own.
describe("where no WebSocket gets through", { concurrency: true, timeout: 300_000 }, () => {
  for (const [name, way] of Object.entries(WAYS)) {
    describe(`pusher-js 8 and 7, ${name}`, { concurrency: 1 }, () => {
      let server, sdk, options, stop, all;

      before(async () => {
        let front;
        ({ server, front, stop } = await start(way));
        options = way.options(front);
        all = [eight, seven].map((Pusher) => new Clients(Pusher, server, main));
        sdk = backend(server, main);
      });
      afterEach(async () => {
        for (const clients of all) clients.closeAll();
        await server.empties();
      });
      after(() => stop());

      async function connect(clients, id) {
        const client = clients.open({ ...options, member: { user_id: id, user_info: { id } }, user: { id } });
        await eventually(`connected (it is ${client.connection.state})`, FALLBACK_DEADLINE, () => client.connection.state === "connected");
        assert.equal(client.connection.connection.transport.name, way.transport);
        return client;
      }
      const both = () => Promise.all([connect(all[0], "ada"), connect(all[1], "bob")]);

      test("every kind of channel, client events, sign-in and the last event", async () => {
        const [ada, bob] = await both();
        const [adas, bobs] = [ada, bob].map((client) => NAMES.map((channel) => record(client.subscribe(channel))));
        for (const seen of [...adas, ...bobs]) await seen.first("pusher:subscription_succeeded");
        const [room, chat] = [adas, bobs].map((seen) => seen[NAMES.indexOf("presence-room")]);
        await eventually("both members", DEADLINE, () => [room, chat].every(({ channel }) => channel.members.count === 2));
        await publish(sdk);
        for (const seen of [...adas, ...bobs]) assert.deepEqual(await seen.first("paid"), PAID);

        const metadata = [];
        for (const { channel } of [room, chat]) channel.bind("client-typing", (_, about) => metadata.push(about));
        chat.channel.trigger("client-typing", { at: [1, "é"] });
        assert.deepEqual(await room.first("client-typing"), { at: [1, "é"] });
        room.channel.trigger("client-typing", "back");
        assert.equal(await chat.first("client-typing"), "back");
        assert.deepEqual(metadata, [{ user_id: "bob" }, { user_id: "ada" }]);

        const users = [ada, bob].map((client) => record(client.user));
        for (const client of [ada, bob]) client.signin();
        await eventually("both signed in", DEADLINE, () => [ada, bob].every(({ user }) => user.serverToUserChannel?.subscribed));
        await sdk.sendToUser("bob", "hello", { to: "bob" });
        assert.deepEqual(await users[1].first("hello"), { to: "bob" });
        assert.deepEqual(users[0].of("hello"), []);

        bob.unsubscribe("cache-rate");
        assert.deepEqual(await record(bob.subscribe("cache-rate")).first("paid"), PAID);

        bob.disconnect();
        assert.deepEqual(await room.first("pusher:member_removed"), { id: "bob", info: { id: "bob" } });
        await marker(sdk, ...adas);
        for (const seen of adas) assert.equal(seen.of("paid").length, 1);
        assert.deepEqual([ada, bob].map(({ errors }) => errors), [[], []]);
      });

      test("4001 and 4009 end it for good, after 4200 it comes back", async () => {
        const ended = async (client, code) => {
          await eventually(`its end, not ${client.connection.state}`, FALLBACK_DEADLINE, () => client.connection.state === "disconnected");
          assert.deepEqual([...new Set(client.errors.map((error) => error.code))], [code]);
        };
        for (const clients of all) await ended(clients.open({ ...options, key: "no-such-key" }), 4001);

        const leaving = await both();
        for (const client of leaving) client.signin();
        await eventually("both signed in", DEADLINE, () => leaving.every(({ user }) => user.serverToUserChannel?.subscribed));
        for (const id of ["ada", "bob"]) await sdk.terminateUserConnections(id);
        for (const client of leaving) await ended(client, 4009);

        const staying = await both();
        const seen = await Promise.all(staying.map((client) => subscribe(client, "presence-room")));
        await server.restart();
        await eventually("both are back", RETRY_DEADLINE, () => seen.every((one) => one.of("pusher:subscription_succeeded").length === 2));
        for (const { errors } of staying) assert.ok(errors.some(({ code }) => code === 4200), JSON.stringify(errors));
        await marker(sdk, ...seen);
      });
    });
  }

  for (const transport of ["xhr_streaming", "xhr_polling"]) {
    describe(`pusher-js 8 and 7, ${transport} through a line`, { concurrency: 1 }, () => {
      let server, front, stop, all, sdk;

      before(async () => {
        ({ server, front, stop } = await start({}));
        all = [eight, seven].map((Pusher) => new Clients(Pusher, server, main));
        sdk = backend(server, main);
      });
      afterEach(async () => {
        for (const clients of all) clients.closeAll();
        await server.empties();
      });
      after(() => stop());

      /** Does something with a client of each version that has a proxy to itself. */
      const through = (body) => async () => {
        for (const clients of all) {
          const tap = await Tap.start(front);
          try {
            await body(clients, tap);
          } finally {
            clients.closeAll();
            tap.stop();
          }
        }
      };

      test("a stream that the client renews loses and doubles nothing", through(async (clients, tap) => {
        const client = await clients.connect(address(tap, transport));
        const seen = await subscribe(client, "long");
        // Characters of one to four bytes, which are one or two units to the client.
        const note = "aä€😀".repeat(1000);
        const total = 300;
        for (let n = 0; n < total; n += 10) {
          await sdk.triggerBatch(Array.from({ length: 10 }, (_, at) => ({ channel: "long", name: "e", data: { n: n + at, note: note.slice(n + at) } })));
          // Not so many that its outbox is full.
          await seen.nth(Math.max(1, n - 20), "e");
        }
        await seen.nth(total, "e");
        await marker(sdk, seen);
        assert.deepEqual(seen.of("e").map(({ n }) => n), Array.from({ length: total }, (_, n) => n));
        assert.ok(seen.of("e").every((data) => data.note === note.slice(data.n)));
        assert.deepEqual(client.errors, []);
        // 1.4 million units, of which the client takes 262,144 at a time.
        if (transport === "xhr_streaming") assert.ok(tap.of(transport).length >= 5, `${tap.of(transport).length} streams`);
      }));

      test("a page of very many channels gets all of them", through(async (clients, tap) => {
        const client = await clients.connect({ ...address(tap, transport), member: { user_id: "1" } });
        const channels = Array.from({ length: 100 }, (_, n) => client.subscribe(`${["", "private-", "presence-"][n % 3]}many-${n}`));
        await eventually("all subscriptions", RETRY_DEADLINE, () => channels.every(({ subscribed }) => subscribed));
        assert.deepEqual(client.errors, []);
      }));

      test("the client's pings are answered", through(async (clients, tap) => {
        const client = await clients.connect({ ...address(tap, transport), activityTimeout: 100, pongTimeout: 2_000 });
        const { socket_id } = client.connection;
        const pings = () => tap.of("xhr_send").filter(({ body }) => body === "[]").length;
        await eventually("ten pings", DEADLINE, () => pings() >= 10);
        assert.equal(client.connection.socket_id, socket_id);
        assert.deepEqual(client.errors, []);
      }));

      test("with a token in httpPath nothing is missed when the connection is cut", through(async (clients, tap) => {
        const client = await clients.connect({ ...address(tap, transport), ...under(`/resume/${randomUUID()}`) });
        const outcomes = [];
        client.connection.bind("message", ({ event, channel, data }) => {
          if (event === "pusher_internal:subscription_succeeded" && channel === "private-orders") outcomes.push(data.resumed);
        });
        const seen = await subscribe(client, "private-orders");
        let n = 0;
        const order = () => sdk.trigger("private-orders", "order", { n: n++ });
        const has = () => new Set(seen.of("order").map((one) => one.n)).size === n;
        await order();
        await eventually("the first", DEADLINE, has);
        // It can be resumed when the server has taken its answer to the first ping, and then what came behind that.
        const isPong = ({ body, isAnswered }) => body.includes("pusher:pong") && isAnswered;
        await eventually("the answer to a ping", DEADLINE, () => tap.of("xhr_send").some(isPong));
        await subscribe(client, "other");
        const { socket_id } = client.connection;
        // A cut between two polls is none: the next one is of the same session.
        await eventually("a poll under way", DEADLINE, () => transport !== "xhr_polling" || tap.of("xhr").at(-1).isAnswered === false);
        tap.reset();
        for (let times = 0; times < 20; times++) await order();
        await eventually("another connection", RETRY_DEADLINE, () => client.connection.state === "connected" && client.connection.socket_id !== socket_id);
        await eventually(`all of ${n}`, RETRY_DEADLINE, has);
        assert.deepEqual(outcomes, [false, true]);
      }));
    });
  }
});

describe("Chromium without WebSockets", { timeout: 300_000 }, () => {
  let browser, application;

  before(async () => {
    [browser, application] = await Promise.all([startBrowser(), startApplication()]);
  });
  after(async () => {
    await browser?.close();
    await application?.stop();
  });

  for (const [name, way] of Object.entries(WAYS)) {
    test(`${name}: every kind of channel, and back after a restart`, async () => {
      const { server, front, stop } = await start(way);
      const sdk = backend(server, main);
      application.sdk = sdk;
      const channels = NAMES.filter((channel) => channel !== "cache-rate");
      const pages = [];
      try {
        const where = way.options(front);
        for (const [build, user] of [["pusher-js", 7], ["pusher-js-7", 8]]) {
          pages.push(await visit(browser, application, { build, key: main.key, where, user, channels }));
          assert.equal(await pages.at(-1).transport(), way.transport);
        }
        const [ada, bob] = pages;
        await publish(sdk);
        for (const channel of channels) {
          for (const one of pages) assert.deepEqual(await one.until(channel, "paid"), PAID);
        }
        await bob.page.evaluate(() => window.client.channel("presence-room").trigger("client-typing", { at: 1 }));
        assert.deepEqual(await ada.until("presence-room", "client-typing"), { at: 1 });
        for (const one of pages) assert.deepEqual(await one.errors(), []);

        await server.restart();
        for (const one of pages) await one.until("private-own", "pusher:subscription_succeeded", 2);
        await sdk.trigger("private-own", "back", {});
        for (const one of pages) {
          await one.until("private-own", "back");
          assert.ok((await one.errors()).some(({ code }) => code === 4200));
        }
        await bob.page.close();
        await ada.until("presence-room", "pusher:member_removed");
      } finally {
        for (const one of pages) await one.context.close();
        await stop();
      }
    });
  }

  test("without httpHost a page asks Pusher's own host", async () => {
    const { front, stop } = await start(WAYS["an HAProxy that resets WebSockets"]);
    const context = await browser.newContext();
    try {
      const page = await context.newPage();
      const asked = [];
      await page.route(/pusher\.com/, (route) => {
        asked.push(route.request().url());
        return route.abort();
      });
      await page.goto(`${application.url}/page?pusher-js`);
      const { httpHost, httpPort, httpsPort, ...left } = documented(front);
      await page.evaluate(({ key, left }) => (window.client = new Pusher(key, left)), { key: main.key, left });
      await eventually("a request there", FALLBACK_DEADLINE, () => asked.some((url) => url.startsWith(`http://sockjs.pusher.com/pusher/app/${main.key}/`)));
    } finally {
      await context.close();
      await stop();
    }
  });
});
