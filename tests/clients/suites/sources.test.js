// Sources: what providers deliver is published. Signatures are made by the providers' own packages, so that what is
// checked here is what they send.

import assert from "node:assert/strict";
import { createHmac, randomUUID } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import https from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";

import { sign as octokitSign } from "@octokit/webhooks-methods";
import SnsValidator from "sns-validator";
import { Webhook as StandardWebhook } from "standardwebhooks";
import Stripe from "stripe";

import { startBrowser } from "../lib/browser.js";
import { Clients, backend, marker, pusherJs, subscribe } from "../lib/clients.js";
import { hearsEveryNode, visitConsole } from "../lib/console.js";
import { page, snippet } from "../lib/docs.js";
import { shows } from "../lib/examples.js";
import { Server, app, binary, run } from "../lib/server.js";
import { NODES, OVER_REDIS } from "../lib/topologies.js";
import { Sns, TOPIC } from "../lib/sns.js";
import { DEADLINE, eventually } from "../lib/wait.js";

const STRIPE_SECRET = "whsec_stripe_of_the_suite";
const STANDARD_SECRET = `whsec_${Buffer.alloc(32, "standard").toString("base64")}`;
const PHOENIXD_SECRET = "ef72d3b96324106dfbf83f2a4efeff7dddb4ce923e9664cb56baf34cc52936b6";

/** The request of phoenixd's own pull request 34, with the signature that it has there. */
const PHOENIXD_BODY = `{
    "type": "payment_received",
    "timestamp": 1712785550079,
    "amountSat": 8,
    "paymentHash": "e628f8a516e9d3ee5e212a675f8d0c9dc5e7a5d500c5f4f91c62e9e921492653",
    "externalId": null
}`;
const PHOENIXD_SIGNATURE = "77ffc40401024fb417e45fdd002de06bdbf3b48b90d09d05cccd06462920aed7";

const stripe = new Stripe("sk_test_none");
const seconds = (ago = 0) => Math.floor(Date.now() / 1000) - ago;

