// Orders and what has been received for them, in memory: a database in a real system.

import { randomBytes } from "node:crypto";

import { HttpError } from "../shared/reply.js";

const orders = new Map();

/** The external id is random, because whoever knows it can see the payment. */
export function create({ title, amountSat }) {
  const order = { externalId: randomBytes(9).toString("base64url"), title, amountSat, payments: new Map() };
  orders.set(order.externalId, order);
  return order;
}

export function find(externalId) {
  const order = orders.get(externalId);
  if (!order) throw new HttpError(404, "There is no such order");
  return order;
}

/** A payment has one hash, so one that is told again is not counted again. */
export function receive(order, { paymentHash, amountSat }) {
  order.payments.set(paymentHash, amountSat);
}

/** What pages are told of an order's payment; null before there is any. */
export function paymentOf({ externalId, amountSat, payments }) {
  if (payments.size === 0) return null;
  const receivedSat = [...payments.values()].reduce((sum, sat) => sum + sat, 0);
  return { externalId, receivedSat, status: receivedSat >= amountSat ? "paid" : "partly paid" };
}
