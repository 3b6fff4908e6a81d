// Starts the real binary, once or as several nodes over Redis, learns its ports from the startup lines, stops it by pid,
// and looks whether it kept anything.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { Redis, Splitter, freePort } from "./cluster.js";
import { Proxy, roundRobin } from "./proxies.js";
import { NODES, OVER_REDIS, TRANSPORT } from "./topologies.js";
import { eventually } from "./wait.js";

export const clientsDir = resolve(fileURLToPath(new URL("..", import.meta.url)));
export const projectDir = resolve(clientsDir, "../..");
export const binary = resolve(process.env.TIDEWIRE_BIN ?? join(projectDir, "target/debug/tidewire"));

const START_DEADLINE = 20_000;
const STOP_DEADLINE = 20_000;
const RUN_DEADLINE = 20_000;
const STARTUP_LINE = /^tidewire \S+ listening on https?:\/\/([^\s,]+):(\d+), (\d+) app\S*, admin on http:\/\/([^\s,]+):(\d+)/m;

/** What nobody may leave behind. */
const COUNTS = ["connections", "channels", "subscriptions", "members", "users"];

/** The app that most suites use. The id is a number because some SDKs accept nothing else. */
export function app(overrides = {}) {
  return { id: "1001", key: "suite-key", secret: "suite-secret", client_events: true, ...overrides };
}

/**
 * Our environment without the settings that whoever runs the tests may have made for their own server, and without
 * their proxy: everything here is on this machine.
 */
export function cleanEnv(extra = {}) {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith("TIDEWIRE_"));
  return { ...Object.fromEntries(own), NO_PROXY: "*", no_proxy: "*", ...extra };
}

/** Runs a program to its end: its status, stdout and stderr. */
export function run(program, args, { input = "", cwd, env } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd, env: cleanEnv(env), timeout: RUN_DEADLINE, killSignal: "SIGKILL" });
    const out = { stdout: "", stderr: "" };
    for (const stream of ["stdout", "stderr"]) child[stream].setEncoding("utf8").on("data", (text) => (out[stream] += text));
    child.once("error", reject).once("close", (code, signal) => resolve({ status: code ?? signal, ...out }));
    child.stdin.on("error", () => {}).end(input);
  });
}

/** Runs the binary with other arguments than `serve`. */
export function tidewire(...args) {
  return run(binary, args);
}

/** One process. */
class Node {
  #dir = mkdtempSync(join(tmpdir(), "tidewire-"));
  #process = null;
  #stderr = "";
  #token;

