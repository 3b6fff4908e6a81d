// The stock `pusher` package from PyPI on the HTTP API, with stock pusher-js as the receiver.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import { Clients, marker, pusherJs, record, subscribe } from "../lib/clients.js";
import { Python } from "../lib/python.js";
import { Server, app } from "../lib/server.js";
import { DEADLINE, eventually } from "../lib/wait.js";

const main = app();

describe("pusher for Python", { timeout: 300_000 }, () => {
  let server, python, clients;

  before(async () => {
    server = await Server.start({ apps: [main] });
    python = new Python(server, main);
    clients = new Clients(pusherJs["pusher-js 8"], server, main);
  });
  afterEach(async () => {
    clients.closeAll();
    await server.empties();
  });
  after(async () => {
    python.stop();
    await server.stop();
  });

  test("trigger to one channel and to many, objects and strings", async () => {
    const client = await clients.connect();
    const seen = [await subscribe(client, "one"), await subscribe(client, "two")];
    assert.deepEqual(await python.call("trigger", "one", "object", { text: "ä€😀", n: [1, null] }), {});
    assert.deepEqual(await python.call("trigger", ["one", "two"], "text", "plain"), {});
    assert.deepEqual(await seen[0].first("object"), { text: "ä€😀", n: [1, null] });
    for (const one of seen) assert.equal(await one.first("text"), "plain");
  });

  test("trigger with socket_id leaves that connection out", async () => {
    const client = await clients.connect();
    const mine = await subscribe(client, "one");
    const theirs = await subscribe(await clients.connect(), "one");
    await python.call("trigger", "one", "saved", {}, client.connection.socket_id);
    await marker(clients.sdk, mine, theirs);
    assert.deepEqual([mine.of("saved").length, theirs.of("saved").length], [0, 1]);
  });

  test("trigger_batch", async () => {
    const seen = await subscribe(await clients.connect(), "one");
    const batch = [1, 2, 3].map((n) => ({ channel: "one", name: "n", data: { n } }));
    assert.deepEqual(await python.call("trigger_batch", batch), {});
    await seen.nth(3, "n");
    assert.deepEqual(seen.of("n"), [{ n: 1 }, { n: 2 }, { n: 3 }]);
  });

  test("an encrypted trigger is decrypted by the client", async () => {
    const seen = await subscribe(await clients.connect(), "private-encrypted-one");
    assert.deepEqual(await python.call("trigger", "private-encrypted-one", "secret", { amount: "1 €" }), {});
    assert.deepEqual(await seen.first("secret"), { amount: "1 €" });
  });

  test("channels_info, channel_info and users_info", async () => {
    // Nodes hear of the end of what was there before one after the other.
    await eventually("no channel", DEADLINE, async () => Object.keys((await python.call("channels_info")).channels).length === 0);
    const client = await clients.connect({ member: { user_id: 7 } });
    await subscribe(client, "presence-q");
    await subscribe(client, "plain-q");
    const { channels } = await python.call("channels_info");
    assert.deepEqual(Object.keys(channels).sort(), ["plain-q", "presence-q"]);
    assert.deepEqual(await python.call("channels_info", "presence-", ["user_count"]), { channels: { "presence-q": { user_count: 1 } } });
    assert.deepEqual(await python.call("channel_info", "presence-q", ["user_count", "subscription_count"]), {
      occupied: true,
      user_count: 1,
      subscription_count: 1,
    });
    assert.deepEqual(await python.call("users_info", "presence-q"), { users: [{ id: "7" }] });
  });

  test("send_to_user and terminate_user_connections", async () => {
    const client = await clients.connect({ user: { id: "u1" } });
    const heard = record(client.user);
    client.signin();
    await eventually("signed in", DEADLINE, () => client.user.serverToUserChannel?.subscribed);
    assert.deepEqual(await python.call("send_to_user", "u1", "hello", { n: 1 }), {});
    assert.deepEqual(await heard.first("hello"), { n: 1 });
    assert.deepEqual(await python.call("terminate_user_connections", "u1"), {});
    await eventually("the connection's end", DEADLINE, () => client.connection.state === "disconnected");
  });

  test("a wrong secret raises PusherBadAuth with the expected string", async () => {
    const wrong = new Python(server, main, { secret: "not-the-secret" });
    try {
      await assert.rejects(wrong.call("trigger", "one", "e", {}), { name: "PusherBadAuth", message: /you should have sent HmacSHA256Hex\(/ });
      await assert.rejects(wrong.call("channels_info"), { name: "PusherBadAuth" });
    } finally {
      wrong.stop();
    }
  });
});
