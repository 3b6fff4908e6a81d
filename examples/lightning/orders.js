// Orders, and what has been received for them or for any other external id, in memory: a database in a real system.

import { randomBytes } from "node:crypto";

import { HttpError } from "../shared/reply.js";

const orders = new Map();
/** By external id: by their hashes, oldest first. */
const payments = new Map();

/** An external id that nobody can guess, because whoever knows it can see the payment. */
export const randomId = () => randomBytes(9).toString("base64url");

/** Before an invoice is made, and again when it is there. */
export function expectFree(externalId) {
  if (orders.has(externalId)) throw new HttpError(409, "There is an order with this external id");
}

export function create({ externalId, title, amountSat, invoice }) {
  expectFree(externalId);
  const order = { externalId, title, amountSat, invoice };
  orders.set(externalId, order);
  return order;
}

export const has = (externalId) => orders.has(externalId);

export function find(externalId) {
  const order = orders.get(externalId);
  if (!order) throw new HttpError(404, "There is no such order");
  return order;
}

/** A payment has one hash, so one that is told again is not counted again. */
export function receive({ externalId, paymentHash, amountSat, timestamp }) {
  if (!payments.has(externalId)) payments.set(externalId, new Map());
  payments.get(externalId).set(paymentHash, { paymentHash, amountSat, timestamp });
}

/** What pages are told: the last payment, and how things are after it; null before there is any. */
export function paymentOf(externalId) {
  const all = [...(payments.get(externalId)?.values() ?? [])];
  if (all.length === 0) return null;
  const receivedSat = all.reduce((sum, { amountSat }) => sum + amountSat, 0);
  // What nobody has ordered here, another part of the shop has: that is not for us to say how much it should be.
  const expectedSat = orders.get(externalId)?.amountSat ?? 0;
  return { externalId, ...all.at(-1), receivedSat, status: receivedSat >= expectedSat ? "paid" : "partly paid" };
}
