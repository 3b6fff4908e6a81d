// What makes several processes one server: a redis-server of their own, and a port that spreads connections over them.

import { spawn } from "node:child_process";
import { mkdtempSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { eventually } from "./wait.js";

const START_DEADLINE = 20_000;

/** Ends when its stdin does, and with it with the tests, however they end. */
const UNTIL_EOF =
  'redis-server --port "$0" --dir "$1" --bind 127.0.0.1 --save "" --appendonly no & read -r _; kill "$!" 2>/dev/null; wait';

function listen(server, port = 0) {
  return new Promise((resolve, reject) => {
    server.once("error", reject).listen(port, "127.0.0.1", () => resolve(server.address().port));
  });
}

let tried = 0;

/**
 * A port below those that the system gives away by itself: until somebody listens on it, and while that one is away,
 * nobody else gets it by chance.
 */
export async function freePort() {
  for (let left = 10_000; ; left--) {
    // Suites that run at the same time begin at different places.
    const port = 20_000 + ((process.pid * 97 + (tried += 1)) % 10_000);
    const server = net.createServer();
    try {
      await listen(server, port);
    } catch (error) {
      if (left > 0) continue;
      throw error;
    }
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}

/** Whether something there answers as Redis does. */
function answers(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1", () => socket.write("PING\r\n"));
    socket.once("data", (data) => resolve(data.toString() === "+PONG\r\n"));
    socket.once("error", () => resolve(false)).once("close", () => resolve(false));
    socket.setTimeout(1000, () => socket.destroy());
  });
}

export class Redis {
  #shell;
  #dir = mkdtempSync(join(tmpdir(), "tidewire-redis-"));

  static async start() {
    const it = new Redis();
    it.port = await freePort();
    await it.#spawn();
    return it;
  }

  async #spawn() {
    this.#shell = spawn("sh", ["-c", UNTIL_EOF, String(this.port), this.#dir], { stdio: ["pipe", "ignore", "inherit"] });
    await eventually("redis-server", START_DEADLINE, () => answers(this.port));
  }

  /** Ends it; it can be started again with all that it knew. */
  async end() {
    const socket = net.connect(this.port, "127.0.0.1", () => socket.write("SHUTDOWN SAVE\r\n"));
    await new Promise((resolve) => socket.on("error", () => {}).once("close", resolve));
    this.stop();
  }

  async begin() {
    await this.#spawn();
  }

  get url() {
    return `redis://127.0.0.1:${this.port}`;
  }

  stop() {
    this.#shell.stdin.end();
  }
}

/** Passes each connection on to the next node, as a load balancer without sticky sessions does. */
export class Splitter {
  #server;
  #sockets = new Set();

  static async start(nodes) {
    const it = new Splitter();
    let next = 0;
    it.#server = net.createServer((client) => {
      const { host, port } = nodes[next++ % nodes.length];
      const node = net.connect(port, host);
      for (const [from, to] of [
        [client, node],
        [node, client],
      ]) {
        it.#sockets.add(from);
        from.setNoDelay(true).pipe(to);
        from.on("error", () => to.destroy()).on("close", () => {
          it.#sockets.delete(from);
          // What was read before the end has been piped; an end without one must reach the other side, too.
          if (from.destroyed && !from.readableEnded) to.destroy();
        });
      }
    });
    it.host = "127.0.0.1";
    it.port = await listen(it.#server);
    return it;
  }

  stop() {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}
