// Webhooks as the stock `pusher` package for Node takes them: every kind of event.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";

import { Clients, backend, pusherJs, subscribe } from "../lib/clients.js";
import { Server, app } from "../lib/server.js";
import { DEADLINE, eventually } from "../lib/wait.js";

describe("webhooks", { timeout: 300_000 }, () => {
  let http, server, sdk, main, clients;
  const requests = [];

  before(async () => {
    http = createServer(async (request, response) => {
      let body = "";
      for await (const chunk of request) body += chunk;
      requests.push({ headers: request.headers, rawBody: body });
      response.end("ok");
    });
    http.listen(0, "127.0.0.1");
    await once(http, "listening");
    const url = `http://127.0.0.1:${http.address().port}/hooks`;
    const members = ["member_added", "member_removed"];
    const channels = ["channel_occupied", "channel_vacated", "cache_miss", "subscription_count"];
    main = app({ webhooks: [{ url, events: [...members, ...channels, "client_event"] }] });
    server = await Server.start({ apps: [main] });
    sdk = backend(server, main);
    clients = new Clients(pusherJs["pusher-js 8"], server, main);
  });
  after(async () => {
    clients.closeAll();
    await server?.stop();
    http.close();
  });

  /** The first event that fits, once the SDK has accepted the request that it came in. */
  async function told(name, channel) {
    return eventually(`${name} of ${channel}`, DEADLINE, () => {
      const events = requests.flatMap((request) => {
        const webhook = sdk.webhook(request);
        assert.ok(webhook.isValid(), JSON.stringify(request));
        assert.ok(Math.abs(webhook.getTime() - Date.now()) < 60_000);
        return webhook.getEvents();
      });
      return events.find((event) => event.name === name && event.channel === channel);
    });
  }

  test("the SDK verifies each kind of event", async () => {
    const ada = await clients.connect({ member: { user_id: "ada" } });
    const seen = await subscribe(ada, "presence-room");
    const bob = await clients.connect({ member: { user_id: "bob" } });
    await subscribe(bob, "presence-room");
    assert.deepEqual(await told("channel_occupied", "presence-room"), { name: "channel_occupied", channel: "presence-room" });
    assert.deepEqual(await told("member_added", "presence-room"), {
      name: "member_added",
      channel: "presence-room",
      user_id: "ada",
    });

    assert.ok(seen.channel.trigger("client-typing", { at: 7 }));
    assert.deepEqual(await told("client_event", "presence-room"), {
      name: "client_event",
      channel: "presence-room",
      event: "client-typing",
      data: '{"at":7}',
      socket_id: ada.connection.socket_id,
      user_id: "ada",
    });

    await subscribe(ada, "cache-news");
    assert.deepEqual(await told("cache_miss", "cache-news"), { name: "cache_miss", channel: "cache-news" });
    assert.deepEqual(await told("subscription_count", "cache-news"), {
      name: "subscription_count",
      channel: "cache-news",
      subscription_count: 1,
    });

    ada.disconnect();
    assert.deepEqual(await told("member_removed", "presence-room"), {
      name: "member_removed",
      channel: "presence-room",
      user_id: "ada",
    });
    assert.deepEqual(await told("channel_vacated", "cache-news"), { name: "channel_vacated", channel: "cache-news" });
  });

  test("the SDK refuses what another secret has signed", () => {
    const stranger = backend(server, { ...main, secret: "another" });
    assert.ok(requests.length > 0);
    for (const request of requests) assert.ok(!stranger.webhook(request).isValid());
  });
});
