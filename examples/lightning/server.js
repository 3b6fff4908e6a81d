// A shop that is paid over Lightning. phoenixd tells the backend of a payment, and the backend tells the pay page.

import { text, whole } from "../shared/input.js";
import { file } from "../shared/reply.js";
import { publish, pusher, settingsModule } from "../shared/tidewire.js";
import { serve } from "../shared/web.js";
import { connections } from "./health.js";
import * as orders from "./orders.js";
import { paymentReceived } from "./phoenixd.js";

const FOLDER = new URL("public/", import.meta.url);

// Everybody knows the default: take the one of your phoenix.conf.
const webhookSecret = process.env.PHOENIXD_WEBHOOK_SECRET ?? "phoenixd-secret";

/** A cache channel keeps its last event for those who come later. */
const channelOf = ({ externalId }) => `cache-payment.${externalId}`;

/** With a phoenixd, this is where its /createinvoice gets the external id and answers with the invoice to show. */
function create({ body }) {
  const order = orders.create({ title: text(body, "title"), amountSat: whole(body, "amountSat") });
  return { externalId: order.externalId };
}

async function webhook(request) {
  const payment = paymentReceived(webhookSecret, request);
  if (!payment) return;
  const order = orders.find(payment.externalId);
  orders.receive(order, payment);
  // Also when it is told again: the event says how things are, so it may come more than once.
  await publish(() => pusher.trigger(channelOf(order), "payment", orders.paymentOf(order)));
}

function details({ params }) {
  const { externalId, title, amountSat } = orders.find(params.id);
  return { externalId, title, amountSat };
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
    "GET /api/orders/:id/payment": ({ params }) => ({ payment: orders.paymentOf(orders.find(params.id)) }),
    "GET /api/clients": async () => ({ connections: await connections() }),
  },
});
