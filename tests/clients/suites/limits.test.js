// What stock pusher-js does at the limits against abuse: it is told, its connection stays where that is promised, and it
// comes back where it may.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { Clients, backend, connected, marker, next, pusherJs, refusal, subscribe } from "../lib/clients.js";
import { Server, app } from "../lib/server.js";
import { NODES } from "../lib/topologies.js";
import { DEADLINE, eventually } from "../lib/wait.js";

// After a refused attempt pusher-js waits for 15 seconds.
const RETRY = 15_000 + DEADLINE;

for (const [name, Pusher] of Object.entries(pusherJs)) {
  describe(`limits: ${name}`, { timeout: 300_000 }, () => {
    const limited = (limits, body, server = {}) => async () => {
      const one = app({ limits });
      const running = await Server.start({ apps: [one], server });
      const clients = new Clients(Pusher, running, one);
      try {
        await body(clients, backend(running, one), running);
      } finally {
        clients.closeAll();
        await running.stop();
      }
    };

    // Each node counts its own.
    const single = NODES > 1 ? { skip: "each node counts its own connections" } : {};
    test("a client over connections_per_ip waits, and is in when there is room", single, limited({}, async (clients, _, server) => {
      const first = await clients.connect();
      const second = clients.open();
      await eventually("it is refused", DEADLINE, async () => {
        const metrics = await (await fetch(`${server.adminUrls[0]}/metrics`)).text();
        return /upgrades_refused_total\{reason="connections_per_ip"\} [1-9]/.test(metrics);
      });
      assert.notEqual(second.connection.state, "connected");
      assert.equal(first.connection.state, "connected");
      first.disconnect();
      await connected(second, RETRY);
    }, { connections_per_ip: 1 }));

    test("a sign-in over connections_per_user is refused and the client goes on", limited({ connections_per_user: 1 }, async (clients, sdk) => {
      const user = { id: "7" };
      const first = await clients.connect({ user });
      const signedIn = next(first.connection, "message");
      first.signin();
      await signedIn;
      await first.user.signinDonePromise;
      const second = await clients.connect({ user });
      second.signin();
      const error = await refusal(second, /too many signed-in connections: the limit is 1/);
      assert.equal(error.code, null);
      const seen = await subscribe(second, "news");
      await marker(sdk, seen);
      assert.equal(second.connection.state, "connected");
      assert.equal(second.user.user_data, null);
    }));

    test("messages over messages_per_second are refused with 4301, a flood ends the connection and it comes back", limited({ messages_per_second: 20 }, async (clients, sdk) => {
      const client = await clients.connect();
      const socket = client.connection.socket_id;
      for (let n = 0; n < 60; n += 1) client.send_event("pusher:ping", {});
      const error = await refusal(client, /Too many messages: the connection may send 20 per second/);
      assert.equal(error.code, 4301);
      assert.equal(client.connection.socket_id, socket);
      for (let n = 0; n < 5000; n += 1) client.send_event("pusher:ping", {});
      await eventually("another connection", DEADLINE, () => client.connection.state === "connected" && client.connection.socket_id !== socket);
      await marker(sdk, await subscribe(client, "news"));
    }));

    test("subscriptions over subscribes_per_second are told so, and the others work", limited({ subscribes_per_second: 5 }, async (clients, sdk) => {
      const client = await clients.connect();
      const first = subscribe(client, "c-0");
      const refused = [];
      for (let n = 1; n < 40; n += 1) client.subscribe(`c-${n}`).bind("pusher:subscription_error", (told) => refused.push(told));
      const error = await refusal(client, /Too many subscriptions/);
      assert.equal(error.code, 4301);
      await eventually("channels are refused", DEADLINE, () => refused.length > 0);
      assert.equal(refused[0].type, "LimitReached");
      assert.equal(refused[0].status, 429);
      await marker(sdk, await first);
      assert.equal(client.connection.state, "connected");
    }));
  });
}
