// Waits for the payment of one order.

import { connect } from "/live.js";
import { api, fill, latest } from "/page.js";

const externalId = location.pathname.split("/").pop();
const order = document.querySelector("#order");
const show = (values) => fill(order, values);

/** Says how things are, so it may come more than once: live, from the cache, or from the backend. */
const onPayment = (payment) => payment && show(payment);

const channel = connect().subscribe(`cache-payment.${externalId}`);
// Who subscribes after the payment gets it from the cache, at once.
channel.bind("payment", onPayment);
// Nothing was published, or too long ago, or the server has been restarted since: the backend knows.
channel.bind(
  "pusher:cache_miss",
  latest(() => api("GET", `/api/orders/${externalId}/payment`), ({ payment }) => onPayment(payment)),
);

latest(() => api("GET", `/api/orders/${externalId}`), show)();
