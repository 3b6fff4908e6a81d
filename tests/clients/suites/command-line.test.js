// curl, openssl and the `tidewire` command, with stock pusher-js as the receiver.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import { Clients, marker, pusherJs, subscribe } from "../lib/clients.js";
import { at, snippet } from "../lib/docs.js";
import { Server, binary, run, tidewire } from "../lib/server.js";

const TOKEN = "a-token-for-the-suite";
const quickstart = { id: "1001", key: "app-key", secret: "app-secret" };
const other = { id: "1002", key: "other-key", secret: "other-secret", api_tokens: [TOKEN] };

/** Runs a text in a POSIX shell. */
const shell = (text) => run("sh", ["-eu"], { input: text });

/** The status line, the headers and the body that `curl -i` printed. */
function parsed({ stdout, stderr }) {
  const [, status, headers, body] = /^HTTP\/1\.1 (\d+).*?\r\n(.*?)\r\n\r\n(.*)$/s.exec(stdout) ?? assert.fail(`no answer: ${stdout}${stderr}`);
  return { status: Number(status), headers, body };
}

describe("command line", { timeout: 300_000 }, () => {
  let server, clients;

  before(async () => {
    server = await Server.start({ apps: [quickstart, other] });
    clients = new Clients(pusherJs["pusher-js 8"], server, quickstart);
  });
  afterEach(async () => {
    clients.closeAll();
    await server.empties();
  });
  after(() => server.stop());

  test("the curl and openssl lines of docs/clients.md publish", async () => {
    const lines = snippet("docs/clients.md", "sh", "openssl dgst");
    assert.ok(lines.trim().split("\n").length <= 6, "at most six lines");
    const seen = await subscribe(await clients.connect(), "invoice.7");
    const done = await shell(at(server, lines));
    assert.equal(done.status, 0, done.stderr);
    assert.equal(done.stdout.trim(), "{}");
    assert.deepEqual(await seen.first("payment.received"), { status: "paid" });
  });

  test("tidewire sign prints a curl line that publishes", async () => {
    const seen = await subscribe(await clients.connect(), "invoice.7");
    const body = JSON.stringify({ name: "it's", channels: ["invoice.7"], data: '{"a":"\'$(false) `"}' });
    const args = ["sign", "--config", server.configFile, "--app", "1001", "--url", server.url];
    const signed = await tidewire(...args, "POST", "/apps/1001/events", "--body", body);
    assert.equal(signed.status, 0, signed.stderr);
    assert.match(signed.stdout, /^curl /);
    const done = await shell(signed.stdout);
    assert.match(done.stdout, /\{\}\s*$/, `${signed.stdout}${done.stderr}`);
    assert.deepEqual(await seen.first("it's"), { a: "'$(false) `" });

    const query = await tidewire(...args, "GET", "/apps/1001/channels?filter_by_prefix=inv");
    assert.equal(query.status, 0, query.stderr);
    assert.match((await shell(query.stdout)).stdout, /\{"channels":\{"invoice\.7":\{\}\}\}\s*$/);
  });

  test("tidewire trigger publishes", async () => {
    const seen = await subscribe(await clients.connect(), "invoice.7");
    const args = ["--config", server.configFile, "--app", "1001", "--url", server.url];
    const done = await tidewire("trigger", ...args, "invoice.7", "payment.received", '{"status":"paid"}');
    assert.equal(done.status, 0, done.stderr);
    assert.deepEqual(await seen.first("payment.received"), { status: "paid" });
  });

  test("the README's tidewire trigger line publishes", async () => {
    const alone = await Server.start({ apps: [quickstart] });
    try {
      const visitor = new Clients(pusherJs["pusher-js 8"], alone, quickstart);
      const seen = await subscribe(await visitor.connect(), "invoice.7");
      const line = snippet("README.md", "sh", "tidewire trigger").replace(/^docker exec tidewire \/tidewire trigger/, `'${binary}' trigger --config '${alone.configFile}' --url ${alone.url}`);
      const done = await shell(line);
      assert.equal(done.status, 0, done.stderr);
      assert.deepEqual(await seen.first("payment.received"), { status: "paid" });
      visitor.closeAll();
    } finally {
      await alone.stop();
    }
  });

  test("an API token replaces the signature, on its own app only", async () => {
    const body = JSON.stringify({ name: "e", channels: ["a"], data: "{}" });
    const post = (id, token) =>
      shell(`curl -si --max-time 10 -H 'Authorization: Bearer ${token}' -H 'Content-Type: application/json' -d '${body}' ${server.url}/apps/${id}/events`).then(parsed);
    const accepted = await post(other.id, TOKEN);
    assert.deepEqual([accepted.status, accepted.body], [200, "{}"]);
    assert.equal((await post(other.id, `${TOKEN}x`)).status, 401);
    assert.equal((await post(quickstart.id, TOKEN)).status, 401);
  });

  test("errors name what is wrong", async () => {
    const curl = (rest) => shell(`curl -si --max-time 10 ${rest}`).then(parsed);
    const missing = await curl(`-d '{}' ${server.url}/apps/1001/events`);
    assert.equal(missing.status, 401);
    assert.match(missing.body, /Missing parameter: auth_key/);
    const upgrade = await curl(`${server.url}/app/app-key?protocol=7`);
    assert.equal(upgrade.status, 426);
    assert.match(upgrade.body, /upgrade/i);
    const large = await shell(`head -c 1000000 /dev/zero | curl -si --max-time 10 -H 'Expect:' -H 'Authorization: Bearer ${TOKEN}' --data-binary @- ${server.url}/apps/${other.id}/events`);
    assert.equal(parsed(large).status, 413);
  });

  test("the events of the command line stay in their app", async () => {
    const foreign = new Clients(pusherJs["pusher-js 8"], server, other);
    const theirs = await subscribe(await foreign.connect(), "invoice.7");
    const mine = await subscribe(await clients.connect(), "invoice.7");
    await shell(at(server, snippet("docs/clients.md", "sh", "openssl dgst")));
    await mine.first("payment.received");
    await marker(foreign.sdk, theirs);
    assert.deepEqual(theirs.of("payment.received"), []);
    foreign.closeAll();
  });
});
