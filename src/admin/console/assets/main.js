// Brings the console together: who may see it, which app and which section is shown.

import * as api from "./api.js";
import { Apps } from "./apps.js";
import { Channels } from "./channels.js";
import { Charts } from "./charts.js";
import { Connections } from "./connections.js";
import { Create } from "./create.js";
import { byId, el } from "./dom.js";
import { visible } from "./format.js";
import { Health } from "./health.js";
import { meansList, setUpKeys, showKeys } from "./keys.js";
import { Live } from "./live.js";
import { setUpLogin } from "./login.js";
import { notice } from "./notices.js";
import { arrive, back, go, here, onMove, startOver } from "./route.js";
import { Server } from "./server.js";
import { Signature } from "./signature.js";
import { Sources } from "./sources.js";
import { read, write } from "./storage.js";
import { setUpTheme } from "./theme.js";

const SECTIONS = ["live", "create", "channels", "connections", "charts", "signature", "sources", "apps", "server"];
const RETRY_MS = 3_000;

let session = null;
let shown = null;

/** What sections may ask of the page. */
const shell = {
  app: () => session.apps.find(({ id }) => id === byId("app").value),
  isClustered: () => session.clustered,
  /** Finds out whether one is still logged in. */
  ask: () => api.session().catch(() => {}),
  /** Finds out which apps there are now. */
  renew,
};

const views = {
  live: new Live(shell),
  create: new Create(shell),
  channels: new Channels(shell),
  connections: new Connections(shell),
  charts: new Charts(shell),
  signature: new Signature(shell),
  sources: new Sources(shell),
  apps: new Apps(shell),
  server: new Server(shell),
};

const health = new Health((answer) => views.server.tell(answer));

/** Asks the server who this is, until it answers, and opens what the address names. */
async function begin() {
  try {
    session = await api.session();
  } catch (error) {
    if (error.status === 401) return;
    byId("starting").textContent = error.message;
    setTimeout(begin, RETRY_MS);
    return;
  }
  byId("starting").hidden = true;
  login.hide();
  byId("where").textContent = visible([session.version, session.clustered ? `node ${session.node}` : null].filter(Boolean).join(" · "));
  byId("logout").hidden = session.access !== "token";
  byId("nav").hidden = false;
  listApps();
  health.start();
  move();
}

function listApps() {
  const chosen = byId("app").value;
  byId("app").replaceChildren(...session.apps.map(option));
  if (session.apps.some(({ id }) => id === chosen)) byId("app").value = chosen;
  byId("app-label").hidden = session.apps.length === 0;
}

async function renew() {
  const now = await api.session().catch(() => null);
  if (!session || !now) return;
  const hadApp = session.apps.length > 0;
  session = now;
  listApps();
  // The chosen one may be gone, or the first one there.
  if (!hadApp || !session.apps.some(({ id }) => id === byId("app").dataset.chosen)) move();
}

const option = ({ id, name, enabled }) => el("option", { value: id }, visible(name ? `${name} (${id})` : id) + (enabled ? "" : ", disabled"));

const login = setUpLogin(begin);

function leave() {
  if (shown) views[shown].hide();
  for (const name of SECTIONS) byId(name).hidden = true;
  views.live.stop();
  shown = session = null;
  byId("starting").hidden = true;
  byId("app-label").hidden = byId("nav").hidden = byId("logout").hidden = true;
  byId("where").textContent = "";
  health.stop();
}

/** Shows what the address names. */
function move() {
  if (!session) return;
  const { section, params } = here();
  const hasApps = session.apps.length > 0;
  // All others are about an app, and need one.
  const name = !hasApps ? "apps" : SECTIONS.includes(section) ? section : "live";
  const app = hasApps && ([params.get("app"), byId("app").dataset.chosen, read("app", null)].find((id) => session.apps.some((one) => one.id === id)) ?? session.apps[0].id);
  if (hasApps) {
    if (byId("app").dataset.chosen !== app) startOver();
    byId("app").value = app;
    byId("app").dataset.chosen = app;
    write("app", app);
  }
  arrive(name, { ...Object.fromEntries(params), app });
  const before = shown;
  if (before && before !== name) views[before].hide();
  shown = name;
  for (const other of SECTIONS) byId(other).hidden = other !== name;
  for (const anchor of byId("nav").children) {
    if (anchor.dataset.section === name) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
    anchor.href = back(anchor.dataset.section, { app });
  }
  document.title = `${byId(`${name}-title`).textContent} · Tidewire console`;
  if (hasApps) views.live.watch(app);
  else views.live.stop();
  views[name].show(params);
  if (before && before !== name) byId("main").focus({ preventScroll: true });
}

api.onLoggedOut(() => {
  leave();
  login.show();
});

byId("app").addEventListener("change", ({ target }) => go(shown, { app: target.value }));
byId("logout").addEventListener("click", async () => {
  try {
    await api.logout();
  } catch (error) {
    if (error.status !== 401) return notice(error.message, "bad");
  }
  leave();
  login.show();
});
byId("help").addEventListener("click", showKeys);

/** Does something with the list that is shown, if there is one and the key means it; whether it did. */
function inList(event, act) {
  const list = views[shown]?.list;
  if (!list || !meansList(event)) return false;
  // Whoever goes on from a filter means what it finds.
  if (event.target.matches("input")) event.target.dispatchEvent(new Event("change"));
  return act(list);
}

setUpTheme(byId("theme"));
setUpKeys([
  ...SECTIONS.map((name, n) => ({ keys: [String(n + 1)], words: byId(`${name}-title`).textContent, run: () => shown && byId("nav").querySelector(`[data-section=${name}]`).click() })),
  { keys: ["/"], words: "To the filter, or the first field", run: () => shown && views[shown].firstField().focus() },
  { keys: ["p"], words: "Pause or resume the feed", run: () => shown && views.live.pause() },
  { keys: ["↑", "↓"], words: "Through the list", always: true, run: (event) => inList(event, (list) => list.step(event.key === "ArrowDown" ? 1 : -1)) },
  { keys: ["Enter"], words: "Open what is chosen in the list", always: true, run: (event) => inList(event, (list) => list.open()) },
  { keys: ["Esc"], words: "Close the panel", always: true, run: () => (shown && views[shown].escape?.()) || false },
  { keys: ["Ctrl", "Enter"], words: "Send the event" },
  { keys: ["?"], words: "This list", run: showKeys },
]);
onMove(move);
begin();
