// The channel of an external id, which may be any text (`order-7`, `#123`, `Kaffee ☕`), while names of channels may hold
// letters, digits and `_-=@,.;` only: other bytes are written as `=` and two hexadecimal digits, and so is `=` itself.

import { createHash } from "node:crypto";

import { HttpError } from "../shared/reply.js";

const PREFIX = "cache-payment.";
/** The server's channel_name_length. */
const LONGEST = 200;

/** A cache channel keeps its last event for those who come later. */
export function channelOf(externalId) {
  const name = [...Buffer.from(externalId)].map((byte) => {
    const letter = String.fromCharCode(byte);
    return /[\w@,.;-]/.test(letter) ? letter : `=${byte.toString(16).padStart(2, "0")}`;
  });
  const channel = PREFIX + name.join("");
  // `==` comes from no external id, so this is nobody else's name.
  return channel.length <= LONGEST ? channel : `${PREFIX}==${createHash("sha256").update(externalId).digest("hex")}`;
}

/** An external id from outside: any text, within phoenixd's limit. */
export function externalIdOf(body) {
  const { externalId } = body;
  if (typeof externalId === "string" && externalId && externalId.length <= 256) return externalId;
  throw new HttpError(400, "Expected externalId: a text of 1 to 256 characters");
}
