// The webhook of phoenixd, a Lightning node: a JSON body, and in X-Phoenix-Signature the hexadecimal HMAC-SHA256 of its
// bytes with the `webhook-secret` of phoenix.conf.
//
// {"type": "payment_received", "amountSat": 1000, "paymentHash": "8a5e…", "externalId": "order-7"}

import { createHmac } from "node:crypto";

import { text, whole } from "../shared/input.js";
import { HttpError } from "../shared/reply.js";
import { equal } from "../shared/session.js";

const SIGNATURE = "x-phoenix-signature";
const MAX_SAT = 21_000_000 * 100_000_000;

export const sign = (secret, rawBody) => createHmac("sha256", secret).update(rawBody).digest("hex");

/** The payment that a request tells of, or null if it tells of something else. Throws unless phoenixd has signed it. */
export function paymentReceived(secret, request) {
  const { headers, rawBody } = request;
  // What was signed are the bytes, so this comes before they are parsed.
  if (!equal(headers[SIGNATURE] ?? "", sign(secret, rawBody))) {
    throw new HttpError(401, `Expected the HMAC-SHA256 of the body in ${SIGNATURE}`);
  }
  const { body } = request;
  // Payments without an external id are not for an order; other types are for nobody here.
  if ((body.type ?? "payment_received") !== "payment_received" || !body.externalId) return null;
  const paymentHash = text(body, "paymentHash", 64);
  if (!/^[0-9a-f]{64}$/.test(paymentHash)) throw new HttpError(400, "Expected paymentHash: 64 hexadecimal digits");
  return { externalId: text(body, "externalId"), paymentHash, amountSat: whole(body, "amountSat", MAX_SAT) };
}
