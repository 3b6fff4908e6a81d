// Two portals: an admin does the work and sees all of it, customers see their own.

import { oneOf, text, whole } from "../shared/input.js";
import { HttpError, file, redirect } from "../shared/reply.js";
import { demoLogin } from "../shared/session.js";
import { channelAuthorization, settingsModule } from "../shared/tidewire.js";
import { serve } from "../shared/web.js";
import { ADMIN_CHANNEL, customerChannel, tell } from "./events.js";
import * as invoices from "./store.js";

const NAME = "portals";
const ADMIN = "admin";
const CUSTOMERS = ["17", "42"];
const FOLDER = new URL("public/", import.meta.url);

function known({ user }) {
  if (!user) throw new HttpError(401, "Log in first");
  return user;
}

/** The handler, for admins only. */
const asAdmin = (handle) => (request) => {
  if (known(request) !== ADMIN) throw new HttpError(403, "This is for admins");
  return handle(request);
};

/** An invoice's details, as an admin may set them. */
const details = (body) => ({ title: text(body, "title"), amount: whole(body, "amount") });

async function create({ body }) {
  const invoice = invoices.create({ customerId: oneOf(body, "customerId", CUSTOMERS), ...details(body) });
  await tell("INVOICE_CREATED", invoice);
  return invoice;
}

async function update({ params, body }) {
  const invoice = invoices.find(params.id);
  invoices.update(invoice, details(body));
  await tell("INVOICE_UPDATED", invoice);
  return invoice;
}

async function send({ params }) {
  const invoice = invoices.find(params.id);
  invoices.send(invoice);
  await tell("INVOICE_SENT", invoice);
  return invoice;
}

async function recordPayment({ params, body }) {
  const invoice = invoices.find(params.id);
  const amount = whole(body, "amount");
  invoices.pay(invoice, amount);
  await tell("PAYMENT_RECORDED", invoice);
  if (invoice.status === "paid") await tell("INVOICE_PAID", invoice);
  return invoice;
}

/** Admins may join the admins' channel, a customer the customer's own; there is nothing else to join. */
function mayJoin(user, channel) {
  if (user === ADMIN) return channel === ADMIN_CHANNEL;
  return channel === customerChannel(user);
}

function portal({ user }) {
  if (!user) return redirect("/login");
  return file(new URL("portal.html", FOLDER));
}

serve(NAME, {
  folder: FOLDER,
  port: 3002,
  routes: {
    ...demoLogin(NAME, [ADMIN, ...CUSTOMERS]),
    "GET /": portal,
    "GET /settings.js": ({ user }) => {
      const isAdmin = user === ADMIN;
      const channel = isAdmin ? ADMIN_CHANNEL : user && customerChannel(user);
      return settingsModule({ user, isAdmin, channel, customers: CUSTOMERS, users: [ADMIN, ...CUSTOMERS] });
    },
    "POST /pusher/auth": channelAuthorization(mayJoin),
    "GET /api/invoices": (request) => (known(request) === ADMIN ? invoices.all() : invoices.ofCustomer(request.user)),
    "POST /api/invoices": asAdmin(create),
    "PATCH /api/invoices/:id": asAdmin(update),
    "POST /api/invoices/:id/send": asAdmin(send),
    "POST /api/invoices/:id/payments": asAdmin(recordPayment),
  },
});
