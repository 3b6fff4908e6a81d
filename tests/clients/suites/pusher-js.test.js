// Stock pusher-js in Node, newest 8 and 7: every suite runs for both.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, afterEach, before, describe, test } from "node:test";

import { Clients, backend, get, marker, next, pusherJs, record, refusal, subscribe, under } from "../lib/clients.js";
import { Server, app } from "../lib/server.js";
import { NODES, TRANSPORT } from "../lib/topologies.js";
import { DEADLINE, eventually } from "../lib/wait.js";

const main = app();
const quiet = app({ id: "1002", key: "quiet-key", client_events: false, subscription_count: false, watchlist: false });
const throttled = app({ id: "1003", key: "throttled-key", limits: { client_events_per_second: 3 } });
const small = app({ id: "1004", key: "small-key", limits: { connections: 1 } });
const tiny = app({ id: "1006", key: "tiny-key", limits: { presence_members: 1 } });
const disabled = app({ id: "1005", key: "disabled-key", enabled: false });

for (const [name, Pusher] of Object.entries(pusherJs)) {
  describe(name, { timeout: 300_000 }, () => {
    let server, sdk, at;
    const opened = [];

    before(async () => {
      server = await Server.start({ apps: [main, quiet, throttled, small, tiny, disabled] });
      sdk = backend(server, main);
      at = (which) => {
        const clients = new Clients(Pusher, server, which);
        opened.push(clients);
        return clients;
      };
    });
    afterEach(async () => {
      for (const clients of opened.splice(0)) clients.closeAll();
      await server.empties();
    });
    after(() => server.stop());

    const subscriptions = async (channel) =>
      (await get(sdk, `/channels/${channel}`, { info: "subscription_count" })).subscription_count;

    test("public, private and presence channels deliver what was published", async () => {
      const client = await at(main).connect({ member: { user_id: "7", user_info: { name: "Ada" } } });
      for (const channel of ["orders", "private-orders", "presence-orders"]) {
        const seen = await subscribe(client, channel);
        await sdk.trigger(channel, "object", { id: 7, lines: [{ sku: "ä€😀", price: 1.5 }], note: null });
        await sdk.trigger(channel, "text", 'plain "text" \\ with\nlines');
        await sdk.trigger(channel, "App\\Events\\Back.Slash", "[1,2]");
        await sdk.trigger(channel, "nothing", "");
        assert.deepEqual(await seen.first("object"), { id: 7, lines: [{ sku: "ä€😀", price: 1.5 }], note: null });
        assert.equal(await seen.first("text"), 'plain "text" \\ with\nlines');
        assert.deepEqual(await seen.first("App\\Events\\Back.Slash"), [1, 2]);
        await seen.first("nothing");
        assert.deepEqual(seen.names()[0], "pusher:subscription_succeeded");
        const published = seen.names().filter((event) => !event.startsWith("pusher:"));
        assert.deepEqual(published, ["object", "text", "App\\Events\\Back.Slash", "nothing"]);
      }
      assert.deepEqual(client.errors, []);
    });

    test("an event reaches the subscribers of its channel and nobody else", async () => {
      const client = await at(main).connect();
      const one = await subscribe(client, "one");
      const other = await subscribe(client, "one-more");
      await sdk.trigger("one", "mine", {});
      await marker(sdk, one, other);
      assert.equal(one.of("mine").length, 1);
      assert.equal(other.of("mine").length, 0);
    });

    test("two connections of one user are one member", async () => {
      const room = at(main);
      const watcher = await room.connect({ member: { user_id: "watcher" } });
      const seen = await subscribe(watcher, "presence-room");
      const ada = { user_id: "ada", user_info: { name: "Ada" } };
      const first = await room.connect({ member: ada });
      const { channel } = await subscribe(first, "presence-room");
      const second = await room.connect({ member: ada });
      await subscribe(second, "presence-room");

      assert.equal(channel.members.count, 2);
      assert.deepEqual(channel.members.me, { id: "ada", info: { name: "Ada" } });
      assert.deepEqual(channel.members.get("watcher"), { id: "watcher", info: null });
      await marker(sdk, seen);
      assert.deepEqual(seen.of("pusher:member_added"), [{ id: "ada", info: { name: "Ada" } }]);
      assert.equal(seen.channel.members.count, 2);

      first.disconnect();
      await eventually("the first connection's end", DEADLINE, async () => (await subscriptions("presence-room")) === 2);
      await marker(sdk, seen);
      assert.deepEqual(seen.of("pusher:member_removed"), []);

      second.unsubscribe("presence-room");
      assert.deepEqual(await seen.first("pusher:member_removed"), { id: "ada", info: { name: "Ada" } });
      assert.equal(seen.channel.members.count, 1);
      await marker(sdk, seen);
      assert.equal(seen.of("pusher:member_removed").length, 1);
      assert.equal(seen.of("pusher:member_added").length, 1);
    });

    test("a numeric user_id is told as a string", async () => {
      const room = at(main);
      const watcher = await room.connect({ member: { user_id: "watcher" } });
      const seen = await subscribe(watcher, "presence-numbers");
      const number = await room.connect({ member: { user_id: 10, user_info: { n: 1 } } });
      const text = await room.connect({ member: { user_id: "10", user_info: { n: 1 } } });
      const { channel } = await subscribe(number, "presence-numbers");
      await subscribe(text, "presence-numbers");
      await marker(sdk, seen);
      assert.deepEqual(seen.of("pusher:member_added"), [{ id: "10", info: { n: 1 } }]);
      assert.deepEqual(Object.keys(channel.members.members).sort(), ["10", "watcher"]);
      assert.deepEqual(channel.members.me.info, { n: 1 });
      const { users } = await get(sdk, "/channels/presence-numbers/users");
      assert.deepEqual(users.map((user) => user.id).sort(), ["10", "watcher"]);
    });

    test("a user's newest user_info is what the next member sees", async () => {
      const room = at(main);
      const watcher = await room.connect({ member: { user_id: "watcher" } });
      const seen = await subscribe(watcher, "presence-info");
      const before = await room.connect({ member: { user_id: "1", user_info: { mood: "old" } } });
      await subscribe(before, "presence-info");
      const later = await room.connect({ member: { user_id: "1", user_info: { mood: "new" } } });
      await subscribe(later, "presence-info");
      const last = await room.connect({ member: { user_id: "2" } });
      const { channel } = await subscribe(last, "presence-info");
      assert.deepEqual(channel.members.get("1").info, { mood: "new" });
      await marker(sdk, seen);
      assert.deepEqual(seen.of("pusher:member_added").map((member) => member.id), ["1", "2"]);
      assert.deepEqual(seen.channel.members.get("1").info, { mood: "old" });
    });

    test("a wrong signature is refused and the connection stays", async () => {
      const room = at(main);
      const forged = await room.connect({ sign: (auth) => ({ ...auth, auth: auth.auth.replace(/.$/, (c) => (c === "0" ? "1" : "0")) }) });
      const id = forged.connection.socket_id;
      const channel = forged.subscribe("private-secret");
      const error = await next(channel, "pusher:subscription_error");
      assert.equal(error.type, "AuthError");
      assert.equal(error.status, 401);
      assert.match(error.error, /Invalid signature: Expected HMAC SHA256 hex digest of .*private-secret, but got /);
      const told = await refusal(forged, /Invalid signature/);
      assert.equal(told.code, null);
      const open = await subscribe(forged, "open");
      await marker(sdk, open);
      assert.equal(forged.connection.socket_id, id);
      assert.equal(channel.subscribed, false);
      assert.deepEqual(await get(sdk, "/channels/private-secret"), { occupied: false });
    });

    test("a full presence channel refuses another user, and takes another connection of a member", async () => {
      const room = at(tiny);
      await subscribe(await room.connect({ member: { user_id: "1" } }), "presence-tiny");
      await subscribe(await room.connect({ member: { user_id: "1" } }), "presence-tiny");
      const late = await room.connect({ member: { user_id: "2" } });
      const error = await next(late.subscribe("presence-tiny"), "pusher:subscription_error");
      assert.match(error.error, /full/);
      assert.equal((await refusal(late, /full/)).code, null);
      assert.deepEqual((await get(room.sdk, "/channels/presence-tiny/users")).users, [{ id: "1" }]);
    });

    test("an unknown key ends with 4001, a disabled app with 4003, a full one with 4004", async () => {
      assert.ok(await refused(at({ ...main, key: "no-such-key" }), 4001));
      assert.ok(await refused(at(disabled), 4003));
      const full = at(small);
      let connected = 0;
      while (!(await refused(full, 4004))) connected += 1;
      // The limit is each node's.
      assert.ok(connected >= 1 && connected <= NODES, `${connected} connections`);
    });

    /** Whether another client is refused, and if it is, with the code. */
    async function refused(clients, code) {
      const client = clients.open();
      await eventually(`an answer, not ${client.connection.state}`, DEADLINE, () => ["connected", "disconnected"].includes(client.connection.state));
      if (client.connection.state === "connected") return false;
      assert.deepEqual(client.errors.map((error) => error.code), [code]);
      return true;
    }

    test("encrypted channels are decrypted by the client", async () => {
      const client = await at(main).connect();
      const seen = await subscribe(client, "private-encrypted-ledger");
      await sdk.trigger("private-encrypted-ledger", "entry", { amount: "1 €" });
      await sdk.trigger("private-encrypted-ledger", "note", "plain text");
      assert.deepEqual(await seen.first("entry"), { amount: "1 €" });
      assert.equal(await seen.first("note"), "plain text");
      assert.deepEqual(seen.of("pusher:subscription_count"), []);
    });

    test("an encrypted channel that is refused says so on the channel", async () => {
      const client = await at(main).connect({ sign: (auth) => ({ ...auth, auth: `${main.key}:00` }) });
      await next(client.subscribe("private-encrypted-secret"), "pusher:subscription_error");
      await refusal(client, /Invalid signature/);
    });

    for (const channel of ["cache-rate", "private-cache-rate", "presence-cache-rate", "private-encrypted-cache-rate"]) {
      test(`${channel}: a miss, then the last event`, async () => {
        // A name of its own for each client library, because what is cached outlives the subscribers.
        const own = `${channel}-${name.replace(" ", "-")}`;
        const room = at(main);
        const early = await room.connect({ member: { user_id: "1" } });
        const missed = await subscribe(early, own);
        await missed.first("pusher:cache_miss");
        assert.deepEqual(missed.names().filter((e) => e !== "pusher:subscription_count"), ["pusher:subscription_succeeded", "pusher:cache_miss"]);
        await sdk.trigger(own, "rate", { eur: 1 });
        await sdk.trigger(own, "rate", { eur: 2 });
        await missed.nth(2, "rate");

        const late = await room.connect({ member: { user_id: "2" } });
        const hit = await subscribe(late, own);
        assert.deepEqual(await hit.first("rate"), { eur: 2 });
        const told = hit.names().filter((event) => event !== "pusher:subscription_count");
        assert.deepEqual(told, ["pusher:subscription_succeeded", "rate"]);

        // Also while nobody is there.
        early.disconnect();
        late.disconnect();
        await server.empties();
        await sdk.trigger(own, "rate", { eur: 3 });
        const again = await subscribe(await room.connect({ member: { user_id: "3" } }), own);
        assert.deepEqual(await again.first("rate"), { eur: 3 });
      });
    }

    test("client events reach the others, with the sender's user_id on presence channels", async () => {
      const room = at(main);
      for (const channel of ["private-chat", "presence-chat"]) {
        const sender = await room.connect({ member: { user_id: "sender" } });
        const other = await room.connect({ member: { user_id: "other" } });
        const sent = await subscribe(sender, channel);
        const got = await subscribe(other, channel);
        const metadata = [];
        got.channel.bind("client-typing", (_, about) => metadata.push(about));
        assert.equal(sent.channel.trigger("client-typing", { at: [1, { x: "é" }] }), true);
        sent.channel.trigger("client-typing", "a string");
        assert.deepEqual(await got.first("client-typing"), { at: [1, { x: "é" }] });
        assert.equal(await got.nth(2, "client-typing"), "a string");
        const sentBy = channel.startsWith("presence-") ? { user_id: "sender" } : {};
        assert.deepEqual(metadata, [sentBy, sentBy]);
        await marker(sdk, sent, got);
        assert.deepEqual(sent.of("client-typing"), []);
        assert.deepEqual(sender.errors, []);
      }
    });

    test("client events are refused on public channels, without a subscription, and when the app forbids them", async () => {
      const room = at(main);
      const sender = await room.connect();
      const seen = await subscribe(await room.connect(), "open-chat");
      const sent = await subscribe(sender, "open-chat");
      sent.channel.trigger("client-typing", {});
      await eventually("an error", DEADLINE, () => sender.errors.length === 1);
      sender.send_event("client-typing", {}, "private-elsewhere");
      await refusal(sender, /Cannot broadcast client event \(connection not subscribed to channel private-elsewhere\)/);
      await marker(sdk, seen, sent);
      assert.deepEqual(seen.of("client-typing"), []);

      const forbidding = at(quiet);
      const refusedSender = await forbidding.connect();
      const other = await subscribe(await forbidding.connect(), "private-chat");
      const silent = await subscribe(refusedSender, "private-chat");
      silent.channel.trigger("client-typing", {});
      const error = await refusal(refusedSender, /To send client events, you must enable this feature/);
      assert.equal(error.code, null);
      await marker(backend(server, quiet), other, silent);
      assert.deepEqual(other.of("client-typing"), []);
    });

    test("client events over the rate are refused with 4301 and the connection stays", async () => {
      const room = at(throttled);
      const sender = await room.connect();
      const got = await subscribe(await room.connect(), "private-fast");
      const sent = await subscribe(sender, "private-fast");
      for (let n = 0; n < 30; n += 1) sent.channel.trigger("client-n", { n });
      const error = await refusal(sender, /Client event rejected due to rate limit/);
      assert.equal(error.code, 4301);
      await marker(backend(server, throttled), got, sent);
      const numbers = got.of("client-n").map(({ n }) => n);
      assert.deepEqual(numbers.slice(0, 3), [0, 1, 2]);
      assert.ok(numbers.length < 30, `${numbers.length} of 30 arrived`);
      assert.equal(sender.connection.state, "connected");
    });

    test("subscription_count is told on every change, unless the app does not want it", async () => {
      const room = at(main);
      const seen = await subscribe(await room.connect(), "counted");
      assert.deepEqual(await seen.first("pusher:subscription_count"), { subscription_count: 1 });
      const second = await room.connect();
      const also = await subscribe(second, "counted");
      assert.deepEqual(await also.first("pusher:subscription_count"), { subscription_count: 2 });
      assert.deepEqual(await seen.nth(2, "pusher:subscription_count"), { subscription_count: 2 });
      assert.equal(seen.channel.subscriptionCount, 2);
      second.unsubscribe("counted");
      assert.deepEqual(await seen.nth(3, "pusher:subscription_count"), { subscription_count: 1 });
      assert.equal(seen.channel.subscriptionCount, 1);

      const silent = await subscribe(await at(quiet).connect(), "counted");
      await marker(backend(server, quiet), silent);
      assert.deepEqual(silent.of("pusher:subscription_count"), []);
    });

    test("a signed-in user gets what is sent to the user, on every connection", async () => {
      const room = at(main);
      const phone = await signedIn(room, { id: "ada" });
      const desk = await signedIn(room, { id: "ada" });
      const bob = await signedIn(room, { id: "bob" });
      await sdk.sendToUser("ada", "hello", { to: "ada" });
      await sdk.sendToUser("bob", "hello", { to: "bob" });
      assert.deepEqual(await phone.first("hello"), { to: "ada" });
      assert.deepEqual(await desk.first("hello"), { to: "ada" });
      assert.deepEqual(await bob.first("hello"), { to: "bob" });
      assert.deepEqual([phone, desk, bob].map((user) => user.events.length), [1, 1, 1]);
    });

    test("a user's id is any text: it is sent to, watched and terminated", async () => {
      const id = "auth0|abc:d+e@f g%h";
      const room = at(main);
      const user = await signedIn(room, { id, watchlist: [id] });
      await sdk.sendToUser(id, "hello", { to: id });
      assert.deepEqual(await user.first("hello"), { to: id });
      await sdk.terminateUserConnections(id);
      await eventually("the connection's end", DEADLINE, () => user.client.connection.state === "disconnected");
    });

    test("a number as the id of a sign-in is its digits", async () => {
      const room = at(main);
      const user_data = JSON.stringify({ id: 42, user_info: { n: 42 }, watchlist: [7] });
      const customHandler = ({ socketId }, answer) => {
        const signature = createHmac("sha256", main.secret).update(`${socketId}::user::${user_data}`).digest("hex");
        answer(null, { auth: `${main.key}:${signature}`, user_data });
      };
      const user = await signedIn(room, { id: "42" }, { userAuthentication: { customHandler } });
      assert.equal(user.client.user.user_data.id, "42");
      await sdk.sendToUser("42", "hello", {});
      await user.first("hello");
      const { channel } = await subscribe(user.client, "presence-digits");
      assert.deepEqual(channel.members.me, { id: "42", info: { n: 42 } });
    });

    test("a signed-in user joins a presence channel without channel_data", async () => {
      const room = at(main);
      const user = await signedIn(room, { id: "ada", user_info: { name: "Ada" } });
      const { channel } = await subscribe(user.client, "presence-signed");
      assert.deepEqual(channel.members.me, { id: "ada", info: { name: "Ada" } });
    });

    test("a forged sign-in is refused and the connection stays", async () => {
      const client = await at(main).connect({
        userAuthentication: { customHandler: (_, answer) => answer(null, { auth: `${main.key}:00`, user_data: '{"id":"ada"}' }) },
      });
      client.signin();
      await eventually("an error", DEADLINE, () => client.errors.length === 1);
      await marker(sdk, await subscribe(client, "after-forgery"));
      assert.equal((await server.health()).users, 0);
    });

    test("terminateUserConnections closes the user's connections with 4009", async () => {
      const room = at(main);
      const phone = await signedIn(room, { id: "ada" });
      const desk = await signedIn(room, { id: "ada" });
      const bob = await signedIn(room, { id: "bob" });
      await sdk.terminateUserConnections("ada");
      for (const { client } of [phone, desk]) {
        await eventually("the connection's end", DEADLINE, () => client.connection.state === "disconnected");
        assert.deepEqual([...new Set(client.errors.map((error) => error.code))], [4009]);
      }
      await sdk.sendToUser("bob", "still here", {});
      await bob.first("still here");
      await sdk.terminateUserConnections("nobody");
    });

    test("a watchlist tells who is online and who goes", async () => {
      const room = at(main);
      const bob = await signedIn(room, { id: "bob" });
      const ada = await room.connect({ user: { id: "ada", watchlist: ["bob", "eve"] } });
      const told = record(ada.user.watchlist);
      ada.signin();
      assert.deepEqual((await told.first("online")).user_ids, ["bob"]);
      assert.deepEqual((await told.first("offline")).user_ids, ["eve"]);
      const eve = await signedIn(room, { id: "eve" });
      assert.deepEqual((await told.nth(2, "online")).user_ids, ["eve"]);
      const again = await signedIn(room, { id: "eve" });
      eve.client.disconnect();
      bob.client.disconnect();
      assert.deepEqual((await told.nth(2, "offline")).user_ids, ["bob"]);
      again.client.disconnect();
      assert.deepEqual((await told.nth(3, "offline")).user_ids, ["eve"]);
      assert.equal(told.of("online").length, 2);
    });

    /** A connected and signed-in client, ready to hear what is sent to its user. */
    async function signedIn(clients, user, options = {}) {
      const client = await clients.connect({ user, ...options });
      const heard = record(client.user);
      client.signin();
      const own = `#server-to-user-${user.id}`;
      await eventually(`${user.id} signed in`, DEADLINE, () => {
        const { serverToUserChannel } = client.user;
        return serverToUserChannel?.name === own && serverToUserChannel.subscribed;
      });
      return Object.assign(heard, { client });
    }

    test("socket_id excludes the publisher's own connection on every channel", async () => {
      const room = at(main);
      const publisher = await room.connect();
      const other = await room.connect();
      const own = [await subscribe(publisher, "left"), await subscribe(publisher, "right")];
      const theirs = [await subscribe(other, "left"), await subscribe(other, "right")];
      await sdk.trigger(["left", "right"], "saved", {}, { socket_id: publisher.connection.socket_id });
      await marker(sdk, ...own, ...theirs);
      assert.deepEqual(own.map((seen) => seen.of("saved").length), [0, 0]);
      assert.deepEqual(theirs.map((seen) => seen.of("saved").length), [1, 1]);
    });

    test("unsubscribe ends the events of a channel, and it can be subscribed again", async () => {
      const room = at(main);
      const client = await room.connect();
      const left = await subscribe(client, "left");
      const stays = await subscribe(client, "stays");
      let unbound = 0;
      const handler = () => (unbound += 1);
      stays.channel.bind("tick", handler);
      await sdk.trigger("stays", "tick", {});
      await stays.first("tick");
      stays.channel.unbind("tick", handler);

      client.unsubscribe("left");
      await eventually("left to be vacated", DEADLINE, async () => !(await get(sdk, "/channels/left")).occupied);
      await sdk.trigger(["left", "stays"], "tick", {});
      await marker(sdk, stays);
      assert.deepEqual(left.of("tick"), []);
      assert.equal(stays.of("tick").length, 2);
      assert.equal(unbound, 1);

      const again = await subscribe(client, "left");
      await marker(sdk, again);
    });

    test("subscribe, unsubscribe and subscribe in one burst end subscribed", async () => {
      const client = await at(main).connect();
      client.subscribe("burst");
      client.unsubscribe("burst");
      const seen = record(client.subscribe("burst"));
      await eventually("a subscription", DEADLINE, () => seen.channel.subscribed);
      await marker(sdk, seen);
      client.unsubscribe("burst");
      const back = await subscribe(client, "burst");
      await marker(sdk, back);
      assert.equal(await subscriptions("burst"), 1);
      assert.deepEqual(client.errors, []);
    });

    // Over HTTP a ping is no event: suites/transports.test.js has it.
    test("the client's pings are answered", { skip: TRANSPORT !== "ws" }, async () => {
      const client = await at(main).connect({ activityTimeout: 50, pongTimeout: 5_000 });
      let pongs = 0;
      client.connection.bind("message", ({ event }) => (pongs += event === "pusher:pong"));
      await eventually("three pongs", DEADLINE, () => pongs >= 3);
      assert.equal(client.connection.state, "connected");
    });
  });
}

describe("path_prefix", { timeout: 300_000 }, () => {
  test("clients connect with and without it", async () => {
    const server = await Server.start({ apps: [main], server: { path_prefix: "/realtime" } });
    try {
      const clients = new Clients(pusherJs["pusher-js 8"], server, main);
      const seen = await Promise.all(
        ["/realtime", ""].map(async (path) => subscribe(await clients.connect(under(path)), "prefixed")),
      );
      await marker(clients.sdk, ...seen);
      clients.closeAll();
    } finally {
      await server.stop();
    }
  });
});
