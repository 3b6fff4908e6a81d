// Stock laravel-echo 2 over stock pusher-js 8, with the broadcasters `pusher` and `reverb`, against auth endpoints like Laravel's.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import EchoModule from "laravel-echo";
import Pusher from "pusher-js";

import { startApplication } from "../lib/application.js";
import { address, backend, marker } from "../lib/clients.js";
import { Server, app } from "../lib/server.js";
import { DEADLINE, eventually } from "../lib/wait.js";

const Echo = EchoModule.default ?? EchoModule;
const main = app();

for (const broadcaster of ["pusher", "reverb"]) {
  describe(`laravel-echo, broadcaster ${broadcaster}`, { timeout: 300_000 }, () => {
    let server, sdk, application;
    const opened = [];

    before(async () => {
      server = await Server.start({ apps: [main] });
      sdk = backend(server, main);
      application = await startApplication(sdk);
    });
    afterEach(async () => {
      for (const echo of opened.splice(0)) echo.disconnect();
      await server.empties();
    });
    after(async () => {
      await application.stop();
      await server.stop();
    });

    async function echoOf(user) {
      const { cluster, ...where } = address(server);
      const echo = new Echo({
        broadcaster,
        Pusher,
        key: main.key,
        ...where,
        ...(broadcaster === "pusher" ? { cluster } : {}),
        authEndpoint: `${application.url}/broadcasting/auth`,
        userAuthentication: { endpoint: `${application.url}/broadcasting/user-auth`, headers: {} },
        auth: { headers: {} },
        bearerToken: `user-${user}`,
      });
      opened.push(echo);
      await eventually("connected", DEADLINE, () => echo.connectionStatus() === "connected");
      return echo;
    }

    /** Waits for Echo's `subscribed`, and keeps what the channel tells. */
    async function ready(channel) {
      const events = [];
      channel.listenToAll((name, data) => events.push({ name, data }));
      let done = false;
      channel.subscribed(() => (done = true));
      await eventually(`${channel.name} subscribed`, DEADLINE, () => done);
      const of = (name) => events.filter((event) => event.name === name).map((event) => event.data);
      return {
        channel,
        of,
        first: (name) => eventually(`${name} among ${JSON.stringify(events)}`, DEADLINE, () => of(name)[0]),
      };
    }

    /** As `marker`: what has not come before it will not come. */
    async function settle(...seen) {
      await marker(
        sdk,
        ...seen.map(({ channel, first }) => ({ channel, first: (name) => first(`.${name}`) })),
      );
    }

    test("channel(): listen to a class name, to a raw name, and stop", async () => {
      const echo = await echoOf(7);
      const channel = echo.channel("orders");
      const seen = await ready(channel);
      const heard = [];
      const byClass = (data) => heard.push(["class", data]);
      channel.listen("OrderShipped", byClass).listen(".order.raw", (data) => heard.push(["raw", data]));
      await sdk.trigger("orders", "App\\Events\\OrderShipped", { order: 1 });
      await sdk.trigger("orders", "order.raw", { order: 2 });
      await settle(seen);
      channel.stopListening("OrderShipped", byClass);
      await sdk.trigger("orders", "App\\Events\\OrderShipped", { order: 3 });
      await settle(seen);
      assert.deepEqual(heard, [["class", { order: 1 }], ["raw", { order: 2 }]]);
    });

    test("private() and encryptedPrivate() listen after the endpoint's authorisation", async () => {
      const echo = await echoOf(7);
      for (const open of [() => echo.private("orders.7"), () => echo.encryptedPrivate("orders.7")]) {
        const channel = open();
        const seen = await ready(channel);
        let got;
        channel.listen("OrderShipped", (data) => (got = data));
        await sdk.trigger(channel.name, "App\\Events\\OrderShipped", { order: "€ 7" });
        await settle(seen);
        assert.deepEqual(got, { order: "€ 7" });
      }
    });

    test("join(): here, joining and leaving carry the users", async () => {
      const here = [], joining = [], leaving = [];
      const ada = await echoOf(7);
      const room = ada.join("room").here((users) => here.push(users)).joining((user) => joining.push(user)).leaving((user) => leaving.push(user));
      await ready(room);
      const bob = await echoOf(8);
      const seenByBob = [];
      await ready(bob.join("room").here((users) => seenByBob.push(users)));
      const alsoBob = await echoOf(8);
      await ready(alsoBob.join("room"));
      const user = (id) => ({ id, name: `User ${id}` });
      assert.deepEqual(here, [[user(7)]]);
      assert.deepEqual(seenByBob, [[user(7), user(8)]]);
      await eventually("joining", DEADLINE, () => joining.length > 0);
      bob.leave("room");
      alsoBob.disconnect();
      await eventually("leaving", DEADLINE, () => leaving.length > 0);
      assert.deepEqual(joining, [user(8)]);
      assert.deepEqual(leaving, [user(8)]);
    });

    test("whisper() reaches the others on private and presence channels", async () => {
      const ada = await echoOf(7);
      const bob = await echoOf(8);
      for (const open of [(echo) => echo.private("chat"), (echo) => echo.join("chat")]) {
        const mine = await ready(open(ada));
        const theirs = await ready(open(bob));
        const heard = [];
        theirs.channel.listenForWhisper("typing", (data) => heard.push(data));
        mine.channel.whisper("typing", { name: "Ada" });
        mine.channel.whisper("typing");
        await eventually("both whispers", DEADLINE, () => heard.length === 2);
        assert.deepEqual(heard, [{ name: "Ada" }, {}]);
        await settle(mine, theirs);
        assert.deepEqual(mine.of(".client-typing"), []);
      }
    });

    test("error() tells of the endpoint's refusal and of the server's", async () => {
      const echo = await echoOf(7);
      const errors = {};
      for (const name of ["forbidden", "forged"]) echo.private(name).error((error) => (errors[name] = error));
      await eventually("both errors", DEADLINE, () => errors.forbidden && errors.forged);
      assert.equal(errors.forbidden.status, 403);
      assert.equal(errors.forged.status, 401);
      assert.equal(errors.forged.type, "AuthError");
      assert.equal(echo.connectionStatus(), "connected");
    });

    test("toOthers(): the tab that sent X-Socket-Id is left out", async () => {
      const ada = await echoOf(7);
      const bob = await echoOf(8);
      const mine = await ready(ada.private("orders"));
      const theirs = await ready(bob.private("orders"));
      const answer = await fetch(`${application.url}/orders`, {
        method: "POST",
        headers: { authorization: "Bearer user-7", "x-socket-id": ada.socketId() },
        body: JSON.stringify({ channel: "private-orders", order: 1 }),
      });
      assert.equal(answer.status, 200);
      await settle(mine, theirs);
      assert.deepEqual(theirs.of("OrderShipped"), [{ order: 1 }]);
      assert.deepEqual(mine.of("OrderShipped"), []);
    });

    test("notification() hears Laravel's notifications", async () => {
      const echo = await echoOf(7);
      const channel = echo.private("App.Models.User.7");
      await ready(channel);
      let got;
      channel.notification((data) => (got = data));
      const sent = { id: "4f8f", type: "App\\Notifications\\InvoicePaid", amount: 7 };
      await sdk.trigger(channel.name, "Illuminate\\Notifications\\Events\\BroadcastNotificationCreated", sent);
      await eventually("the notification", DEADLINE, () => got);
      assert.deepEqual(got, sent);
    });

    test("leave() ends every kind of the channel", async () => {
      const echo = await echoOf(7);
      const stays = await ready(echo.channel("stays"));
      const left = [await ready(echo.channel("gone")), await ready(echo.private("gone")), await ready(echo.join("gone"))];
      echo.leave("gone");
      await eventually("one channel left", DEADLINE, async () => (await server.health()).channels === 1);
      for (const { channel } of left) await sdk.trigger(channel.name, "late", {});
      await settle(stays);
      for (const seen of left) assert.deepEqual(seen.of(".late"), []);
    });

    test("signin() uses Laravel's user endpoint", async () => {
      const echo = await echoOf(7);
      let got;
      echo.connector.pusher.user.bind("hello", (data) => (got = data));
      echo.connector.signin();
      await eventually("signed in", DEADLINE, () => echo.connector.pusher.user.serverToUserChannel?.subscribed);
      await sdk.sendToUser("7", "hello", { to: 7 });
      await eventually("the event", DEADLINE, () => got);
      assert.deepEqual(got, { to: 7 });
    });
  });
}
