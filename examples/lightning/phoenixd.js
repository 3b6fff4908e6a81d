// phoenixd, a Lightning node: `/createinvoice`, which makes invoices, and its webhook, which tells of payments.
//
// The webhook is a JSON body, and in X-Phoenix-Signature the hexadecimal HMAC-SHA256 of its bytes with the
// `webhook-secret` of phoenix.conf:
// {"type": "payment_received", "timestamp": 1712785550079, "amountSat": 1000, "paymentHash": "8a5e…", "externalId": "#7"}

import { createHmac } from "node:crypto";

import { whole, text } from "../shared/input.js";
import { HttpError } from "../shared/reply.js";
import { equal } from "../shared/session.js";
import { invoice as standIn } from "./bolt11.js";
import { externalIdOf } from "./channel.js";

const SIGNATURE = "x-phoenix-signature";
const MAX_SAT = 21_000_000 * 100_000_000;

const { PHOENIXD_URL: url, PHOENIXD_PASSWORD: password = "" } = process.env;

/**
 * A BOLT 11 invoice: its text, and the hash that its payment will have. From the phoenixd at PHOENIXD_URL; without one
 * from a stand-in, which nobody can pay but send-payment.js.
 */
export async function createInvoice({ description, amountSat, externalId }) {
  if (!url) return standIn({ description, amountSat });
  try {
    const answer = await fetch(new URL("/createinvoice", url), {
      method: "POST",
      headers: { authorization: `Basic ${Buffer.from(`:${password}`).toString("base64")}` },
      body: new URLSearchParams({ description, amountSat, externalId }),
      signal: AbortSignal.timeout(10_000),
    });
    if (!answer.ok) throw new Error(`it answers ${answer.status}: ${await answer.text()}`);
    const { serialized, paymentHash } = await answer.json();
    return { text: serialized, paymentHash };
  } catch (error) {
    console.error(`No invoice from phoenixd at ${url}: ${error.cause?.code ?? error.message}`);
    throw new HttpError(502, "The Lightning node makes no invoice now. Try again later");
  }
}

export const sign = (secret, rawBody) => createHmac("sha256", secret).update(rawBody).digest("hex");

/** The payment that a request tells of, or null if it tells of something else. Throws unless phoenixd has signed it. */
export function paymentReceived(secret, request) {
  const { headers, rawBody } = request;
  // What was signed are the bytes, so this comes before they are parsed.
  if (!equal(headers[SIGNATURE] ?? "", sign(secret, rawBody))) {
    throw new HttpError(401, `Expected the HMAC-SHA256 of the body in ${SIGNATURE}`);
  }
  const { body } = request;
  // Payments without an external id are nobody's here, and so are other types.
  if ((body.type ?? "payment_received") !== "payment_received" || !body.externalId) return null;
  const paymentHash = text(body, "paymentHash", 64);
  if (!/^[0-9a-f]{64}$/.test(paymentHash)) throw new HttpError(400, "Expected paymentHash: 64 hexadecimal digits");
  // Older ones do not say when.
  const timestamp = body.timestamp === undefined ? Date.now() : whole(body, "timestamp", Number.MAX_SAFE_INTEGER);
  return { externalId: externalIdOf(body), paymentHash, amountSat: whole(body, "amountSat", MAX_SAT), timestamp };
}
