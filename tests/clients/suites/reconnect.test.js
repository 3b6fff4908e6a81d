// Stock pusher-js, 8 and 7, through a restart of the server on the same port.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import { Clients, marker, pusherJs, subscribe } from "../lib/clients.js";
import { Server, app } from "../lib/server.js";
import { eventually } from "../lib/wait.js";

const main = app();

/** pusher-js tries again at once; when nobody listens at that moment, its next try is 15 s later. */
const RETRY_DEADLINE = 40_000;

describe("reconnect", { timeout: 300_000 }, () => {
  let server, opened;

  before(async () => {
    server = await Server.start({ apps: [main] });
    opened = Object.values(pusherJs).map((Pusher) => new Clients(Pusher, server, main));
  });
  afterEach(async () => {
    for (const clients of opened) clients.closeAll();
    await server.empties();
  });
  after(() => server.stop());

  /** Clients of both versions with one channel of each kind, and what these heard. */
  async function subscribed() {
    return Promise.all(
      opened.map(async (clients, n) => {
        const client = await clients.connect({ member: { user_id: String(n) }, user: { id: String(n) } });
        const socketId = client.connection.socket_id;
        client.signin();
        const seen = [];
        for (const name of ["open", "private-own", "presence-all"]) seen.push(await subscribe(client, name));
        return { client, socketId, seen };
      }),
    );
  }

  /** All are back with new ids, signed in and subscribed to everything they had. */
  async function back(before) {
    for (const { client, socketId, seen } of before) {
      await eventually("a new connection", RETRY_DEADLINE, () => client.connection.state === "connected" && client.connection.socket_id !== socketId);
      for (const channel of seen) await channel.nth(2, "pusher:subscription_succeeded");
    }
    await eventually("both members", RETRY_DEADLINE, () => before.every(({ seen }) => seen[2].channel.members.count === 2));
    await marker(opened[0].sdk, ...before.flatMap(({ seen }) => seen));
    await eventually("both users", RETRY_DEADLINE, async () => (await server.health()).users === 2);
  }

  test("SIGTERM closes with 4200, and the clients come back by themselves", async () => {
    const before = await subscribed();
    await server.restart();
    await back(before);
    for (const { client } of before) assert.deepEqual([...new Set(client.errors.map((error) => error.code))], [4200]);
  });

  test("after a crash the clients come back by themselves", async () => {
    const before = await subscribed();
    await server.crash();
    await back(before);
  });
});
