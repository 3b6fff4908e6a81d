// The debug console in headless Chromium: who gets in, and what is done in it reaches clients and SDKs. Its feed has a
// suite of its own, and so has the section Server.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";

import { startApplication } from "../lib/application.js";
import { startBrowser } from "../lib/browser.js";
import { Clients, address, backend, pusherJs, subscribe } from "../lib/clients.js";
import { hearsEveryNode, listed, logIn, number, open, visitConsole } from "../lib/console.js";
import { shows } from "../lib/examples.js";
import { Server, app, binary, clientsDir, projectDir, run } from "../lib/server.js";
import { DEADLINE, eventually } from "../lib/wait.js";

const token = "operators-only";
const channels = [{ match: "user.{user_id}.invoices", subscribe: "user", cache: true }, { match: "log.*", history: { events: 3, seconds: 600 } }];
const main = app({ name: "Shop", channels, limits: { batch_events: 1_000, event_bytes: 20_000 } });
const assets = join(projectDir, "src/admin/console/assets");
const SECTIONS = ["live", "create", "channels", "connections", "charts", "signature", "sources", "apps", "server"];

describe("the console", { timeout: 300_000 }, () => {
  let browser, application, server, sdk, clients, page;

  before(async () => {
    [browser, application] = await Promise.all([startBrowser(), startApplication()]);
    server = await Server.start({ apps: [main], admin: { token } });
    application.sdk = sdk = backend(server, main);
    clients = new Clients(pusherJs["pusher-js 8"], server, main);
  });
  afterEach(async () => {
    clients.closeAll();
    assert.deepEqual(page?.problems ?? [], []);
    await page?.context().close();
    page = null;
    await server.empties();
  });
  after(async () => {
    await browser?.close();
    await application?.stop();
    await server?.stop();
  });

  async function visit(section, how = {}) {
    page = await visitConsole(browser, server, { section, token, ...how });
    if (section === "live") await hearsEveryNode(page, server, main, token);
    return page;
  }

  /** The console of the node that has this connection. */
  async function visitNodeOf(socketId) {
    for (const at of server.adminUrls) {
      await visit(`connections?app=${main.id}&find=${socketId}`, { at });
      await shows(page, "#connections-total", /\d/);
      if ((await page.locator("#connections-list tbody tr").count()) === 1) return page;
      await page.context().close();
    }
    throw new Error(`no node lists ${socketId}`);
  }

  test("asks for the token, and shows nothing to others", async () => {
    page = await (await browser.newContext()).newPage();
    page.problems = [];
    await page.goto(`${server.adminUrls[0]}/console/`);
    await logIn(page, "wrong");
    await shows(page, "#login-problem", /not the token/);
    assert.equal(await page.locator("#nav").isVisible(), false);
    await logIn(page, token);
    await page.locator("#nav").waitFor();
    assert.equal(await page.locator("#login").isVisible(), false);
    await page.reload();
    await page.locator("#nav").waitFor();
    await page.locator("#logout").click();
    await page.locator("#token").waitFor();
    await page.reload();
    await page.locator("#token").waitFor();
    assert.equal(await page.locator("#nav").isVisible(), false);
  });

  test("an event that is sent here reaches a page with pusher-js; the answer says how many got it", async () => {
    const reader = await (await browser.newContext()).newPage();
    await reader.goto(`${application.url}/page?pusher-js`);
    await reader.evaluate(({ key, where }) => {
      window.told = [];
      new Pusher(key, where).subscribe("invoice.7").bind_global((event, data) => window.told.push({ event, data }));
    }, { key: main.key, where: address(server) });
    const told = (name) => eventually(`${name} in the page`, DEADLINE, async () => (await reader.evaluate(() => window.told)).filter(({ event }) => event === name));
    await eventually("a subscription", DEADLINE, async () => (await told("pusher:subscription_succeeded")).length === 1);

    await visit("create");
    await page.locator("#create-channel").fill("invoice.7");
    await page.locator("#create-event").fill("payment.received");
    await page.locator("#create-data").fill(`{"status": "paid",}`);
    await shows(page, "#create-check", /Not JSON/);
    await page.locator("#create-data").fill(`{"status": "paid"}`);
    await shows(page, "#create-check", /JSON, an object with 1 key/);
    await page.keyboard.press("Control+Enter");
    await shows(page, "#create-answer", /200[^]*1 subscription/);
    await eventually("the event", DEADLINE, async () => (await told("payment.received")).length === 1);
    assert.deepEqual((await told("payment.received"))[0].data, { status: "paid" });
    await open(page, "live");
    await listed(page, 1, "published", "payment.received");

    await page.reload();
    await open(page, "create");
    await page.locator("#history li", { hasText: "payment.received" }).getByText("Again").click();
    await eventually("the event again", DEADLINE, async () => (await told("payment.received")).length === 2);
    await reader.context().close();
  });

  test("a form that is sent twice at once is published once", async () => {
    const recorder = await subscribe(await clients.connect(), "twice");
    await visit("create");
    await page.locator("#create-channel").fill("twice");
    await page.locator("#create-event").fill("e");
    await page.locator("#create-data").fill("1");
    await page.evaluate(() => {
      for (let n = 0; n < 2; n += 1) document.getElementById("create-form").requestSubmit();
    });
    await shows(page, "#create-answer", /200[^]*1 subscription/);
    await page.locator("#create-data").fill("2");
    await page.locator("#create-send").click();
    await eventually("the last event", DEADLINE, () => recorder.of("e").includes(2));
    assert.deepEqual(recorder.of("e"), [1, 2]);
  });

  test("what the HTTP API would refuse is refused with its words", async () => {
    await visit("create");
    await page.locator("#create-channel").fill("no spaces");
    await page.locator("#create-event").fill("e");
    await page.locator("#create-send").click();
    await shows(page, "#create-answer", /400[^]*Not sent[^]*channel/i);
    await page.locator("#create-channel").fill("c");
    await page.locator("#create-data").fill("x".repeat(20_001));
    await page.locator("#create-send").click();
    await shows(page, "#create-answer", /413[^]*20000/);
  });

  test("the code that can be copied publishes the same bytes, and has no secret in it", async () => {
    await visit("create", { options: { permissions: ["clipboard-read", "clipboard-write"] } });
    const recorder = await subscribe(await clients.connect(), "it");
    const datas = [`{"status":"paid","of":[1,2]}`, "-", `it's "quoted" \\ $HOME \`id\` 100% ü\n{"__proto__":1}`];
    await page.locator("#copy-base").fill(server.url);
    await page.locator("#create-channel").fill("it");
    for (const data of datas) {
      await page.locator("#create-data").fill(data);
      for (const [language, program, options] of [
        ["curl", "bash", []],
        ["tidewire", "bash", [`tidewire() { ${JSON.stringify(binary)} "$@"; };`]],
        ["Node", process.execPath, []],
      ]) {
        const event = `it's ${language}`;
        await page.locator("#create-event").fill(event);
        await page.locator("#copy-kinds button", { hasText: language }).click();
        await page.evaluate(() => navigator.clipboard.writeText(""));
        await page.locator("#copy-button").click();
        await shows(page, "#copy-button", /Copied/);
        const code = await eventually("the code", DEADLINE, () => page.evaluate(() => navigator.clipboard.readText()));
        assert.ok(!code.includes(main.secret), code);
        const flag = program === "bash" ? "-c" : "-e";
        const { status, stderr } = await run(program, [flag, `${options.join("")}${code}`], { cwd: clientsDir, env: { SECRET: main.secret } });
        assert.equal(status, 0, `${code}\n${stderr}`);
        const got = await eventually(`${event} ${data}`, DEADLINE, () => recorder.of(event)[datas.indexOf(data)]);
        assert.deepEqual(got, data.startsWith("{") ? JSON.parse(data) : data);
        await page.locator("#copy-kinds button", { hasText: "PHP" }).click();
        assert.ok(!(await page.innerText("#copy-code")).includes(main.secret));
      }
    }
  });

  test("the code that can be copied keeps the path of its address", async () => {
    await visit("create", { options: { permissions: ["clipboard-read", "clipboard-write"] } });
    const asked = [];
    const recorder = createServer((request, response) => {
      asked.push(request.url.split("?")[0]);
      response.writeHead(200, { "content-type": "application/json" }).end("{}");
    });
    await new Promise((resolve) => recorder.listen(0, "127.0.0.1", resolve));
    try {
      await page.locator("#copy-base").fill(`http://127.0.0.1:${recorder.address().port}/real/time/`);
      await page.locator("#create-channel").fill("c");
      await page.locator("#create-event").fill("e");
      for (const [language, program] of [
        ["curl", ["bash", "-c", ""]],
        ["tidewire", ["bash", "-c", `tidewire() { ${JSON.stringify(binary)} "$@"; };`]],
        ["Node", [process.execPath, "-e", ""]],
      ]) {
        await page.locator("#copy-kinds button", { hasText: language }).click();
        const code = await page.innerText("#copy-code");
        const [name, flag, before] = program;
        const { status, stderr } = await run(name, [flag, before + code], { cwd: clientsDir, env: { SECRET: main.secret } });
        assert.equal(status, 0, `${code}\n${stderr}`);
        assert.deepEqual(asked.splice(0), [`/real/time/apps/${main.id}/events`], code);
      }
      await page.locator("#copy-kinds button", { hasText: "PHP" }).click();
      await shows(page, "#copy-code", /'path' => '\/real\/time\/',/);
    } finally {
      recorder.close();
    }
  });

  test("channels: kind, subscriptions, members with their user_info, last event", async () => {
    const ada = await clients.connect({ member: { user_id: "ada", user_info: { name: "Ada" } } });
    await subscribe(ada, "presence-room");
    await subscribe(await clients.connect({ member: { user_id: "bob" } }), "presence-room");
    await subscribe(ada, "private-cache-price");
    await sdk.trigger("private-cache-price", "price", { sat: 2100 });
    await visit("channels");
    const row = (name) => page.locator(`#channels-list tr[data-key="${name}"]`);
    await row("presence-room").waitFor();
    assert.match(await row("presence-room").innerText(), /presence\s+2\s+2/);
    assert.match(await row("private-cache-price").innerText(), /private\s*cache\s+1/);
    await row("presence-room").locator("a").click();
    await shows(page, "#channels-inspector", /ada[^]*"name": "Ada"[^]*bob/);
    await page.locator("#channels-prefix").fill("private-");
    await row("presence-room").waitFor({ state: "detached" });
    await row("private-cache-price").locator("a").click();
    await shows(page, "#channels-inspector", /Last event price[^]*"sat": 2100/);
    // A name with a sign that addresses use themselves.
    await page.locator("#channels-prefix").fill("");
    await subscribe(ada, "a=b,c;d@e");
    await row("a=b,c;d@e").locator("a").click();
    await shows(page, "#channels-inspector", /a=b,c;d@e[^]*Subscriptions\s+1[^]*Rule\s+none/);
    // Enter opens a name that nobody is on, with the rule for it.
    const opens = async (name, ...words) => {
      await page.locator("#channels-prefix").fill(name);
      await page.locator("#channels-prefix").press("Enter");
      for (const said of words) await shows(page, "#channels-inspector", said);
    };
    await sdk.trigger("user.7.invoices", "paid", { invoice: 7 });
    await opens("user.7.invoices", /Subscriptions\s+0[^]*Rule\s+1: user\.\{user_id\}\.invoices[^]*May subscribe\s+user/, /Last event paid[^]*"invoice": 7/);
    await opens("log.1", /Rule\s+2: log\.\*[^]*History\s+3 events, 600 s[^]*No event is kept/);
    await sdk.trigger("log.1", "first", { n: 1 });
    await sdk.trigger("log.1", "<second>", { n: 2 });
    await shows(page, "#channels-inspector", /the newest first[^]*<second>[^]*"n": 2[^]*first[^]*"n": 1/);
    await opens("a b");
    await shows(page, "#channels-total", /Invalid channel name/);
    // It stays when the list is asked for again.
    await page.waitForResponse((response) => response.url().includes("/channels?") && response.ok());
    await shows(page, "#channels-total", /Invalid channel name/);
    // A page that was slow has asked for that name more than once.
    for (const problem of page.problems.splice(0)) assert.match(problem, /400/);
  });

  test("a connection is found, closed after a question, and its client comes back", async () => {
    const client = await clients.connect({ user: { id: "ada" } });
    client.signin();
    await subscribe(client, "invoice.7");
    const socketId = client.connection.socket_id;
    await visitNodeOf(socketId);
    const row = page.locator(`#connections-list tr[data-key="${socketId}"]`);
    await eventually("the signed-in user", DEADLINE, async () => /ada[^]*127\.0\.0\.1[^]*js 8\.6\.0/.test(await row.innerText()));
    await row.locator("a").click();
    await shows(page, "#connections-inspector", /invoice\.7/);
    // Also beside the panel an address stands on one line.
    const lines = (name) => row.locator(`.col-${name}`).evaluate((cell) => {
      const range = document.createRange();
      range.selectNodeContents(cell);
      return new Set([...range.getClientRects()].map(({ top }) => Math.round(top))).size;
    });
    assert.equal(await lines("address"), 1);
    await row.getByText("Close…").click();
    await page.keyboard.press("Escape");
    await page.locator("#confirm").waitFor({ state: "hidden" });
    assert.equal(client.connection.socket_id, socketId);
    await row.getByText("Close…").click();
    await shows(page, "#confirm", new RegExp(socketId.replace(".", "\\.")));
    await page.locator("#confirm-yes").click();
    await row.waitFor({ state: "detached" });
    await eventually("another connection of the client", DEADLINE, () => client.connection.socket_id !== socketId && client.connection.state === "connected");
    await shows(page, "#notices", /Closed/);
  });

  test("charts of the last minutes can be read out by moment, and as a table", async () => {
    const client = await clients.connect();
    await visitNodeOf(client.connection.socket_id);
    await open(page, "charts");
    const plots = page.locator(".plot");
    await eventually("the connection in the chart", 30_000, async () => (await number(plots.first().locator(".legend b"))) === 1);
    assert.equal(await plots.count(), 4);
    // Never three and one.
    for (const [width, columns] of [[700, 1], [1280, 2], [1500, 2], [1700, 2], [2400, 4]]) {
      await page.setViewportSize({ width, height: 800 });
      const lefts = () => plots.evaluateAll((all) => new Set(all.map((plot) => plot.getBoundingClientRect().left)).size);
      await eventually(`${columns} columns on ${width} px`, DEADLINE, async () => (await lefts()) === columns);
    }
    await eventually("a second point", 30_000, async () => Number(await page.getAttribute("#moment", "max")) > 0);
    await page.locator("#moment").focus();
    await page.keyboard.press("Home");
    await eventually("a cursor in each chart", DEADLINE, async () => (await page.locator(".cursor-line").count()) === 4);
    assert.match(await page.getAttribute("#moment", "aria-valuetext"), /Connections \d+; Messages per second, in [\d.,]+/);
    await page.locator("#charts-table summary").click();
    assert.match(await page.innerText("#charts-rows tbody tr:first-child"), /^\d\d:\d\d\s+\d/);
  });

  test("the signature helper names the part that differs, and neither secret nor signature", async () => {
    await visit("signature");
    const body = JSON.stringify({ name: "e", channels: ["c"], data: "{}" });
    const sign = (overrides = {}) => {
      const request = { method: "POST", path: "/events", body, ...overrides };
      return `${server.url}/apps/${main.id}/events?${(overrides.sdk ?? sdk).createSignedQueryString({ ...request, path: `/apps/${main.id}/events` })}`;
    };
    const check = async (url, text) => {
      await page.locator("#signature-url").fill(url);
      await page.locator("#signature-body").fill(text);
      await page.locator("#signature-check").click();
    };
    const wrong = () => page.locator(".steps [data-ok=false]").evaluateAll((steps) => steps.map((step) => step.dataset.step));
    await check(`POST ${sign()}`, body);
    await shows(page, ".verdict", /would accept/);
    assert.deepEqual(await wrong(), []);

    await check(sign(), body.replace("{}", "[]"));
    await shows(page, ".verdict", /MD5 of the body/);
    assert.ok((await wrong()).includes("body_md5"));

    const stranger = backend(server, { ...main, secret: "not-the-secret" });
    await page.locator("#signature-own").fill(`POST\n/apps/${main.id}/event\nauth_key=x`);
    await check(sign({ sdk: stranger }), body);
    await shows(page, ".verdict", /differs here: Signature$/);
    assert.deepEqual(await wrong(), ["auth_signature"]);
    await shows(page, "#signature-answer", new RegExp(`What the server signs[^]*POST\\s+/apps/${main.id}/events`));
    await shows(page, "#signature-answer", /signs another string/);
    const right = /auth_signature=(\w+)/.exec(sign())[1];
    const shown = await page.locator("body").innerText();
    for (const hidden of [main.secret, right]) assert.ok(!shown.includes(hidden), shown);
    await check(sign().replace(main.key, "other"), body);
    await shows(page, ".verdict", /Key/);
  });

  test("fits a phone, and its texts have contrast in light and in dark", async () => {
    await visit("live", { options: { viewport: { width: 360, height: 700 }, colorScheme: "dark" } });
    await sdk.trigger("a-channel-with-a-rather-long-name.0123456789", "an-event-with-a-rather-long-name", { text: "x".repeat(400) });
    await listed(page, 1, "published");
    for (const section of SECTIONS) {
      await open(page, section);
      const [content, width] = await page.evaluate(() => [document.documentElement.scrollWidth, document.querySelector("main").scrollWidth]);
      assert.ok(content <= 360 && width <= 360, `${section}: ${content}, ${width}`);
    }
    const ratios = () => page.evaluate(contrasts);
    const dark = await ratios();
    await page.locator("#theme").click();
    const light = await ratios();
    assert.notDeepEqual(dark, light);
    for (const [pair, ratio] of Object.entries({ ...prefixed("dark", dark), ...prefixed("light", light) })) assert.ok(ratio >= 4.5, `${pair}: ${ratio.toFixed(2)}`);
    await page.reload();
    assert.deepEqual(await ratios(), light);
  });

  test("nothing of it comes from elsewhere, and no script that is not its own would run", async () => {
    for (const file of readdirSync(assets)) {
      const content = readFileSync(join(assets, file), "utf8");
      const suspects = /innerHTML|outerHTML|insertAdjacentHTML|document\.write|setHTML|DOMParser|\beval\(|new Function|\sstyle="|\son\w+="|(src|href)="(https?:)?\/\/|@import|\burl\(/;
      assert.doesNotMatch(content, suspects, file);
    }
    const requests = [];
    await visit("live");
    page.on("request", (request) => requests.push(request.url()));
    await page.reload();
    await page.locator("#feed[data-state=live]").waitFor();
    assert.ok(requests.length > 10);
    for (const url of requests) assert.ok(url.startsWith(server.adminUrls[0]), url);
    await page.evaluate(() => {
      const script = document.createElement("div");
      script.append(Object.assign(document.createElement("script"), { id: "inline" }));
      document.body.append(script);
      try {
        document.getElementById("inline").text = "window.owned = 7";
      } catch {
        // Where the policy asks for trusted types, even this much is refused.
      }
    });
    assert.equal(await page.evaluate(() => window.owned), undefined);
    const isMeant = (problem) => /Content Security Policy|TrustedScript/i.test(problem);
    await eventually("a breach of the policy", DEADLINE, () => page.problems.some(isMeant));
    // Whatever else is said of it may come later.
    assert.deepEqual(page.problems.filter((problem) => !isMeant(problem)), []);
    await page.context().close();
    page = null;
  });
});

const prefixed = (name, values) => Object.fromEntries(Object.entries(values).map(([key, value]) => [`${name} ${key}`, value]));

/** Runs in the page: the contrast of each colour of text on each ground. */
function contrasts() {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const probe = document.body.appendChild(document.createElement("i"));
  const luminance = (name) => {
    probe.style.color = `var(--${name})`;
    canvas.fillStyle = getComputedStyle(probe).color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const found = {};
  for (const text of ["text", "quiet", "accent", "slate", "blue", "teal", "green", "amber", "violet", "red"]) {
    for (const ground of ["ground", "surface", "sunken", "raised", "hover", "chosen"]) found[`${text} on ${ground}`] = ratio(luminance(text), luminance(ground));
  }
  found["on-accent on accent"] = ratio(luminance("on-accent"), luminance("accent"));
  found["surface on red"] = ratio(luminance("surface"), luminance("red"));
  probe.remove();
  return found;
}
