// Shows the invoice of one order, and waits for its payment.

import { connect, subscribe } from "/live.js";
import { api, fill, latest } from "/page.js";

const id = location.pathname.split("/").pop();
const path = `/api/orders/${id}`;
const order = document.querySelector("#order");
const invoice = document.querySelector("#invoice");

/** Says how things are, so it may come more than once: live, from the cache, or from the backend. */
function onPayment(payment) {
  if (!payment) return;
  fill(order, { ...payment, amountSat: undefined, paidAt: `Last payment: ${payment.amountSat} sat at ${new Date(payment.timestamp).toLocaleTimeString()}` });
  document.querySelector("#hash").textContent = payment.paymentHash;
  if (payment.status === "paid") invoice.hidden = true;
}

function listen(channelName) {
  const channel = subscribe(connect(), channelName);
  // Who subscribes after the payment gets it from the cache, at once.
  channel.bind("payment", onPayment);
  // Nothing was published, or too long ago, or the server has been restarted since: the backend knows.
  channel.bind("pusher:cache_miss", latest(() => api("GET", `${path}/payment`), ({ payment }) => onPayment(payment)));
}

function show({ channel, ...details }) {
  // Of what was ordered elsewhere only the external id is known.
  fill(order, { title: "Payment", ...details });
  if (details.invoice) {
    invoice.hidden = false;
    document.querySelector("#text").value = details.invoice;
    document.querySelector("#wallet").href = `lightning:${details.invoice}`;
    document.querySelector("#qr").src = `${path}/invoice.svg`;
    document.querySelector("#hash").textContent = details.paymentHash;
  }
  listen(channel);
}

document.querySelector("#copy").addEventListener("click", async ({ target }) => {
  const text = document.querySelector("#text");
  text.select();
  // Over plain HTTP from another machine there is no clipboard, but what is selected can be copied by hand.
  await navigator.clipboard?.writeText(text.value).then(() => (target.textContent = "Copied"), () => {});
});

latest(() => api("GET", path), show)();
