// A shop that is paid over Lightning. phoenixd tells the backend of a payment, and the backend tells the pay page.

import { text, whole } from "../shared/input.js";
import { Reply, file } from "../shared/reply.js";
import { publish, pusher, settingsModule } from "../shared/tidewire.js";
import { serve } from "../shared/web.js";
import { channelOf, externalIdOf } from "./channel.js";
import { connections } from "./health.js";
import * as orders from "./orders.js";
import { createInvoice, paymentReceived } from "./phoenixd.js";
import { qrSvg } from "./qr.js";

const FOLDER = new URL("public/", import.meta.url);

// Everybody knows the default: take the one of your phoenix.conf.
const webhookSecret = process.env.PHOENIXD_WEBHOOK_SECRET ?? "phoenixd-secret";

/** The shop may have an external id for the order, else it gets one. */
async function create({ body }) {
  const externalId = body.externalId === undefined ? orders.randomId() : externalIdOf(body);
  const order = { externalId, title: text(body, "title"), amountSat: whole(body, "amountSat") };
  orders.expectFree(externalId);
  const invoice = await createInvoice({ description: order.title, amountSat: order.amountSat, externalId });
  orders.create({ ...order, invoice });
  return { externalId };
}

/** Any external id will do: what was not ordered here is told to whoever waits for it all the same. */
async function webhook(request) {
  const payment = paymentReceived(webhookSecret, request);
  if (!payment) return;
  const { externalId } = payment;
  orders.receive(payment);
  // Also when it is told again: the event says how things are, so it may come more than once.
  await publish(() => pusher.trigger(channelOf(externalId), "payment", orders.paymentOf(externalId)));
}

/** What the page needs, which is less of an external id that was ordered elsewhere. */
function details({ params: { id } }) {
  if (!orders.has(id)) return { externalId: id, channel: channelOf(id) };
  const { externalId, title, amountSat, invoice } = orders.find(id);
  return { externalId, channel: channelOf(externalId), title, amountSat, invoice: invoice.text, paymentHash: invoice.paymentHash };
}

/** Wallets take it in upper case too, which makes a smaller code. */
function qr({ params: { id } }) {
  const { invoice } = orders.find(id);
  return new Reply(200, qrSvg(`LIGHTNING:${invoice.text.toUpperCase()}`), { "content-type": "image/svg+xml" });
}

serve("lightning", {
  folder: FOLDER,
  port: 3004,
  routes: {
    "GET /": () => file(new URL("shop.html", FOLDER)),
    "GET /pay/:id": () => file(new URL("pay.html", FOLDER)),
    "GET /settings.js": () => settingsModule(),
    "POST /webhooks/phoenixd": webhook,
    "POST /api/orders": create,
    "GET /api/orders/:id": details,
    "GET /api/orders/:id/invoice.svg": qr,
    "GET /api/orders/:id/payment": ({ params }) => ({ payment: orders.paymentOf(params.id) }),
    "GET /api/clients": async () => ({ connections: await connections() }),
  },
});
