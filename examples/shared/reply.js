// What a route may answer with, besides a value, which becomes JSON.

import { readFile } from "node:fs/promises";
import { extname } from "node:path";

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
};

export class Reply {
  constructor(status, body = "", headers = {}) {
    Object.assign(this, { status, body, headers });
  }
}

export const json = (status, value) => new Reply(status, JSON.stringify(value), { "content-type": "application/json" });

export const redirect = (location, headers = {}) => new Reply(303, "", { location, ...headers });

/** A file, by its path or file URL. */
export async function file(path) {
  const type = TYPES[extname(String(path))] ?? "application/octet-stream";
  return new Reply(200, await readFile(path), { "content-type": type });
}

/** What the client did wrong; its message is the answer. */
export class HttpError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}
