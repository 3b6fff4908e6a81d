// Starts an example's backend as a reader would, on a free port, and visits it.

import { spawn } from "node:child_process";
import { join } from "node:path";

import { eventually } from "./wait.js";
import { clientsDir, cleanEnv, projectDir } from "./server.js";

const DEADLINE = 20_000;

export class Example {
  #child;

  /** @param {object} env more variables than those which say where the server is */
  static async start(name, server, app, env = {}) {
    const it = new Example();
    const child = spawn(process.execPath, ["--import", join(clientsDir, "lib/packages.js"), "server.js"], {
      cwd: join(projectDir, "examples", name),
      env: cleanEnv({
        PORT: "0",
        PUSHER_HOST: server.host,
        PUSHER_PORT: String(server.port),
        PUSHER_APP_ID: app.id,
        PUSHER_APP_KEY: app.key,
        PUSHER_APP_SECRET: app.secret,
        ...env,
      }),
      stdio: ["ignore", "pipe", "pipe"],
    });
    it.#child = child;
    it.output = "";
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => (it.output += text));
    await eventually(`${name}'s startup line`, DEADLINE, () => {
      it.url = /listening on (http:\/\/\S+)$/m.exec(it.output)?.[1];
      return it.url ?? child.exitCode !== null;
    });
    if (!it.url) throw new Error(`${name} ended: ${it.output}`);
    return it;
  }

  /** A request, with or without somebody's cookie; resolves with `{ status, body }`. */
  async ask(method, path, { body, cookie, headers = {} } = {}) {
    const form = body instanceof URLSearchParams || typeof body === "string";
    const answer = await fetch(this.url + path, {
      method,
      redirect: "manual",
      headers: { ...(cookie && { cookie }), ...(body && !form && { "content-type": "application/json" }), ...headers },
      body: body && (form ? body : JSON.stringify(body)),
    });
    const text = await answer.text();
    const isJson = answer.headers.get("content-type")?.startsWith("application/json");
    return { status: answer.status, body: isJson ? JSON.parse(text) : text, cookie: answer.headers.get("set-cookie")?.split(";")[0] };
  }

  /** The cookie of a user who has logged in. */
  async login(user) {
    return (await this.ask("POST", "/login", { body: new URLSearchParams({ user }) })).cookie;
  }

  /** What the auth endpoint answers. */
  authorize(channel, cookie, socketId = "1.1") {
    return this.ask("POST", "/pusher/auth", { cookie, body: new URLSearchParams({ socket_id: socketId, channel_name: channel }) });
  }

  /**
   * A page in a browser context of its own, of a user who has logged in there if one is named, once it is subscribed.
   * What goes wrong in it is kept in its `problems`, the channels that the server has let it join in `joined`.
   * @param {{isRefused?: boolean, prepare?: Function}} how whether it is to be refused, so that nothing is waited for;
   *   what runs in the page before its own scripts
   */
  async visit(browser, path, user, { isRefused = false, prepare } = {}) {
    const context = await browser.newContext();
    if (prepare) await context.addInitScript(prepare);
    const page = await context.newPage();
    Object.assign(page, { problems: [], joined: [] });
    page.on("websocket", (socket) => socket.on("framereceived", ({ payload }) => {
      const { event, channel } = JSON.parse(payload);
      if (event === "pusher_internal:subscription_succeeded") page.joined.push(channel);
    }));
    page.on("pageerror", (error) => page.problems.push(error.message));
    page.on("console", (line) => line.type() === "error" && page.problems.push(line.text()));
    if (user) {
      await page.goto(`${this.url}/login?next=${path}`);
      await page.click(`button[value="${user}"]`);
      await page.waitForURL(this.url + path);
    } else {
      await page.goto(this.url + path);
    }
    if (isRefused) return page;
    await shows(page, "#connection", /^Live$/);
    await eventually("a subscription", DEADLINE, () => page.joined.length > 0);
    return page;
  }

  async stop() {
    const child = this.#child;
    child.kill("SIGTERM");
    await eventually("the example's end", DEADLINE, () => child.exitCode !== null || child.signalCode !== null);
  }
}

/** Runs in a page before its own scripts: keeps the tones that it plays and the browser's notifications that it shows. */
export function spyOnAttention() {
  Object.assign(window, { tones: 0, notes: [] });
  const start = OscillatorNode.prototype.start;
  OscillatorNode.prototype.start = function (...args) {
    window.tones += 1;
    return start.apply(this, args);
  };
  window.Notification = class {
    static permission = "default";
    static async requestPermission() {
      return (this.permission = "granted");
    }
    constructor(title, options) {
      window.notes.push({ title, ...options });
    }
  };
}

/** Waits until an element's text fits. */
export async function shows(page, selector, text, deadline = 20_000) {
  let last;
  await eventually(`${selector} to show ${text}`, deadline, async () => {
    last = await page.innerText(selector, { timeout: 1_000 });
    return text.test(last);
  }).catch((error) => {
    throw new Error(`${error.message}; it shows ${JSON.stringify(last)}`);
  });
}
