// What the portals are told. This file is all that a serverless function needs besides its own work.

import { publish, pusher } from "../shared/tidewire.js";

export const ADMIN_CHANNEL = "private-admin.invoices";

export const customerChannel = (customerId) => `private-customer.${customerId}`;

/**
 * One publish, two channels: the customer whose invoice it is, and the admins, who see all. A draft is the admins' alone:
 * an invoice is the customer's from the moment in which it is sent.
 *
 * Await it before the function returns: what is still under way when a serverless function ends may never be sent.
 * @param {"INVOICE_CREATED" | "INVOICE_UPDATED" | "INVOICE_SENT" | "INVOICE_PAID" | "PAYMENT_RECORDED"} event
 */
export function tell(event, invoice) {
  const channels = invoice.status === "draft" ? [ADMIN_CHANNEL] : [customerChannel(invoice.customerId), ADMIN_CHANNEL];
  return publish(() => pusher.trigger(channels, event, { type: "INVOICE_UPDATE", invoice }));
}
