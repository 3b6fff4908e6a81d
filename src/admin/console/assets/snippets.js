// The same publish from a shell, Node and PHP. The secret is a variable there, never a value: the page does not know it.

import { isJson } from "./json.js";

/** What can be copied: `write` gets `{ base, app: { id, key }, channel, event, data }`. */
export const SNIPPETS = [
  { name: "curl", write: curl },
  { name: "tidewire", write: command },
  { name: "Node", write: node },
  { name: "PHP", write: php },
];

/** A word of a shell: quoted, so that nothing in it does anything. */
const word = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
const phpText = (text) => `'${text.replace(/[\\']/g, "\\$&")}'`;

function curl({ base, app, channel, event, data }) {
  const body = JSON.stringify({ name: event, channels: [channel], data });
  const path = `/apps/${app.id}/events`;
  return [
    `body=${word(body)}`,
    `md5=$(printf %s "$body" | openssl dgst -md5 | sed 's/.* //')`,
    `query=${word(`auth_key=${app.key}`)}"&auth_timestamp=$(date +%s)&auth_version=1.0&body_md5=$md5"`,
    `sign=$(printf 'POST\\n%s\\n%s' ${word(path)} "$query" | openssl dgst -sha256 -hmac "$SECRET" | sed 's/.* //')`,
    `curl -sS -H 'Content-Type: application/json' -d "$body" ${word(`${base}${path}?`)}"$query&auth_signature=$sign"`,
  ].join("\n");
}

function command({ base, app, channel, event, data }) {
  // The command takes a lone dash for its stdin.
  const given = data === "-" ? "printf %s - | " : "";
  return [
    `${given}TIDEWIRE_APP_SECRET="$SECRET" tidewire trigger \\`,
    `  --app ${word(app.id)} --key ${word(app.key)} --url ${word(base)} -- \\`,
    `  ${word(channel)} ${word(event)} ${word(data)}`,
  ].join("\n");
}

function node({ base, app, channel, event, data }) {
  const { hostname, port, prefix, isTls } = parts(base);
  return [
    `const Pusher = require("pusher");`,
    ``,
    `const pusher = new Pusher({`,
    `  appId: ${JSON.stringify(app.id)}, key: ${JSON.stringify(app.key)}, secret: process.env.SECRET,`,
    ...(prefix ? ["  // The package has no option for a path, but puts the port into its URLs as it is."] : []),
    `  host: ${JSON.stringify(hostname)}, port: ${JSON.stringify(port + prefix)}, useTLS: ${isTls},`,
    `});`,
    `pusher.trigger(${JSON.stringify(channel)}, ${JSON.stringify(event)}, ${literal(data)});`,
  ].join("\n");
}

/** Data as an object if Node would send the very same bytes for it, as a text otherwise. */
function literal(data) {
  const isSame = isJson(data) && /^[[{]/.test(data) && JSON.stringify(JSON.parse(data)) === data;
  // In JavaScript, unlike in JSON, this key sets an object's prototype.
  return isSame && !data.includes("__proto__") ? data : JSON.stringify(data);
}

function php({ base, app, channel, event, data }) {
  const { hostname, port, prefix, isTls } = parts(base);
  return [
    `$pusher = new Pusher\\Pusher(${phpText(app.key)}, getenv('SECRET'), ${phpText(app.id)}, [`,
    `    'host' => ${phpText(hostname)}, 'port' => ${port}, 'scheme' => '${isTls ? "https" : "http"}', 'useTLS' => ${isTls},`,
    ...(prefix ? ["    // Without the slash at its end the last part of the path would be left out.", `    'path' => ${phpText(`${prefix}/`)},`] : []),
    `]);`,
    `// The last argument: the data is a text already, not to be encoded again.`,
    `$pusher->trigger(${phpText(channel)}, ${phpText(event)}, ${phpText(data)}, [], true);`,
  ].join("\n");
}

/** Of an address: `prefix` is the path before all paths, as `/realtime`, or empty. */
export function parts(base) {
  const { protocol, hostname, port, pathname } = new URL(base);
  const isTls = protocol === "https:";
  return { hostname, port: port || (isTls ? "443" : "80"), prefix: pathname.replace(/\/+$/, ""), isTls };
}
