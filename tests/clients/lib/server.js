// Starts the real binary, learns its ports from the startup line, stops it by pid, and looks whether it kept anything.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { eventually } from "./wait.js";

export const clientsDir = resolve(fileURLToPath(new URL("..", import.meta.url)));
export const projectDir = resolve(clientsDir, "../..");
export const binary = resolve(process.env.TIDEWIRE_BIN ?? join(projectDir, "target/debug/tidewire"));

const START_DEADLINE = 20_000;
const STOP_DEADLINE = 20_000;
const RUN_DEADLINE = 20_000;
const STARTUP_LINE = /^tidewire \S+ listening on http:\/\/([^\s,]+):(\d+), (\d+) app\S*, admin on http:\/\/([^\s,]+):(\d+)/m;

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

export class Server {
  #dir = mkdtempSync(join(tmpdir(), "tidewire-"));
  #options;
  #process = null;
  #stderr = "";

  constructor(options) {
    this.#options = options;
  }

  /**
   * Writes a configuration with both ports free and serves it.
   * @param {{apps?: object[], server?: object}} options tables of the configuration file
   */
  static async start({ apps = [app()], server = {} } = {}) {
    const it = new Server({ apps, server });
    await it.#spawn(0);
    return it;
  }

  get configFile() {
    return join(this.#dir, "apps.toml");
  }

  get url() {
    return `http://${this.host}:${this.port}`;
  }

  async #spawn(port) {
    writeFileSync(
      this.configFile,
      [
        table("[server]", { host: "127.0.0.1", drain_seconds: 1, ...this.#options.server, port }),
        table("[admin]", { host: "127.0.0.1", port: 0 }),
        ...this.#options.apps.map(({ limits, webhooks = [], ...rest }) =>
          [
            table("[[apps]]", rest),
            limits ? table("[apps.limits]", limits) : "",
            ...webhooks.map((webhook) => table("[[apps.webhooks]]", webhook)),
          ].join(""),
        ),
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
    this.adminUrl = `http://${line[4]}:${line[5]}`;
  }

  async health() {
    const answer = await fetch(`${this.adminUrl}/health`);
    assert.equal(answer.status, 200, `GET /health: ${answer.status}`);
    return answer.json();
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
    const child = this.#process;
    if (child.exitCode === null && child.signalCode === null) {
      child.kill("SIGTERM");
      try {
        await eventually("the server's end after SIGTERM", STOP_DEADLINE, () => child.exitCode !== null || child.signalCode !== null);
      } catch (e) {
        child.kill("SIGKILL");
        throw e;
      }
    }
    assert.equal(child.exitCode, 0, `exit code ${child.exitCode}, signal ${child.signalCode}\n${this.#stderr}`);
    assert.doesNotMatch(this.#stderr, /panicked/, this.#stderr);
  }

  /** Stops it and starts it again on the very port that it had. */
  async restart() {
    const { port } = this;
    await this.terminate();
    await this.#spawn(port);
  }

  /** The same without a word to anybody. */
  async crash() {
    const { port } = this;
    const child = this.#process;
    child.kill("SIGKILL");
    await eventually("the server's end after SIGKILL", STOP_DEADLINE, () => child.signalCode !== null);
    await this.#spawn(port);
  }

  /** The end of every suite: nothing may be left, and the server goes in peace. */
  async stop() {
    try {
      await this.empties();
    } finally {
      await this.terminate();
      rmSync(this.#dir, { recursive: true });
    }
  }
}

/** A TOML table. JSON's strings, numbers, booleans and arrays of those are TOML's as well. */
function table(header, values) {
  const lines = Object.entries(values).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
  return `${header}\n${lines.join("\n")}\n`;
}
