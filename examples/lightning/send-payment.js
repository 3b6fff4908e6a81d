// Pays an order without a Lightning node, by the webhook that phoenixd would send:
// node send-payment.js EXTERNAL_ID SATOSHIS [PAYMENT_HASH]

import { randomBytes } from "node:crypto";

import { sign } from "./phoenixd.js";

const [externalId, amount, paymentHash = randomBytes(32).toString("hex")] = process.argv.slice(2);
const { SHOP_URL: shop = "http://127.0.0.1:3004", WEBHOOK_URL: url = `${shop}/webhooks/phoenixd`, PHOENIXD_WEBHOOK_SECRET: secret = "phoenixd-secret" } = process.env;

const body = JSON.stringify({ type: "payment_received", timestamp: Date.now(), amountSat: Number(amount), paymentHash, externalId });
const headers = { "content-type": "application/json", "x-phoenix-signature": sign(secret, body) };
const answer = await fetch(url, { method: "POST", headers, body });
console.log(answer.status, await answer.text());
process.exitCode = answer.ok ? 0 : 1;