  get configFile() {
    return join(this.#dir, "apps.toml");
  }

  get adminUrl() {
    return `http://${this.admin.host}:${this.admin.port}`;
  }

  /** Writes a configuration and serves it, on the ports that it had before. */
  async spawn({ apps, toml, server: { tls, ...server }, admin, webhooks }, redis) {
    this.#token = admin.token;
    const port = this.port ?? (await freePort());
    const adminPort = this.admin?.port ?? (await freePort());
    writeFileSync(
      this.configFile,
      [
        table("[server]", { host: "127.0.0.1", drain_seconds: 1, ...server, port }),
        tls ? table("[server.tls]", tls) : "",
        table("[admin]", { host: "127.0.0.1", ...admin, port: adminPort }),
        webhooks ? table("[webhooks]", webhooks) : "",
        redis ? table("[redis]", { url: redis.url, lease_seconds: 3 }) : "",
        ...apps.map(({ limits, channels = [], webhooks = [], sources = [], ...rest }) =>
          [
            table("[[apps]]", rest),
            limits ? table("[apps.limits]", limits) : "",
            ...channels.map((rule) => table("[[apps.channels]]", rule)),
            ...webhooks.map((webhook) => table("[[apps.webhooks]]", webhook)),
            ...sources.flatMap(({ routes = [], ...source }) => [
              table("[[apps.sources]]", source),
              ...routes.map((route) => table("[[apps.sources.routes]]", route)),
            ]),
          ].join(""),
        ),
        toml,
      ].join("\n"),
    );
    const child = spawn(binary, ["serve", "--config", this.configFile], {
      env: cleanEnv({ TIDEWIRE_LOG: process.env.TIDEWIRE_LOG ?? "warn" }),
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#process = child;
    let stdout = "";
    child.stdout.setEncoding("utf8").on("data", (text) => (stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text) => (this.#stderr += text));
    let failure;
    child.once("error", (error) => (failure = error));
    child.once("exit", (code, signal) => (failure ??= new Error(`the server ended with ${code ?? signal}`)));
    const line = await eventually("the startup line", START_DEADLINE, () => STARTUP_LINE.exec(stdout) ?? failure);
    if (line === failure) throw new Error(`${binary}: ${failure.message}\n${stdout}${this.#stderr}`);
    this.host = line[1];
    this.port = Number(line[2]);
    this.admin = { host: line[4], port: Number(line[5]) };
  }

  async health() {
    const headers = this.#token ? { authorization: `Bearer ${this.#token}` } : {};
    const answer = await fetch(`${this.adminUrl}/health`, { headers });
    assert.equal(answer.status, 200, `GET /health: ${answer.status}`);
    return answer.json();
  }

  get #hasEnded() {
    return this.#process.exitCode !== null || this.#process.signalCode !== null;
  }

  /** Asks it to go, and waits until it has gone of itself. */
  async terminate() {
    const child = this.#process;
    if (!this.#hasEnded) {
      child.kill("SIGTERM");
      try {
        await eventually("the server's end after SIGTERM", STOP_DEADLINE, () => this.#hasEnded);
      } catch (e) {
        child.kill("SIGKILL");
        throw e;
      }
    }
    assert.equal(child.exitCode, 0, `exit code ${child.exitCode}, signal ${child.signalCode}\n${this.#stderr}`);
    assert.doesNotMatch(this.#stderr, /panicked/, this.#stderr);
  }

  /** Ends it without a word to anybody. */
  async kill() {
    this.#process.kill("SIGKILL");
    await eventually("the server's end after SIGKILL", STOP_DEADLINE, () => this.#hasEnded);
  }

  remove() {
    rmSync(this.#dir, { recursive: true });
  }
}

/** What a suite runs against, however many nodes it is. */
export class Server {
  #options;
  #redis = null;
  #nodes = [];
  #balancer = null;

  constructor(options) {
    this.#options = options;
  }

  /**
   * Writes a configuration with all ports free and serves it.
   * @param {{apps?: object[], toml?: string, server?: object, admin?: object, webhooks?: object}} options tables of the
   *   configuration file; `toml` has apps as they stand in a file
   */
  static async start({ toml = "", apps = toml ? [] : [app()], server = {}, admin = {}, webhooks } = {}) {
    const it = new Server({ apps, toml, server, admin, webhooks });
    if (OVER_REDIS > 0) it.#redis = await Redis.start();
    for (let number = 0; number < NODES; number++) {
      const node = new Node();
      await node.spawn(it.#options, it.#redis);
      it.#nodes.push(node);
    }
    if (NODES > 1) it.#balancer = await (TRANSPORT === "ws" ? Splitter.start(it.#nodes) : Proxy.start(roundRobin(it.#nodes)));
    ({ host: it.host, port: it.port } = it.#balancer ?? it.#nodes[0]);
    return it;
  }

  get configFile() {
    return this.#nodes[0].configFile;
  }

  get url() {
    return `http://${this.host}:${this.port}`;
  }

  /** Where each node's operators look. */
  get adminUrls() {
    return this.#nodes.map((node) => node.adminUrl);
  }

  /** The counts of all nodes together. */
  async health() {
    const all = await Promise.all(this.#nodes.map((node) => node.health()));
    return Object.fromEntries(COUNTS.map((name) => [name, all.reduce((sum, health) => sum + health[name], 0)]));
  }

  /** Waits until nothing is left of anybody: no connection, channel, subscription, member or user. */
  async empties() {
    await eventually("every count at 0", 10_000, async () => {
      const health = await this.health();
      for (const name of COUNTS) assert.equal(health[name], 0, `${name} in ${JSON.stringify(health)}`);
      return true;
    });
  }

  /** Asks the server to go, and waits until it has gone of itself. */
  async terminate() {
    await Promise.all(this.#nodes.map((node) => node.terminate()));
  }

  /** Stops it and starts it again on the very port that it had. */
  async restart() {
    await this.terminate();
    await this.respawn();
  }

  /** The same without a word to anybody. */
  async crash() {
    await Promise.all(this.#nodes.map((node) => node.kill()));
    await this.respawn();
  }

  /** Starts it again on the very port that it had, after it has ended. */
  async respawn() {
    for (const node of this.#nodes) await node.spawn(this.#options, this.#redis);
  }

  /** The processes, each with `host` and `port`. */
  get nodes() {
    return this.#nodes;
  }

  /** Starts one of them again, after it has ended. */
  async revive(node) {
    await node.spawn(this.#options, this.#redis);
  }

  /** Ends Redis, which keeps its memory. */
  async endRedis() {
    await this.#redis.end();
  }

  /** Starts Redis again. */
  async beginRedis() {
    await this.#redis.begin();
  }

  /** The end of every suite: nothing may be left, and the server goes in peace. */
  async stop() {
    try {
      await this.empties();
    } finally {
      await this.terminate();
      await this.#balancer?.stop();
      this.#redis?.stop();
      for (const node of this.#nodes) node.remove();
    }
  }
}

/** A value in TOML, which JSON's strings, numbers, booleans and arrays of those are as well. */
function value(given) {
  if (given?.constructor !== Object) return JSON.stringify(given);
  return `{ ${Object.entries(given).map(([key, inner]) => `${key} = ${value(inner)}`).join(", ")} }`;
}

/** A TOML table. */
function table(header, values) {
  const lines = Object.entries(values).map(([key, given]) => `${key} = ${value(given)}`);
  return `${header}\n${lines.join("\n")}\n`;
}
