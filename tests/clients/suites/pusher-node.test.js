// The stock `pusher` package for Node on the HTTP API, with stock pusher-js as the receiver.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import { Clients, backend, get, marker, pusherJs, record, subscribe } from "../lib/clients.js";
import { snippet } from "../lib/docs.js";
import { Server, app } from "../lib/server.js";
import { DEADLINE, eventually } from "../lib/wait.js";

const main = app({ channels: [{ match: "log.*", history: { events: 1_000, seconds: 600 } }] });
const disabled = app({ id: "1002", key: "disabled-key", enabled: false });

describe("pusher for Node", { timeout: 300_000 }, () => {
  let server, sdk, clients;

  before(async () => {
    server = await Server.start({ apps: [main, disabled] });
    sdk = backend(server, main);
    clients = new Clients(pusherJs["pusher-js 8"], server, main);
  });
  afterEach(async () => {
    clients.closeAll();
    await server.empties();
  });
  after(() => server.stop());

  /** Status and text of an SDK call that the server must refuse. */
  async function refused(call) {
    const error = await call.then(() => assert.fail("it was accepted"), (e) => e);
    assert.equal(error.name, "PusherRequestError");
    return { status: error.status, body: error.body };
  }

  test("trigger to one channel and to many", async () => {
    const client = await clients.connect();
    const names = Array.from({ length: 100 }, (_, n) => `many-${n}`);
    const seen = await Promise.all(names.map((name) => subscribe(client, name)));
    const answer = await sdk.trigger(names, "all", { n: 1 });
    assert.equal(answer.status, 200);
    assert.equal(await answer.text(), "{}");
    assert.match(answer.headers.get("content-type"), /^application\/json/);
    assert.equal(await (await sdk.trigger("many-0", "one", "text")).text(), "{}");
    for (const one of seen) assert.deepEqual(await one.first("all"), { n: 1 });
    assert.equal(await seen[0].first("one"), "text");
  });

  test("triggers awaited one after the other arrive in order", async () => {
    const seen = await subscribe(await clients.connect(), "ordered");
    for (let n = 0; n < 200; n += 1) await sdk.trigger("ordered", "n", { n });
    await seen.nth(200, "n");
    assert.deepEqual(seen.of("n").map(({ n }) => n), Array.from({ length: 200 }, (_, n) => n));
  });

  test("trigger with info answers the counts", async () => {
    const one = await clients.connect({ member: { user_id: "1" } });
    const same = await clients.connect({ member: { user_id: "1" } });
    await subscribe(one, "presence-info");
    await subscribe(same, "presence-info");
    await subscribe(one, "plain-info");
    const answer = await sdk.trigger(["presence-info", "plain-info", "empty-info"], "e", {}, { info: "user_count,subscription_count" });
    assert.deepEqual(await answer.json(), {
      channels: {
        "presence-info": { user_count: 1, subscription_count: 2 },
        "plain-info": { subscription_count: 1 },
        "empty-info": { subscription_count: 0 },
      },
    });
  });

  test("a trigger with an idempotency key is published once, however often it is sent", async () => {
    const seen = await subscribe(await clients.connect(), "once");
    const replayed = (answer) => answer.headers.get("idempotent-replayed");
    const params = { idempotency_key: "invoice-7-paid", info: "subscription_count" };
    const answers = await Promise.all(Array.from({ length: 20 }, () => sdk.trigger("once", "paid", { id: 7 }, params)));
    assert.equal(answers.filter((answer) => replayed(answer) === null).length, 1);
    for (const answer of answers) assert.deepEqual(await answer.json(), { channels: { once: { subscription_count: 1 } } });
    const { status, body } = await refused(sdk.trigger("once", "paid", { id: 8 }, params));
    assert.equal(status, 409);
    assert.match(body, /another content/);
    const item = (id, key) => ({ channel: "once", name: "item", data: { id }, idempotency_key: key });
    assert.equal(replayed(await sdk.triggerBatch([item(1, "one"), item(2, "two")])), null);
    assert.equal(replayed(await sdk.triggerBatch([item(2, "two"), item(1, "one")])), "true");
    assert.equal(replayed(await sdk.triggerBatch([item(1, "one"), item(3, "three")])), null);
    const conflict = await refused(sdk.triggerBatch([item(4, "four"), item(5, "one")]));
    assert.equal(conflict.status, 409);
    assert.match(conflict.body, /event 2/);
    await marker(sdk, seen);
    assert.deepEqual(seen.of("paid"), [{ id: 7 }]);
    assert.deepEqual(seen.of("item"), [{ id: 1 }, { id: 2 }, { id: 3 }]);
  });

  test("triggerBatch with and without info", async () => {
    const client = await clients.connect({ member: { user_id: "1" } });
    const seen = [await subscribe(client, "batch-a"), await subscribe(client, "presence-batch")];
    const without = await sdk.triggerBatch([
      { channel: "batch-a", name: "first", data: { n: 1 } },
      { channel: "presence-batch", name: "second", data: "text", socket_id: client.connection.socket_id },
      { channel: "batch-a", name: "third", data: { n: 3 } },
    ]);
    assert.equal(await without.text(), "{}");
    const withInfo = await sdk.triggerBatch([
      { channel: "presence-batch", name: "fourth", data: {}, info: "user_count,subscription_count" },
      { channel: "batch-a", name: "fifth", data: {} },
    ]);
    assert.deepEqual(await withInfo.json(), { batch: [{ user_count: 1, subscription_count: 1 }, {}] });
    await marker(sdk, ...seen);
    const published = (one) => one.names().filter((name) => !name.startsWith("pusher:") && !name.startsWith("marker-"));
    assert.deepEqual(published(seen[0]), ["first", "third", "fifth"]);
    assert.deepEqual(published(seen[1]), ["fourth"]);
    assert.deepEqual(seen[0].of("third"), [{ n: 3 }]);
  });

  test("channels, channel and users are told", async () => {
    // Nodes hear of the end of what was there before one after the other.
    await eventually("no channel", DEADLINE, async () => Object.keys((await get(sdk, "/channels")).channels).length === 0);
    const one = await clients.connect({ member: { user_id: "1" } });
    const two = await clients.connect({ member: { user_id: "2" } });
    await subscribe(one, "presence-q");
    await subscribe(two, "presence-q");
    await subscribe(one, "plain-q");
    await subscribe(one, "odd=na@me,.;-_");
    await subscribe(one, "cache-q");
    await sdk.trigger("cache-q", "kept", { v: 1 });

    assert.deepEqual(Object.keys((await get(sdk, "/channels")).channels).sort(), ["cache-q", "odd=na@me,.;-_", "plain-q", "presence-q"]);
    assert.deepEqual(await get(sdk, "/channels", { filter_by_prefix: "presence-", info: "user_count" }), {
      channels: { "presence-q": { user_count: 2 } },
    });
    assert.deepEqual(await get(sdk, "/channels", { filter_by_prefix: "private-" }), { channels: {} });
    assert.deepEqual(await get(sdk, "/channels/presence-q", { info: "user_count,subscription_count" }), {
      occupied: true,
      user_count: 2,
      subscription_count: 2,
    });
    assert.equal((await get(sdk, "/channels/odd=na@me,.;-_")).occupied, true);
    assert.equal((await get(sdk, `/channels/${encodeURIComponent("odd=na@me,.;-_")}`)).occupied, true);
    assert.equal((await get(sdk, "/channels/never")).occupied, false);
    assert.deepEqual(await get(sdk, "/channels/presence-never", { info: "user_count" }), { occupied: false, user_count: 0 });
    const { cache } = await get(sdk, "/channels/cache-q", { info: "cache" });
    assert.equal(cache.data, '{"v":1}');
    assert.ok(cache.ttl > 1700 && cache.ttl <= 1800, `ttl ${cache.ttl}`);
    const { users } = await get(sdk, "/channels/presence-q/users");
    assert.deepEqual(users.map(({ id }) => id).sort(), ["1", "2"]);
    assert.deepEqual(await get(sdk, "/channels/presence-never/users"), { users: [] });
  });

  test("the past of a channel is read page by page", async () => {
    const read = new Function("sdk", "channel", "after", "use", `${snippet("docs/history.md", "js", "events.forEach")}; return read(sdk, channel, after, use);`);
    const numbers = [];
    const use = ({ name, data }) => numbers.push([name, JSON.parse(data).n]);
    let place = await read(sdk, "log.1", null, use);
    assert.equal(place, null);
    for (let n = 0; n < 120; n += 1) await sdk.trigger("log.1", "e", { n });
    place = await read(sdk, "log.1", place, use);
    await sdk.trigger("log.1", "last", { n: 120 });
    place = await read(sdk, "log.1", place, use);
    assert.deepEqual(numbers, Array.from({ length: 121 }, (_, n) => [n < 120 ? "e" : "last", n]));
    assert.equal(await read(sdk, "log.1", place, use), place);
    const newest = await get(sdk, "/channels/log.1/events", { order: "desc", limit: 1 });
    assert.deepEqual(newest.events.map(({ id, data }) => [id, data]), [[place, '{"n":120}']]);
    assert.equal((await refused(sdk.get({ path: "/channels/other/events" }))).status, 404);
  });

  test("sendToUser and terminateUserConnections act on signed-in users", async () => {
    const client = await clients.connect({ user: { id: "u1" } });
    const heard = record(client.user);
    client.signin();
    await eventually("signed in", DEADLINE, () => client.user.serverToUserChannel?.subscribed);
    assert.equal(await (await sdk.sendToUser("u1", "hello", { n: 1 })).text(), "{}");
    assert.deepEqual(await heard.first("hello"), { n: 1 });
    assert.deepEqual(await get(sdk, "/channels"), { channels: {} });
    assert.equal(await (await sdk.terminateUserConnections("u1")).text(), "{}");
    await eventually("the connection's end", DEADLINE, () => client.connection.state === "disconnected");
    assert.equal((await sdk.terminateUserConnections("u1")).status, 200);
  });

  test("a wrong secret is answered with the string that was expected to be signed", async () => {
    const wrong = backend(server, main, { secret: "not-the-secret" });
    const { status, body } = await refused(wrong.trigger("a", "b", {}));
    assert.equal(status, 401);
    assert.match(body, /^Invalid signature: you should have sent HmacSHA256Hex\("POST\\n\/apps\/1001\/events\\nauth_key=suite-key&auth_timestamp=\d+&auth_version=1\.0&body_md5=[0-9a-f]{32}", your_secret_key\), but you sent "[0-9a-f]{64}"/);
    assert.ok(!body.includes(main.secret));
    assert.equal((await refused(wrong.get({ path: "/channels", params: {} }))).status, 401);
  });

  test("an unknown key, the key of another app and an unknown app are refused", async () => {
    const unknown = await refused(backend(server, main, { key: "no-such-key" }).trigger("a", "b", {}));
    assert.equal(unknown.status, 401);
    assert.match(unknown.body, /auth_key/);
    const other = await refused(backend(server, main, { key: disabled.key }).trigger("a", "b", {}));
    assert.ok([401, 403].includes(other.status), `${other.status} ${other.body}`);
    const nowhere = await refused(backend(server, main, { appId: "9999" }).trigger("a", "b", {}));
    assert.ok([401, 404].includes(nowhere.status), `${nowhere.status} ${nowhere.body}`);
    assert.equal((await refused(backend(server, disabled).trigger("a", "b", {}))).status, 403);
  });

  test("a clock that is off is told by how much", async () => {
    const real = Date.now;
    let call;
    try {
      Date.now = () => real() - 3_600_000;
      call = sdk.trigger("a", "b", {});
    } finally {
      Date.now = real;
    }
    const { status, body } = await refused(call);
    assert.equal(status, 401);
    assert.match(body, /Timestamp expired/);
    assert.match(body, /3[56]\d\d/, "the difference in seconds");
  });

  test("what breaks a limit is refused with its name", async () => {
    const large = await refused(sdk.trigger("a", "b", "x".repeat(10_241)));
    assert.equal(large.status, 413);
    assert.match(large.body, /10240/);
    await sdk.trigger("a", "b", "x".repeat(10_240));
    const reserved = await refused(sdk.trigger("a", "pusher:mine", {}));
    assert.equal(reserved.status, 400);
    assert.match(reserved.body, /reserved/);
    const batch = Array.from({ length: 11 }, () => ({ channel: "a", name: "b", data: {} }));
    assert.deepEqual(await refused(sdk.triggerBatch(batch)).then(({ status }) => status), 400);
    const counts = await refused(sdk.get({ path: "/channels", params: { info: "user_count" } }));
    assert.equal(counts.status, 400);
    assert.match(counts.body, /presence-/);
    assert.equal((await refused(sdk.get({ path: "/channels/plain/users", params: {} }))).status, 400);
  });
});
