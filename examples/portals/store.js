// The invoices of all customers, in memory: a database in a real system.

import { HttpError } from "../shared/reply.js";

const invoices = [];

export function create({ customerId, title, amount }) {
  const invoice = { id: String(invoices.length + 1), customerId, title, amount, paid: 0, status: "draft", version: 1, updatedAt: now() };
  invoices.push(invoice);
  return invoice;
}

export function find(id) {
  const invoice = invoices.find((one) => one.id === id);
  if (!invoice) throw new HttpError(404, "There is no such invoice");
  return invoice;
}

export const all = () => [...invoices].reverse();

/** What the customer may see: no drafts. */
export const ofCustomer = (customerId) => all().filter((invoice) => invoice.customerId === customerId && invoice.status !== "draft");

const now = () => new Date().toISOString();

/** Each change has a number, so that pages know an old state when one comes late. */
function change(invoice, values) {
  Object.assign(invoice, values, { version: invoice.version + 1, updatedAt: now() });
}

export function update(invoice, { title, amount }) {
  if (amount <= invoice.paid) throw new HttpError(409, "This much has been paid already");
  change(invoice, { title, amount });
}

export function send(invoice) {
  if (invoice.status !== "draft") throw new HttpError(409, "This invoice has been sent already");
  change(invoice, { status: "sent" });
}

export function pay(invoice, amount) {
  if (invoice.status === "draft") throw new HttpError(409, "This invoice has not been sent yet");
  if (amount > invoice.amount - invoice.paid) throw new HttpError(409, "That is more than is open");
  const paid = invoice.paid + amount;
  change(invoice, { paid, status: paid === invoice.amount ? "paid" : invoice.status });
}
