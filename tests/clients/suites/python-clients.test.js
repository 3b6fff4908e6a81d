// Stock Pysher and asyncpusher, Python's clients of the WebSocket, with the stock `pusher` package for Node as backend.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, describe, test } from "node:test";

import { backend, get } from "../lib/clients.js";
import { Server, app, cleanEnv, clientsDir } from "../lib/server.js";
import { DEADLINE, eventually } from "../lib/wait.js";

const main = app();
// Both wait for a second before they come back, asyncpusher for up to two if an attempt failed.
const RETRY_DEADLINE = 30_000;

describe("Python's clients", { timeout: 300_000 }, () => {
  let server, sdk;

  before(async () => {
    server = await Server.start({ apps: [main] });
    sdk = backend(server, main);
  });
  after(() => server.stop());

  for (const library of ["pysher", "asyncpusher"]) {
    test(`${library}: public, private and presence channels, also after a restart of the server`, async () => {
      const channels = ["open", "private-own", "presence-room"].map((name) => `${name}-${library}`);
      const options = { key: main.key, secret: main.secret, host: server.host, port: server.port };
      const python = spawn(join(clientsDir, ".venv/bin/python"), [join(clientsDir, "python/listen.py"), library, JSON.stringify(options), ...channels], { env: cleanEnv() });
      let stderr = "";
      python.stderr.on("data", (text) => (stderr += text));
      const told = [];
      createInterface({ input: python.stdout }).on("line", (line) => told.push(JSON.parse(line)));
      try {
        for (const round of [1, 2]) {
          await eventually("the subscriptions", RETRY_DEADLINE, async () => {
            assert.equal(python.exitCode, null, stderr);
            return Object.keys((await get(sdk, "/channels")).channels).length === channels.length;
          });
          const { users } = await get(sdk, `/channels/${channels[2]}/users`);
          assert.deepEqual(users, [{ id: "py" }]);
          await sdk.trigger(channels, "paid", { round, amount: "1 €" });
          const paid = () => told.filter(({ event, data }) => event === "paid" && data.round === round);
          await eventually(`the events among ${JSON.stringify(told)} ${stderr}`, DEADLINE, () => paid().length === channels.length);
          assert.deepEqual(paid().map(({ channel }) => channel).sort(), [...channels].sort());
          if (round === 1) await server.restart();
        }
      } finally {
        python.stdin.end();
        await eventually("the client's end", DEADLINE, () => python.exitCode !== null).catch(() => python.kill("SIGKILL"));
      }
      assert.equal(python.exitCode, 0, stderr);
      await server.empties();
    });
  }
});
