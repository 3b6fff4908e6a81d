// The server's side of the console: one function per request. An error says what the server said.

const PATIENCE_MS = 20_000;

/** A request that did not go well. `status` is 0 if there was no answer at all. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

let loggedOut = () => {};

/** What to do when the server asks who this is. */
export function onLoggedOut(callback) {
  loggedOut = callback;
}

async function ask(path, options) {
  return (await askWithTag(path, options)).body;
}

/** The answer's body, and its tag where it has one. `tag` is what the thing must still have for it to be changed. */
async function askWithTag(path, { method = "GET", body, signal, tag } = {}) {
  const patience = AbortSignal.timeout(PATIENCE_MS);
  let answer, text;
  try {
    answer = await fetch(path, {
      method,
      headers: { ...(body !== undefined && { "content-type": "application/json" }), ...(tag && { "if-match": tag }) },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, patience]) : patience,
    });
    text = await answer.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "The server does not answer. Is it running, and is this its admin port?");
  }
  if (answer.ok) return { body: text === "" ? null : parsed(text), tag: answer.headers.get("etag") };
  const error = new ApiError(answer.status, parsed(text)?.error ?? (text.trim() || `The server answered ${answer.status}.`));
  if (answer.status === 401 && path !== "login") loggedOut();
  throw error;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

const post = (path, body) => ask(path, { method: "POST", body });
const segment = encodeURIComponent;

export const login = (token) => post("login", { token });
export const logout = () => post("logout", {});
export const session = () => ask("api/session");
export const series = (signal) => ask("api/series", { signal });

export function channels(app, prefix, signal, limit = 200) {
  return ask(`api/apps/${segment(app)}/channels?${new URLSearchParams({ prefix, limit })}`, { signal });
}

export function channel(app, name, signal) {
  return ask(`api/apps/${segment(app)}/channels/${segment(name)}`, { signal });
}

export function connections(app, find, signal, limit = 200) {
  return ask(`api/apps/${segment(app)}/connections?${new URLSearchParams({ find, limit })}`, { signal });
}

export const close = (app, socketId) => post(`api/apps/${segment(app)}/connections/${segment(socketId)}/close`, {});
export const send = (app, event) => post(`api/apps/${segment(app)}/events`, event);
export const sources = (app, signal) => ask(`api/apps/${segment(app)}/sources`, { signal });
export const testSource = (app, name, delivery) => post(`api/apps/${segment(app)}/sources/${segment(name)}/test`, delivery);
export const signature = (request) => post("api/signature", request);

/** How the server is doing. These are for scripts too, so they stand beside the console. */
export const health = (signal) => ask("../health", { signal });
export const deadLetters = (signal) => ask("../dead-letters", { signal });
/** Queues the events of one again, or of all. */
export const redeliver = (id) => post(id === undefined ? "../dead-letters/redeliver" : `../dead-letters/redeliver?id=${segment(id)}`, {});

const appPath = (id) => `../apps/${segment(id)}`;

/** A page of the apps, with `next` if there are more behind it. */
export function apps({ find, after, limit }, signal) {
  return ask(`../apps?${new URLSearchParams({ find, limit, ...(after && { after }) })}`, { signal });
}

/** `{ body, tag }` */
export const app = (id, signal) => askWithTag(appPath(id), { signal });
export const createApp = (app) => post("../apps", app);
export const changeApp = (id, patch, tag) => ask(appPath(id), { method: "PATCH", body: patch, tag });
export const deleteApp = (id) => ask(appPath(id), { method: "DELETE" });
export const addSecret = (id, tag) => ask(`${appPath(id)}/secrets`, { method: "POST", body: {}, tag });
export const removeSecret = (id, number, tag) => ask(`${appPath(id)}/secrets/${number}`, { method: "DELETE", tag });

/** The feed's address. */
export function feedUrl(app) {
  const url = new URL(`api/feed?app=${segment(app)}`, document.baseURI);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.hash = "";
  return url;
}
