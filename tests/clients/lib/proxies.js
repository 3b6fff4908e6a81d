// nginx and HAProxy in front of a server, on free ports and with a certificate of an authority of our own.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import tls from "node:tls";

import { freePort } from "./cluster.js";
import { eventually } from "./wait.js";

const START_DEADLINE = 20_000;

/** A certificate for localhost, in a folder of its own. */
export class Certificate {
  dir = mkdtempSync(join(tmpdir(), "tidewire-tls-"));
  cert = join(this.dir, "server.crt");
  key = join(this.dir, "server.key");

  constructor() {
    const name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
    const args = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", ...name, "-keyout", this.key, "-out", this.cert];
    execFileSync("openssl", args, { stdio: "ignore" });
  }

  /** Certificate and key in one file, as HAProxy takes them. */
  get pem() {
    const file = join(this.dir, "server.pem");
    writeFileSync(file, readFileSync(this.cert, "utf8") + readFileSync(this.key, "utf8"));
    return file;
  }

  /** Adds it to what this process trusts, as an operating system's store would; the clients stay as they are. */
  trust() {
    const pem = readFileSync(this.cert);
    const { createSecureContext } = tls;
    tls.createSecureContext = (options) => {
      const context = createSecureContext(options);
      context.context.addCACert(pem);
      return context;
    };
  }

  remove() {
    rmSync(this.dir, { recursive: true });
  }
}

/** A program that serves a configuration file until it is stopped. */
export class Proxy {
  host = "localhost";
  #dir = mkdtempSync(join(tmpdir(), "tidewire-proxy-"));
  #process;
  #output = "";

  /** @param {(port: number, dir: string) => {program: string, args: string[], config: string}} how */
  static async start(how) {
    const it = new Proxy();
    it.port = await freePort();
    const { program, args, config } = how(it.port, it.#dir);
    const file = join(it.#dir, "config");
    writeFileSync(file, config);
    it.#process = spawn(program, [...args, file], { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of ["stdout", "stderr"]) it.#process[stream].setEncoding("utf8").on("data", (text) => (it.#output += text));
    await eventually(`${program} on port ${it.port}`, START_DEADLINE, () => {
      assert.equal(it.#process.exitCode, null, it.#output);
      return accepts(it.port);
    });
    return it;
  }

  async stop() {
    this.#process.kill("SIGTERM");
    await eventually("the proxy's end", START_DEADLINE, () => this.#process.exitCode !== null || this.#process.signalCode !== null);
    rmSync(this.#dir, { recursive: true });
  }
}

function accepts(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1", () => socket.end(() => resolve(true)));
    socket.once("error", () => resolve(false));
  });
}

/** nginx with a `server` block, everything that it writes in its own folder. */
export function nginx(server) {
  return (port, dir) => ({
    program: "nginx",
    args: ["-e", "stderr", "-g", "daemon off;", "-p", dir, "-c"],
    config: `
      worker_processes 1;
      pid nginx.pid;
      error_log stderr warn;
      events { worker_connections 256; }
      http {
        access_log off;
        client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
        ${server.replace(/\b443\b/, `127.0.0.1:${port}`)}
      }`,
  });
}

/** HAProxy with its sections. */
export function haproxy(sections) {
  return (port) => ({
    program: "haproxy",
    args: ["-db", "-f"],
    config: sections.replace(/bind :443\b/, `bind 127.0.0.1:${port}`),
  });
}

/** HAProxy that gives every request to the next node, whoever sends it, by one more rule if there is one. */
export function roundRobin(nodes, rule = "") {
  return haproxy(`
    defaults
      mode http
      timeout connect 5s
      timeout client 180s
      timeout server 180s
      option http-server-close
      option abortonclose
    frontend public
      bind :443
      ${rule}
      default_backend nodes
    backend nodes
      balance roundrobin
      ${nodes.map(({ host, port }, number) => `server node${number} ${host}:${port}`).join("\n      ")}\n`);
}
