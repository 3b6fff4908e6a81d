// A text as a QR code (ISO/IEC 18004): alphanumeric mode, which upper-case invoices fit into, error correction level L,
// versions 1 to 20. Returns an SVG image.

const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";

/** For each version: how many blocks the data is cut into, and how many codewords correct each of them. */
const BLOCKS = [1, 1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 4, 6, 6, 6, 6, 7, 8];
const CORRECTING = [7, 10, 15, 20, 26, 18, 20, 24, 30, 18, 20, 24, 26, 30, 22, 24, 28, 30, 28, 28];

const MASKS = [
  (x, y) => (x + y) % 2,
  (x, y) => y % 2,
  (x) => x % 3,
  (x, y) => (x + y) % 3,
  (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2,
  (x, y) => ((x * y) % 2) + ((x * y) % 3),
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2,
  (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2,
];

/** The modules of the smallest code that holds the text: rows of booleans, true is dark. */
export function qrModules(text) {
  for (let version = 1; version <= BLOCKS.length; version++) {
    const frame = fixedModules(version);
    const codewords = Math.floor(frame.flat().filter((module) => module === null).length / 8);
    const room = codewords - BLOCKS[version - 1] * CORRECTING[version - 1];
    const data = encoded(text, version, room);
    if (data) return masked(frame, interleaved(data, version), version);
  }
  throw new RangeError("The text is too long for a QR code");
}

/** The same as an image: one path of squares, with the quiet zone of four modules. */
export function qrSvg(text) {
  const modules = qrModules(text);
  const side = modules.length + 8;
  const squares = modules.flatMap((row, y) => row.flatMap((dark, x) => (dark ? [`M${x + 4} ${y + 4}h1v1h-1z`] : [])));
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${side} ${side}" shape-rendering="crispEdges"><path fill="#fff" d="M0 0h${side}v${side}H0z"/><path d="${squares.join("")}"/></svg>`;
}

/** The text as data codewords, filled up; none if there is no room. */
function encoded(text, version, room) {
  const values = [...text].map((character) => ALPHABET.indexOf(character));
  if (values.includes(-1)) throw new RangeError("Alphanumeric mode has no lower-case letters, and few signs");
  let bits = "0010" + binary(values.length, version < 10 ? 9 : 11);
  for (let at = 0; at < values.length; at += 2) {
    bits += at + 1 < values.length ? binary(values[at] * 45 + values[at + 1], 11) : binary(values[at], 6);
  }
  if (bits.length > room * 8) return undefined;
  bits += "0".repeat(Math.min(4, room * 8 - bits.length));
  bits += "0".repeat((8 - (bits.length % 8)) % 8);
  const bytes = bits.match(/.{8}/g).map((byte) => Number.parseInt(byte, 2));
  for (let pad = 0xec; bytes.length < room; pad ^= 0xec ^ 0x11) bytes.push(pad);
  return bytes;
}

const binary = (number, length) => number.toString(2).padStart(length, "0");

/** The blocks and what corrects them, codeword by codeword. The later blocks may have one data codeword more. */
function interleaved(data, version) {
  const count = BLOCKS[version - 1];
  const short = Math.floor(data.length / count);
  const blocks = [];
  for (let from = 0; blocks.length < count; ) {
    const to = from + short + (blocks.length >= count - (data.length % count) ? 1 : 0);
    blocks.push(data.slice(from, to));
    from = to;
  }
  const corrections = blocks.map((block) => remainder(block, CORRECTING[version - 1]));
  const byColumn = (all) => Array.from({ length: Math.max(...all.map(({ length }) => length)) }, (_, at) => all.flatMap((block) => block[at] ?? []));
  return [...byColumn(blocks), ...byColumn(corrections)].flat();
}

/** Multiplication in the field of 256 elements with x⁸ = x⁴ + x³ + x² + 1. */
function times(a, b) {
  let product = 0;
  for (let bit = 7; bit >= 0; bit--) {
    product = (product << 1) ^ (product & 0x80 ? 0x11d : 0);
    if ((b >> bit) & 1) product ^= a;
  }
  return product;
}

/** What is left when a block is divided by (x − 2⁰)(x − 2¹)…: its Reed–Solomon code. */
function remainder(block, degree) {
  let divisor = [1];
  for (let n = 0, root = 1; n < degree; n++, root = times(root, 2)) {
    divisor = [...divisor, 0].map((coefficient, at) => coefficient ^ (at > 0 ? times(divisor[at - 1], root) : 0));
  }
  let rest = new Array(degree).fill(0);
  for (const byte of block) {
    const factor = byte ^ rest[0];
    rest = [...rest.slice(1), 0].map((value, at) => value ^ times(divisor[at + 1], factor));
  }
  return rest;
}

/** What is the same in every code of a version; null where data goes. Format and version are reserved as false. */
function fixedModules(version) {
  const size = 17 + 4 * version;
  const modules = Array.from({ length: size }, () => new Array(size).fill(null));
  const put = (x, y, dark) => {
    if (modules[y]?.[x] !== undefined) modules[y][x] = dark;
  };
  for (let n = 0; n < size; n++) {
    put(6, n, n % 2 === 0);
    put(n, 6, n % 2 === 0);
  }
  const places = alignments(version);
  for (const x of places) {
    for (const y of places) {
      const hasFinder = x === 6 ? y === 6 || y === places.at(-1) : y === 6 && x === places.at(-1);
      if (!hasFinder) square(put, x, y, 2, (ring) => ring !== 1);
    }
  }
  for (const [x, y] of [[3, 3], [size - 4, 3], [3, size - 4]]) square(put, x, y, 4, (ring) => ring !== 2 && ring !== 4);
  for (const [x, y] of [...formatPlaces(size).flat(), ...(version < 7 ? [] : versionPlaces(size).flat())]) put(x, y, false);
  put(8, size - 8, true);
  return modules;
}

/** Squares around a middle, each ring dark or light. */
function square(put, middleX, middleY, radius, isDark) {
  for (let y = -radius; y <= radius; y++) {
    for (let x = -radius; x <= radius; x++) put(middleX + x, middleY + y, isDark(Math.max(Math.abs(x), Math.abs(y))));
  }
}

/** Where the middles of the alignment patterns are, in both directions. */
function alignments(version) {
  if (version === 1) return [];
  const last = 10 + 4 * version;
  const gaps = Math.floor(version / 7) + 1;
  const step = 2 * Math.ceil((last - 6) / (2 * gaps));
  return [6, ...Array.from({ length: gaps }, (_, n) => last - (gaps - 1 - n) * step)];
}

/** The two copies of the 15 format bits, the highest bit first. */
function formatPlaces(size) {
  const along = [0, 1, 2, 3, 4, 5, 7, 8];
  const first = [...along.map((x) => [x, 8]), ...along.slice(0, 7).reverse().map((y) => [8, y])];
  const second = [...along.slice(0, 7).map((_, n) => [8, size - 1 - n]), ...along.map((_, n) => [size - 8 + n, 8])];
  return [first, second];
}

/** The two copies of the 18 version bits, the highest bit first. */
function versionPlaces(size) {
  const places = Array.from({ length: 18 }, (_, n) => [5 - Math.floor(n / 3), size - 9 - (n % 3)]);
  return [places, places.map(([x, y]) => [y, x])];
}

/** A number with the remainder of its division, shifted, by a generator: a BCH code. */
function withRemainder(number, generator) {
  const degree = generator.toString(2).length - 1;
  let rest = number << degree;
  for (let bit = rest.toString(2).length - 1; bit >= degree; bit--) if ((rest >> bit) & 1) rest ^= generator << (bit - degree);
  return (number << degree) | rest;
}

/** Puts the codewords in, with the mask that leaves the fewest patterns which readers stumble over. */
function masked(frame, codewords, version) {
  const path = dataPath(frame);
  const candidates = MASKS.map((mask, number) => {
    const modules = frame.map((row) => row.slice());
    path.forEach(([x, y], at) => {
      const bit = (codewords[at >> 3] >> (7 - (at % 8))) & 1;
      modules[y][x] = Boolean(bit) !== (mask(x, y) === 0);
    });
    const write = (copies, bits) => {
      for (const places of copies) places.forEach(([x, y], at) => (modules[y][x] = bits[at] === "1"));
    };
    write(formatPlaces(frame.length), binary(withRemainder((0b01 << 3) | number, 0x537) ^ 0x5412, 15));
    if (version >= 7) write(versionPlaces(frame.length), binary(withRemainder(version, 0x1f25), 18));
    return modules;
  });
  return candidates.reduce((best, one) => (penalty(one) < penalty(best) ? one : best));
}

/** Where data goes, in its order: two columns at a time from the right, up and down by turns, past the timing column. */
function dataPath(frame) {
  const size = frame.length;
  const path = [];
  for (let right = size - 1, up = true; right > 0; right -= 2, up = !up) {
    if (right === 6) right = 5;
    for (let n = 0; n < size; n++) {
      const y = up ? size - 1 - n : n;
      for (const x of [right, right - 1]) if (frame[y][x] === null) path.push([x, y]);
    }
  }
  return path;
}

function penalty(modules) {
  const size = modules.length;
  const lines = [...modules, ...modules.map((_, x) => modules.map((row) => row[x]))].map((line) => line.map(Number).join(""));
  const sum = (pattern, cost) => lines.reduce((all, line) => all + [...line.matchAll(pattern)].reduce((some, [run]) => some + cost(run), 0), 0);
  const runs = sum(/0{5,}|1{5,}/g, (run) => run.length - 2);
  const finders = sum(/(?=00001011101|10111010000)/g, () => 40);
  let blocks = 0;
  for (let y = 1; y < size; y++) {
    for (let x = 1; x < size; x++) if (modules[y][x] === modules[y - 1][x] && modules[y][x] === modules[y][x - 1] && modules[y][x] === modules[y - 1][x - 1]) blocks += 3;
  }
  const dark = modules.flat().filter(Boolean).length / size ** 2;
  return runs + finders + blocks + 10 * Math.floor(Math.abs(dark - 0.5) * 20);
}
