// Numbers, times and texts for people.

const counts = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const figures = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const UNITS = ["B", "KiB", "MiB", "GiB"];

/** `12,345` */
export const count = (n) => counts.format(n);

/** `1 row`, `2 rows` */
export const counted = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/** A rate or a duration: `0.4`, `12.5`, `1,234` */
export const figure = (n) => (Math.abs(n) < 100 ? figures : counts).format(n);

/** `840 B`, `9.8 KiB` */
export function bytes(n) {
  const power = n < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(n) / 10));
  return `${figure(n / 1024 ** power)} ${UNITS[power]}`;
}

/** A duration of so many seconds: `42 s`, `3 min`, `2 h 5 min`, `3 d 4 h` */
export function age(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3_600) return `${Math.floor(s / 60)} min`;
  const [big, small, of] = s < 86_400 ? ["h", "min", 60] : ["d", "h", 24];
  const all = Math.floor(s / (s < 86_400 ? 60 : 3_600));
  return all % of ? `${Math.floor(all / of)} ${big} ${all % of} ${small}` : `${Math.floor(all / of)} ${big}`;
}

const two = (n) => String(n).padStart(2, "0");

/** `19:21:05`, local */
export function clock(ms) {
  const d = new Date(ms);
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}

/** `19:21:05.042`, local */
export const clockWithMillis = (ms) => `${clock(ms)}.${String(new Date(ms).getMilliseconds()).padStart(3, "0")}`;

/** `2026-11-25 19:21:05.042`, local */
export function dateAndClock(ms) {
  const d = new Date(ms);
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${clockWithMillis(ms)}`;
}

// Characters that would act on the page's text instead of standing in it: controls, and those which turn the direction
// of reading around or take no room.
const INVISIBLE = /\r\n|[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;
const INVISIBLE_BUT_BREAKS = /(?![\t\r\n])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

const NAMES = { "\n": "↵", "\r": "↵", "\t": " ", "\u001b": "⟨ESC⟩" };

function named(character) {
  return NAMES[character.at(-1)] ?? `⟨U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;
}

/** The text on one line, with names for characters that cannot be seen. */
export const visible = (text) => String(text).replace(INVISIBLE, named);

/** The same with the text's own lines and tabs. */
export const visibleLines = (text) => String(text).replace(INVISIBLE_BUT_BREAKS, named);
