// Stock clients over TLS: to the server itself, and through nginx and HAProxy with the configurations of docs/tls-and-proxies.md.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Clients, pusherJs, subscribe } from "../lib/clients.js";
import { Certificate, Proxy, haproxy, nginx } from "../lib/proxies.js";
import { at, snippet } from "../lib/docs.js";
import { Server, app } from "../lib/server.js";

const PREFIX = "/realtime";
const suite = app({ tls_only: true });

/** What stock clients and the stock SDK do over TLS with whatever is at that address. */
async function works(address, { wsPath } = {}) {
  const tlsOnly = { wsHost: address.host, wssPort: address.port, forceTLS: true, enabledTransports: ["ws", "wss"], ...(wsPath && { wsPath }) };
  for (const Pusher of Object.values(pusherJs)) {
    const clients = new Clients(Pusher, address, suite);
    const client = await clients.connect(tlsOnly);
    const seen = await subscribe(client, "private-invoice.7");
    // The SDK has no paths: with a prefix, backends publish at the server itself.
    const { sdk } = new Clients(Pusher, wsPath ? address.behind : address, suite);
    sdk.config.scheme = wsPath ? "http" : "https";
    await sdk.trigger("private-invoice.7", "payment.received", { status: "paid" });
    assert.deepEqual(await seen.first("payment.received"), { status: "paid" });
    clients.closeAll();
  }
}

describe("TLS and proxies", { timeout: 300_000 }, () => {
  const certificate = new Certificate();
  before(() => certificate.trust());
  after(() => certificate.remove());

  /** Starts a server with these settings, does something with it and stops it. */
  async function served(settings, use) {
    const server = await Server.start({ apps: [suite], server: settings });
    try {
      await use(server);
      await server.empties();
    } finally {
      await server.stop();
    }
  }

  /** The same with a proxy in front. */
  const proxied = (settings, how, options) =>
    served(settings, async (server) => {
      const proxy = await Proxy.start(how(server));
      try {
        await works(Object.assign(proxy, { behind: server }), options);
      } finally {
        await proxy.stop();
      }
    });

  const nginxSnippet = (server) =>
    at(server, snippet("docs/tls-and-proxies.md", "nginx", "proxy_pass"))
      .replace("/etc/ssl/tidewire.crt", certificate.cert)
      .replace("/etc/ssl/tidewire.key", certificate.key);
  const haproxySnippet = (server) => at(server, snippet("docs/tls-and-proxies.md", "haproxy", "backend")).replace("/etc/haproxy/tidewire.pem", certificate.pem);

  test("nginx", () => proxied({}, (server) => nginx(nginxSnippet(server))));

  test("nginx with a path prefix", () => {
    const under = (text) => text.replace("location /", `location ${PREFIX}/`);
    return proxied({ path_prefix: PREFIX }, (server) => nginx(under(nginxSnippet(server))), { wsPath: PREFIX });
  });

  test("HAProxy", () => proxied({}, (server) => haproxy(haproxySnippet(server))));

  test("HAProxy with a path prefix", () => {
    const under = (text) => text.replace("default_backend tidewire", `use_backend tidewire if { path_beg ${PREFIX}/ }`);
    return proxied({ path_prefix: PREFIX }, (server) => haproxy(under(haproxySnippet(server))), { wsPath: PREFIX });
  });

  for (const version of ["send-proxy-v2-ssl", "send-proxy"]) {
    test(`HAProxy with the PROXY protocol, ${version}`, () => {
      const tcp = (text) =>
        text
          .replaceAll("mode http", "mode tcp")
          .replace(/^.*(?:forwardfor|http-request).*\n/gm, "")
          .replace(/(server node1 \S+)/, `$1 ${version}`);
      // The first version has no word for TLS, so the app cannot insist on it.
      suite.tls_only = version.includes("v2");
      return proxied({ proxy_protocol: true }, (server) => haproxy(tcp(haproxySnippet(server))));
    });
  }

  test("the server's own TLS", () => {
    suite.tls_only = true;
    return served({ tls: { cert: certificate.cert, key: certificate.key } }, (server) => works({ host: "localhost", port: server.port }));
  });
});