describe("sources", { timeout: 300_000 }, () => {
  let sns, other, server, clients, main;

  before(async () => {
    sns = await Sns.start();
    other = await Sns.start();
    main = app({
      sources: [
        {
          name: "sns",
          kind: "sns",
          topics: [TOPIC],
          sns_test: sns.test,
          routes: [
            {
              when: "message.eventType is startingwith('INVOICE')",
              channels: ["customer.{{ message.customerId }}", "admin"],
              event: "{{ message.eventType }}",
              data: '{"type":"INVOICE_UPDATE","invoice":{{ message.invoice | tojson }}}',
            },
          ],
        },
        {
          name: "raw", kind: "sns-raw", username: "sns", password: "correct horse", secrets: ["the next one"], topics: [TOPIC], sns_test: sns.test,
          routes: [{ channels: ["raw"], event: "{{ headers['x-amz-sns-message-id'] }}" }],
        },
        { name: "phoenixd", kind: "phoenixd", secret: PHOENIXD_SECRET, routes: [{ channels: ["payments"], event: "{{ body.type }}" }] },
        {
          name: "stripe", kind: "stripe", secrets: ["whsec_old", STRIPE_SECRET],
          routes: [{ channels: ["stripe.{{ body.data.object.id }}"], event: "{{ body.type }}", data: "{{ body.data.object.status }}" }],
        },
        { name: "standard", kind: "standard-webhooks", secret: STANDARD_SECRET, routes: [{ channels: ["standard"], event: "{{ body.type }}", data: "{{ id }}" }] },
        {
          name: "github", kind: "github", secret: "It's a Secret to Everybody",
          routes: [
            { when: "headers['x-github-event'] == 'push'", channels: ["repo.{{ body.repository.id }}"], event: "push" },
            { when: "headers['x-github-event'] == 'push' and body.forced", channels: ["alerts"], event: "forced", data: "{{ body.ref }}" },
          ],
        },
        {
          name: "slack", kind: "hmac", secret: "slack-secret", header: "X-Slack-Signature", prefix: "v0=", signed: "v0:{timestamp}:{body}",
          timestamp_header: "X-Slack-Request-Timestamp", id: "{{ body.trigger_id }}", routes: [{ channels: ["slack"], event: "{{ body.command }}", data: "{{ body.text }}" }],
        },
        { name: "foreign", kind: "sns", topics: [TOPIC], sns_test: { host: sns.host, ca_file: other.caFile }, routes: [{ channels: ["admin"], event: "e" }] },
        {
          name: "loop", kind: "github", secret: "loops",
          routes: [{ channels: ["loop"], event: "e", data: "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}" }],
        },
        { name: "token", kind: "token", token: "t0ken", id_header: "X-Id", routes: [{ channels: ["token"], event: "e", data: "{{ body }}" }] },
      ],
    });
    server = await Server.start({ apps: [main] });
    clients = new Clients(pusherJs["pusher-js 8"], server, main);
  });
  afterEach(async () => {
    clients.closeAll();
    await server.empties();
  });
  after(async () => {
    await server?.stop();
    sns?.stop();
    other?.stop();
  });

  const url = (name) => `${server.url}/apps/${main.id}/sources/${name}`;
  const post = (name, body, headers = {}) => fetch(url(name), { method: "POST", body, headers });
  const status = async (name, body, headers) => (await post(name, body, headers)).status;

  /** A refused delivery: its status, and what it says. */
  async function refused(answer, expected, text) {
    assert.equal(answer.status, expected, await answer.clone().text());
    assert.match(await answer.text(), text);
  }

  const listen = async (...channels) => {
    const client = await clients.connect();
    return Promise.all(channels.map((channel) => subscribe(client, channel)));
  };
  const heard = (recorder) => recorder.names().filter((name) => !name.startsWith("pusher:") && !name.startsWith("marker"));

  /** Nothing else comes than what has come. */
  const quiet = async (...recorders) => marker(backend(server, main), ...recorders);

  test("Stripe, as its package signs", async () => {
    const [recorder] = await listen("stripe.pi_7");
    const payload = JSON.stringify({ id: "evt_1", type: "payment_intent.succeeded", data: { object: { id: "pi_7", status: "succeeded" } } });
    const header = (options) => stripe.webhooks.generateTestHeaderString({ payload, secret: STRIPE_SECRET, ...options });
    assert.equal(await status("stripe", payload, { "stripe-signature": header() }), 200);
    assert.equal(await recorder.first("payment_intent.succeeded"), "succeeded");

    await refused(await post("stripe", payload), 401, /header stripe-signature is missing/);
    await refused(await post("stripe", payload, { "stripe-signature": header({ timestamp: seconds(700) }) }), 401, /7\d\d s old/);
    await refused(await post("stripe", payload, { "stripe-signature": header({ secret: "whsec_other" }) }), 401, /digest in stripe-signature differs/);
    await refused(await post("stripe", `${payload} `, { "stripe-signature": header() }), 401, /differs/);
    await refused(await post("stripe", payload, { "stripe-signature": "t=1" }), 401, /s old/);
    await refused(await post("stripe", payload, { "stripe-signature": `t=${seconds()},v0=00` }), 401, /holds no digest like v1=/);
    await quiet(recorder);
    assert.deepEqual(heard(recorder), ["payment_intent.succeeded"]);
  });

  test("Standard Webhooks, as their package signs", async () => {
    const [recorder] = await listen("standard");
    const webhook = new StandardWebhook(STANDARD_SECRET);
    const body = JSON.stringify({ type: "user.created" });
    const headers = (id, date = new Date(), signer = webhook) => ({
      "webhook-id": id, "webhook-timestamp": String(Math.floor(date.getTime() / 1000)), "webhook-signature": signer.sign(id, date, body),
    });
    assert.equal(await status("standard", body, headers("msg_1")), 200);
    assert.equal(await recorder.first("user.created"), "msg_1");
    const both = headers("msg_2");
    both["webhook-signature"] = `v1,${Buffer.alloc(32).toString("base64")} v1a,xyz ${both["webhook-signature"]}`;
    assert.equal(await status("standard", body, both), 200);
    await refused(await post("standard", body, { ...headers("msg_3"), "webhook-id": "msg_4" }), 401, /differs/);
    await refused(await post("standard", body, headers("msg_3", new Date(Date.now() - 700_000))), 401, /s old/);
    await refused(await post("standard", body, headers("msg_3", new Date(Date.now() + 700_000))), 401, /s in the future/);
    const other = new StandardWebhook(Buffer.alloc(32, "other").toString("base64"));
    await refused(await post("standard", body, headers("msg_3", new Date(), other)), 401, /differs/);
    await quiet(recorder);
    assert.deepEqual(recorder.of("user.created"), ["msg_1", "msg_2"]);
  });

  test("GitHub, as Octokit signs, by two routes", async () => {
    const [repo, alerts] = await listen("repo.3", "alerts");
    const body = JSON.stringify({ ref: "refs/heads/main", forced: true, repository: { id: 3 } });
    const headers = { "x-hub-signature-256": await octokitSign("It's a Secret to Everybody", body), "x-github-event": "push", "x-github-delivery": randomUUID() };
    assert.equal(await status("github", body, headers), 200);
    assert.deepEqual(await repo.first("push"), JSON.parse(body));
    assert.equal(await alerts.first("forced"), "refs/heads/main");
    assert.equal(await status("github", body, { ...headers, "x-github-event": "ping" }), 200, "and what no route is for");
    await refused(await post("github", body, { ...headers, "x-hub-signature-256": await octokitSign("guessed", body) }), 401, /differs/);
    await quiet(repo, alerts);
    assert.deepEqual([heard(repo), heard(alerts)], [["push"], ["forced"]]);
  });

  test("phoenixd, by the vector of its pull request", async () => {
    const [recorder] = await listen("payments");
    const headers = { "content-type": "application/json", "x-phoenix-signature": PHOENIXD_SIGNATURE };
    assert.equal(await status("phoenixd", PHOENIXD_BODY, headers), 200);
    assert.deepEqual(await recorder.first("payment_received"), JSON.parse(PHOENIXD_BODY));
    await refused(await post("phoenixd", `${PHOENIXD_BODY}\n`, headers), 401, /differs/);
    await quiet(recorder);
    assert.deepEqual(heard(recorder), ["payment_received"]);
  });

  test("a signature that the file describes, and a form", async () => {
    const [recorder] = await listen("slack");
    const body = new URLSearchParams({ command: "/paid", text: "invoice 7 & 8", trigger_id: "1.2" }).toString();
    const headers = (timestamp) => ({
      "content-type": "application/x-www-form-urlencoded",
      "x-slack-request-timestamp": String(timestamp),
      "x-slack-signature": `v0=${createHmac("sha256", "slack-secret").update(`v0:${timestamp}:${body}`).digest("hex")}`,
    });
    assert.equal(await status("slack", body, headers(seconds())), 200);
    assert.equal(await recorder.first("/paid"), "invoice 7 & 8");
    await refused(await post("slack", body, headers(seconds(600))), 401, /s old/);
    await refused(await post("slack", body, { ...headers(seconds()), "x-slack-request-timestamp": "soon" }), 401, /no time/);
  });

  test("a token, and what no template can read", async () => {
    const [recorder] = await listen("token");
    const bearer = (token) => ({ authorization: `Bearer ${token}` });
    assert.equal(await status("token", "plain text", bearer("t0ken")), 200);
    assert.equal(await recorder.first("e"), "plain text");
    const answer = await post("token", "x");
    assert.equal(answer.headers.get("www-authenticate"), "Bearer");
    await refused(answer, 401, /no bearer token of this source/);
    await refused(await post("token", "x", bearer("guess")), 401, /no bearer token/);
    await refused(await post("sources-has-none", "x"), 404, /no source of this name/);
    await refused(await post("token", "x".repeat(257 * 1024), bearer("t0ken")), 413, /262144 bytes/);
    const signed = async (secret, body) => ({ "x-hub-signature-256": await octokitSign(secret, body), "x-github-event": "push" });
    const deep = "[".repeat(100_000);
    await refused(await post("github", deep, await signed("It's a Secret to Everybody", deep)), 422, /channels of route 1: line 1/);
    await refused(await post("loop", "{}", await signed("loops", "{}")), 422, /data of route 1: .*fuel/);
    await refused(await post("github", "[1", { "x-hub-signature-256": await octokitSign("It's a Secret to Everybody", "[1"), "x-github-event": "push" }), 422, /channels of route 1: line 1/);
    assert.equal((await fetch(url("token"))).status, 405);
    await quiet(recorder);
    assert.deepEqual(heard(recorder), ["e"]);
  });

  test("a delivery that comes again is published once, whatever its bytes", async () => {
    const listeners = await listen("stripe.pi_1", "standard", "repo.9", "payments", "admin");
    const again = async (name, deliver) => {
      for (const answer of ["published", "a repeat", "a repeat"]) {
        const { status, text } = await deliver().then(async (response) => ({ status: response.status, text: await response.text() }));
        assert.equal(status, 200, text);
        if (name !== "phoenixd") assert.ok(text.startsWith(answer), `${name}: ${text}`);
      }
    };
    let pending = 3;
    await again("stripe", () => {
      const payload = JSON.stringify({ id: "evt_again", pending_webhooks: (pending -= 1), type: "paid", data: { object: { id: "pi_1", status: "ok" } } });
      return post("stripe", payload, { "stripe-signature": stripe.webhooks.generateTestHeaderString({ payload, secret: STRIPE_SECRET }) });
    });
    const webhook = new StandardWebhook(STANDARD_SECRET);
    await again("standard", () => {
      const date = new Date();
      const body = '{"type":"again"}';
      return post("standard", body, { "webhook-id": "msg_again", "webhook-timestamp": String(Math.floor(date / 1000)), "webhook-signature": webhook.sign("msg_again", date, body) });
    });
    const push = '{"repository":{"id":9},"forced":false}';
    const headers = { "x-hub-signature-256": await octokitSign("It's a Secret to Everybody", push), "x-github-event": "push", "x-github-delivery": randomUUID() };
    await again("github", () => post("github", push, headers));
    const payment = JSON.stringify({ type: "again", paymentHash: "ab".repeat(32) });
    const signature = createHmac("sha256", PHOENIXD_SECRET).update(payment).digest("hex");
    await again("phoenixd", () => post("phoenixd", payment, { "x-phoenix-signature": signature }));
    const message = sns.message({ Message: '{"eventType":"INVOICE_AGAIN","customerId":1,"invoice":{}}' });
    await again("sns", () => sns.post(url("sns"), message));
    const names = ["paid", "again", "push", "again", "INVOICE_AGAIN"];
    await Promise.all(listeners.map((recorder, at) => recorder.first(names[at])));
    await quiet(...listeners);
    assert.deepEqual(listeners.map(heard), names.map((name) => [name]));
  });

  test("`tidewire source` signs as the provider does, and tests without publishing", async () => {
    const listeners = await listen("stripe.pi_8", "standard", "payments", "slack", "raw", "token");
    const [ofStripe] = listeners;
    const body = JSON.stringify({ id: "evt_8", type: "paid", command: "paid", text: "x", trigger_id: "1", data: { object: { id: "pi_8", status: "ok" } } });
    const source = (...args) => run(binary, ["source", ...args, "--file", "-", "--config", server.configFile, "--app", main.id], { input: body });
    const tested = await source("test", "stripe");
    assert.equal(tested.status, 0, tested.stderr);
    assert.deepEqual(JSON.parse(tested.stdout), { id: "evt_8", events: [{ route: 1, channels: ["stripe.pi_8"], event: "paid", data: "ok" }] });
    const wrong = await source("test", "github", "--header", "X-GitHub-Event: push");
    assert.equal(wrong.status, 1);
    assert.match(wrong.stderr, /channels of route 1: line 1: undefined value/);
    const unknown = await source("test", "strip");
    assert.match(unknown.stderr, /has no source "strip"; it has: sns, raw/);
    for (const name of ["stripe", "standard", "phoenixd", "slack", "raw", "token"]) {
      const sent = await source("send", name, "--id", `id-of-${name}`, "--url", server.url);
      assert.equal(sent.status, 0, `${name}: ${sent.stderr}`);
    }
    const refusal = await source("send", "sns", "--url", server.url);
    assert.match(refusal.stderr, /signed with Amazon's key/);
    assert.equal(await ofStripe.first("paid"), "ok");
    assert.equal(await listeners[1].first("paid"), "id-of-standard");
    for (const [at, event] of [[2, "paid"], [3, "paid"], [4, "id-of-raw"], [5, "e"]]) await listeners[at].first(event);
  });

  test("the console shows the sources, their deliveries without secrets, and tests one", async () => {
    const browser = await startBrowser();
    try {
      const page = await visitConsole(browser, server, { section: "live" });
      await hearsEveryNode(page, server, main);
      assert.equal(await status("token", '{"password":"hunter2","a":1}', { authorization: "Bearer t0ken", "x-id": "delivery-9" }), 200);
      assert.equal(await status("token", "{}", { authorization: "Bearer guess" }), 401);
      await shows(page, "#rows-body", /token[^]*published[^]*\{"a":1,"password":"\*\*\*"\}/);
      await shows(page, "#rows-body", /no bearer token of this source/);
      for (const at of server.adminUrls) {
        await page.goto(`${at}/console/#sources`);
        await shows(page, "#sources-total", /^\d+ sources/);
        if (server.adminUrls.length === 1) {
          await shows(page, '[data-source="token"]', /200 published[^]*401/);
          await page.locator('[data-source="token"] summary', { hasText: "200" }).first().click();
          await shows(page, '[data-source="token"]', /delivery-9[^]*e → token[^]*"\*\*\*"/);
        }
        assert.doesNotMatch(await page.innerText("body"), /hunter2/);
      }
      await page.selectOption("#sources-name", "github");
      await page.fill("#sources-headers", "X-GitHub-Event: push");
      await page.fill("#sources-body", '{"repository":{"id":3},"forced":false}');
      await page.click("#sources-test");
      await shows(page, "#sources-answer", /becomes 1 event[^]*push[^]*repo\.3/);
      await page.fill("#sources-body", "{}");
      await page.click("#sources-test");
      await shows(page, "#sources-answer", /channels of route 1: line 1: undefined value/);
      assert.deepEqual(page.problems, []);
    } finally {
      await browser.close();
    }
  });

  test("the documents' configurations are right", async () => {
    const folder = mkdtempSync(join(tmpdir(), "tidewire-docs-"));
    const blocks = ["README.md", "docs/sources.md"].flatMap((path) => [...page(path).matchAll(/^```toml\n(.*?)^```$/gms)].map(([, text]) => text));
    assert.ok(blocks.length >= 9, `${blocks.length} blocks`);
    for (const block of blocks) {
      const names = [...block.matchAll(/\$\{(\w+)\}/g)].map(([, name]) => [name, "c2VjcmV0"]);
      writeFileSync(join(folder, "apps.toml"), `[[apps]]\nid = "1001"\nkey = "k"\nsecret = "s"\n${block}`);
      const checked = await run(binary, ["check-config", "--config", join(folder, "apps.toml")], { env: Object.fromEntries(names) });
      assert.equal(checked.status, 0, `${block}${checked.stderr}`);
    }
    rmSync(folder, { recursive: true });
  });

  test("the README's source and command publish what the README's page shows", async () => {
    const readme = { id: "1001", key: "app-key", secret: "app-secret" };
    const block = snippet("README.md", "toml", "[[apps.sources]]").replace("${STRIPE_WEBHOOK_SECRET}", STRIPE_SECRET);
    const own = await Server.start({ toml: `[[apps]]\nid = "1001"\nkey = "app-key"\nsecret = "app-secret"\n${block}` });
    const visitors = new Clients(pusherJs["pusher-js 8"], own, readme);
    try {
      const recorder = await subscribe(await visitors.connect(), "invoice.7");
      const input = JSON.stringify({ id: "evt_1", type: "payment_intent.succeeded", data: { object: { metadata: { invoice: "7" } } } });
      const sent = await run(binary, ["source", "send", "stripe", "--file", "-", "--config", own.configFile, "--url", own.url], { input });
      assert.equal(sent.status, 0, sent.stderr);
      assert.deepEqual(await recorder.first("payment.received"), { status: "paid" });
    } finally {
      visitors.closeAll();
      await own.stop();
    }
  });

  describe("Amazon SNS", () => {
    const invoice = { id: 7, amount: 100 };
    const Message = JSON.stringify({ eventType: "INVOICE_PAID", customerId: 17, invoice });

    for (const SignatureVersion of ["1", "2"]) {
      test(`signature version ${SignatureVersion}`, async () => {
        const [customer, admin] = await listen("customer.17", "admin");
        const message = sns.message({ Message, SignatureVersion, Subject: "Paid" });
        await validated(message);
        assert.equal((await sns.post(url("sns"), message)).status, 200);
        for (const recorder of [customer, admin]) assert.deepEqual(await recorder.first("INVOICE_PAID"), { type: "INVOICE_UPDATE", invoice });
        assert.equal((await sns.post(url("sns"), sns.message({ Message: '{"eventType":"OTHER"}', SignatureVersion }))).status, 200);
        await quiet(customer, admin);
        assert.deepEqual([heard(customer), heard(admin)], [["INVOICE_PAID"], ["INVOICE_PAID"]]);
        const fetched = sns.requests.filter((request) => request === "GET /sns.pem").length;
        assert.ok(fetched <= NODES + 1, `each node fetches the certificate once, and the validator: ${fetched}`);
      });
    }

    test("while Redis is away it is told to try again, and its retry is published once", { skip: OVER_REDIS === 0 }, async () => {
      const [admin] = await listen("admin");
      const message = sns.message({ Message });
      await server.endRedis();
      await refused(await sns.post(url("sns"), message), 503, /Redis/);
      await server.beginRedis();
      await eventually("the retry is taken", DEADLINE, async () => (await sns.post(url("sns"), message)).status === 200);
      assert.match(await (await sns.post(url("sns"), message)).text(), /a repeat of what was published/);
      await admin.first("INVOICE_PAID");
      await quiet(admin);
      assert.deepEqual(heard(admin), ["INVOICE_PAID"]);
    });

    test("a subscription is confirmed by itself", async () => {
      const confirmation = sns.confirmation();
      await validated(confirmation);
      assert.equal((await sns.post(url("sns"), confirmation)).status, 200);
      assert.ok(sns.requests.includes(`GET /confirm?Action=ConfirmSubscription&Token=${confirmation.Token}`));
    });

    test("what is not of SNS, and what is of nobody's topic", async () => {
      const [admin] = await listen("admin");
      const before = sns.requests.length;
      const send = async (message, expected, text) => refused(await sns.post(url("sns"), message), expected, text);
      await send(sns.message({ Message, TopicArn: `${TOPIC}2` }), 403, /TopicArn is not in topics/);
      await send(sns.message({ Message }, { Message: Message.replace("17", "42") }), 401, /Signature is not of its content/);
      await send(sns.message({ Message }, { Signature: Buffer.alloc(256).toString("base64") }), 401, /Signature/);
      await send(sns.message({ Message }, { SignatureVersion: "2" }), 401, /Signature/);
      await send(sns.message({ Message, Timestamp: new Date(Date.now() - 90_000_000).toISOString() }), 401, /s old/);
      for (const SigningCertURL of [
        "https://sns.evil.com/sns.pem", "http://sns.us-east-1.amazonaws.com/sns.pem", "file:///etc/ssl/cert.pem", "https://localhost/sns.pem",
        `https://user@${sns.host}/sns.pem`, `https://${sns.host}@evil.com/sns.pem`, "https://127.0.0.1:1/sns.pem", `${sns.url}/sns.pem?x`, `${sns.url}/sns.key`,
      ]) {
        await send(sns.message({ Message, SigningCertURL }), 403, /SigningCertURL is none of SNS/);
      }
      await send(sns.message({ Message, SigningCertURL: `${sns.url}/elsewhere.pem` }), 503, /answers 302/);
      await send(sns.message({ Message, SigningCertURL: `${sns.url}/none.pem` }), 503, /answers 404/);
      await refused(await sns.post(url("foreign"), sns.message({ Message })), 503, /certificate/);
      for (const SubscribeURL of ["https://evil.com/confirm", `http://${sns.host}/confirm`, "https://169.254.169.254/latest", "file:///etc/passwd"]) {
        await send(sns.confirmation({ SubscribeURL }), 403, /SubscribeURL is none of SNS/);
      }
      await send(sns.confirmation({}, { Token: "other" }), 401, /Signature/);
      await refused(await post("sns", "{}"), 400, /no message of Amazon SNS/);
      await refused(await post("sns", "[".repeat(100_000)), 400, /no message of Amazon SNS/);
      assert.ok(!sns.requests.slice(before).some((request) => request.includes("/confirm")));
      await quiet(admin);
      assert.deepEqual(heard(admin), []);
    });

    test("raw delivery asks for the password", async () => {
      const [recorder] = await listen("raw");
      const raw = (id, credentials) => ({
        "x-amz-sns-rawdelivery": "true", "x-amz-sns-message-id": id, "x-amz-sns-topic-arn": TOPIC,
        ...(credentials && { authorization: `Basic ${Buffer.from(credentials).toString("base64")}` }),
      });
      const challenge = await post("raw", "{}", raw("1"));
      assert.match(challenge.headers.get("www-authenticate"), /^Basic realm=/);
      await refused(challenge, 401, /no user name and password/);
      await refused(await post("raw", "{}", raw("1", "sns:wrong")), 401, /no user name and password/);
      await refused(await post("raw", "{}", raw("1", "other:correct horse")), 401, /no user name and password/);
      assert.equal(await status("raw", '{"a":1}', raw("1", "sns:correct horse")), 200);
      assert.deepEqual(await recorder.first("1"), { a: 1 });
      assert.equal(await status("raw", '{"a":1}', raw("2", "sns:the next one")), 200);
      const confirmation = sns.confirmation();
      const credentials = { authorization: `Basic ${Buffer.from("sns:correct horse").toString("base64")}` };
      assert.equal(await status("raw", JSON.stringify(confirmation), credentials), 200);
      assert.ok(sns.requests.some((request) => request.endsWith(`Token=${confirmation.Token}`)));
      await refused(await post("raw", JSON.stringify(confirmation)), 401, /no user name/);
      await quiet(recorder);
      assert.deepEqual(heard(recorder), ["1", "2"]);
    });

    /** The stand-in signs as SNS does, says AWS's own validator. */
    function validated(message) {
      https.globalAgent.options.ca = sns.authority;
      const validator = new SnsValidator(/^127\.0\.0\.1:\d+$/);
      return new Promise((resolve, reject) => validator.validate({ ...message }, (error) => (error ? reject(error) : resolve())));
    }
  });
});
