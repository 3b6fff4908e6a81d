// A proxy that remembers the requests: pusher-js does not tell what it sends over HTTP.

import http from "node:http";

export class Tap {
  /** Path and body of each request that was sent whole, in the order of their ends, and whether its answer has begun. */
  requests = [];
  #server;
  #clients = new Set();

  static async start({ host, port }) {
    const it = new Tap();
    it.#server = http.createServer((request, answer) => {
      const { method, url: path, headers } = request;
      const known = { path, body: "", isAnswered: false };
      const onward = http.request({ host, port, method, path, headers }, (answered) => {
        known.isAnswered = true;
        answer.writeHead(answered.statusCode, answered.headers);
        answered.on("error", () => answer.destroy()).pipe(answer);
      });
      onward.on("error", () => answer.destroy());
      answer.on("close", () => onward.destroy());
      request.setEncoding("utf8").on("data", (text) => (known.body += text)).on("end", () => {
        it.requests.push(known);
        onward.end(known.body);
      });
    });
    it.#server.on("connection", (client) => it.#clients.add(client.on("close", () => it.#clients.delete(client))));
    await new Promise((resolve) => it.#server.listen(0, "127.0.0.1", resolve));
    it.host = "127.0.0.1";
    it.port = it.#server.address().port;
    return it;
  }

  /** The requests for one thing, `xhr_streaming`, `xhr` or `xhr_send`. */
  of(what) {
    return this.requests.filter(({ path }) => path.split("?")[0].endsWith(`/${what}`));
  }

  /** Resets all connections. */
  reset() {
    for (const client of this.#clients) client.resetAndDestroy();
  }

  stop() {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}
