// What happens in an organisation is told to its people, and to nobody else.

import { text, whole } from "../shared/input.js";
import { HttpError, file, redirect } from "../shared/reply.js";
import { demoLogin } from "../shared/session.js";
import { channelAuthorization, settingsModule } from "../shared/tidewire.js";
import { serve } from "../shared/web.js";
import { invoiceEvent, notification, orgChannel, tell } from "./events.js";
import * as store from "./store.js";

const NAME = "organisations";
const FOLDER = new URL("public/", import.meta.url);

/** The handler, for people of the path's organisation; also told which that is. */
const asMember = (handle) => (request) => {
  const { user, params } = request;
  if (!user) throw new HttpError(401, "Log in first");
  if (!store.isIn(user, params.org)) throw new HttpError(403, `${user} is not in this organisation`);
  return handle(request, params.org);
};

/** The page makes it up and gets it back with the event; it means nothing here. */
const mutationOf = (body) => text(body, "mutationId", 64);

function dueOn(body) {
  const day = text(body, "dueOn", 10);
  if (/^\d{4}-\d{2}-\d{2}$/.test(day) && !Number.isNaN(Date.parse(day))) return day;
  throw new HttpError(400, "Expected dueOn: a day as 2026-12-31");
}

async function create({ user, body }, org) {
  const mutationId = mutationOf(body);
  const invoice = store.create(org, { title: text(body, "title"), amount: whole(body, "amount"), dueOn: dueOn(body) });
  await tell(org, [invoiceEvent("CREATED", invoice, mutationId), notification(`${user} created “${invoice.title}”`)]);
  return invoice;
}

async function rename({ user, params, body }, org) {
  const mutationId = mutationOf(body);
  const invoice = store.find(org, params.id);
  const before = invoice.title;
  store.rename(invoice, text(body, "title"));
  const news = notification(`${user} renamed “${before}” to “${invoice.title}”`);
  await tell(org, [invoiceEvent("UPDATED", invoice, mutationId), news]);
  return invoice;
}

async function pay({ user, params, body }, org) {
  const mutationId = mutationOf(body);
  const invoice = store.pay(store.find(org, params.id));
  await tell(org, [invoiceEvent("PAID", invoice, mutationId), notification(`${user} marked “${invoice.title}” as paid`)]);
  return invoice;
}

/** What a job does every night: many events, few requests. */
async function markOverdue(_, org) {
  const late = store.markOverdue(org, new Date().toISOString().slice(0, 10));
  if (late.length > 0) {
    const events = late.map((invoice) => invoiceEvent("OVERDUE", invoice));
    await tell(org, [...events, notification(`${late.length} overdue`)]);
  }
  return { overdue: late.length };
}

function mayJoin(user, channel) {
  return store.ofUser(user).some((orgId) => channel === orgChannel(orgId));
}

store.create("north", { title: "Harbour dues", amount: 24_000, dueOn: "2026-01-31" });
store.create("south", { title: "Dredging", amount: 1_250_000, dueOn: "2099-12-31" });

serve(NAME, {
  folder: FOLDER,
  port: 3003,
  routes: {
    ...demoLogin(NAME, store.users),
    "GET /": ({ user }) => (user ? file(new URL("org.html", FOLDER)) : redirect("/login")),
    "GET /settings.js": ({ user }) => settingsModule({ user, users: store.users, organisations: store.ofUser(user) }),
    "POST /pusher/auth": channelAuthorization(mayJoin),
    "GET /api/:org/invoices": asMember((_, org) => store.invoicesOf(org)),
    "POST /api/:org/invoices": asMember(create),
    "PATCH /api/:org/invoices/:id": asMember(rename),
    "POST /api/:org/invoices/:id/paid": asMember(pay),
    "POST /api/:org/overdue": asMember(markOverdue),
  },
});
