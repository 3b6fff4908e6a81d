// Plain WebSockets without a library: wscat, the WebSocket of Node's package ws, and that of Chromium.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { SignJWT } from "jose";
import { WebSocket } from "ws";

import { startBrowser } from "../lib/browser.js";
import { backend } from "../lib/clients.js";
import { snippet } from "../lib/docs.js";
import { Server, app, cleanEnv, clientsDir } from "../lib/server.js";
import { DEADLINE, eventually } from "../lib/wait.js";

const SECRET = "a-secret-for-tokens-of-32-bytes-and-more";
const main = app({ subscription_count: true, jwt: { secret: SECRET } });

const token = (channels) => new SignJWT({ sub: "7", channels }).setProtectedHeader({ alg: "HS256" }).setExpirationTime("5m").sign(new TextEncoder().encode(SECRET));

describe("plain WebSockets", { timeout: 300_000 }, () => {
  let server, sdk, url;

  before(async () => {
    server = await Server.start({ apps: [main] });
    sdk = backend(server, main);
    url = `ws://${server.host}:${server.port}/plain/${main.key}`;
  });
  after(() => server.stop());

  test("wscat hears events and says commands", async () => {
    const child = spawn(process.execPath, [join(clientsDir, "node_modules/wscat/bin/wscat"), "--no-color", "-c", `${url}?channels=orders`], { env: cleanEnv() });
    let text = "", ended = false;
    child.stdout.setEncoding("utf8").on("data", (more) => (text += more));
    child.once("close", () => (ended = true));
    const says = (part) => eventually(`${part} in ${text}`, DEADLINE, () => text.includes(part));
    try {
      await says('{"subscribed":"orders"}');
      await sdk.trigger("orders", "paid", { id: 7 });
      await says('{"channel":"orders","event":"paid","data":{"id":7}}');
      child.stdin.write('{"subscribe":["news"]}\n');
      await says('{"subscribed":"news"}');
      child.stdin.write('{"ping":1}\n');
      await says('{"pong":1}');
      child.stdin.write('{"unsubscribe":["news"]}\n');
      await says('{"unsubscribed":"news"}');
      child.stdin.write("hello\n");
      await says('{"error":{"code":400');
    } finally {
      child.kill();
      await eventually("wscat's end", DEADLINE, () => ended);
    }
  });

  test("the package ws in Node, with a token in a message", async () => {
    const socket = new WebSocket(url);
    const heard = [];
    socket.on("message", (data) => heard.push(JSON.parse(data)));
    const hears = (count) => eventually(`${count} in ${JSON.stringify(heard)}`, DEADLINE, () => heard.length >= count);
    await new Promise((resolve) => socket.once("open", resolve));
    socket.send(JSON.stringify({ subscribe: ["private-a"] }));
    await hears(1);
    assert.equal(heard[0].error.code, 401);
    socket.send(JSON.stringify({ subscribe: ["private-a"], token: await token(["private-*"]) }));
    await hears(2);
    assert.deepEqual(heard[1], { subscribed: "private-a" });
    await sdk.trigger("private-a", "e", "a text");
    await hears(3);
    assert.deepEqual(heard[2], { channel: "private-a", event: "e", data: "a text" });
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.close(1000);
    assert.equal(await closed, 1000);
    const unknown = new WebSocket(`ws://${server.host}:${server.port}/plain/unknown`);
    assert.equal(await new Promise((resolve) => unknown.once("close", resolve)), 4001);
  });

  test("the page of the document, in Chromium", async () => {
    const browser = await startBrowser();
    try {
      const page = await browser.newPage();
      const script = snippet("docs/transports.md", "js", "new WebSocket").replace("wss://realtime.example.com/plain/app-key", url);
      await page.evaluate(`Object.assign(window, { shown: [], show: (...event) => window.shown.push(event) }); ${script}; window.socket = socket`);
      await eventually("it is open", DEADLINE, () => page.evaluate(() => window.socket.readyState === 1));
      await eventually("its events", DEADLINE, async () => {
        await sdk.trigger("orders", "paid", { id: 7 });
        return page.evaluate(() => window.shown.length > 0);
      });
      assert.deepEqual(await page.evaluate(() => window.shown[0]), ["orders", "paid", { id: 7 }]);
    } finally {
      await browser.close();
    }
  });
});
