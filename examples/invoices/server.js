// Invoices and their payments. Each change is told to the pay page of the invoice and to the list of whoever issued it.

import { oneOf, text, whole } from "../shared/input.js";
import { HttpError, file, redirect } from "../shared/reply.js";
import { demoLogin } from "../shared/session.js";
import { channelAuthorization, publish, pusher, settingsModule, userAuthentication } from "../shared/tidewire.js";
import { serve } from "../shared/web.js";
import * as invoices from "./store.js";

const NAME = "invoices";
const ISSUERS = ["ada", "ben"];
const CUSTOMERS = ["grace", "hugo"];
const USERS = [...ISSUERS, ...CUSTOMERS];
const FOLDER = new URL("public/", import.meta.url);

// Public channels can be listened to by everybody who knows the name, private ones by whom /pusher/auth lets in. With
// the rule of rules.toml a user's channel is for that user, whom /pusher/user-auth signs in.
const PRIVATE = process.env.CHANNELS === "private";
const RULES = process.env.CHANNELS === "rules";
const prefix = PRIVATE ? "private-" : "";
const invoiceChannel = (invoice) => `${prefix}invoice.${invoice.id}`;
const listChannel = (userId) => `${prefix}user.${userId}.invoices`;

const euros = (cents) => new Intl.NumberFormat("en", { style: "currency", currency: "EUR" }).format(cents / 100);

/**
 * One event on one or more channels, with the payload that all pages know. Its `type` is the kind of news, which is not
 * the event's name: a payment may be one of several or complete the invoice.
 */
function tell(channels, event, type, invoice, title, body) {
  const { id: invoiceId, status } = invoice;
  const payload = { title, body, type, invoiceId, status, sentAt: new Date().toISOString() };
  return publish(() => pusher.trigger(channels, event, payload));
}

const mayRead = (user, invoice) => user === invoice.userId || user === invoice.customerId;

/** The invoice of the path. On public channels the link is enough, as the channel's name is. */
function readable({ user, params }) {
  const invoice = invoices.find(params.id);
  if (PRIVATE && !mayRead(user, invoice)) throw new HttpError(user ? 403 : 401, "This invoice is somebody else's");
  return invoice;
}

function issuer({ user }) {
  if (!ISSUERS.includes(user)) throw new HttpError(user ? 403 : 401, "Log in as somebody who issues invoices");
  return user;
}

const details = (body) => ({ title: text(body, "title"), amount: whole(body, "amount") });

async function create(request) {
  const userId = issuer(request);
  const customerId = oneOf(request.body, "customerId", CUSTOMERS);
  const invoice = invoices.create({ userId, customerId, ...details(request.body) });
  await tell(listChannel(userId), "invoice.created", "invoice_created", invoice, "New invoice", invoice.title);
  return invoice;
}

async function change(request) {
  const invoice = invoices.find(request.params.id);
  if (issuer(request) !== invoice.userId) throw new HttpError(403, "This invoice is somebody else's");
  invoices.change(invoice, details(request.body));
  const channels = [invoiceChannel(invoice), listChannel(invoice.userId)];
  await tell(channels, "invoice.updated", "invoice_updated", invoice, "Invoice changed", invoice.title);
  return invoice;
}

/** In a real system this is what the payment provider's webhook calls, with a signature to check. */
async function pay(request) {
  const invoice = readable(request);
  const amount = whole(request.body, "amount");
  const before = invoice.status;
  invoices.pay(invoice, amount);
  const channels = [invoiceChannel(invoice), listChannel(invoice.userId)];
  const type = invoice.status === "paid" ? "invoice_completed" : "payment_received";
  await tell(channels, "payment.received", type, invoice, "Payment received", `${euros(amount)} for ${invoice.title}`);
  if (invoice.status !== before) {
    const change = invoice.status === "paid" ? "invoice_completed" : "invoice_status_changed";
    await tell(invoiceChannel(invoice), "invoice.status.changed", change, invoice, "New status", `The invoice is ${invoice.status}`);
  }
  return invoice;
}

/** Who may join which private channel; every other name is nobody's. */
function mayJoin(user, channel) {
  if (channel === listChannel(user)) return true;
  const [, id] = /^private-invoice\.([\w-]+)$/.exec(channel) ?? [];
  return Boolean(id) && mayRead(user, invoices.find(id));
}

invoices.create({ userId: "ada", customerId: "grace", title: "Analytical engine, first instalment", amount: 129_900 });
invoices.create({ userId: "ada", customerId: "hugo", title: "Punched cards", amount: 4_250 });

serve(NAME, {
  folder: FOLDER,
  port: 3001,
  routes: {
    ...demoLogin(NAME, USERS),
    "GET /": ({ user }) => (ISSUERS.includes(user) ? file(new URL("list.html", FOLDER)) : redirect("/login")),
    "GET /pay/:id": ({ user, params }) =>
      PRIVATE && !user ? redirect(`/login?next=/pay/${encodeURIComponent(params.id)}`) : file(new URL("pay.html", FOLDER)),
    "GET /settings.js": ({ user }) => settingsModule({ prefix, user, signsIn: RULES && Boolean(user), users: PRIVATE ? USERS : ISSUERS, customers: CUSTOMERS }),
    "POST /pusher/auth": channelAuthorization(mayJoin),
    "POST /pusher/user-auth": userAuthentication,
    "GET /api/invoices": (request) => invoices.ofUser(issuer(request)),
    "POST /api/invoices": create,
    "GET /api/invoices/:id": readable,
    "PATCH /api/invoices/:id": change,
    "POST /api/invoices/:id/payments": pay,
  },
});
