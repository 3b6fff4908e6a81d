// As much of a web framework as the examples need, over node:http: routes, forms and JSON, files, sessions.

import { createServer } from "node:http";

import { HttpError, Reply, file, json } from "./reply.js";
import { userOf } from "./session.js";
import { webSocketOrigin } from "./tidewire.js";

const MAX_BODY_BYTES = 16 * 1024;

const HEADERS = {
  "content-security-policy": `default-src 'self'; connect-src 'self' ${webSocketOrigin}; frame-ancestors 'none'; form-action 'self'`,
  "x-content-type-options": "nosniff",
  "referrer-policy": "same-origin",
  "cache-control": "no-store",
};

const SHARED = new URL("public/", import.meta.url);

/**
 * Serves until the process ends. If it cannot, one line says why.
 * @param {object} options
 * @param {URL} options.folder the example's files for pages
 * @param {number} options.port used if PORT does not say another; 0: any free one
 * @param {Record<string, Function>} options.routes handlers by method and path, as `POST /invoices/:id`
 */
export function serve(name, { folder, port, routes }) {
  const compiled = Object.entries(routes).map(compile);
  const server = createServer(async (request, response) => {
    const { status, body, headers } = await answer(request, name, compiled, folder).catch(refusal);
    response.writeHead(status, { ...HEADERS, ...headers }).end(body);
  });
  const place = { port: process.env.PORT || port, host: process.env.HOST || "127.0.0.1" };
  if (!/^\d{1,5}$/.test(place.port) || place.port > 65_535) return cannotListen(name, place, "expected PORT: a number from 0, any free one, to 65535");
  server.on("error", ({ code, message }) => cannotListen(name, place, WHY[code] ?? message));
  server.listen(Number(place.port), place.host, () => {
    const { address, family, port } = server.address();
    console.log(`${name} listening on http://${family === "IPv6" ? `[${address}]` : address}:${port}`);
  });
}

const WHY = {
  EADDRINUSE: "another program has it. End that one, or set PORT to another port, or to 0 for a free one",
  EACCES: "this user may not. Set PORT to one above 1023",
  EADDRNOTAVAIL: "this machine does not have the address. Set HOST to one of its own",
  ENOTFOUND: "there is no such host. Set HOST to an address of this machine",
};

function cannotListen(name, { host, port }, why) {
  console.error(`${name} cannot listen on ${host}:${port}: ${why}`);
  process.exitCode = 1;
}

function compile([route, handle]) {
  const [method, path] = route.split(" ");
  return { method, handle, path: new RegExp(`^${path.replaceAll(".", "\\.").replace(/:(\w+)/g, "(?<$1>[^/]+)")}$`) };
}

async function answer(request, name, routes, folder) {
  const [pathname] = request.url.split("?");
  for (const { method, path, handle } of routes) {
    const match = method === request.method && path.exec(pathname);
    if (!match) continue;
    const { headers } = request;
    const rawBody = await bodyOf(request);
    const user = userOf(name, headers.cookie);
    // The body is parsed when a handler asks for it, since some must look at its bytes first.
    const given = { params: decoded(match.groups ?? {}), headers, rawBody, user, body: undefined };
    Object.defineProperty(given, "body", { get: () => parse(headers["content-type"], rawBody) });
    const result = await handle(given);
    return result instanceof Reply ? result : json(200, result ?? {});
  }
  return (request.method === "GET" && (await asset(folder, pathname))) || new Reply(404, "Not found\n");
}

function decoded(params) {
  try {
    return Object.fromEntries(Object.entries(params).map(([name, value]) => [name, decodeURIComponent(value)]));
  } catch {
    throw new HttpError(400, "Expected a path in percent-encoded UTF-8");
  }
}

async function bodyOf(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) throw new HttpError(413, `Expected at most ${MAX_BODY_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function parse(type = "", bytes) {
  if (type.startsWith("application/x-www-form-urlencoded")) return Object.fromEntries(new URLSearchParams(bytes.toString()));
  if (type.startsWith("application/json")) {
    try {
      const value = JSON.parse(bytes.toString());
      if (value && typeof value === "object" && !Array.isArray(value)) return value;
    } catch {
      // The answer below says what was expected.
    }
  }
  throw new HttpError(400, "Expected a form, or a JSON object with its Content-Type");
}

/** The pages' own files, the shared ones, and pusher-js from its package: nothing comes from elsewhere. */
async function asset(folder, path) {
  if (path === "/pusher.js") return file(new URL(import.meta.resolve("pusher-js/dist/web/pusher.min.js")));
  if (!/^(\/[\w-]+)+\.(css|js|svg)$/.test(path)) return undefined;
  for (const place of [folder, SHARED]) {
    try {
      return await file(new URL(path.slice(1), place));
    } catch (error) {
      if (error.code !== "ENOENT") throw error;
    }
  }
  return undefined;
}

function refusal(error) {
  if (error instanceof HttpError) return json(error.status, { error: error.message });
  console.error(error);
  return json(500, { error: "This went wrong on our side" });
}
