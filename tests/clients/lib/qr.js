// Reads a QR code of the lowest error correction level in alphanumeric mode, as a camera would if it saw every module
// right: what the code itself says of its mask is believed, and that its corrections fit is checked.

const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";

/** For each version from 1 on: how many codewords correct a block, and how many blocks there are. */
const LEVEL_L = [[7, 1], [10, 1], [15, 1], [20, 1], [26, 1], [18, 2], [20, 2], [24, 2], [30, 2], [18, 4], [20, 4], [24, 4], [26, 4], [30, 4], [22, 6], [24, 6], [28, 6], [30, 6], [28, 7], [28, 8]];

/** Where alignment patterns are, by version, as in the standard's table. */
const ALIGNMENT = [[], [6, 18], [6, 22], [6, 26], [6, 30], [6, 34], [6, 22, 38], [6, 24, 42], [6, 26, 46], [6, 28, 50], [6, 30, 54], [6, 32, 58], [6, 34, 62], [6, 26, 46, 66], [6, 26, 48, 70], [6, 26, 50, 74], [6, 30, 54, 78], [6, 30, 56, 82], [6, 30, 58, 86], [6, 34, 62, 90]];

/** Rows of booleans from an image whose dark modules are squares of a path, within a margin of four. */
export function modulesOf(svg) {
  const size = Number(/viewBox="0 0 (\d+)/.exec(svg)[1]) - 8;
  const modules = Array.from({ length: size }, () => new Array(size).fill(false));
  for (const [, x, y] of svg.matchAll(/M(\d+) (\d+)h1v1h-1z/g)) modules[y - 4][x - 4] = true;
  return modules;
}

/** The text in it. */
export function read(modules) {
  const size = modules.length;
  const version = (size - 17) / 4;
  const format = [0, 1, 2, 3, 4, 5, 7, 8].map((x) => Number(modules[8][x])).join("") + [7, 5, 4, 3, 2, 1, 0].map((y) => Number(modules[y][8])).join("");
  const plain = Number.parseInt(format, 2) ^ 0x5412;
  if (plain >> 13 !== 0b01) throw new Error(`not of level L: ${format}`);
  const codewords = unmasked(modules, version, (plain >> 10) & 7);
  const bits = blocks(codewords, version).flat().map((byte) => byte.toString(2).padStart(8, "0")).join("");
  const lengthBits = version < 10 ? 9 : 11;
  if (!bits.startsWith("0010")) throw new Error("not alphanumeric");
  let left = Number.parseInt(bits.slice(4, 4 + lengthBits), 2);
  let text = "";
  for (let at = 4 + lengthBits; left > 0; left -= 2, at += 11) {
    const value = Number.parseInt(bits.slice(at, at + (left > 1 ? 11 : 6)), 2);
    text += left > 1 ? ALPHABET[Math.floor(value / 45)] + ALPHABET[value % 45] : ALPHABET[value];
  }
  return text;
}

function unmasked(modules, version, mask) {
  const size = modules.length;
  const isOfMask = [
    (i, j) => (i + j) % 2, (i) => i % 2, (i, j) => j % 3, (i, j) => (i + j) % 3,
    (i, j) => (Math.floor(i / 2) + Math.floor(j / 3)) % 2, (i, j) => ((i * j) % 2) + ((i * j) % 3),
    (i, j) => (((i * j) % 2) + ((i * j) % 3)) % 2, (i, j) => (((i + j) % 2) + ((i * j) % 3)) % 2,
  ][mask];
  let bits = "";
  let upwards = true;
  for (let right = size - 1; right > 0; right -= right === 8 ? 3 : 2, upwards = !upwards) {
    for (let n = 0; n < size; n++) {
      const row = upwards ? size - 1 - n : n;
      for (const column of [right, right - 1]) {
        if (isFunction(row, column, size, version)) continue;
        bits += Number(modules[row][column] !== (isOfMask(row, column) === 0));
      }
    }
  }
  return bits.match(/.{8}/g).map((byte) => Number.parseInt(byte, 2));
}

function isFunction(row, column, size, version) {
  if (row === 6 || column === 6) return true;
  const isCorner = (row < 9 && column < 9) || (row < 9 && column >= size - 8) || (row >= size - 8 && column < 9);
  const isVersion = version >= 7 && ((row < 6 && column >= size - 11) || (column < 6 && row >= size - 11));
  if (isCorner || isVersion) return true;
  const places = ALIGNMENT[version - 1];
  const last = places.at(-1);
  return places.some((y) => places.some((x) => {
    const hasFinder = (x === 6 && y === 6) || (x === 6 && y === last) || (x === last && y === 6);
    return !hasFinder && Math.abs(row - y) <= 2 && Math.abs(column - x) <= 2;
  }));
}

/** The data of each block, once what corrects it has shown that nothing is wrong. */
function blocks(codewords, version) {
  const [correcting, count] = LEVEL_L[version - 1];
  const room = codewords.length - correcting * count;
  const lengths = Array.from({ length: count }, (_, n) => Math.floor(room / count) + (n >= count - (room % count) ? 1 : 0));
  const data = lengths.map(() => []);
  let at = 0;
  for (let n = 0; n < Math.max(...lengths); n++) for (const [block, bytes] of data.entries()) if (n < lengths[block]) bytes.push(codewords[at++]);
  const corrections = data.map(() => []);
  for (let n = 0; n < correcting; n++) for (const bytes of corrections) bytes.push(codewords[at++]);
  data.forEach((bytes, block) => {
    const whole = [...bytes, ...corrections[block]];
    // A block is a polynomial that is zero at the first powers of two.
    for (let power = 0; power < correcting; power++) {
      const value = whole.reduce((sum, byte) => EXP[(LOG[sum] + power) % 255] * Number(sum > 0) ^ byte, 0);
      if (value !== 0) throw new Error(`block ${block} is damaged`);
    }
  });
  return data;
}

const EXP = [];
const LOG = [];
for (let n = 0, value = 1; n < 255; n++, value = (value << 1) ^ (value & 0x80 ? 0x11d : 0)) {
  EXP[n] = value;
  LOG[value] = n;
}
LOG[0] = 0;
