// Stock pusher-js 3 to 8 in its other builds: for Node before 7, for web workers, for React Native.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { after, afterEach, before, describe, test } from "node:test";

import { startApplication } from "../lib/application.js";
import { startBrowser } from "../lib/browser.js";
import { address, backend } from "../lib/clients.js";
import { Server, app } from "../lib/server.js";
import { DEADLINE, eventually } from "../lib/wait.js";

const require = createRequire(import.meta.url);
const main = app();
const CHANNELS = ["open", "private-own", "presence-room"];

/** What each version's options are: those before 7.1 know `authEndpoint` only, and the later ones still take it. */
function options(server, application, user) {
  return {
    ...address(server),
    authEndpoint: `${application.url}/broadcasting/auth`,
    auth: { headers: { authorization: `Bearer user-${user}` } },
  };
}

/** Events of several channels have no order among each other. */
const sorted = (events) => [...events].sort((a, b) => (a.name < b.name ? -1 : 1));

describe("pusher-js builds", { timeout: 300_000 }, () => {
  let application, browser, sdk, server;

  before(async () => {
    [application, browser, server] = await Promise.all([startApplication(), startBrowser(), Server.start({ apps: [main] })]);
    application.sdk = sdk = backend(server, main);
  });
  afterEach(() => server.empties());
  after(async () => {
    await browser?.close();
    await application?.stop();
    await server?.stop();
  });

  for (const version of ["pusher-js-3", "pusher-js-4", "pusher-js-5", "pusher-js-6"]) {
    test(`${version} in Node: public, private and presence channels by authEndpoint, and client events`, async () => {
      // The main file of 3 is its build for browsers.
      const Pusher = require(`${version}/node.js`);
      const [ada, bob] = [7, 8].map((user) => new Pusher(main.key, options(server, application, user)));
      try {
        for (const client of [ada, bob]) {
          const channels = CHANNELS.map((name) => client.subscribe(name));
          await eventually("the subscriptions", DEADLINE, () => channels.every(({ subscribed }) => subscribed));
        }
        await eventually("both members", DEADLINE, () => ada.channel("presence-room").members.count === 2);
        assert.deepEqual(ada.channel("presence-room").members.get("8"), { id: "8", info: { id: 8, name: "User 8" } });
        const heard = [];
        for (const name of CHANNELS) ada.channel(name).bind("paid", (data) => heard.push({ name, data }));
        await sdk.trigger(CHANNELS, "paid", { amount: "1 €" });
        await eventually("the events", DEADLINE, () => heard.length === CHANNELS.length);
        assert.deepEqual(sorted(heard), sorted(CHANNELS.map((name) => ({ name, data: { amount: "1 €" } }))));
        let typing;
        ada.channel("private-own").bind("client-typing", (data) => (typing = data));
        bob.channel("private-own").trigger("client-typing", { at: 1 });
        assert.deepEqual(await eventually("the client event", DEADLINE, () => typing), { at: 1 });
      } finally {
        for (const client of [ada, bob]) client.disconnect();
      }
    });
  }

  /** What a page, or a worker of it, runs once it has `Pusher`; `say` is told what happens. */
  const RUN = `(Pusher, key, options, channels, say) => {
    const client = new (Pusher.default ?? Pusher.Pusher ?? Pusher)(key, options);
    client.connection.bind("error", (error) => say({ error: JSON.stringify(error) }));
    for (const name of channels) {
      const channel = client.subscribe(name);
      channel.bind("pusher:subscription_succeeded", () => say({ subscribed: name }));
      channel.bind("paid", (data) => say({ name, data }));
    }
    return client;
  }`;

  const STARTS = {
    // 7.6 draws its random numbers from `window`, which workers do not have.
    worker: (where) => `
      const text = '${where.includes("pusher-js-7") ? "self.window = self;" : ""} importScripts("${where}"); (${RUN.replaceAll("\n", " ")})(Pusher, key, options, channels, (what) => postMessage(what))';
      const given = ["key", "options", "channels"].map((name) => "const " + name + " = " + JSON.stringify({ key, options, channels }[name]) + ";");
      const worker = new Worker(URL.createObjectURL(new Blob([given.join(""), text])));
      worker.onmessage = ({ data }) => said.push(data);
      worker.onerror = ({ message }) => said.push({ error: message });`,
    // What the bundler and React Native itself have for the build: `require`, `global`, the state of the network.
    "react-native": (where) => `
      window.global = window;
      const NetInfo = { fetch: async () => ({ type: "wifi", isConnected: true }), getConnectionInfo: async () => ({ type: "wifi" }), addEventListener() {} };
      fetch("${where}").then((answer) => answer.text()).then((text) => {
        const module = { exports: {} };
        new Function("module", "exports", "require", text)(module, module.exports, () => ({ NetInfo, default: NetInfo, ...NetInfo }));
        (${RUN})(module.exports, key, options, channels, (what) => said.push(what));
      });`,
  };

  const VERSIONS = {
    worker: ["pusher-js-3", "pusher-js-4", "pusher-js-5", "pusher-js-6", "pusher-js-7", "pusher-js"],
    // That of 3 expects promises which only React Native of its day had, that of 7.6 a `Buffer` which none has.
    "react-native": ["pusher-js-4", "pusher-js-5", "pusher-js-6", "pusher-js"],
  };
  for (const [build, versions] of Object.entries(VERSIONS)) {
    test(`the ${build} builds: public, private and presence channels`, async () => {
      const context = await browser.newContext();
      await Promise.all(
        versions.map(async (version, n) => {
          const page = await context.newPage();
          await page.goto(`${application.url}/page?pusher-js`);
          const channels = CHANNELS.map((name) => `${name}-${version}`);
          const start = STARTS[build](`${application.url}/${version}/${build}.js`);
          await page.evaluate(
            ({ start, given }) => new Function("key", "options", "channels", "said", start)(...given, (window.said = [])),
            { start, given: [main.key, options(server, application, n + 1), channels] },
          );
          const said = () => page.evaluate(() => window.said);
          const until = (field, count) =>
            eventually(`${field} in the ${build} build of ${version}`, 2 * DEADLINE, async () => {
              const all = await said();
              assert.ok(all.filter((one) => one[field]).length === count, JSON.stringify(all));
              return true;
            });
          await until("subscribed", channels.length);
          await sdk.trigger(channels, "paid", { amount: "1 €" });
          await until("data", channels.length);
          const told = (await said()).filter((one) => one.data);
          assert.deepEqual(sorted(told), sorted(channels.map((name) => ({ name, data: { amount: "1 €" } }))), version);
        }),
      );
      await context.close();
    });
  }
});
