// The stock `pusher` package for Python as an object with async methods: see python/bridge.py.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { MASTER_KEY } from "./clients.js";
import { clientsDir, cleanEnv } from "./server.js";
import { within } from "./wait.js";

export class Python {
  #child;
  #lines;
  #stderr = "";

  constructor(server, app, overrides = {}) {
    const python = join(clientsDir, ".venv/bin/python");
    if (!existsSync(python)) throw new Error(`${python} is missing: run \`make deps\``);
    const options = {
      app_id: app.id,
      key: app.key,
      secret: app.secret,
      ssl: false,
      host: server.host,
      port: server.port,
      encryption_master_key_base64: MASTER_KEY,
      ...overrides,
    };
    this.#child = spawn(python, [join(clientsDir, "python/bridge.py"), JSON.stringify(options)], {
      env: cleanEnv(),
    });
    this.#child.stderr.on("data", (text) => (this.#stderr += text));
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** Calls a method of the SDK; what it raises is thrown with the exception's class as its name. */
  async call(method, ...args) {
    this.#child.stdin.write(`${JSON.stringify({ method, args })}\n`);
    const { value: line } = await within(`an answer from Python to ${method}`, this.#lines.next(), 20_000);
    if (line === undefined) throw new Error(`Python ended: ${this.#stderr}`);
    const { result, error, message } = JSON.parse(line);
    if (error) throw Object.assign(new Error(message), { name: error });
    return result;
  }

  stop() {
    this.#child.stdin.end();
  }
}
