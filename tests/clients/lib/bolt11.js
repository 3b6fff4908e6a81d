// Reads a BOLT 11 invoice as a wallet does, as far as the suites look into it.

const LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/** Its prefix, payment hash and description, and whether its checksum fits. */
export function decoded(text) {
  const separator = text.lastIndexOf("1");
  const prefix = text.slice(0, separator);
  const words = [...text.slice(separator + 1)].map((letter) => LETTERS.indexOf(letter));
  const letters = [...prefix].map((letter) => letter.charCodeAt(0));
  const isIntact = checksum([...letters.map((code) => code >> 5), 0, ...letters.map((code) => code & 31), ...words]) === 1;
  const fields = new Map();
  // Behind the time, before the signature and the checksum.
  for (let at = 7; at < words.length - 110; ) {
    const length = words[at + 1] * 32 + words[at + 2];
    fields.set(LETTERS[words[at]], bytes(words.slice(at + 3, at + 3 + length)));
    at += 3 + length;
  }
  return { prefix, isIntact, paymentHash: fields.get("p").toString("hex"), description: fields.get("d").toString() };
}

function bytes(words) {
  const bits = words.map((word) => word.toString(2).padStart(5, "0")).join("");
  return Buffer.from((bits.match(/.{8}/g) ?? []).map((byte) => Number.parseInt(byte, 2)));
}

/** BIP 173: 1 if nothing has been changed. */
function checksum(words) {
  let sum = 1;
  for (const word of words) {
    const top = sum >>> 25;
    sum = ((sum & 0x1ffffff) << 5) ^ word;
    [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3].forEach((generator, bit) => (sum ^= (top >> bit) & 1 ? generator : 0));
  }
  return sum;
}
