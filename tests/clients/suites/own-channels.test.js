// A user's channel without prefix, private by a rule: the page of user 1 gets user.1.invoices and not user.2.invoices, in
// stock Laravel Echo and in Chromium. The suite channel-rules has the same for pusher-js in Node.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import EchoModule from "laravel-echo";

import { startApplication } from "../lib/application.js";
import { startBrowser } from "../lib/browser.js";
import { address, backend, marker, pusherJs, record } from "../lib/clients.js";
import { Server, app } from "../lib/server.js";
import { eventually } from "../lib/wait.js";

const Echo = EchoModule.default ?? EchoModule;
/** pusher-js tries again at once; when nobody listens at that moment, its next try is 15 s later. */
const RETRY_DEADLINE = 40_000;
const NAMES = ["user.1.invoices", "user.2.invoices"];
const main = app({ channels: [{ match: "user.{user_id}.invoices", subscribe: "user" }] });

/** Of each, the pages of a user, which subscribe at once to all names and sign in; and what they have been told. */
const KINDS = { "laravel-echo": inEcho, "pusher-js 8 in Chromium": inChromium("pusher-js"), "pusher-js 7 in Chromium": inChromium("pusher-js-7") };

function inEcho({ server, application, open }, user) {
  const { cluster, ...where } = address(server);
  const echo = new Echo({
    broadcaster: "reverb",
    Pusher: pusherJs["pusher-js 8"],
    key: main.key,
    ...where,
    userAuthentication: { endpoint: `${application.url}/broadcasting/user-auth`, headers: {} },
    auth: { headers: {} },
    bearerToken: `user-${user}`,
  });
  open.push(() => echo.disconnect());
  const channels = NAMES.map((name) => record(echo.channel(name).subscription));
  echo.connector.pusher.signin();
  return { channels, socketId: async () => echo.socketId() };
}

function inChromium(build) {
  return async ({ browser, server, application, open }, user) => {
    const context = await browser.newContext();
    open.push(() => context.close());
    const page = await context.newPage();
    await page.goto(`${application.url}/page?${build}`);
    await page.evaluate(
      ({ key, where, names, user }) => {
        window.told = [];
        window.client = new Pusher(key, { ...where, userAuthentication: { endpoint: "/broadcasting/user-auth", headers: { authorization: `Bearer user-${user}` } } });
        for (const channel of names) window.client.subscribe(channel).bind_global((name, data) => window.told.push({ channel, name, data }));
        window.client.signin();
      },
      { key: main.key, where: address(server), names: NAMES, user },
    );
    const recorder = (channel) => {
      const of = async (name) => (await page.evaluate(() => window.told)).filter((one) => one.channel === channel && one.name === name).map(({ data }) => data);
      const nth = (n, name) => eventually(`${name} no. ${n} on ${channel}`, RETRY_DEADLINE, async () => (await of(name))[n - 1]);
      return { channel: { name: channel }, of, nth, first: (name) => nth(1, name) };
    };
    return { channels: NAMES.map(recorder), socketId: () => page.evaluate(() => window.client.connection.socket_id) };
  };
}

for (const [kind, visit] of Object.entries(KINDS)) {
  describe(`a user's channel, ${kind}`, { timeout: 300_000 }, () => {
    const place = { open: [] };
    let sdk;

    before(async () => {
      place.application = await startApplication();
      place.browser = kind.includes("Chromium") ? await startBrowser() : null;
      place.server = await Server.start({ apps: [main] });
      place.application.sdk = sdk = backend(place.server, main);
    });
    afterEach(async () => {
      await Promise.all(place.open.splice(0).map((close) => close()));
      place.application.late = 0;
      await place.server.empties();
    });
    after(async () => {
      await place.browser?.close();
      await place.application.stop();
      await place.server.stop();
    });

    /** What is published from now on reaches the user's own channel and no other, for the nth time that it is tried. */
    async function getsItsOwnOnly({ channels: [own, other] }, n) {
      await own.nth(n, "pusher:subscription_succeeded");
      const { type, status } = await other.nth(n, "pusher:subscription_error");
      assert.deepEqual([type, status], ["AuthError", 401]);
      await sdk.trigger(NAMES, "paid", { number: n });
      assert.deepEqual(await own.nth(n, "paid"), { number: n });
      await marker(sdk, own);
      assert.deepEqual(await other.of("paid"), []);
      assert.deepEqual(await other.of("pusher:subscription_succeeded"), []);
    }

    for (const late of [0, 3000]) {
      test(`user 1 gets its own invoices and not those of user 2, signed in after ${late} ms`, async () => {
        place.application.late = late;
        await getsItsOwnOnly(await visit(place, 1), 1);
      });
    }

    test("after a restart of the server it is the same", async () => {
      place.application.late = 200;
      const page = await visit(place, 1);
      await getsItsOwnOnly(page, 1);
      const before = await page.socketId();
      await place.server.restart();
      await eventually("a new connection", RETRY_DEADLINE, async () => ![before, undefined, null].includes(await page.socketId()));
      await getsItsOwnOnly(page, 2);
    });
  });
}
