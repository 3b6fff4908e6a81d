// Organisations, who is in them, and their invoices, in memory: a database in a real system.

import { HttpError } from "../shared/reply.js";

const organisations = new Map(
  Object.entries({ north: ["ada", "ben"], south: ["ben", "cleo"] }).map(([id, people]) => [id, { people, invoices: [] }]),
);

export const users = ["ada", "ben", "cleo"];

export const isIn = (user, orgId) => organisations.get(orgId)?.people.includes(user) ?? false;

export const ofUser = (user) => [...organisations.keys()].filter((orgId) => isIn(user, orgId));

export const invoicesOf = (orgId) => organisations.get(orgId).invoices;

export function create(orgId, { title, amount, dueOn }) {
  const invoices = invoicesOf(orgId);
  const invoice = { id: `${orgId}-${invoices.length + 1}`, title, amount, dueOn, status: "open", version: 1 };
  invoices.push(invoice);
  return invoice;
}

export function find(orgId, id) {
  const invoice = invoicesOf(orgId).find((one) => one.id === id);
  if (!invoice) throw new HttpError(404, "There is no such invoice");
  return invoice;
}

/** Each change has a number, so that pages know an old state when one comes late or twice. */
function change(invoice, values) {
  return Object.assign(invoice, values, { version: invoice.version + 1 });
}

export const rename = (invoice, title) => change(invoice, { title });

export function pay(invoice) {
  if (invoice.status === "paid") throw new HttpError(409, "This invoice has been paid already");
  return change(invoice, { status: "paid" });
}

/** Those that became overdue by now. */
export function markOverdue(orgId, today) {
  const late = invoicesOf(orgId).filter(({ status, dueOn }) => status === "open" && dueOn < today);
  return late.map((invoice) => change(invoice, { status: "overdue" }));
}
