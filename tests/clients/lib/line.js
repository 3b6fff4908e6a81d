// The network between a page and a server, which can fail: it resets connections, or swallows what they carry.

import net from "node:net";

export class Line {
  #server;
  #pairs = new Set();

  /** @param target where connections go from now on: anything with `host` and `port`, and it may be changed */
  constructor(target) {
    this.target = target;
  }

  static async start(target) {
    const it = new Line(target);
    it.#server = net.createServer((client) => it.#pass(client));
    await new Promise((resolve, reject) => it.#server.once("error", reject).listen(0, "127.0.0.1", resolve));
    it.host = "127.0.0.1";
    it.port = it.#server.address().port;
    return it;
  }

  #pass(client) {
    const node = net.connect(this.target.port, this.target.host);
    const pair = { client, node, swallows: false };
    this.#pairs.add(pair);
    for (const [from, to] of [
      [client, node],
      [node, client],
    ]) {
      from.setNoDelay(true);
      from.on("data", (data) => {
        if (!pair.swallows) to.write(data);
      });
      from.on("end", () => pair.swallows || to.end());
      from.on("error", () => pair.swallows || to.destroy());
      from.on("close", () => {
        this.#pairs.delete(pair);
        if (!pair.swallows && !from.readableEnded) to.destroy();
      });
    }
  }

  /** Resets all connections, to both sides. */
  reset() {
    for (const { client, node } of this.#pairs) {
      client.resetAndDestroy();
      node.resetAndDestroy();
    }
  }

  /** From now on nothing gets through on the connections that there are, and neither side is told. */
  swallow() {
    for (const pair of this.#pairs) pair.swallows = true;
  }

  stop() {
    this.#server.close();
    for (const { client, node } of this.#pairs) {
      client.destroy();
      node.destroy();
    }
  }
}
