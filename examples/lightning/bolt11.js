// BOLT 11 invoices without a Lightning node, so that the demonstration has something to show. They are signed and can be
// read by every wallet, but name a node that nobody can reach, on the network for tests (`lnbcrt`): nobody can pay them.

import { createECDH, createHash, randomBytes } from "node:crypto";

const LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const EXPIRES_SECONDS = 3600;
const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

const node = createECDH("secp256k1");
node.generateKeys();

/** An invoice over so many satoshis: its text, and the hash that its payment will have. */
export function invoice({ amountSat, description }) {
  const paymentHash = randomBytes(32);
  const prefix = `lnbcrt${amount(amountSat)}`;
  const words = [
    ...number(Math.floor(Date.now() / 1000), 7),
    ...tagged("p", regrouped(paymentHash, 8, 5)),
    ...tagged("s", regrouped(randomBytes(32), 8, 5)),
    ...tagged("d", regrouped(Buffer.from(description), 8, 5)),
    ...tagged("x", number(EXPIRES_SECONDS, 3)),
    // Variable onions and payment secrets are needed: bits 8 and 14.
    ...tagged("9", number((1 << 8) | (1 << 14), 3)),
  ];
  const signed = Buffer.concat([Buffer.from(prefix), Buffer.from(regrouped(words, 5, 8))]);
  const text = bech32(prefix, [...words, ...regrouped(signature(signed), 8, 5)]);
  return { text, paymentHash: paymentHash.toString("hex") };
}

/** In bitcoins, with the largest unit that needs no fraction: 1000 satoshis are 10 millionths. */
function amount(sat) {
  for (const [unit, size] of [["", 100_000_000], ["m", 100_000], ["u", 100]]) if (sat % size === 0) return `${sat / size}${unit}`;
  return `${sat * 10}n`;
}

/** ECDSA with a last byte by which readers find the node's public key. Good enough for an invoice that nobody can pay. */
function signature(message) {
  const nonce = createECDH("secp256k1");
  const point = nonce.generateKeys();
  const r = big(point.subarray(1, 33)) % ORDER;
  const hash = big(createHash("sha256").update(message).digest());
  const s = (power(big(nonce.getPrivateKey()), ORDER - 2n) * (hash + r * big(node.getPrivateKey()))) % ORDER;
  const isHigh = s > ORDER / 2n;
  const parity = (point.at(-1) & 1) ^ Number(isHigh);
  return Buffer.concat([bytes(r), bytes(isHigh ? ORDER - s : s), Buffer.of(parity)]);
}

const big = (buffer) => BigInt(`0x${buffer.toString("hex")}`);
const bytes = (value) => Buffer.from(value.toString(16).padStart(64, "0"), "hex");

/** Modulo the order; to the power of two less than it, a number's inverse. */
function power(base, exponent) {
  let result = 1n;
  for (let square = base; exponent > 0n; exponent >>= 1n, square = (square * square) % ORDER) if (exponent & 1n) result = (result * square) % ORDER;
  return result;
}

const tagged = (tag, words) => [LETTERS.indexOf(tag), ...number(words.length, 2), ...words];

/** A number as words of five bits. */
const number = (value, length) => Array.from({ length }, (_, at) => Math.floor(value / 32 ** (length - 1 - at)) % 32);

/** Bits in groups of another size; the last one is filled up with zeros. */
function regrouped(groups, from, to) {
  let bits = [...groups].map((group) => group.toString(2).padStart(from, "0")).join("");
  bits = bits.padEnd(Math.ceil(bits.length / to) * to, "0");
  return Array.from({ length: bits.length / to }, (_, at) => Number.parseInt(bits.slice(at * to, (at + 1) * to), 2));
}

/** BIP 173, of any length. */
function bech32(prefix, words) {
  const spread = [...[...prefix].map((letter) => letter.charCodeAt(0) >> 5), 0, ...[...prefix].map((letter) => letter.charCodeAt(0) & 31)];
  const rest = checksum([...spread, ...words, 0, 0, 0, 0, 0, 0]) ^ 1;
  return `${prefix}1${[...words, ...number(rest, 6)].map((word) => LETTERS[word]).join("")}`;
}

function checksum(words) {
  const generators = [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3];
  return words.reduce((sum, word) => {
    const top = sum >>> 25;
    return generators.reduce((all, generator, bit) => ((top >> bit) & 1 ? all ^ generator : all), ((sum & 0x1ffffff) << 5) ^ word);
  }, 1);
}
