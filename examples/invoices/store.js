// The invoices, in memory: a database in a real system.

import { randomBytes } from "node:crypto";

import { HttpError } from "../shared/reply.js";

const invoices = new Map();

/** Ids are random, because on public channels and pay links knowing the id is all that it takes. */
export function create({ userId, customerId, title, amount }) {
  const invoice = { id: randomBytes(9).toString("base64url"), userId, customerId, title, amount, paid: 0, status: "open" };
  invoices.set(invoice.id, invoice);
  return invoice;
}

export function find(id) {
  const invoice = invoices.get(id);
  if (!invoice) throw new HttpError(404, "There is no such invoice");
  return invoice;
}

export const ofUser = (userId) => [...invoices.values()].filter((invoice) => invoice.userId === userId).reverse();

export function change(invoice, { title, amount }) {
  if (amount < invoice.paid) throw new HttpError(409, "More than this has been paid already");
  Object.assign(invoice, { title, amount });
  settle(invoice);
}

export function pay(invoice, amount) {
  if (amount > invoice.amount - invoice.paid) throw new HttpError(409, "That is more than is open");
  invoice.paid += amount;
  settle(invoice);
}

function settle(invoice) {
  if (invoice.paid === invoice.amount) invoice.status = "paid";
  else invoice.status = invoice.paid > 0 ? "partly paid" : "open";
}
