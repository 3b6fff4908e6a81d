// A small application: the auth endpoints that Laravel would have, at Laravel's paths, one action that publishes,
// and an empty page for browsers that loads the pusher-js build of its query (`/page?pusher-js-7`, or
// `/page?pusher-js-7/worker`).

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { clientsDir } from "./server.js";

/** The file of each build of pusher-js for other places than Node. */
const BUILDS = { web: "pusher-with-encryption.js", worker: "pusher.worker.js", "react-native": "pusher.js" };

/**
 * Users are told apart by `Authorization: Bearer user-{id}`; ids are numbers on presence channels, as Laravel's are.
 * Its `sdk` may be set later, when the server that it publishes to is known.
 * Whoever signs in is answered so many milliseconds `late`.
 * `private-forbidden` is refused with 403, `private-forged` gets a signature that does not fit.
 */
export async function startApplication(sdk) {
  const application = { sdk, late: 0 };
  const http = createServer(async (request, response) => {
    const [path, query] = request.url.split("?");
    if (path === "/page") return response.end(`<!doctype html><meta charset="utf-8"><script src="/${query}.js"></script>`);
    const [, version, build = "web"] = /^\/(pusher-js(?:-\d)?)(?:\/(worker|react-native))?\.js$/.exec(path) ?? [];
    if (version) {
      response.setHeader("content-type", "text/javascript");
      return response.end(readFileSync(join(clientsDir, "node_modules", version, "dist", build, BUILDS[build])));
    }
    let body = "";
    for await (const chunk of request) body += chunk;
    const user = /^Bearer user-(\d+)$/.exec(request.headers.authorization ?? "")?.[1];
    const form = new URLSearchParams(body);
    const answer = (status, value) => response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
    if (!user) return answer(403, { message: "no user" });
    const info = { id: Number(user), name: `User ${user}` };

    if (path === "/broadcasting/auth") {
      const channel = form.get("channel_name");
      if (channel === "private-forbidden") return answer(403, { message: "forbidden" });
      const member = channel.startsWith("presence-") ? { user_id: Number(user), user_info: info } : undefined;
      const auth = application.sdk.authorizeChannel(form.get("socket_id"), channel, member);
      if (channel === "private-forged") auth.auth = `${auth.auth.split(":")[0]}:${"0".repeat(64)}`;
      return answer(200, auth);
    }
    if (path === "/broadcasting/user-auth") {
      await sleep(application.late);
      return answer(200, application.sdk.authenticateUser(form.get("socket_id"), { id: user, user_info: info }));
    }
    if (path === "/orders") {
      // What `broadcast(new OrderShipped($order))->toOthers()` makes of the request's header.
      const socketId = request.headers["x-socket-id"];
      const { channel, order } = JSON.parse(body);
      await application.sdk.trigger(channel, "App\\Events\\OrderShipped", { order }, socketId ? { socket_id: socketId } : {});
      return answer(200, {});
    }
    return answer(404, {});
  });
  await new Promise((resolve) => http.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${http.address().port}`;
  const stop = () => {
    http.closeAllConnections();
    return new Promise((resolve) => http.close(resolve));
  };
  return Object.assign(application, { url, stop });
}
