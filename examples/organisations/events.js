// What an organisation's people are told: events of modules, named MODULE.ACTION, on one channel for each organisation.

import { publish, pusher } from "../shared/tidewire.js";

/** The server takes that many events in one batch; see batch_events of apps.toml. */
const BATCH = 10;

export const orgChannel = (orgId) => `private-org.${orgId}`;

/** One of several events to tell. A mutation id lets the page that asked for a change know its own. */
export const invoiceEvent = (action, invoice, mutationId) => ({ name: `invoice.${action}`, data: { invoice, mutationId } });

export const notification = (text) => ({ name: "notification.CREATED", data: { text, sentAt: new Date().toISOString() } });

/** In this order, in as few requests as possible. */
export async function tell(orgId, events) {
  const channel = orgChannel(orgId);
  for (let from = 0; from < events.length; from += BATCH) {
    const batch = events.slice(from, from + BATCH).map(({ name, data }) => ({ channel, name, data }));
    await publish(() => pusher.triggerBatch(batch));
  }
}
