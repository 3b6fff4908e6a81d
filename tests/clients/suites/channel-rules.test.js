// Stock pusher-js, 8 and 7, on names without prefix that a rule makes private; its sign-in answers at once or late.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import { Clients, marker, pusherJs, record, subscribe } from "../lib/clients.js";
import { Server, app } from "../lib/server.js";
import { eventually } from "../lib/wait.js";

/** pusher-js tries again at once; when nobody listens at that moment, its next try is 15 s later. */
const RETRY_DEADLINE = 40_000;

const main = app({
  channels: [
    { match: "user.{user_id}.invoices", subscribe: "user" },
    { match: "user.*", subscribe: "nobody" },
  ],
});

for (const [name, Pusher] of Object.entries(pusherJs)) {
  describe(`channel rules, ${name}`, { timeout: 300_000 }, () => {
    let server, clients;

    before(async () => {
      server = await Server.start({ apps: [main] });
      clients = new Clients(Pusher, server, main);
    });
    afterEach(async () => {
      clients.closeAll();
      await server.empties();
    });
    after(() => server.stop());

    /** A page that subscribes at once, to its own and to another's, and whose backend signs it in after a while. */
    function page(user, late) {
      const { sdk } = clients;
      const customHandler = ({ socketId }, answer) => setTimeout(() => answer(null, sdk.authenticateUser(socketId, { id: user })), late);
      const client = clients.open({ userAuthentication: { customHandler } });
      const [own, other] = ["1", "2"].map((id) => record(client.subscribe(`user.${id}.invoices`)));
      client.signin();
      return { client, own, other };
    }

    for (const late of [0, 3000]) {
      test(`user 1 gets its own invoices and not those of user 2, signed in after ${late} ms`, async () => {
        const { client, own, other } = page("1", late);
        const refused = await other.first("pusher:subscription_error");
        assert.deepEqual([refused.type, refused.status], ["AuthError", 401]);
        await own.first("pusher:subscription_succeeded");
        await clients.sdk.trigger(["user.1.invoices", "user.2.invoices"], "paid", { by: "both" });
        assert.deepEqual(await own.first("paid"), { by: "both" });
        await marker(clients.sdk, own);
        assert.deepEqual(other.of("paid"), []);
        assert.equal(client.connection.state, "connected");
        assert.deepEqual([...new Set(client.errors.map(({ code }) => code))], [null]);
      });
    }

    test("nobody who has not signed in gets anything", async () => {
      const client = await clients.connect();
      const [held, forbidden] = ["user.1.invoices", "user.1"].map((one) => record(client.subscribe(one)));
      assert.equal((await forbidden.first("pusher:subscription_error")).status, 401);
      await clients.sdk.trigger("user.1.invoices", "paid", {});
      await marker(clients.sdk, await subscribe(client, "open"));
      assert.deepEqual(held.names(), []);
    });

    test("after a restart of the server it is the same", async () => {
      const { client, own, other } = page("1", 200);
      await own.first("pusher:subscription_succeeded");
      await other.first("pusher:subscription_error");
      const { socket_id } = client.connection;
      await server.restart();
      await eventually("a new connection", RETRY_DEADLINE, () => client.connection.state === "connected" && client.connection.socket_id !== socket_id);
      await own.nth(2, "pusher:subscription_succeeded");
      await other.nth(2, "pusher:subscription_error");
      await clients.sdk.trigger(["user.1.invoices", "user.2.invoices"], "paid", {});
      await own.first("paid");
      await marker(clients.sdk, own);
      assert.deepEqual(other.of("paid"), []);
    });
  });
}
