// What points clients and backends at an app: pusher-js, Laravel Echo, Laravel's .env and Node. The secret stands in it
// only right after it was made; else a word that names it.

import { parts } from "./snippets.js";

/** What can be copied: `write` gets `{ base, id, key, secret }`. */
export const APP_SNIPPETS = [
  { name: "pusher-js", write: pusherJs },
  { name: "Echo", write: echo },
  { name: "Laravel .env", write: laravel },
  { name: "Node", write: node },
];

const js = JSON.stringify;

/** The options that all browser clients share, a line each. */
function options(base) {
  const { hostname, port, prefix, isTls } = parts(base);
  return [
    `  wsHost: ${js(hostname)}, wsPort: ${port}, wssPort: ${port},`,
    ...(prefix ? [`  wsPath: ${js(prefix)},`] : []),
    `  forceTLS: ${isTls}, enabledTransports: ["ws", "wss"],`,
  ];
}

function pusherJs({ base, key }) {
  return [`const pusher = new Pusher(${js(key)}, {`, ...options(base), `  cluster: "",`, `});`].join("\n");
}

function echo({ base, key }) {
  return [`window.Pusher = Pusher;`, `window.Echo = new Echo({`, `  broadcaster: "reverb", key: ${js(key)},`, ...options(base), `});`].join("\n");
}

function laravel({ base, id, key, secret }) {
  const { hostname, port, prefix, isTls } = parts(base);
  return [
    `BROADCAST_CONNECTION=pusher`,
    `PUSHER_APP_ID=${env(id)}`,
    `PUSHER_APP_KEY=${env(key)}`,
    `PUSHER_APP_SECRET=${env(secret)}`,
    `PUSHER_HOST=${hostname}`,
    `PUSHER_PORT=${port}`,
    `PUSHER_SCHEME=${isTls ? "https" : "http"}`,
    ...(prefix ? [`# and in options of config/broadcasting.php: 'path' => '${prefix}/'`] : []),
  ].join("\n");
}

function node({ base, id, key, secret }) {
  const { hostname, port, prefix, isTls } = parts(base);
  return [
    `const Pusher = require("pusher");`,
    ``,
    `const pusher = new Pusher({`,
    `  appId: ${js(id)}, key: ${js(key)}, secret: ${js(secret)},`,
    ...(prefix ? ["  // The package has no option for a path, but puts the port into its URLs as it is."] : []),
    `  host: ${js(hostname)}, port: ${js(port + prefix)}, useTLS: ${isTls},`,
    `});`,
  ].join("\n");
}

/** A value of a .env file: single quotes keep what is in it, `$` and spaces too. */
const env = (text) => (/^[\w.:+/=-]+$/.test(text) ? text : `'${text.replaceAll("'", "\\'")}'`);
